"""The package from Python: what can be scored, tables and arrays, data sets, pages, and what a notebook shows."""

from __future__ import annotations

import inspect
import json
import pydoc
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from credits import credit
from scored import pairs, saved

import dpo_credit
from dpo_credit import (
    CreditError,
    Example,
    Message,
    ModelPair,
    ScoredDataset,
    diff,
    load_scored,
    localise,
    page,
    report,
    score,
    score_dataset,
)
from dpo_credit.localise.localise import Options

PROMPT, RIGHT, WRONG = "Where did we meet?", " We met in Rome.", " We met in Bonn."
CHAT = [{"role": "user", "content": PROMPT}]
ROW = {"prompt": PROMPT, "chosen": RIGHT, "rejected": WRONG}


class Frame:
    """A data frame as pandas has them, as far as scoring goes: it iterates over its columns."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows

    def __iter__(self) -> Any:
        return iter(self.rows[0])

    def itertuples(self) -> None:
        raise AssertionError

    def to_dict(self, orient: str) -> Sequence[dict[str, Any]]:
        assert orient == "records"
        return self.rows


def rewards(pair: ModelPair, given: Any) -> list[tuple[float, ...]]:
    return [scored.rewards for scored in score(pair, given)]


@pytest.mark.parametrize(
    "given",
    [
        Example(PROMPT, RIGHT),
        (PROMPT, RIGHT),
        {"prompt": PROMPT, "completion": RIGHT},
        [(PROMPT, RIGHT)],
        ((PROMPT, RIGHT),),
        Frame([{"prompt": PROMPT, "completion": RIGHT}]),
        [{"prompt": PROMPT, "completion": RIGHT, "seen": np.int64(3)}],
    ],
    ids=["example", "tuple", "row", "list", "tuple-of-tuples", "frame", "numpy"],
)
def test_one_answer_scores_alike_however_it_is_given(tiny_pair: ModelPair, given: Any) -> None:
    assert rewards(tiny_pair, given) == rewards(tiny_pair, [Example(PROMPT, RIGHT)])


def test_a_row_has_all_its_answers_in_order(tiny_pair: ModelPair) -> None:
    both = [Example(PROMPT, RIGHT), Example(PROMPT, WRONG)]
    assert rewards(tiny_pair, ROW) == rewards(tiny_pair, both)
    assert [made.id for made in score(tiny_pair, [{**ROW, "id": "rome"}, ROW])] == [
        *("rome/chosen", "rome/rejected"),
        *("row 2/chosen", "row 2/rejected"),
    ]


def test_messages_are_a_prompt_in_a_tuple_too(tiny_pair: ModelPair) -> None:
    expected = rewards(tiny_pair, Example((Message("user", PROMPT),), RIGHT))
    assert rewards(tiny_pair, (CHAT, RIGHT)) == rewards(tiny_pair, ([Message("user", PROMPT)], RIGHT)) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (PROMPT, "what was given is of type str, which cannot be scored. Give an Example(prompt, answer), a tuple"),
        (3, "what was given is of type int"),
        (None, "what was given is of type NoneType"),
        ([PROMPT], "row 1 is of type str"),
        ([ROW, 5], "row 2 is of type int"),
        ([(PROMPT, RIGHT, "id")], "row 1 is of type tuple"),
        ((7, RIGHT), "row 1: prompt is a number; it must be text or a list of messages"),
        ({"prompt": PROMPT}, "row 1: a prompt but no answer."),
        ({"prompt": PROMPT, "completion": float("nan")}, "row 1: completion is a null"),
    ],
)
def test_what_cannot_be_scored_is_said_at_the_call(tiny_pair: ModelPair, given: Any, message: str) -> None:
    with pytest.raises(CreditError) as said:
        score(tiny_pair, given)  # nothing is asked of the iterator
    assert str(said.value).startswith(message)


def test_a_pair_that_is_none_is_said_at_the_call(tiny_pair: ModelPair) -> None:
    with pytest.raises(CreditError, match=r"^the pair is of type Example: give what load_pair returns\.$"):
        score(Example(PROMPT, RIGHT), tiny_pair)  # type: ignore[arg-type]


def test_a_generator_is_read_as_the_credits_are(tiny_pair: ModelPair) -> None:
    read: list[str] = []

    def rows() -> Any:
        for number in range(200):
            read.append(f"Where is {number}?")
            yield read[-1], " Here."

    credits = score(tiny_pair, rows())
    assert read == []
    next(credits)
    assert 0 < len(read) < 200


def test_tokens_are_the_rows_of_a_table() -> None:
    made = replace(credit([" We", " met"], [0.5, -1.0], end=0.25, beta=0.5, reference=-3.0), id="x")
    first, second, end = made.to_dataframe("dicts")
    # log pi = log pi_ref + reward / beta = -3 + 0.5 / 0.5
    assert first == {
        **{"token": 0, "token_id": 0, "piece": " We", "text": " We", "start": 0, "end": 3},
        **{"policy_logp": -2.0, "reference_logp": -3.0, "reward": 0.5, "counts": True},
    }
    assert (second["start"], second["end"], second["reward"]) == (3, 7, -1.0)
    assert (end["piece"], end["text"], end["start"], end["end"]) == ("</s>", "", 7, 7)


def test_arrays_have_the_numbers_by_name() -> None:
    arrays = credit([" We", " met"], [0.5, -1.0], beta=0.5).arrays()
    assert {name: array.dtype.kind for name, array in arrays.items()} == {
        **{"token": "i", "token_id": "i", "start": "i", "end": "i"},
        **{"policy_logp": "f", "reference_logp": "f", "reward": "f", "counts": "b"},
    }
    assert arrays["reward"].tolist() == [0.5, -1.0]


def test_a_table_is_pandas_where_pandas_is() -> None:
    pandas = pytest.importorskip("pandas")
    made = credit([" We", " met"], [0.5, -1.0])
    assert isinstance(made.to_dataframe(), pandas.DataFrame)
    assert made.to_dataframe("pandas").to_dict("records") == made.to_dataframe("dicts")


def test_a_table_of_polars_is_one() -> None:
    polars = pytest.importorskip("polars")
    made = credit([" We", " met"], [0.5, -1.0])
    frame = made.to_dataframe("polars")
    assert isinstance(frame, polars.DataFrame) and frame.to_dicts() == made.to_dataframe("dicts")


@pytest.mark.parametrize(("here", "kind"), [({"pandas", "polars"}, "pandas"), ({"polars"}, "polars"), (set(), "list")])
def test_a_table_is_of_the_first_package_that_is_installed(
    here: set[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Package:
        @staticmethod
        def DataFrame(columns: dict[str, list[Any]]) -> str:
            return f"{name}: {columns['piece']}"

    name = kind
    monkeypatch.setattr("importlib.util.find_spec", lambda module: module if module in here else None)
    monkeypatch.setattr("dpo_credit.shown.importlib.import_module", lambda module: Package)
    made = credit([" We"], [0.5]).to_dataframe()
    assert isinstance(made, list) if kind == "list" else made == f"{kind}: [' We']"


def test_a_table_that_cannot_be_made_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ImportError, match="polars"):
        credit([" We"], [0.5]).to_dataframe("polars")
    with pytest.raises(
        ValueError, match=r"^a table of kind 'csv' is not known: give one of auto, pandas, polars, dict"
    ):
        credit([" We"], [0.5]).to_dataframe("csv")  # type: ignore[arg-type]


def test_a_data_set_holds_what_scoring_its_rows_gives(tiny_pair: ModelPair) -> None:
    bad = {"prompt": PROMPT}
    made = score_dataset(tiny_pair, [ROW, bad, (PROMPT, ""), (PROMPT, RIGHT)])
    assert [row.id for row in made] == ["row 1", "row 4"] and len(made) == 2
    assert [made.rewards for row in made for made in row.credits] == rewards(tiny_pair, [ROW, (PROMPT, RIGHT)])
    assert [row.error.split(":")[0] for row in made.set_aside] == ["row 2", "row 3"]
    assert repr(made) == "<ScoredDataset: 2 rows, 2 set aside>"
    assert made[:1].rows == made.rows[:1] and made[-1] is made.rows[1]


def test_a_data_set_without_a_row_says_why(tiny_pair: ModelPair) -> None:
    with pytest.raises(CreditError, match=r"^row 1: a prompt but no answer\. .* No other of the 2 rows can be used"):
        score_dataset(tiny_pair, [{"prompt": PROMPT}, (PROMPT, "")])


def test_a_data_set_is_read_from_a_file(tiny_pair: ModelPair, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ({**ROW, "id": "rome"}, ROW)), encoding="utf-8")
    assert [row.id for row in score_dataset(tiny_pair, path)] == ["rome", "rows:2"]
    with pytest.raises(CreditError, match=r"^nowhere\.jsonl does not exist\."):
        score_dataset(tiny_pair, "nowhere.jsonl")


def test_a_data_set_is_a_table_of_answers_or_of_tokens() -> None:
    made = ScoredDataset(tuple(pairs([(2.0, 0.5)])))
    chosen, rejected = made.to_dataframe("dicts")
    assert chosen == {
        **{"id": "row-1", "label": "chosen", "text": " yes", "tokens": 1, "policy_logp": 2.0, "reference_logp": 0.0},
        **{"reward": 2.0, "margin": 1.5},
    }
    assert (rejected["label"], rejected["reward"], rejected["margin"]) == ("rejected", 0.5, 1.5)
    (token, _) = made.to_dataframe("dicts", by="token")
    assert token == {"id": "row-1", "label": "chosen", **made[0].credits[0].to_dataframe("dicts")[0]}
    assert ScoredDataset(()).to_dataframe("dicts") == []
    with pytest.raises(ValueError, match=r"^a table by 'word' is not known: give answer or token$"):
        made.to_dataframe(by="word")  # type: ignore[arg-type]


def test_a_data_set_that_was_saved_is_read_back(tiny_pair: ModelPair, tmp_path: Path) -> None:
    made = score_dataset(tiny_pair, [ROW, (PROMPT, RIGHT)])
    made.save(tmp_path / "scored.jsonl")
    again = load_scored(tmp_path / "scored.jsonl")
    assert again.to_dataframe("dicts", by="token") == made.to_dataframe("dicts", by="token")
    halved = load_scored(tmp_path / "scored.jsonl", beta=tiny_pair.beta / 2)
    assert halved[0].diff.margin == pytest.approx(made[0].diff.margin / 2, rel=1e-12)  # float64


def test_report_and_localise_are_called_by_their_names(tiny_pair: ModelPair) -> None:
    made = report(score_dataset(tiny_pair, [ROW, {**ROW, "prompt": "And where?"}]))
    assert made.rows == 2 and made.pairs is not None
    row = {"prompt": PROMPT, "completion": WRONG, "labels": [{"start": 11, "end": 15, "text": "Bonn"}]}
    found = localise(tiny_pair, [row, {**row, "prompt": "And where?"}], options=Options(unit="word"))
    assert (found.report.answers, found.report.errors, found.report.unit) == (2, 2, "word")


@pytest.mark.parametrize("first", ["dpo_credit.report.words", "dpo_credit.report.report", "dpo_credit"])
def test_report_is_the_same_whatever_was_imported_before(first: str) -> None:
    program = f"import {first}\nfrom dpo_credit import report\nimport dpo_credit.report.report as module\n"
    program += "assert report is dpo_credit.report and callable(report) and callable(module.report)"
    ran = subprocess.run([sys.executable, "-c", f"import dpo_credit\n{program}"], capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()


def test_signatures_and_help_are_those_of_the_functions() -> None:
    from dpo_credit.report.report import report as function

    assert inspect.signature(report) == inspect.signature(function)
    said = pydoc.render_doc(dpo_credit, renderer=pydoc.plaintext)
    assert "score_dataset(" in said and "class Credit(" in said and "load_pair()" in said
    helped = pydoc.render_doc(report, renderer=pydoc.plaintext)
    assert "report(rows: " in helped and "min_rows: in how many rows a word occurs" in helped


def test_every_public_name_is_there_and_is_listed() -> None:
    assert set(dpo_credit.__all__) <= set(dir(dpo_credit))
    assert all(getattr(dpo_credit, name) is not None for name in dpo_credit.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'scoer'"):
        _ = dpo_credit.scoer


def test_importing_the_package_brings_no_table_and_no_numbers() -> None:
    program = "import sys, dpo_credit; print(*({'pandas', 'polars', 'numpy', 'torch', 'jinja2'} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []


CHOSEN, REJECTED = credit([" We", " met", " <b>"], [0.5, 1.0, 0.1]), credit([" We", " ate", " <b>"], [0.5, -1.0, 0.3])


def test_a_diff_shows_itself_with_its_edits_and_their_sum() -> None:
    shown = diff(CHOSEN, REJECTED)._repr_html_()
    # margin 1.6 - (-0.2); the edit 1 - (-1); the echo (0.5 - 0.5) + (0.1 - 0.3)
    for part in ("margin +1.80", "1 edit: +2.00", "(echo): −0.20", "<bdi>met</bdi>", "<bdi>ate</bdi>", "chosen"):
        assert part in shown, part
    assert shown.count("outline: 1px") == 2 and "&lt;b&gt;" in shown and "<b>" not in shown.replace("<b>margin", "")


def test_a_row_and_a_data_set_show_themselves() -> None:
    preference = saved([CHOSEN, REJECTED])
    assert preference._repr_html_() == preference.diff._repr_html_()
    single = saved([CHOSEN], "single", row_id="<i>")
    assert "preferred" not in single._repr_html_() and CHOSEN._repr_html_() in single._repr_html_()
    rows = ScoredDataset((preference, *pairs((0.1 * n, 0.0) for n in range(20))))
    shown = rows._repr_html_()
    assert "<b>21 rows</b>, 42 answers" in shown and "the 10 lowest" in shown
    assert "higher reward in 20 of 21 pairs" in shown  # the first of `pairs` is a tie
    assert shown.count("<details>") == 10
    assert "&lt;i&gt;" in ScoredDataset((single,))._repr_html_()
    assert "<b>0 rows</b>" in ScoredDataset(())._repr_html_()


@pytest.mark.parametrize(
    "result",
    [
        lambda: CHOSEN,
        lambda: diff(CHOSEN, REJECTED),
        lambda: saved([CHOSEN, REJECTED]),
        lambda: ScoredDataset((saved([CHOSEN, REJECTED]), saved([CHOSEN], "single", line=2))),
    ],
    ids=["credit", "diff", "row", "data-set"],
)
def test_every_result_has_its_page(result: Callable[[], Any]) -> None:
    made = page(result(), title="Mine")
    assert made.lstrip().startswith("<!doctype html>") and "<title>Mine</title>" in made and "policy/model" in made


def test_the_page_of_a_report_wants_its_rows() -> None:
    rows = ScoredDataset(tuple(pairs([(2.0, 0.5), (1.0, 2.0)])))
    with pytest.raises(CreditError, match=r"page\(report, rows\)"):
        page(report(rows))
    assert "Report on scored.jsonl" in page(report(rows), rows)
