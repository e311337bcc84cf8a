"""Lines, steps and turns as units, in `Credit.by` and `localise`: against sums counted by hand."""

from __future__ import annotations

from dataclasses import replace

import credits
import numpy as np
import pytest
from pages import credit as answer

from dpo_credit.align import diff
from dpo_credit.credit import Example
from dpo_credit.localise.grading import Graded
from dpo_credit.localise.labels import Case, Error
from dpo_credit.localise.localise import Options as TokenOptions
from dpo_credit.localise.localise import measure as measure_tokens
from dpo_credit.localise.measures import Measured
from dpo_credit.localise.scores import Beyond
from dpo_credit.segments import Unit, step_spans

PIECES = [" Step", " 1:", " a\n", "b\n\n", "Step", " 2: c.", " d"]
REWARDS = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        (" One.\nStill.\n\nTwo.\n \n\nThree.\n", ["One.\nStill.", "Two.", "Three."]),
        ("So:\n**Step 1:** a\n\nb\n### Step 2\nc", ["So:", "**Step 1:** a\n\nb", "### Step 2\nc"]),
        ("Step 1: a\n\nb", ["Step 1: a", "b"]),  # one such line numbers nothing
        ("Step 1 is a\nStep 2 is b", ["Step 1 is a\nStep 2 is b"]),  # a sentence about steps
        ("a\r\n\r\nb", ["a", "b"]),
        ("", []),
        (" \n\n", []),
    ],
)
def test_steps_are_numbered_lines_or_else_paragraphs(text: str, steps: list[str]) -> None:
    assert [text[start:end] for start, end in step_spans(text)] == steps


@pytest.mark.parametrize(
    ("unit", "texts", "rewards"),
    [
        ("line", [" Step 1: a\n", "b\n\n", "Step 2: c. d", ""], [7, 8, 112, -1]),
        ("step", [" Step 1: a\nb\n\n", "Step 2: c. d", ""], [15, 112, -1]),
        ("turn", [" Step 1: a\nb\n\nStep 2: c. d"], [126]),
    ],
)
def test_an_answers_units_have_the_sums_of_their_tokens(unit: Unit, texts: list[str], rewards: list[float]) -> None:
    units = credits.credit(PIECES, REWARDS, end=-1.0).by(unit)
    assert [segment.text for segment in units] == texts and [segment.reward for segment in units] == rewards


def test_turns_are_told_apart_by_whose_tokens_are() -> None:
    made = credits.credit(["a", "<u>", "b", "c"], [1, 2, 4, 8])
    of_turns = replace(made, tokens=replace(made.tokens, roles=("assistant", "", "user", "user")))
    # what a template writes before a turn, which is nobody's, belongs to that turn
    assert [segment.text for segment in of_turns.by("turn")] == ["a", "<u>bc"]
    assert diff(of_turns, of_turns).deltas("turn") == ((0.0, 0.0), (0.0, 0.0))


def test_white_space_before_the_first_step_and_a_token_over_two_steps() -> None:
    made = credits.credit(["\n\n", "a.\n\nb", " c", "\n\n", "d"], [1, 2, 4, 8, 16])
    assert [segment.text for segment in made.by("step")] == ["\n\na.\n\nb", " c\n\n", "d"]


def test_the_first_unit_of_an_error_is_told_from_the_later_ones() -> None:
    # right: 0 and 2; the error of two units has 3 first, then 1: 3 beats both right ones, 1 beats one of the two
    graded = Graded(np.array([0.0, 3.0, 1.0, 2.0, 9.0]), np.array([-1, 0, 0, -1, 1]))
    found = Measured([graded], 3)
    assert found.first_unit.tolist() == [1.0] and found.later_units.tolist() == [0.5]
    alone = Measured([Graded(np.array([0.0, 3.0]), np.array([-1, 0]))], 3)  # an error of one unit has no later one
    assert np.isnan([*alone.first_unit, *alone.later_units]).all()


@pytest.mark.usefixtures("few_resamples")
def test_wrong_steps_are_ranked_by_the_sums_of_their_rewards() -> None:
    made = answer([" a", " b\n\n", "c", " d\n\n", "e"], [-1, -1, -3, 2, 0])  # steps: -2, -1 and 0
    case = Case("x", Example("P:", made.tokens.answer), (Error(6, 7),))  # "c": of tokens the lowest, of steps not
    found = [
        measure_tokens([case], [made], [None], [Beyond()], TokenOptions(unit=unit)).report for unit in ("token", "step")
    ]
    assert [report.finding("-reward").auroc.value for report in found] == [1.0, 0.5]
    assert (found[1].units, found[1].wrong_units) == (3, 1)
    assert {part.by for part in found[1].groups} == {"kind", "position"}  # a step is of no class of tokens
