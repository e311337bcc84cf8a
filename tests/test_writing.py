"""Scripts in a figure of cells: letters that touch across a cut, and text that runs from right to left."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from figures import cells, credit, words
from matplotlib.figure import Figure
from scored import scored_row

from dpo_credit.views.figure.fonts import fonts_for
from dpo_credit.views.figure.heatmap import render
from dpo_credit.views.figure.writing import from_the_left, joined, levels, turned

HEBREW = str.maketrans({letter: chr(0x5D0 + n) for n, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")})


@pytest.mark.parametrize(
    ("leftward", "written", "shown"),
    [  # capitals run from right to left; the first two are the annex's own (UAX #9, 3.4)
        (False, "car means CAR.", "car means RAC."),
        (True, "car MEANS CAR.", ".RAC SNAEM car"),
        (False, "he said “car MEANS CAR.”", "he said “car RAC SNAEM.”"),
        (False, "he said CAR MEANS CAR.", "he said RAC SNAEM RAC."),
        (True, "IT IS 450,000 NOW", "WON 450,000 SI TI"),
        (False, "a IT IS 450,000 NOW b", "a WON 450,000 SI TI b"),
        (True, "IT IS $5, 20% OR MORE!", "!EROM RO 20% ,$5 SI TI"),
        (False, "costs 5 OR", "costs 5 RO"),
        (True, "GO (to bed) NOW", "WON (to bed) OG"),
        (True, "", ""),
    ],
)
def test_parts_stand_as_the_bidirectional_algorithm_has_them(leftward: bool, written: str, shown: str) -> None:
    parts = list(written.translate(HEBREW))
    depths = levels(parts, leftward=leftward)
    turned_back = str.maketrans("()", ")(")  # a bracket that runs leftward is drawn as its mirror image
    at = [written[n].translate(turned_back) if depths[n] % 2 else written[n] for n in from_the_left(depths)]
    assert "".join(at) == shown


def test_letters_that_touch_have_joiners_at_a_cut() -> None:
    touching = {"س": "س\u200d", "ي": "\u200dي\u200d", "د": "\u200dد", "ن": "ن\u200d", "ى": "\u200dى"}
    assert joined(list(touching)) == list(touching.values())  # dal touches what is before it alone
    assert joined(["ب\u0651", "ا", " ", "ا"]) == ["ب\u0651\u200d", "\u200dا", " ", "ا"]  # a mark is between them
    for apart in (["a", "b"], ["מ", "ם"], ["می\u200c", "خ"], ["س", " ", "س"], ["س", "", "س"], ["भा", "र"]):
        assert joined(apart) == apart


def test_joined_parts_are_as_wide_as_the_word() -> None:
    fonts = fonts_for(["سيدني"])
    assert not fonts.missing  # the bundled font has Arabic
    parts = joined(list("سيدني"))
    whole = fonts.width("سيدني", 20)
    assert sum(fonts.width(part, 20) for part in parts) == pytest.approx(whole, abs=0.5)  # a rounding of each
    assert sum(fonts.width(letter, 20) for letter in "سيدني") > 1.2 * whole


def test_only_what_has_no_letters_of_the_other_direction_is_turned() -> None:
    assert [turned(text, leftward=True) for text in ("(", "5", "س", "</s>")] == [
        "\u200f(",
        "\u200f5",
        "\u200fس",
        "</s>",
    ]
    assert turned("(", leftward=False) == "("


ARABIC = ["السعر", " 4", "5", "0", ",", "0", " درهم", "ا", " في", " Boston", " جد", "اً", "."]


def drawn(pieces: list[str], width: float = 6.75) -> Figure:
    return render(scored_row([credit(pieces)], [""]), width_in=width)


def test_right_to_left_text_begins_on_the_right_and_its_numbers_on_the_left() -> None:
    at = {n: boxes[0] for (_, n), boxes in cells(drawn(ARABIC)).items()}
    read = [at[n] for n in (1, 2, 7, 8, 9, 10, 11, 12, 13, 14)]
    assert all(after.x1 <= before.x0 + 0.1 for before, after in pairwise(read) if before is not read[1])
    number = [at[n] for n in (2, 3, 4, 5, 6)]
    assert all(before.x1 <= after.x0 + 0.1 for before, after in pairwise(number))
    assert at[7].x1 < at[2].x0 and at[6].x1 < at[1].x0


def test_lines_of_right_to_left_text_begin_where_the_figure_ends() -> None:
    figure = drawn(ARABIC * 3, 2.0)
    boxes = [box for parts in cells(figure).values() for box in parts]
    first = {round(box.y0): max(other.x1 for other in boxes if round(other.y0) == round(box.y0)) for box in boxes}
    margin = 5 * figure.dpi / 72
    assert len(first) > 1 and [*first.values()] == pytest.approx([2.0 * figure.dpi - margin] * len(first))
    assert min(box.x0 for box in boxes) >= margin


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_arabic_is_drawn_without_a_warning_or_a_box(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    figure = drawn(ARABIC)
    figure.savefig(io.BytesIO(), format=format)  # warnings are errors here
    assert capfd.readouterr().err == ""
    assert not any("Boxes" in text for text in words(figure))


def test_an_edit_in_right_to_left_text_is_framed_with_what_it_replaced() -> None:
    sides = [credit([*ARABIC[:1], edit, *ARABIC[6:]]) for edit in (" 450", " مجاني")]
    figure = render(scored_row(sides, ["chosen", "rejected"]))
    at = cells(figure)
    for answer in (1, 2):
        assert at[answer, 3][0].x1 < at[answer, 2][0].x0 < at[answer, 2][0].x1 < at[answer, 1][0].x0
    assert at[1, 2][0].x1 == pytest.approx(at[2, 2][0].x1, abs=0.1)  # both begin on the right
