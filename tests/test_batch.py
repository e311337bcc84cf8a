"""Data sets scored chunk by chunk: in order, bad rows aside, and the same whether they were interrupted or not."""

from __future__ import annotations

import gc
import json
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sides import CPU, FromLogits, unshared, with_budget
from tiny import language_model
from torch import nn

from dpo_credit import CreditError, ModelPair, Scorer
from dpo_credit.batch import work
from dpo_credit.batch.job import BYTES_A_TOKEN, CHUNK_BYTES, Chunk, Counts, Job, Progress, ScoredChunk, chunks
from dpo_credit.batch.local import Local
from dpo_credit.batch.provenance import settings
from dpo_credit.batch.run import Stream, run
from dpo_credit.batch.sequential import OneAtATime
from dpo_credit.batch.work import chunk_tokens
from dpo_credit.forward.budget import Budget
from dpo_credit.forward.logprobs import causal_lm
from dpo_credit.models.in_turn import Memory, OnDemand
from dpo_credit.models.torch_side import TorchSide
from dpo_credit.rows.formats import format_of
from dpo_credit.rows.journal import Commit, Journal
from dpo_credit.rows.output import to_json
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.rows.sources import Input
from dpo_credit.text.conventions import Conventions

LINES = [
    b'{"id": "a", "prompt": "How long?", "chosen": " Ten days.", "rejected": " A year.", "by": "me"}',
    b'{"prompt": "How long?", "completion": " Ten days."}',
    b"{torn",
    b'{"prompt": "How long?"}',
    b'{"prompt": "Who?", "completions": [" Me.", " You.", " Her."], "id": 7}',
    b'{"prompt": "Why?", "completion": ""}',
    b'{"prompt": "Why?", "completion": "\xff"}',
    b'{"id": "z", "prompt": "Where?", "chosen": " There.", "rejected": " Here."}',
]


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\n".join(LINES))
    return path


def job(path: Path, **more: object) -> Job:
    return Job((Input(str(path)),), **{"chunk_rows": 3, **more})  # type: ignore[arg-type]


def collect(pair: ModelPair, path: Path, **more: object) -> tuple[list[dict], list[dict], list[Progress]]:
    written: list[bytes] = []
    errors: list[str] = []
    progress = list(run(job(path, **more), Local(Scorer(pair)), Stream(written.append, errors.append)))
    rows = [json.loads(line) for line in b"".join(written).splitlines()]
    return rows, [json.loads(line) for line in errors], progress


def test_rows_come_out_in_order_with_their_columns_and_bad_ones_aside(tiny_pair: ModelPair, posts: Path) -> None:
    rows, errors, progress = collect(tiny_pair, posts)
    assert [row["id"] for row in rows] == ["a", "posts:2", 7, "z"]
    assert rows[0]["by"] == "me"
    assert [(error["id"], error["line"]) for error in errors] == [
        ("posts:3", 3),
        ("posts:4", 4),
        ("posts:6", 6),
        ("posts:7", 7),
    ]
    assert errors[0]["error"].startswith(f"{posts} is not JSON: ")
    assert "a prompt but no answer" in errors[1]["error"]
    assert "the answer is empty" in errors[2]["error"]
    assert "is not UTF-8" in errors[3]["error"]
    margins = [row["credit"]["margin"] for row in rows if "margin" in row["credit"]]
    done = progress[-1].counts
    assert (done.rows, done.failed, done.pairs, done.won) == (8, 4, 2, sum(margin > 0 for margin in margins))
    assert done.margins == pytest.approx(sum(margins))
    assert [one.part for one in progress] == [None, *[pytest.approx(part, abs=0.2) for part in (0.5, 0.8, 1.0)]]


def test_a_row_is_what_score_gives(tiny_pair: ModelPair, posts: Path) -> None:
    rows, _, _ = collect(tiny_pair, posts)
    scorer = Scorer(tiny_pair)
    for found, row in zip(
        rows, (row for row in _rows(posts) if isinstance(row, Row) and row.id != "posts:6"), strict=True
    ):
        (credits,) = scorer.rows([row.examples])
        assert not isinstance(credits, CreditError)
        alone = json.loads(to_json(ScoredRow(row, credits)))
        for mine, theirs in zip(_credits(found), _credits(alone), strict=True):
            # float32 sums in another order: 1e-5 nats
            assert mine.pop("policy_logps") == pytest.approx(theirs.pop("policy_logps"), abs=1e-5)
            assert mine["tokens"] == theirs["tokens"]
            assert mine["reward"] == pytest.approx(theirs["reward"], abs=1e-5)


def _rows(path: Path) -> Iterator[Row | CreditError]:
    for chunk in chunks(job(path)):
        yield from chunk.rows


def _credits(row: dict) -> list[dict]:
    return row["credit"]["answers"]


def test_a_limit_ends_the_reading(tiny_pair: ModelPair, posts: Path) -> None:
    rows, errors, _ = collect(tiny_pair, posts, limit=3)
    assert (len(rows), len(errors)) == (2, 1)


def test_strict_stops_at_the_first_bad_row(tiny_pair: ModelPair, posts: Path) -> None:
    with pytest.raises(CreditError, match=rf"^{posts}, line 3: .* is not JSON.*\(--strict; nothing was kept\)$"):
        collect(tiny_pair, posts, strict=True)
    with pytest.raises(CreditError, match=r"line 3: .*\(--strict; the 2 rows before its chunk are kept\)$"):
        collect(tiny_pair, posts, strict=True, chunk_rows=2)


def test_several_files_are_one_stream_and_errors_name_theirs(tiny_pair: ModelPair, posts: Path) -> None:
    other = posts.with_name("more.jsonl")
    other.write_bytes(b"\n\n{")
    errors: list[str] = []
    both = replace(job(posts), inputs=(Input(str(posts)), Input(str(other))))
    list(run(both, Local(Scorer(tiny_pair)), Stream(lambda data: None, errors.append)))
    last = json.loads(errors[-1])
    assert (last["id"], last["file"], last["line"]) == ("more:3", str(other), 3)


def test_where_a_chunk_ends_depends_on_the_input_alone(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    row = json.dumps({"prompt": "x" * (CHUNK_BYTES // 2), "completion": "y"})
    path.write_text("\n".join([row] * 5))
    found = list(chunks(Job((Input(str(path)),))))
    assert [len(chunk.records) for chunk in found] == [2, 2, 1]
    again = list(chunks(Job((Input(str(path)),)), Commit(rows=2, input=found[0].input)))
    assert [chunk.input for chunk in again] == [chunk.input for chunk in found[1:]]


def texts(path: Path, *prompts: str) -> Job:
    """Rows of two answers of 40 bytes, 20 tokens by the rule for a chunk's work, after these prompts."""
    row = {"chosen": "c" * 40, "rejected": "r" * 40}
    path.write_text("".join(json.dumps({"prompt": prompt, **row}) + "\n" for prompt in prompts))
    return Job((Input(str(path)),))


def rows_a_chunk(job: Job, tokens: int) -> list[int]:
    return [len(chunk.records) for chunk in chunks(replace(job, chunk_tokens=tokens))]


def test_a_chunk_ends_before_the_row_with_which_it_would_be_too_much_work(tmp_path: Path) -> None:
    assert BYTES_A_TOKEN == 4
    short, long = "s" * 40, "p" * 4000  # 10 and 1,000 tokens
    mixed = texts(tmp_path / "mixed.jsonl", *(short + str(n) for n in range(5)), long, short, short)
    # 40 bytes and a digit and two answers: 30 tokens a row; the long one is a chunk by itself whatever it costs, and
    # the last two share their prompt: 30 + 20
    assert rows_a_chunk(mixed, 60) == [2, 2, 1, 1, 2]
    assert rows_a_chunk(mixed, 59) == [1, 1, 1, 1, 1, 1, 2]
    assert rows_a_chunk(mixed, 10**6) == [8]
    # a prompt that rows have in common is computed once for all of a chunk: 1,000 tokens, and 20 a row
    assert rows_a_chunk(texts(tmp_path / "shared.jsonl", *[long] * 6), 1080) == [4, 2]


def test_a_row_that_is_none_costs_nothing_and_stays_in_its_place(tmp_path: Path) -> None:
    asked = texts(tmp_path / "bad.jsonl", "a", "b")
    (tmp_path / "bad.jsonl").write_text("{\n" + (tmp_path / "bad.jsonl").read_text() + "{\n{\n")
    found = list(chunks(replace(asked, chunk_tokens=20)))
    assert [[record.line for record in chunk.records] for chunk in found] == [[1, 2], [3, 4, 5]]


@pytest.mark.parametrize(
    ("device", "parameters", "tokens"),
    # 30 s at 1e10 (CPU) or 5e12 (CUDA) operations a second, 4 a parameter and token
    [("cpu", 135_000_000, 555), ("cpu", 1_000_000, 75_000), ("cuda", 7_000_000_000, 5357), ("cpu", 10**12, 1)],
)
def test_the_work_of_a_chunk_is_thirty_seconds_of_a_slow_machine(
    tiny_pair: ModelPair, device: str, parameters: int, tokens: int
) -> None:
    module = nn.Module()
    module.weight = nn.Parameter(torch.empty(parameters, device="meta"))
    policy = TorchSide("p", module, causal_lm(module), torch.device(device))
    assert chunk_tokens(Scorer(replace(tiny_pair, policy=policy))) == tokens
    assert chunk_tokens(Scorer(replace(tiny_pair, policy=FromLogits("p", causal_lm(module))))) is None


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_a_run_that_goes_on_at_another_speed_ends_in_the_same_bytes(
    tiny_pair: ModelPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Each resumed run dies in its second chunk, and the machine's clock runs a hundred times as fast every time."""
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(work, "_SLOW_FLOPS", {"cpu": 4 * 65 * _parameters(tiny_pair) / work.COMMIT_S})
    asked = texts(tmp_path / "rows.jsonl", *(f"Question {n // 2}?" for n in range(12)))
    now, speed = 0.0, 1.0

    def clock() -> float:
        nonlocal now
        now += speed
        return now

    for source in ("monotonic", "perf_counter", "time", "process_time"):
        monkeypatch.setattr(time, source, clock)

    def files(folder: Path, dies_in: int | None) -> dict[str, bytes]:
        folder.mkdir(exist_ok=True)
        scorer = Scorer(tiny_pair)
        begin, begun = scorer.begin, 0

        def dying(*given: Any) -> Any:
            nonlocal begun
            begun += 1
            if begun == dies_in:
                raise KeyboardInterrupt
            return begin(*given)

        monkeypatch.setattr(scorer, "begin", dying)
        with Journal(folder / name, "resume", format_of(folder / name)) as journal, suppress(KeyboardInterrupt):
            journal.begin(settings(asked, scorer))
            list(run(asked, Local(scorer), journal))
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    whole = files(tmp_path / "whole", None)
    commits = whole[f"{name}.journal"].count(b'"input"')
    assert commits > 3  # else there was nothing to interrupt
    for _ in range(commits - 1):
        speed *= 100
        assert files(tmp_path / "killed", 2) != whole
    assert files(tmp_path / "killed", None) == whole


def _parameters(pair: ModelPair) -> int:
    return sum(parameter.numel() for parameter in pair.policy.module.parameters())  # type: ignore[union-attr]


def stopped(pair: ModelPair, posts: Path, output: Path, after: int) -> None:
    """A run that is told to stop after so many chunks, or goes to its end."""
    scorer = Scorer(pair)
    seen = 0

    def stop() -> bool:
        nonlocal seen
        seen += 1
        return seen == after

    with Journal(output, "resume") as journal:
        journal.begin(settings(job(posts), scorer))
        list(run(job(posts), Local(scorer), journal, stop=stop))


def test_a_stopped_run_goes_on_to_the_same_files(tiny_pair: ModelPair, posts: Path) -> None:
    for name, stops in {"whole": [0], "often": [1, 1, 1, 0], "late": [3, 0]}.items():
        (posts.parent / name).mkdir()
        for after in stops:
            stopped(tiny_pair, posts, posts.parent / name / "out.jsonl", after)
    whole, often, late = (
        {path.name: path.read_bytes() for path in (posts.parent / name).iterdir()}
        for name in ("whole", "often", "late")
    )
    assert whole == often == late
    assert sorted(whole) == ["out.jsonl", "out.jsonl.errors.jsonl", "out.jsonl.journal"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.replace(b"Ten", b"Six"), "its first 3 rows are others now, and 3 were scored"),
        (lambda data: b"\n".join(data.splitlines()[:2]), "it has 2 rows now, and 3 were scored"),
    ],
)
def test_a_changed_input_is_refused(tiny_pair: ModelPair, posts: Path, change: object, message: str) -> None:
    output = posts.parent / "out.jsonl"
    stopped(tiny_pair, posts, output, after=1)
    before = output.read_bytes()
    posts.write_bytes(change(posts.read_bytes()))  # type: ignore[operator]
    with pytest.raises(CreditError, match=f"the input was changed since the run began: {message}"):
        stopped(tiny_pair, posts, output, after=0)
    assert output.read_bytes() == before


def test_the_scorers_state_is_kept_for_the_next_run(tiny_pair: ModelPair, posts: Path) -> None:
    scorer = Scorer(tiny_pair)
    last = Commit(state={"noise": 0.25, "tokens_per_batch": 77, "tokens_done": 1000})
    first = next(Local(scorer).score(job(posts), last))
    credits = [credit for result in first.results if isinstance(result, tuple) for credit in result]
    tokens = sum(len(credit.tokens.prompt_ids) + len(credit.tokens.answer_ids) for credit in credits)
    assert first.state == {"noise": 0.25, "tokens_per_batch": 77, "tokens_done": 1000 + tokens}
    assert credits[0].source.noise == 0.25


def test_an_engine_that_has_nothing_to_write_yet_is_heard_and_stopped(tiny_pair: ModelPair, posts: Path) -> None:
    class Reading:
        def settings(self, job: Job) -> dict[str, Any]:
            return {}

        def score(self, job: Job, last: Commit) -> Iterator[ScoredChunk | str]:
            yield "at row 1"
            raise AssertionError("it was not stopped")

    output = posts.parent / "out.jsonl"
    with Journal(output) as journal:
        journal.begin({})
        progress = list(run(job(posts), Reading(), journal, stop=lambda: True))
        assert [step.stage for step in progress] == ["", "at row 1"] and not journal.done


def test_what_a_tokenizer_was_last_asked_is_no_setting(tiny_pair: ModelPair, posts: Path) -> None:
    recorded = []
    for padding in (False, "max_length"):
        tiny_pair.tokenizer("Rent?", padding=padding, max_length=32, truncation=bool(padding))
        recorded.append(settings(job(posts), Scorer(tiny_pair))["tokenizer"])
    tiny_pair.tokenizer("Rent?", padding=False, truncation=False)
    assert recorded[0] == recorded[1]


def test_the_date_is_a_setting_where_a_template_writes_it(tiny_pair: ModelPair, posts: Path) -> None:
    dated = Conventions(chat_template="{{ strftime_now('%Y') }}{{ messages[0].content }}", today="2024-02-29")
    assert settings(job(posts), Scorer(tiny_pair, conventions=dated))["today"] == "2024-02-29"
    assert "today" not in settings(job(posts), Scorer(tiny_pair))


def test_every_setting_that_decides_the_numbers_is_recorded(tiny_pair: ModelPair, posts: Path) -> None:
    here = settings(job(posts), Scorer(tiny_pair))
    assert json.loads(json.dumps(here))["policy"] == tiny_pair.policy.name  # type: ignore[union-attr]
    swapped = replace(tiny_pair, policy=tiny_pair.reference, reference=tiny_pair.policy, beta=0.2)
    there = settings(job(posts, limit=9), Scorer(with_budget(swapped, 64)))
    differ = {name for name in here if here[name] != there[name]}
    assert differ == {
        "policy",
        "reference",
        "policy's weights",
        "reference's weights",
        "beta",
        "limit",
        "tokens_per_batch",
    }


def test_the_references_numbers_that_rows_bring_are_compared(tiny_pair: ModelPair, tmp_path: Path) -> None:
    row = json.loads(LINES[0])
    plain = tmp_path / "plain.jsonl"
    plain.write_text(json.dumps(row))
    (scored,), _, progress = collect(tiny_pair, plain)
    assert progress[-1].counts.checked == 0
    row |= {
        "ref_chosen_logps": scored["credit"]["answers"][0]["reference_logp"],
        "ref_rejected_logps": scored["credit"]["answers"][1]["reference_logp"] + 0.5,
    }
    plain.write_text(json.dumps(row))
    done = collect(tiny_pair, plain)[2][-1].counts
    assert (done.checked, done.furthest) == (2, pytest.approx(0.5))


def test_counts_add_up() -> None:
    total = Counts(rows=2, furthest=0.5)
    total.add(Counts(rows=3, pairs=1, margins=-0.5, furthest=0.25))
    assert total == Counts(rows=5, pairs=1, margins=-0.5, furthest=0.5)


def test_a_pipe_is_read_no_further_than_needed(tiny_pair: ModelPair) -> None:
    class Pipe:
        def __init__(self) -> None:
            self.given = 0

        def readline(self, size: int) -> bytes:
            self.given += 1
            return LINES[0] + b"\n" if self.given <= 6 else b""

    pipe = Pipe()
    scored = Local(Scorer(tiny_pair), pipe).score(Job((Input("-"),), chunk_rows=2), Commit())  # type: ignore[arg-type]
    assert isinstance(next(scored).chunk, Chunk)
    assert pipe.given == 2


def test_one_model_at_a_time_is_freed_before_the_other_is_loaded(tiny_pair: ModelPair, posts: Path) -> None:
    loaded: list[weakref.ref[nn.Module]] = []
    alive: list[int] = []

    def load() -> TorchSide:
        gc.collect()
        alive.append(sum(one() is not None for one in loaded))
        module = language_model(seed=len(loaded) % 2)
        loaded.append(weakref.ref(module))
        return unshared(module, "a model")

    memory, budget = Memory(), Budget()
    policy, reference = (
        OnDemand("a model", "float32", device=CPU, budget=budget, memory=memory, load=load) for _ in range(2)
    )
    pair = replace(tiny_pair, policy=policy, reference=reference, in_turn=True)
    engine = OneAtATime(lambda cache: Scorer(pair, cache=cache), None, print)
    assert engine.settings(job(posts))["policy"] == "a model"
    found = list(engine.score(job(posts), Commit()))
    assert found[:3] == [f"a model has been through {rows} rows" for rows in (3, 6, 8)]
    assert all(isinstance(chunk, ScoredChunk) for chunk in found[3:]) and len(found) == 6
    assert alive == [0, 0, 0, 0]
