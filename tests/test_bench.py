"""The benchmark itself: its plan catches a disagreement, its limit counts what a naive forward pass would need."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import language_model, tokenizer
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parent / "bench"))  # its files import each other as the script does

import bench_batch
import memory
import plan
import report
from contender import OURS, Contender, Setting, ours, plain
from limit import Limit, attention_flops, count, products
from workload import Encoded, Group, chosen, encode, made_up, read, with_answers

GROUPS = with_answers(made_up(2), 4)


@pytest.fixture(scope="module")
def setting(tiny_pair_dirs: tuple[Path, Path]) -> Setting:
    return Setting(*tiny_pair_dirs, tuple(GROUPS))


def entries(*contenders: Contender) -> list[plan.Entry]:
    return [plan.Entry(contender, 4, 4) for contender in contenders]


def test_the_plan_runs_each_contender_once_a_round_and_they_agree(setting: Setting) -> None:
    own, peer = contenders = entries(ours(setting), plain(setting))
    sums = own.contender.run(8, 8)
    limits = plan.rounds(contenders, lambda start: sums, 8, 2, lambda: 0.5)
    assert len(own.seconds) == len(peer.seconds) == len(limits) == 2
    # sums near 500 nats, where float32 steps are 3e-5: two models, two ways of adding up
    assert 0 < peer.difference < 5e-4
    measured = report.contenders(contenders, limits)
    ratio = next(row for row in measured if row["name"] == peer.contender.name)["times_ours"]
    in_rounds = sorted(p / o for p, o in zip(peer.seconds, own.seconds, strict=True))
    assert [ratio["min"], ratio["max"]] == in_rounds
    assert ratio["median"] == pytest.approx(sum(in_rounds) / 2)


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_plain_transformers_gives_the_same_sums_in_any_batch(setting: Setting, batch: int) -> None:
    peer = plain(setting)
    plan.check(peer, peer.run(8, batch), ours(setting).run(8, 4))


@pytest.mark.parametrize("wrong", [0.002, float("nan")])
def test_a_contender_whose_sums_differ_is_caught(setting: Setting, wrong: float) -> None:
    right = ours(setting)
    sums = right.run(8, 8)

    def off(answers: int, size: int) -> list[float]:
        return [*sums[:5], sums[5] + wrong, *sums[6:]]

    with pytest.raises(plan.Disagreement, match="off by disagrees on answer 5"):
        plan.rounds(entries(right, Contender("off by", off, 1)), lambda start: sums, 8, 1, None)
    with pytest.raises(plan.Disagreement, match="gave 7 sums for 8 answers"):
        plan.check(right, sums[:7], sums)


def test_the_search_takes_the_fastest_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(plan.time, "perf_counter", lambda: now[0])
    costs = {1: 9.0, 4: 5.0, 8: 3.0, 16: 2.0, 32: 4.0}

    def run(answers: int, size: int) -> list[float]:
        now[0] += costs[size] * answers
        return []

    assert list(plan.sizes(Contender("", run, 1), 4, 32)) == [1, 4, 8, 16, 32]
    # two prompts are best at once, so it goes on with all eight; one prompt alone is best whole
    assert plan.search(Contender("", run, 1), 4, 8, 32) == (16, 4)
    costs[8] = 6.0
    assert plan.search(Contender("", run, 1), 4, 8, 32) == (4, 4)


def test_what_must_be_read_is_each_distinct_prefix_once() -> None:
    # the prompt 1 2 3, then 5 6 7 and 5 8 (7 and 8 are never read):   3 -> 5 -> 6
    counts = count([Encoded((1, 2, 3), ((5, 6, 7), (5, 8)))])
    assert counts.tokens == 5
    assert counts.predicting == 3  # 3 predicts 5; 5 predicts 6 and 8; 6 predicts 7
    assert counts.attended == 1 + 2 + 3 + 4 + 5
    assert counts.attended_last == 3 + 4 + 5
    alone = count([Encoded((1, 2, 3), ((5, 6, 7),)), Encoded((1, 2, 3), ((5, 8),))])
    assert (alone.tokens, alone.predicting) == (5 + 4, 3 + 2)


def test_the_limit_counts_the_layers_of_a_model() -> None:
    counts = count([Encoded((1, 2, 3), ((5, 6, 7), (5, 8)))])  # 5 read, 3 predicting
    model = language_model("LlamaConfig", num_key_value_heads=2)  # width 32, 2 layers, 4 heads of 8, 64 within, V 400
    q = o = 32 * 32
    kv, mlp = 2 * 32 * 16, 3 * 32 * 64
    weights_read = (q + o + kv + mlp) * 5 + (q + o + mlp) * 3 + kv * 5 + 32 * 400 * 3
    assert sum(product.flops for product in products(model, counts)) == 2 * weights_read
    assert attention_flops(model, counts) == 2 * 2 * 32 * (15 + 12)
    assert Limit([model, model], [Encoded((1, 2, 3), ((5, 6, 7), (5, 8)))]).seconds() > 0


def test_the_limit_refuses_what_it_cannot_count() -> None:
    model = language_model("MixtralConfig", num_key_value_heads=2, num_local_experts=4)
    with pytest.raises(SystemExit, match="no linear layer: use --no-limit"):
        products(model, count([Encoded((1,), ((2,),))]))


def test_variants_are_distinct_and_the_same_each_time() -> None:
    group = Group("Say.\n\nTL;DR:", (" one two three", " one two three"))
    (first,), (again,) = with_answers([group], 8), with_answers([group], 8)
    assert first == again
    assert len(set(first.answers)) == 8 and first.answers[0] == " one two three"
    assert with_answers([group], 1)[0].answers == (" one two three",)


def test_rows_that_peers_encode_in_different_ways_are_left_out(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    good = Group("The rent.\n\nTL;DR:", (" It rose.",))
    merges = Group("The lan", ("dlord raised the rent.",))  # "landlord" holds tokens that straddle the cut
    ended = Group("The rent.\n\nTL;DR:", (" It<|endoftext|> rose.",))
    assert encode(tiny_tokenizer, merges) is None
    assert encode(tiny_tokenizer, ended) is None
    whole = tiny_tokenizer(good.prompt + good.answers[0]).input_ids
    assert [pair[0] for pair in chosen([merges, ended, good], tiny_tokenizer, 9, len(whole) + 2)] == [good]
    with pytest.raises(SystemExit, match="no prompt fits"):
        chosen([good], tiny_tokenizer, 9, len(whole) + 1)


def test_rows_of_any_shape_are_read(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Rent?"}]
    lines = [
        {"prompt": "P:", "chosen": " a", "rejected": " b"},
        {"prompt": chat, "completions": [[{"role": "assistant", "content": "Up."}]]},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    assert read(path) == [Group("P:", (" a", " b")), Group("user: Rent?\n\nassistant:", (" Up.",))]


@pytest.mark.slow
def test_the_script_prints_a_table_and_writes_what_it_measured(
    tiny_pair_dirs: tuple[Path, Path], tmp_path: Path
) -> None:
    written = tmp_path / "measured.json"
    policy, reference = map(str, tiny_pair_dirs)
    flags = ["--prompts", "2", "--rounds", "1", "--no-memory", "--only", "plain", "dpo", "--max-tokens", "512"]
    command = [sys.executable, memory.SCRIPT, "--policy", policy, "--reference", reference]
    done = subprocess.run([*command, *flags, "--json", written], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "| dpo-credit | " in done.stdout and "| plain transformers | " in done.stdout
    assert "dpo is left out; to have it: git clone" in done.stderr
    measured = json.loads(written.read_text(encoding="utf-8"))
    assert {row["name"] for row in measured["contenders"]} == {OURS, "plain transformers"}
    assert len(measured["limit_seconds"]) == 1
    table = report.joined([measured, {**measured, "contenders": measured["contenders"][:1]}])
    assert table.splitlines()[-1].startswith(f"| {OURS} | 1 | ")


def test_a_prompt_with_its_beginning_token_is_another_text(setting: Setting) -> None:
    begun = replace(setting, groups=tuple(replace(g, prompt="<|endoftext|>" + g.prompt) for g in setting.groups))
    with pytest.raises(plan.Disagreement):
        plan.check(ours(setting), ours(begun).run(8, 8), ours(setting).run(8, 8))
    plan.check(plain(begun), plain(begun).run(8, 8), ours(begun).run(8, 8))
    assert tokenizer()("<|endoftext|>a").input_ids[0] == 0


def test_the_peak_is_what_a_job_holds_at_once() -> None:
    # 64 MB twice, one after the other: every page of 4 KiB is written; 8 MB for what else happens meanwhile
    found = memory.rise(lambda: None, lambda: [len(b"x" * 64_000_000) for _ in range(2)])
    if found is None:
        pytest.skip("the kernel does not reset its high-water mark here")
    assert found == pytest.approx(64, abs=8)


def test_rates_leave_the_start_up_out_and_a_slow_run_is_caught() -> None:
    runs = [bench_batch.Run(1_000, 12.0, 500.0), bench_batch.Run(10_000, 102.0, 500.0)]
    assert bench_batch.rates(runs, start_up=2.0) == [100.0, 100.0]
    assert bench_batch.linear([100.0, 91.0, 109.0])
    assert not bench_batch.linear([100.0, 89.0])
    made = list(bench_batch.rows(50))
    assert len({row["prompt"] for row in made}) == 50
