"""The comparison of two answers in the terminal."""

from __future__ import annotations

import io

import pytest
from credits import credit
from rich.console import Console
from scored import scored_row

from dpo_credit.views.look import Look
from dpo_credit.views.scale import Shading
from dpo_credit.views.terminal.diff import render

CHOSEN = credit([" They", " pay", " 50", " [bold]now[/x]"], [0.01, -0.02, 0.05, 0.0])
REJECTED = credit([" They", " pay", " 90", " [bold]now[/x]"], [0.01, -0.02, -2.0, 0.05])


BOTH = scored_row((CHOSEN, REJECTED), ("chosen", "rejected"))


def shown(width: int = 80, rows: int = 0, **look: object) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False, highlight=False)
    console.print(render(BOTH, Look(colours="none", width=width, **look), rows=rows))  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_edits_stand_in_brackets_on_both_sides():
    assert "They pay ⟦50⟧ [bold]now[/x]" in shown()
    assert "They pay ⟦90▼▼⟧ [bold]now[/x]" in shown()


def test_each_edit_has_its_rewards_and_delta():
    line = next(line for line in shown().splitlines() if line.startswith("50"))
    assert line.split() == ["50", "+0.05", "90", "−2.00", "+2.05"]


def test_the_echo_is_a_number_over_the_untouched_tokens():
    assert "echo on the 1 untouched tokens after the first edit: mean |Δ| 0.05, max 0.05" in shown()


def test_margin_and_probability_are_those_of_the_sums():
    # 0.04 - -1.96 = 2, sigmoid(2) = 0.881
    assert "margin +2  P(chosen is preferred) = 0.881" in shown()


def test_the_cumulative_rewards_part_at_the_edit():
    lines = shown().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("cumulative"))
    # one bar a token, after a label of 8 + 2 columns: the third token is the edit
    assert lines[at + 1 : at + 5] == [
        "chosen    ████ +0.04",
        "            ^ ",
        "rejected  ██▁▁ −1.96",
        "            ^ ",
    ]


@pytest.mark.parametrize("width", [40, 80, 99, 100, 160])
def test_nothing_is_wider_than_the_terminal(width: int):
    assert max(map(len, shown(width, rows=2).splitlines())) <= width


def test_answers_stand_beside_each_other_from_100_columns_on():
    assert any("⟦50⟧" in line and "⟦90▼▼⟧" in line for line in shown(100).splitlines())
    assert not any("⟦50⟧" in line and "⟦90▼▼⟧" in line for line in shown(99).splitlines())


def test_an_ascii_terminal_gets_ascii_only():
    assert shown(encoding="ascii").isascii()


def test_equal_answers_say_so():
    console = Console(file=io.StringIO(), width=80)
    console.print(render(scored_row((CHOSEN, CHOSEN), ("chosen", "rejected")), Look(colours="none"), rows=0))
    assert "the two answers are the same" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_scale_of_its_own_for_each_answer_has_two_legends():
    console = Console(file=io.StringIO(), width=80)
    console.print(render(BOTH, Look(colours="none"), rows=0, shading=Shading(limit="per-answer")))
    assert console.file.getvalue().count("reward of a word, beta") == 2  # type: ignore[attr-defined]
