"""Bad rows among many: set aside, counted by kind and listed; exit code 3; and with --strict the first one stops."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from program import run

from dpo_credit.credit import CreditError, Example
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.aside import SetAside
from dpo_credit.rows.tally import Tally
from dpo_credit.scoring import Scorer, score, score_rows

LABELS = [{"start": 1, "end": 7, "text": "raised"}]
GOOD = [
    {"id": f"g{n}", "prompt": f"Rent {n}", "chosen": " She never argued.", "rejected": " raised it.", "labels": LABELS}
    for n in range(3)
]
BAD = {  # what is wrong with a row, its line, what is said of it
    "not JSON": (b"{", "is not JSON"),
    "not UTF-8": (b'{"prompt": "a", "chosen": "\xff"}', "is not UTF-8"),
    "NaN": (json.dumps({**GOOD[0], "score": math.nan}).encode(), "NaN is not JSON"),
    "of no shape": (b'{"question": "a"}', "no answer among its fields"),
    "an empty answer": (json.dumps({**GOOD[0], "id": "b", "chosen": ""}).encode(), "the answer is empty"),
    "half a surrogate pair": (json.dumps({**GOOD[0], "id": "b", "prompt": "\ud800"}).encode(), "half of a surrogate"),
    "too long": (json.dumps({**GOOD[0], "id": "b", "prompt": "Rent " * 600}).encode(), "are over the limit of"),
}
TAKES_MODELS = ("localise", "search", "trajectory")


def command(name: str, rows: Path, pair: tuple[str, ...]) -> tuple[str | Path, ...]:
    if name == "trajectory":
        return (name, f"{pair[3]},{pair[1]}", rows, *pair[2:], "--samples", "0")
    more = {"search": ("--beams", "1", "--max-new-tokens", "2"), "verify": ("--no-trl",)}.get(name, ())
    return (name, rows, *more, *(() if name == "corrupt" else pair))


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("name", TAKES_MODELS)
def test_a_bad_row_is_set_aside_and_listed(name: str, what: str, tmp_path: Path, pair: tuple[str, ...]) -> None:
    line, said = BAD[what]
    rows, written = tmp_path / "rows.jsonl", tmp_path / "out.json"
    rows.write_bytes(b"\n".join([json.dumps(GOOD[0]).encode(), line, json.dumps(GOOD[1]).encode()]))
    asked = command(name, rows, pair)
    ended = run(*asked, "--json", written)
    assert ended.code == 3 and ended.stdout
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("1 row set aside: ") and said in last and "rows.jsonl" in last and "line 2" in last
    (bad,) = json.loads(written.read_text("utf-8"))["set_aside"]
    assert said in bad["error"] and bad["place"].endswith("rows.jsonl, line 2")
    strict = run(*asked, "--strict")
    assert (strict.code, strict.stdout) == (2, "") and said in strict.stderr and len(strict.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", [*TAKES_MODELS, "verify", "corrupt"])
def test_where_no_row_is_left_the_first_bad_one_is_said(name: str, tmp_path: Path, pair: tuple[str, ...]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_bytes(b"\n".join([BAD["too long" if name in TAKES_MODELS else "of no shape"][0]] * 2))
    ended = run(*command(name, rows, pair))
    assert (ended.code, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1), ended.stderr
    assert "rows.jsonl, line 1: " in ended.stderr and "No other of the 2 rows can be used either." in ended.stderr


def test_verify_sets_aside_what_is_no_row_and_the_rest_agrees(tmp_path: Path, pair: tuple[str, ...]) -> None:
    rows, written = tmp_path / "rows.jsonl", tmp_path / "out.json"
    asked = [json.dumps(GOOD[n]).encode() for n in (0, 1)]
    rows.write_bytes(b"\n".join(asked))
    run("batch", rows, *pair, "-o", tmp_path / "scored.jsonl", "-q")
    scored = map(json.loads, (tmp_path / "scored.jsonl").read_text("utf-8").splitlines())
    given = [
        {**row, **{f"ref_{answer['label']}_logps": answer["reference_logp"] for answer in done["credit"]["answers"]}}
        for row, done in zip(GOOD, scored, strict=False)
    ]
    rows.write_text("\n".join([*map(json.dumps, given), "{", '{"prompt": "a", "answer": "b"}']))
    ended = run("verify", rows, "--no-trl", *pair, "--json", written)
    assert ended.code == 3, ended.stderr
    bad = json.loads(written.read_text("utf-8"))["set_aside"]
    assert [row["place"] for row in bad] == [f"{rows}, line 3", f"{rows}, line 4"]
    assert run("verify", rows, "--no-trl", *pair, "--strict").code == 2


def test_saved_rows_that_are_none_are_set_aside(tmp_path: Path, pair: tuple[str, ...]) -> None:
    rows, scored, written = tmp_path / "rows.jsonl", tmp_path / "scored.jsonl", tmp_path / "out.json"
    rows.write_text("\n".join(map(json.dumps, GOOD)))
    assert run("batch", rows, *pair, "-o", scored, "-q").code == 0
    with scored.open("a") as more:
        more.write('{"id": "x", "error": "gone"}\n{"id": "y", "error": "gone"}\n')
    ended = run("report", scored, "--json", written)
    assert ended.code == 3 and ended.stderr.splitlines()[-1].startswith(f"2 rows set aside, such as {scored}, line 4 ")
    found = json.loads(written.read_text("utf-8"))
    assert (found["rows"], len(found["set_aside"])) == (3, 2)
    assert run("render", scored, "--html", tmp_path / "page.html").code == 3
    for asked in (("report", scored), ("render", scored, "--html", tmp_path / "page.html")):
        ended = run(*asked, "--strict")
        assert (ended.code, ended.stdout) == (2, "") and "line 4" in ended.stderr


def test_corrupt_makes_the_good_rows_wrong(tmp_path: Path) -> None:
    good, several = {"answer": " I paid 12 dollars in May."}, {"completions": ["a", "b"]}
    lines = [json.dumps({"prompt": "p", **good}), "{", json.dumps({"prompt": "p", **several})]
    ended = run("corrupt", "-", stdin="\n".join(lines).encode())
    assert ended.code == 3 and len(ended.stdout.splitlines()) == 1
    assert [line[:16] for line in ended.stderr.splitlines()[-2:]] == ["1 row set aside:"] * 2
    ended = run("corrupt", "-", stdin=lines[1].encode())
    assert (ended.code, ended.stdout) == (2, "")


def test_without_a_good_row_the_first_bad_one_is_the_error() -> None:
    aside = SetAside(strict=False)
    aside.add("a", "x.jsonl, line 1", CreditError("a: the answer is empty."))
    with pytest.raises(CreditError, match=r"^x\.jsonl, line 1: a: the answer is empty\.$"):
        aside.require([])
    aside.require([1])
    aside.add("b", "x.jsonl, line 2", CreditError("b: the answer is empty."))
    with pytest.raises(CreditError, match=r"empty\. No other of the 2 rows can be used either"):
        aside.require([])


def test_errors_of_one_kind_are_one_line() -> None:
    aside = SetAside(strict=False)
    for n in range(3):
        aside.add(f"r{n}", f"x.jsonl, line {n + 1}", CreditError(f"r{n}/chosen: {n} tokens are over the limit of 8."))
    aside.add("r9", "x.jsonl, line 10", CreditError("x.jsonl, line 10 is not JSON."))
    assert aside.lines == [
        "3 rows set aside, such as x.jsonl, line 1: r0/chosen: 0 tokens are over the limit of 8.",
        "1 row set aside: x.jsonl, line 10 is not JSON.",
    ]


def test_notes_of_one_kind_are_counted_with_an_example() -> None:
    tally = Tally()
    for n in range(58):
        cut = f"the prompt's first {n + 1} of {1025 + n} tokens were cut to fit 1024"
        tally.add(f"r{n}", [cut, cut, *[f"token {'a' * n!r} straddles the prompt's end"] * (n > 55)])
    tally.add("r58", ["no prompt"])
    assert tally.lines("rows") == [
        "58 rows, such as r0: the prompt's first 1 of 1025 tokens were cut to fit 1024",
        f"2 rows, such as r56: token {'a' * 56!r} straddles the prompt's end",
        "r58: no prompt",
    ]


def test_what_both_answers_of_a_row_share_is_said_once() -> None:
    tally = Tally()
    for name in ("x/chosen", "x/rejected"):
        tally.add(name, ["the prompt's first 1 of 9 tokens were cut"])
    assert tally.lines("answers") == ["the prompt's first 1 of 9 tokens were cut"]


def test_localise_and_batch_count_their_notes(tmp_path: Path, pair: tuple[str, ...], few_resamples: None) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({**row, "prompt": "Rent " * (600 + n)}) for n, row in enumerate(GOOD)))
    for name, more in (("localise", ("--json", tmp_path / "out.json")), ("batch", ("-o", tmp_path / "scored.jsonl"))):
        ended = run(name, rows, *pair, "--truncate", "prompt-start", *more)
        cut = [line for line in ended.stderr.splitlines() if "were cut to fit" in line]
        assert ended.code == 0 and len(cut) == 1 and cut[0].startswith("note: 3 rows, such as g0"), ended.stderr
    found = json.loads((tmp_path / "out.json").read_text())["cases"]
    assert all("were cut to fit" in note for case in found for note in case["notes"]) and len(found) == 3


def test_a_row_whose_numbers_are_not_finite_fails_alone(tiny_pair: ModelPair, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = [Example("Rent", answer, answer) for answer in (" up.", " down.", " paid.")]
    logps = type(tiny_pair.policy).logps
    asked = iter([True])

    def broken(side: object, batch: list) -> list:
        found = logps(side, batch)  # type: ignore[arg-type]
        if next(asked, False):
            found[1] = replace(found[1], logps=(math.nan,) * len(found[1].logps))
        return found

    monkeypatch.setattr(type(tiny_pair.policy), "logps", broken)
    scorer = Scorer(tiny_pair)
    first, second, third = scorer.rows([[example] for example in examples])
    assert isinstance(second, CreditError) and "log-probability nan" in str(second)
    assert scorer.noise == 0.0 and not isinstance(first, CreditError) and not isinstance(third, CreditError)
    asked = iter([True])
    with pytest.raises(CreditError, match="log-probability nan"):
        list(score(tiny_pair, [examples[1], *examples]))
    asked = iter([True])
    assert [isinstance(row, CreditError) for row in score_rows(tiny_pair, [[x] for x in examples])] == [
        False,
        True,
        False,
    ]


def test_a_million_bad_rows_are_counted_and_a_few_are_kept() -> None:
    aside = SetAside(strict=False)
    tracemalloc.start()
    for n in range(20_000):
        aside.add(
            f"r{n}", f"rows.jsonl, line {n}", CreditError(f"r{n}: no field {n}." if n % 2 else f"field {'x' * n}")
        )
    assert tracemalloc.get_traced_memory()[0] < 8e6
    tracemalloc.stop()
    assert (aside.count, len(aside.rows)) == (20_000, 1000)
    first, *_, others, last = aside.lines
    assert first == "1 row set aside: rows.jsonl, line 0: field "
    assert any(line.startswith("10,000 rows set aside, such as rows.jsonl, line 1: ") for line in aside.lines)
    assert others.startswith("9,901 rows set aside, such as ")  # 99 kinds of fields and the one of numbers come before
    assert last == "The first 1,000 of the 20,000 rows set aside are listed, where a file lists them."
