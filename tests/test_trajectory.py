"""`dpo-credit trajectory`: checkpoints, Eq. 16, when credit was learnt, and what is kept."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from program import run
from rich.console import Console
from tiny import language_model, naive_logps, save, tokenizer
from transformers import AutoModelForCausalLM

from dpo_credit.checkpoints import Loading, find
from dpo_credit.credit import Credit, CreditError, Source, Tokens
from dpo_credit.decode.batched import generate
from dpo_credit.evaluate.divergence import divergence, draw, look
from dpo_credit.evaluate.runs import checkpoints
from dpo_credit.evaluate.trajectory import Moment, Trajectory, learnt, points
from dpo_credit.evaluate.trajectory_file import parse
from dpo_credit.logprobs import causal_lm
from dpo_credit.models import Model, load_module, load_pair
from dpo_credit.scoring import score
from dpo_credit.sources import Input, read
from dpo_credit.train.callback import CreditCallback
from dpo_credit.train.recipe import Recipe
from dpo_credit.train.trainers import trainer
from dpo_credit.views import terminal_trajectory
from dpo_credit.views.terminal import Look

CPU = Loading(device="cpu")
ROWS = [
    {
        "id": f"row {n}",
        "prompt": f"Rent is {n} dollars.\n\nTL;DR:",
        "chosen": f" It is {n}.",
        "rejected": f" No, {n + 1}.",
    }
    for n in range(100, 105)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three checkpoints, the model that it started from, and five preferences."""
    folder = tmp_path_factory.mktemp("run")
    save(language_model(seed=0), folder / "sft", tokenizer())
    for step in (10, 5, 20):
        save(language_model(seed=step), folder / f"dpo/checkpoint-{step}", tokenizer())
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


def model(seed: int, vocabulary: int = 5) -> Model:
    module = language_model(seed=seed, scale=0.5, vocab_size=vocabulary).double()
    return Model("m", causal_lm(module), torch.device("cpu"), "float64", module)


def test_the_divergence_of_samples_is_unbiased_and_exact_where_all_tokens_are_likely() -> None:
    """On a tiny vocabulary every answer of two tokens is enumerated: the mean of the estimates is the KL itself."""
    policy, reference, prompt = model(1), model(2), (3, 1)
    answers = [Tokens(prompt, answer, ("",) * 2, ((0, 0),) * 2, "") for answer in product(range(5), repeat=2)]
    under = {
        side: [math.fsum(naive_logps(one.module, tokens)) for tokens in answers]  # type: ignore[arg-type]
        for side, one in (("policy", policy), ("reference", reference))
    }
    exact = math.fsum(math.exp(r) * (r - p) for p, r in zip(under["policy"], under["reference"], strict=True))
    for likeliest in (1, 3, 64):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dpo_credit.evaluate.divergence.LIKELIEST", likeliest)
            each = [divergence(policy, look(reference, [tokens])).kl for tokens in answers]
        mean = math.fsum(math.exp(r) * kl for r, kl in zip(under["reference"], each, strict=True))
        assert mean == pytest.approx(exact, abs=1e-9)


def test_knowing_the_likeliest_tokens_exactly_lessens_the_noise() -> None:
    policy, reference = model(1, 40), model(2, 40)
    drawn = draw(reference, tokenizer(), [(3, 1, n % 7) for n in range(64)], max_new_tokens=12)
    ours = divergence(policy, drawn)
    plain = [
        math.fsum(naive_logps(reference.module, one)) - math.fsum(naive_logps(policy.module, one))  # type: ignore[arg-type]
        for one in drawn.tokens
    ]
    mean = math.fsum(plain) / 64
    error = math.sqrt(math.fsum((one - mean) ** 2 for one in plain) / 63 / 64)
    assert ours.error < error and abs(ours.kl - mean) < 3 * (ours.error + error) and ours.kl > 0


def test_the_reference_does_not_diverge_from_itself() -> None:
    reference = model(2, 40)
    drawn = draw(reference, tokenizer(), [(3, 1), (5, 2, 9)], max_new_tokens=5)
    assert divergence(reference, drawn).kl == pytest.approx(0.0, abs=1e-12)


def test_prompts_of_other_lengths_change_nothing_that_is_generated() -> None:
    one, prompts = model(4, 40), [(3, 1), (5, 2, 9, 7, 7), (8,)]
    together = dict(generate(one, tokenizer(), prompts, max_new_tokens=6, do_sample=False))
    for n, prompt in enumerate(prompts):
        assert dict(generate(one, tokenizer(), [prompt], max_new_tokens=6, do_sample=False))[0] == together[n]


def test_a_run_is_followed_step_by_step(folder: Path) -> None:
    ended = run(
        "trajectory", folder / "dpo", folder / "rows.jsonl", "--reference", folder / "sft", "--beta", "0.2",
        "--samples", "6", "--max-new-tokens", "5", "-o", folder / "kept.jsonl", "--json", "-", "--device", "cpu",
        "--overwrite",
    )  # fmt: skip
    assert ended.code in (0, None), ended.stderr
    found = json.loads(ended.stdout)
    assert [point["step"] for point in found["checkpoints"]] == [0, 5, 10, 20]
    assert "answers drawn from the reference had not ended after 5 tokens" in ended.stderr
    start, *_, last = found["checkpoints"]
    assert start["chosen"]["mean"] == start["expected"]["mean"] == 0.0
    pair = load_pair(folder / "dpo/checkpoint-20", folder / "sft", beta=0.2, loading=CPU)
    rows = [record.row() for record in read([Input(str(folder / "rows.jsonl"))])]
    credits = list(score(pair, [example for row in rows for example in row.examples]))
    chosen, rejected = credits[::2], credits[1::2]
    assert last["chosen"]["mean"] == pytest.approx(math.fsum(one.reward for one in chosen) / 5, abs=1e-5)
    assert last["rejected_logp"]["mean"] == pytest.approx(math.fsum(one.policy_logp for one in rejected) / 5, abs=1e-4)
    margins = [a.reward - b.reward for a, b in zip(chosen, rejected, strict=True)]
    assert last["accuracy"]["hits"] == sum(margin > 0 for margin in margins)
    assert last["margin"]["mean"] == pytest.approx(math.fsum(margins) / 5, abs=1e-5)
    assert last["expected"]["mean"] < 0
    _, kept = parse((folder / "kept.jsonl").read_bytes(), "kept")
    assert points(kept) and kept.moments[-1].pairs[3][0].rewards == pytest.approx(chosen[3].rewards, abs=1e-5)


def asked(folder: Path, output: str, *more: str) -> tuple[str | Path, ...]:
    return (
        *("trajectory", folder / "dpo", folder / "rows.jsonl", "-r", folder / "sft", "-o", folder / output),
        *("--samples", "3", "--max-new-tokens", "4", "--device", "cpu", *more),
    )


def test_a_run_that_was_cut_off_goes_on(folder: Path) -> None:
    assert run(*asked(folder, "whole.jsonl")).code in (0, None)
    whole = (folder / "whole.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (folder / "parts.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:40])
    ended = run(*asked(folder, "parts.jsonl", "--resume"))
    assert ended.code in (0, None), ended.stderr
    assert (folder / "parts.jsonl").read_bytes() == whole
    assert "exists" in run(*asked(folder, "whole.jsonl")).stderr
    for other, said in ((("--beta", "0.5"), "beta"), (("--samples", "4"), "samples"), (("--limit", "2"), "5 rows")):
        options = [*asked(folder, "whole.jsonl", "--resume"), *other]
        assert said in run(*options).stderr
    ended = run(*asked(folder, "whole.jsonl", "--resume", "--reference", str(folder / "dpo/checkpoint-5")))
    assert "another model" in ended.stderr
    assert (folder / "whole.jsonl").read_bytes() == whole


def test_kept_files_are_drawn_without_a_model(folder: Path) -> None:
    run(*asked(folder, "drawn.jsonl"))
    kept = folder / "drawn.jsonl"
    ended = run(
        "trajectory", kept, kept, "--labels", "with <b>SFT</b>,without", "--png", folder / "figure3.png",
        "--html", folder / "page.html",
    )  # fmt: skip
    assert ended.code in (0, None), ended.stderr
    assert (folder / "figure3.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "page.html").read_text()
    assert ".walk[hidden] { display: none; }" in page  # without a script there is nothing to slide
    assert "with &lt;b&gt;SFT" in page and "<b>SFT" not in page
    shades = re.findall(r'data-over="([^"]+)"', page)
    assert shades and all(len(one.split()) == 4 and one.split()[0] == "s20" for one in shades)
    assert ended.stdout.count("when credit was learnt") == 2 and ended.stdout.count("row 100") > 0


def test_credit_is_learnt_when_it_holds_half_of_its_last_reward() -> None:
    tokens = Tokens((1,), (2, 3), (" a", " b"), ((0, 2), (2, 4)), " a b")

    def at(step: int, rewards: tuple[float, float]) -> Moment:
        credit = Credit(tokens, rewards, (-1.0, -1.0), 1.0, Source("p", "r", "float32"))
        return Moment(step, "p", ((credit, credit),))

    over_time = [(-1.0, -1.0), (-1.9, -0.4), (-1.4, -1.2), (-2.0, -3.0), (-3.0, -5.0)]
    steps = (0, 5, 10, 15, 20)
    found = learnt(Trajectory("t", ("x",), tuple(map(at, steps, over_time))))
    assert [(one.side, one.segment.text, round(one.segment.reward, 9), one.step) for one in found] == [
        (0, " b", -4.0, 15), (0, " a", -2.0, 15),
    ]  # fmt: skip
    assert [one.answer for one in found] == ["both", "both"]


def test_a_token_of_both_answers_is_told_once() -> None:
    def at(step: int) -> Moment:
        pair = [
            Credit(
                Tokens((1,), (2, last), (" a", text), ((0, 2), (2, 4)), f" a{text}"),
                (-1.0 - step, -2.0 * step - last),
                (-1.0, -1.0),
                1.0,
                Source("p", "r", "float32"),
            )
            for last, text in ((3, " b"), (4, " c"))
        ]
        return Moment(step, "p", ((pair[0], pair[1]),))

    found = learnt(Trajectory("t", ("x",), (at(0), at(5))))
    assert [(one.segment.text, one.answer) for one in found] == [(" c", "rejected"), (" b", "chosen"), (" a", "both")]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_terminal_shows_tokens_whole_whatever_its_width(width: int) -> None:
    text = " A dealer in Omaha has a new truck."
    spans = tuple(match.span() for match in re.finditer(r" \w+|\.", text))
    tokens = Tokens((1,), tuple(range(len(spans))), tuple(text[a:b] for a, b in spans), spans, text)

    def at(step: int) -> Moment:
        logps = tuple(-1.0 - step * (n == 3) for n in range(len(spans)))
        credit = Credit(tokens, logps, (-1.0,) * len(spans), 1.0, Source("p", "r", "float32"), id="validation:20")
        return Moment(step, "p", ((credit, credit),))

    found = Trajectory("t", ("validation:20",), tuple(map(at, range(60))))
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_trajectory.render(found, Look(colours="none", width=width)))
    (line,) = [line for line in console.export_text().splitlines() if "‹Omaha›" in line]
    assert "validation:20 both" in line and "−59" in line and len(line) <= width
    assert line.count("▁") + line.count("█") > 2 or width == 60


def test_runs_are_folders_lists_and_revisions(folder: Path) -> None:
    assert [one.step for one in checkpoints(str(folder / "dpo"))] == [5, 10, 20]
    assert [one.step for one in checkpoints(str(folder / "dpo"), every=2)] == [10, 20]
    listed = checkpoints(f"{folder / 'sft'},{folder / 'dpo/checkpoint-5'}")
    assert [one.model for one in listed] == [str(folder / "sft"), str(folder / "dpo/checkpoint-5")]
    hub = checkpoints("some/model@step100,step20,main")
    assert [(one.step, one.name) for one in hub] == [
        (3, "some/model@main"), (20, "some/model@step20"), (100, "some/model@step100"),
    ]  # fmt: skip
    for wrong in ("nowhere", "@", str(folder)):
        with pytest.raises(CreditError):
            checkpoints(wrong)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{run}",), "give a run and its rows"),
        (("{run}", "nothing.jsonl"), "nothing.jsonl"),
        (("nowhere", "{rows}"), "nowhere does not exist"),
        (("{run}", "{rows}"), "name the SFT model with --reference"),
        (("{run}", "{rows}", "-r", "{sft}", "-m", "{sft}"), "--policy has no place here"),
        (("{run}", "{rows}", "-r", "{sft}", "--resume"), "go with -o"),
        (("{run}", "{rows}", "-r", "{sft}", "--png", "x.bmp"), ".png, .svg or .pdf"),
        (("{rows}",), "no trajectory that was kept"),
        (("{rows}", "{rows}", "--labels", "one"), "--labels names 1 of 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    places = {"run": folder / "dpo", "rows": folder / "rows.jsonl", "sft": folder / "sft"}
    ended = run("trajectory", *(argument.format(**places) for argument in arguments))
    assert ended.code == 2 and said in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr


def training(folder: Path, output: Path, *, steps: int = 4, adapter: bool = False) -> Any:
    """A DPO trainer on the five preferences, with a callback that scores them every other step."""
    recipe = Recipe(
        **{"method": "dpo", "model": "in memory", "output": str(output / "dpo"), "learning_rate": 1e-3},
        **{"batch_size": 1, "max_steps": steps, "save_steps": 2, "beta": 0.3, "precision": "float32"},
        adapter={"r": 2, "target_modules": ["query_key_value"]} if adapter else None,
        trl={"dataloader_pin_memory": False},
    )
    found = find(str(folder / "sft"), "policy", CPU)
    rows = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in ROWS]
    made = trainer(
        recipe,
        load_module(found, torch.device("cpu"), CPU).requires_grad_(True),
        tokenizer(),
        rows,
        reference=None if adapter else load_module(found, torch.device("cpu"), CPU),
    )
    made.add_callback(CreditCallback(made, str(folder / "rows.jsonl"), output / "inside.jsonl", every=2))
    return made


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
def test_a_callback_keeps_what_following_the_checkpoints_finds(folder: Path, tmp_path: Path, adapter: bool) -> None:
    made = training(folder, tmp_path, adapter=adapter)
    made.train()
    logged = [row["credit/margin"] for row in made.state.log_history if "credit/margin" in row]
    arguments = ("--beta", "0.3", "--samples", "0", "-o", tmp_path / "after.jsonl", "--device", "cpu")
    reference = () if adapter else ("-r", folder / "sft")
    ended = run("trajectory", tmp_path / "dpo", folder / "rows.jsonl", *reference, *arguments)
    assert ended.code in (0, None), ended.stderr
    (_, inside), (_, after) = (parse((tmp_path / name).read_bytes(), name) for name in ("inside.jsonl", "after.jsonl"))
    assert [moment.step for moment in inside.moments] == [moment.step for moment in after.moments] == [0, 2, 4]
    for one, other in zip(points(inside), points(after), strict=True):
        assert one.margin.mean == pytest.approx(other.margin.mean, abs=1e-5)
        assert one.chosen_logp.mean == pytest.approx(other.chosen_logp.mean, abs=1e-4)
    assert logged == pytest.approx([point.margin.mean for point in points(inside)[1:]])
    assert logged[-1] != 0


def test_a_resumed_training_goes_on_with_what_its_callback_kept(folder: Path, tmp_path: Path) -> None:
    training(folder, tmp_path).train()
    kept = (tmp_path / "inside.jsonl").read_bytes()
    made = training(folder, tmp_path, steps=6)
    made.train(resume_from_checkpoint=str(tmp_path / "dpo/checkpoint-2"))
    data = (tmp_path / "inside.jsonl").read_bytes()
    assert data.startswith(kept)
    assert [moment.step for moment in parse(data, "inside.jsonl")[1].moments] == [0, 2, 4, 6]
    assert [row["step"] for row in made.state.log_history if "credit/margin" in row] == [2, 4, 6]


def test_a_draw_is_from_the_reference_whatever_its_generation_config_says() -> None:
    reference = model(2, 40)

    def drawn() -> list[tuple[int, ...]]:
        found = draw(reference, tokenizer(), [(3, 1, n) for n in range(8)], max_new_tokens=8)
        return [one.answer_ids for one in found.tokens]

    plain, config = drawn(), reference.module.generation_config  # type: ignore[union-attr]
    for name, value in (("repetition_penalty", 3.0), ("min_p", 0.5), ("num_beams", 2), ("num_return_sequences", 2)):
        setattr(config, name, value)
    assert drawn() == plain
    assert reference.module.generation_config is config and config.min_p == 0.5  # type: ignore[union-attr]


def test_a_draw_leaves_the_random_numbers_of_a_training_alone() -> None:
    reference = model(2, 40)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draw(reference, tokenizer(), [(3, 1)], max_new_tokens=4)
    assert torch.equal(torch.rand(3), expected)


def test_a_policy_without_a_number_for_a_likely_token_is_refused() -> None:
    drawn = look(model(2, 40), [Tokens((3,), (1, 2), ("",) * 2, ((0, 0),) * 2, "")])
    with pytest.raises(CreditError, match="m has 30 vocabulary entries, but the reference may say token 39"):
        divergence(model(1, 30), drawn)


def test_line_separators_in_an_answer_do_not_tear_a_kept_file(folder: Path, tmp_path: Path) -> None:
    rows = [{**row, "chosen": " Yes.\u2028It\x85is\x1c[bold]x[/y] <b>."} for row in ROWS]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = tmp_path / "kept.jsonl"
    arguments = (
        "trajectory",
        folder / "dpo",
        tmp_path / "odd.jsonl",
        "-r",
        folder / "sft",
        "--samples",
        "0",
        "-o",
        kept,
    )
    assert run(*arguments).code in (0, None)
    ended = run("trajectory", kept, "--html", tmp_path / "page.html")
    assert ended.code in (0, None), ended.stderr
    ended = run(*arguments, "--resume")
    assert ended.code in (0, None), ended.stderr
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\n")
    ended = run("trajectory", tmp_path / "bytes.jsonl")
    assert ended.code == 2 and "no trajectory that was kept" in ended.stderr


@pytest.mark.parametrize("other", [("--seed", "1"), ("--max-new-tokens", "7")])
def test_resuming_with_other_answers_of_the_reference_is_refused(
    folder: Path, tmp_path: Path, other: tuple[str, ...]
) -> None:
    arguments = asked(folder, str(tmp_path / "kept.jsonl"))
    assert run(*arguments).code in (0, None)
    ended = run(*arguments, *other, "--resume")
    assert ended.code == 2 and "other answers were drawn" in ended.stderr


def test_a_length_normalised_policy_has_no_expected_reward_by_eq_16(folder: Path) -> None:
    ended = run(*asked(folder, "normalised.jsonl", "--length-normalised", "--json", "-"))
    assert ended.code in (0, None), ended.stderr
    assert all(point["expected"] is None for point in json.loads(ended.stdout)["checkpoints"])
    assert "without Eq. 16" in ended.stderr


def test_what_is_wrong_with_a_later_checkpoint_is_said_before_the_first_is_scored(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "dpo/checkpoint-5", tmp_path / "checkpoint-5")
    shutil.copytree(folder / "dpo/checkpoint-10", tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-best").mkdir()  # no step of training
    assert [one.step for one in checkpoints(str(tmp_path))] == [5, 10]
    arguments = ("trajectory", tmp_path, folder / "rows.jsonl", "-r", folder / "sft", "-o", tmp_path / "kept.jsonl")
    vocabulary = tmp_path / "checkpoint-10/tokenizer.json"
    swapped = json.loads(vocabulary.read_text())
    words = swapped["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    vocabulary.write_text(json.dumps(swapped))
    ended = run(*arguments)
    assert ended.code == 2 and "the tokenizers differ at id" in ended.stderr, ended.stderr
    (tmp_path / "checkpoint-10/model.safetensors").unlink()
    ended = run(*arguments)
    assert ended.code == 2 and "holds no weights" in ended.stderr, ended.stderr
    assert not (tmp_path / "kept.jsonl").exists()


def test_the_reference_of_an_adapter_is_the_one_that_score_takes(folder: Path, tmp_path: Path) -> None:
    """TRL saves the adapter that training began with as "ref" beside the trained one."""
    made = LoraConfig(r=2, target_modules=["query_key_value"], task_type="CAUSAL_LM")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "sft"), made)
    adapted.add_adapter("ref", made)
    generator = torch.Generator().manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    adapted.save_pretrained(tmp_path / "checkpoint-3")
    tokenizer().save_pretrained(tmp_path / "checkpoint-3")
    ended = run("trajectory", tmp_path, folder / "rows.jsonl", "--samples", "0", "--json", "-", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    pair = load_pair(tmp_path / "checkpoint-3", loading=CPU)
    rows = [record.row() for record in read([Input(str(folder / "rows.jsonl"))])]
    rewards = [credit.reward for credit in score(pair, [row.examples[0] for row in rows])]
    last = json.loads(ended.stdout)["checkpoints"][-1]
    assert last["chosen"]["mean"] == pytest.approx(math.fsum(rewards) / 5, abs=1e-5)


def test_the_page_marks_whole_steps_once(folder: Path, tmp_path: Path) -> None:
    arguments = ("trajectory", f"{folder / 'sft'},", folder / "rows.jsonl", "-r", folder / "sft", "--samples", "0")
    ended = run(*arguments, "--html", tmp_path / "page.html", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    marks = re.findall(r'<text class="tick"[^>]*>([^<]*)<', (tmp_path / "page.html").read_text())
    assert marks == ["0", "1"] * 2  # a mark at each end of two charts
