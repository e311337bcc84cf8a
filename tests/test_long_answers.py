"""How a page lays out a long answer: lines, fenced code, what folds, places, and the chart with its numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest
from credits import credit as made
from pages import folds_of, long_pair, many_edits

from dpo_credit.align import diff
from dpo_credit.segments import Unit
from dpo_credit.views.page.chart import WIDTHS, chart
from dpo_credit.views.page.places import places
from dpo_credit.views.page.stretches import CONTEXT, FOLDED, bounds_of, code_blocks


def cells_of(text: list[str], unit: Unit) -> list[str]:
    segments = made(text, [0.0] * len(text), end=0.0).segments
    return ["".join(segment.text for segment in segments[a:b]) for a, b in bounds_of(segments, unit)]


def test_a_line_has_the_blank_ones_before_it_and_its_indent() -> None:
    assert cells_of([" a", ":\n", "\n", "  ", "b", "\n", "c"], "line") == [" a:\n", "\n  b\n", "c", ""]
    assert cells_of(["x\n\ny", "\n", "z"], "line") == ["x\n\ny\n", "z", ""]


def blocks(*text: str) -> list[str]:
    segments = made(text, [0.0] * len(text), end=0.0).segments
    return ["".join(segment.text for segment in segments[a:b]) for a, b in code_blocks(segments)]


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (("a", "\n", "```", "py\n", "  b", "\n", "```", "\n", "c"), ["```py\n  b\n```\n"]),
        (("```\n", "a", "\n", "~~~", "\n", "b\n", "````", " \n", "c"), ["```\na\n~~~\nb\n```` \n"]),
        (("1.", "\n   ", "~~~", "\n   ", "b", "\n   ", "~~~"), ["\n   ~~~\n   b\n   ~~~"]),
        (("a\n", "```", "\n", "never", " closed"), ["```\nnever closed"]),
        (("so:\n```", "\n", "b", "\n", "```"), ["\nb\n```"]),  # a token that is of both lines stays out
        (("use ", "```", "b", "```", " here"), []),
        (("```", "b", "```", "\n", "c"), []),  # code within a line
        (("~~~\n", "a\n", "~~~", "\n", "```\n", "b\n", "```"), ["~~~\na\n~~~\n", "```\nb\n```"]),
    ],
)
def test_fenced_code_is_found_in_whole_lines(text: tuple[str, ...], inside: list[str]) -> None:
    assert blocks(*text) == inside


def test_what_folds_is_the_same_in_both_answers_and_keeps_away_from_edits() -> None:
    compared = long_pair().diff
    ours, theirs = folds_of(compared)
    assert len(ours) == len(theirs) == 2  # between the edits, and behind the second; ten tokens before the first do not
    pairs = set(compared.pairs)
    for (start, stop), (other, _) in zip(ours, theirs, strict=True):
        assert stop - start >= FOLDED
        assert {(start + n, other + n) for n in range(stop - start)} <= pairs
        assert all(stop + CONTEXT <= e.chosen[0] or e.chosen[1] + CONTEXT <= start for e in compared.edits)
    text = ["".join(segment.text for segment in compared.chosen.segments[start:stop]) for start, stop in ours]
    assert all(part.endswith((".", "\n")) for part in text), text  # at the end of a sentence or a line


def test_places_list_what_both_answers_share_once_and_never_twice() -> None:
    chosen = made([" a", " b", " c"], [-3.0, 1.0, 0.0]).segments
    rejected = made([" a", " x", " c"], [-3.5, 2.0, 0.5]).segments
    bounds = [[(n, n + 1) for n in range(3)]] * 2
    lowest, highest = places([chosen, rejected], bounds, {0: 0, 2: 2})
    # units: a (-3.5, as in the second), c (0.5), b (1), x (2): two at either end
    assert [(place["text"], place["answer"], place["reward"]) for place in lowest] == [("a", 2, -3.5), ("c", 2, 0.5)]
    assert [(place["text"], place["answer"], place["token"]) for place in highest] == [("x", 2, 2), ("b", 1, 2)]


def test_the_chart_has_the_margin_so_far() -> None:
    chosen, rejected = made([" a", " b", " c"], [1.0, 2.0, 1.0]), made([" a", " x", " y", " c"], [1.0, -1.0, -2.0, 3.0])
    drawn = chart([chosen, rejected], diff(chosen, rejected))
    margin = [float(point.split(",")[1]) for point in drawn["panels"][1]["lines"]["3"].split()]
    # 0, 0, 2 + 1, 3 + 2, 5 - 2 over four places; y runs from 100 at -0.3 to 0 at 5.3
    assert margin == [pytest.approx(100 * (5.3 - value) / 5.6, abs=0.06) for value in (0, 0, 3, 5, 3)]
    assert drawn["bands"] == [(25.0, 50.0, 0)] and drawn["width"] == 4


def test_the_largest_edits_have_numbers_in_the_narrowest_chart() -> None:
    pair = many_edits()
    compared = diff(*pair)
    tiers = [tier for *_, tier in chart(pair, compared)["bands"]]
    deltas = [abs(edit.delta) for edit in compared.edits]
    assert tiers[deltas.index(max(deltas))] == 0
    counts = [sum(tier is not None and tier <= most for tier in tiers) for most in range(len(WIDTHS))]
    assert all(fewer < more for fewer, more in pairwise(counts)), counts
