"""The comparison of two answers in the terminal."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import pytest
from credits import credit
from rich.console import Console
from scored import scored_row

from dpo_credit.credit import Alternative
from dpo_credit.rows.scored import ScoredRow
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
    # one bar a token, after a label of 8 + 2 columns: the third token is the edit; the margin after it is
    # 0.04 - -2 + ... = 2.05, and after the last token 2.05 + (0 - 0.05) = 2: 6.8 of 7 steps up
    assert lines[at : at + 6] == [
        "cumulative reward from −2.01 to +0.04",
        "chosen    ████ +0.04",
        "rejected  ██▁▁ −1.96",
        "            ^   ^ edits",
        "cumulative margin from +0 to +2.05",
        "margin    ▁▁██ +2",
    ]


def test_the_shorter_answer_waits_at_an_edit_so_that_what_is_shared_stands_at_one_place():
    longer = credit([" They", " pay", " 50", " a", " day", " now"], [1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    shorter = credit([" They", " pay", " 90", " now"], [1.0, 0.0, -1.0, 1.0])
    lines = text_of(scored_row((longer, shorter), ("a", "b"))).splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("cumulative"))
    # a: 1 1 2 3 4 5 and b: 1 1 0 0 0 1, from 0 to 5 in 7 steps; the margin: 0 0 2 3 4 4, from 0 to 4
    assert lines[at + 1 : at + 6] == [
        "a       ▂▂▄▅▇█ +5",
        "b       ▂▂▁▁▁▂ +1",
        "          ^^^   ^ edits",
        "cumulative margin from +0 to +4",
        "margin  ▁▁▅▆██ +4",  # 2 of 4 is 3.5 steps, which Python rounds to the even 4
    ]


def test_of_a_long_edit_the_table_shows_the_beginning_and_how_long_it_is() -> None:
    words = [f"word{n:03}" for n in range(100)]
    changed = [[f" {word}" for word in words], [" also"]]
    pair = [credit([" We", *middle, " go"], [0.1] * (len(middle) + 2)) for middle in changed]
    console = Console(file=io.StringIO(), width=300, color_system=None)
    console.print(render(scored_row(pair, ("chosen", "rejected")), Look(colours="none", width=300), rows=0))
    # a word and its space are eight characters: fifteen words fit, of 100 * 8 - 1
    assert f"\n{' '.join(words[:15])}… (799 characters)  " in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_an_answer_lacks_at_the_end_of_a_line_is_marked_there() -> None:
    pair = [credit(pieces, [0.1] * len(pieces)) for pieces in ([" n", "\n\nSo"], [" n", " more", "\n\nSo"])]
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(render(scored_row(pair, ("chosen", "rejected")), Look(colours="none", width=80), rows=0))
    assert "\nn▲▲⟦⟧\n\nSo" in console.file.getvalue()  # type: ignore[attr-defined]


def test_edits_and_echo_add_up_to_the_margin():
    # the edit: 0.05 - -2 = 2.05; " now": 0 - 0.05
    assert "edits +2.05 and echo −0.05 make the margin +2.00" in shown()


def text_of(scored: ScoredRow, width: int = 80, colours: str = "none", **shading: object) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, markup=False, highlight=False)
    console.print(render(scored, Look(colours=colours, width=width), shading=Shading(**shading)))  # type: ignore[arg-type]
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_deltas_mark_what_makes_up_the_margin_on_both_sides():
    chosen = credit([" We", " pay", " 50", " now"], [0.5, 0.25, -1.0, 1.0])
    rejected = credit([" We", " pay", " 90", " now"], [0.5, 0.25, -3.0, -1.0])
    view = text_of(scored_row((chosen, rejected), ("good", "bad")), quantity="delta")
    # 50 costs good its reward, 90 spares it that of bad; now: 1 - -1 = 2. The second largest, 2, is the colours' end
    assert "We pay ⟦50▼⟧ now▲▲" in view
    assert "We pay ⟦90▲▲⟧ now▲▲" in view
    assert "▲▲ +2  delta of a word, beta × nats" in view
    assert "delta: what a word adds to the margin, above 0 for good; shared tokens" in view
    rows = [line.split("›")[1].split() for line in view.splitlines() if "›" in line]
    # most for good: 90 by 3, now by 2, a shared token once and with both rewards; most against it: 50 by 1
    assert [[cell for cell in row if cell[0] in "+−"] for row in rows] == [
        ["−3.00", "+3.00"],
        ["+1.00", "−1.00", "+2.00"],
        ["−1.00", "−1.00"],
    ]
    assert view.index("tokens most for good") < view.index("‹90›") < view.index("tokens most against good")


def test_what_a_table_of_deltas_lists_adds_up_to_the_margin():
    chosen = credit([" We", " pay", " 50", " now", " ok"], [0.5, 0.25, -1.0, 1.0, -0.5])
    rejected = credit([" We", " pay", " 90", " now"], [0.25, 0.5, -3.0, -1.0])
    both = scored_row((chosen, rejected), ("good", "bad"))
    view = text_of(both, quantity="delta")
    deltas = [float(line.split()[-1].replace("−", "-")) for line in view.splitlines() if "›" in line]
    assert len(deltas) == 6  # We, pay, now once each, and the tokens of the edits, none of which is left out
    assert math.fsum(deltas) == pytest.approx(both.diff.margin)


def test_what_the_models_would_rather_have_said_stands_below_each_table_of_deltas():
    top = tuple((Alternative(f" instead{t}", -0.5),) for t in range(4))
    credits = [replace(side, policy_top=top, reference_top=top) for side in (CHOSEN, REJECTED)]
    view = text_of(scored_row(credits, ("chosen", "rejected")), quantity="delta")
    # 90 is what speaks most for the chosen answer, and now, 0 - 0.05, against it
    assert view.count("instead2 -0.50") == 4 and view.count("policy would say") == 2


@pytest.mark.parametrize("width", [40, 80, 99, 100, 160])
def test_nothing_is_wider_than_the_terminal(width: int):
    assert max(map(len, shown(width, rows=2).splitlines())) <= width


def test_answers_stand_beside_each_other_from_100_columns_on():
    assert any("⟦50⟧" in line and "⟦90▼▼⟧" in line for line in shown(100).splitlines())
    assert not any("⟦50⟧" in line and "⟦90▼▼⟧" in line for line in shown(99).splitlines())


def test_an_ascii_terminal_gets_ascii_only():
    assert shown(encoding="ascii").isascii()


def test_equal_answers_say_so_and_have_no_edits_to_mark():
    equal = scored_row((CHOSEN, CHOSEN), ("chosen", "rejected"))
    assert "the two answers are the same" in text_of(equal)
    assert "^" not in text_of(equal)
    assert text_of(equal, quantity="delta").count("none") == 3  # after the first edit, and in either table


def test_a_scale_of_its_own_for_each_answer_has_two_legends():
    console = Console(file=io.StringIO(), width=80)
    console.print(render(BOTH, Look(colours="none"), rows=0, shading=Shading(limit="per-answer")))
    assert console.file.getvalue().count("reward of a word, beta") == 2  # type: ignore[attr-defined]
