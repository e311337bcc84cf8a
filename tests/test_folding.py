"""Figures of long answers: what is drawn, what is folded, and that nothing is lost in between."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest
from figures import COLUMN_IN, PAGE_IN, cells, credit, drawn, marks, unhinted, words, written  # noqa: F401  (unhinted is a fixture)
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from program import run
from scored import scored_row, write

from dpo_credit.credit import Credit, CreditError
from dpo_credit.views.figure.folding import LONG, AroundEdits, Lines, Shown
from dpo_credit.views.figure.heatmap import render
from dpo_credit.views.scale import Shading

FOLD = re.compile(r"… (?:(\d+) tokens?, (?:reward|Δ) ([+−][\d.]+)|nothing) …(.*)")


def one(length: int = 1000, **rewards: float) -> Credit:
    """An answer of so many words, each worth 1/64 but for `t<place>=reward`."""
    earned = [1 / 64] * length
    for place, reward in rewards.items():
        earned[int(place[1:])] = reward
    return credit([f" w{n}" for n in range(length)], earned, end=False, beta=1.0)


def two(changed: range, length: int = 1000) -> list[Credit]:
    """Two answers that differ in these words, which the second one does not have; all are worth 1/64."""
    pieces = [f" w{n}" for n in range(length)]
    rest = [piece for n, piece in enumerate(pieces) if n not in changed]
    return [credit(side, [1 / 64] * len(side), end=False, beta=1.0) for side in (pieces, rest)]


def drawing(credits: list[Credit], shown: Shown = "telling", *, width: float = PAGE_IN, **shading: str) -> Figure:
    labels = ["chosen", "rejected"] if len(credits) == 2 else ["" for _ in credits]
    return render(scored_row(credits, labels), shown=shown, width_in=width, shading=Shading(**shading))  # type: ignore[arg-type]


def folds(figure: Figure) -> list[tuple[int, float, str]]:
    """What each row of a fold says: tokens, their sum, and the edits."""
    matches = [match for text in words(figure) if (match := FOLD.fullmatch(text))]
    return [(int(m[1] or 0), float((m[2] or "0").replace("−", "-")), m[3].strip()) for m in matches]


def units(figure: Figure, answer: int = 1) -> set[int]:
    """The units of an answer that are drawn, from 0."""
    return {unit - 1 for row, unit in cells(figure) if row == answer}


def caption(figure: Figure) -> str:
    return " ".join(words(figure))


def test_an_answer_of_up_to_300_tokens_is_drawn_whole() -> None:
    figure = drawing([one(LONG)])
    assert units(figure) == set(range(LONG)) and folds(figure) == []
    assert "Shown" not in caption(figure)


def test_a_longer_one_shows_its_lowest_and_highest_tokens_and_says_so() -> None:
    extremes = {f"t{100 * n + 50}": (-1.0 if n % 2 else 1.0) * (2 + n) for n in range(10)}
    figure = drawing([one(**extremes)])
    for place in (100 * n + 50 for n in range(10)):
        assert set(range(place - 10, place + 11)) <= units(figure)
    assert {0, 100, 500, 999}.isdisjoint(units(figure))
    # ten places of 21 tokens: one word is one token here
    assert (
        "Shown: the tokens with the lowest and the highest rewards, 5 each, with 10 tokens around. "
        "Folded: 790 of 1000 tokens." in caption(figure)
    )


@pytest.mark.parametrize("unit", ["token", "word", "sentence"])
def test_what_is_drawn_and_what_is_folded_add_up(unit: str) -> None:
    answer = credit(
        [f" w{n}{'.' * (n % 9 == 8)}" for n in range(900)], [n / 64 for n in range(900)], end=False, beta=1.0
    )
    figure = drawing([answer], unit=unit)
    shown = [answer.by(unit)[n] for n in units(figure)]  # type: ignore[call-overload]
    hidden = folds(figure)
    assert hidden
    assert sum(tokens for tokens, _, _ in hidden) + sum(s.stop - s.start for s in shown) == 900
    decimals = 0.005  # of each row that is written with two
    total = sum(reward for _, reward, _ in hidden) + sum(s.reward for s in shown)
    assert total == pytest.approx(answer.reward, abs=decimals * len(hidden))


def test_around_edits_draws_so_many_tokens_on_both_sides() -> None:
    figure = drawing(two(range(500, 503)), AroundEdits(4))
    assert units(figure, 1) == set(range(496, 507))
    assert units(figure, 2) == set(range(496, 504))  # 503 to 506 of the first answer are 500 to 503 here
    # 496 and 493 words of 1/64
    assert folds(figure) == [(496, 7.75, ""), (496, 7.75, ""), (493, 7.7031, ""), (493, 7.7031, "")]
    assert "Shown: the edits, with 4 tokens around. Folded: 989 of 1000 and 989 of 997 tokens." in caption(figure)


def test_a_long_pair_shows_its_edits_by_default() -> None:
    figure = drawing(two(range(500, 503)))
    assert units(figure, 1) == set(range(490, 513))
    assert "Shown: the edits, with 10 tokens around." in caption(figure)


def test_a_rewritten_pair_shows_what_adds_most_to_the_margin_and_takes_most_from_it() -> None:
    chosen = one(1000, **{"t200": 9.0, "t600": -9.0})
    rejected = credit(
        [f" v{n}" for n in range(1000)], [8.0 if n == 400 else -8.0 if n == 800 else 0.0 for n in range(1000)], beta=1.0
    )
    figure = drawing([chosen, rejected])
    assert {200, 600} <= units(figure, 1) and {400, 800} <= units(figure, 2)
    assert len(units(figure, 1)) < 500
    assert "Shown: the edited tokens that add most to the margin and that take most from it, 5 each" in caption(figure)


def test_a_fold_names_the_edits_that_it_hides() -> None:
    lines = [f" w{n}" + "\n" * (n % 100 == 99) for n in range(400)]
    others = [piece for n, piece in enumerate(lines) if n not in (50, 220, 350)]
    answers = [credit(side, [1 / 64] * len(side), end=False) for side in (lines, others)]
    assert [edits for _, _, edits in folds(drawing(answers, Lines(2, 2)))] == ["edit 1", "", "edits 2 to 3", ""]


def test_a_fold_sums_what_is_coloured_and_says_what_it_is() -> None:
    pieces = [f" w{n}" for n in range(400)]
    # the edits, words 0 and 399, are drawn; of the 376 tokens that fold each is worth 1/8 less in the second answer
    answers = [
        credit([*pieces, end], [reward] * 401, end=False, beta=1.0) for end, reward in ((" x", 0.5), (" y", 0.625))
    ]
    edits = AroundEdits(24)
    assert "… 376 tokens, reward +188.000 …" in words(drawing(answers, edits))
    assert "… 376 tokens, reward +235.000 …" in words(drawing(answers, edits))
    figure = drawing(answers, edits, quantity="delta")
    assert [text for text in words(figure) if text.startswith("…")] == ["… 376 tokens, Δ −47.000 …"] * 2


def test_lines_are_those_of_the_text() -> None:
    pieces = ["one", "\n", "\n", "three", " x", "\n", "four", "\n", *[" w"] * 100]
    answer = credit(pieces, [0.1] * len(pieces), end=True)
    assert units(drawing([answer], Lines(3, 4))) == {0, 1, 2, 3, 4, 5, 6, 7}  # the first word takes no line to fold
    long = ["one " + "x" * 300, "\n", "\n", "three", " x", "\n", "four", "\n", *[" w"] * 100]
    answer = credit(long, [0.1] * len(long), end=True)
    assert units(drawing([answer], Lines(3, 4))) == {3, 4, 5, 6, 7}
    assert units(drawing([answer], Lines(5))) == set(range(8, 109))  # the end token is on the last line
    assert "Shown: lines 3 to 4. Folded: 104 of 109 tokens." in caption(drawing([answer], Lines(3, 4)))


def test_what_the_second_answer_puts_in_is_on_the_line_that_it_stands_in() -> None:
    line = [f" w{n}" for n in range(80)]
    first = [*line, "\n", "next", *line]
    second = [*line, *[" new"] * 60, "\n", "next", *line]
    answers = [credit(side, [0.1] * len(side), end=False) for side in (first, second)]
    new = set(range(80, 140))
    assert new <= units(drawing(answers, Lines(1, 1)), 2)
    assert new.isdisjoint(units(drawing(answers, Lines(2, 2)), 2))


@pytest.mark.parametrize("unit", ["token", "word", "sentence"])
def test_whole_draws_everything(unit: str) -> None:
    answer = one(LONG + 20)
    figure = drawing([answer], "whole", unit=unit)
    assert units(figure) == set(range(len(answer.by(unit)))) and folds(figure) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [2, COLUMN_IN, PAGE_IN])
@pytest.mark.parametrize(
    "answers", [two(range(20, 400, 60), 400), [one(400)], [one(320), one(400), one(20)]], ids=["two", "one", "three"]
)
def test_nothing_overlaps(answers: list[Credit], width: float) -> None:
    figure = drawing(answers, width=width)
    bands = [
        patch.get_window_extent()
        for patch in figure.findobj(Rectangle)
        if re.fullmatch(r"fold\d+a\d", patch.get_gid() or "")
    ]
    assert bands
    boxes = sorted([*bands, *(box for extents in cells(figure).values() for box in extents)], key=lambda box: box.y0)
    assert not any(
        min(a.x1, b.x1) - max(a.x0, b.x0) > 0.01 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.01
        for a, b in combinations(boxes, 2)
    )
    texts = sorted(((text.get_text(), text.get_window_extent()) for text in drawn(figure)), key=lambda t: t[1].y0)
    slack = 2.0  # pixels: Agg rounds extents to whole ones
    for shown, box in texts:
        assert figure.bbox.x0 - slack <= box.x0 and box.x1 <= figure.bbox.x1 + slack, shown
    for (first, a), (second, b) in combinations(texts, 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= slack or down <= slack, (first, second)


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_a_folded_figure_is_short_in_every_format(format: str) -> None:
    folded = drawing([one()])
    assert written(folded, format)
    assert folded.get_size_inches()[1] < drawing([one(LONG)]).get_size_inches()[1]


@pytest.mark.parametrize(
    ("count", "shown", "said"),
    [
        (1, AroundEdits(3), "Edits stand between two answers, and here is one"),
        (3, AroundEdits(3), "Edits stand between two answers, and here are 3"),
        (2, AroundEdits(-1), "-1 units around each edit cannot be drawn: choose 0 or more."),
        (1, Lines(2, 9), "There are no lines 2:9 to draw: choose from 1 to 1."),
        (3, Lines(0, 1), "There are no lines 0:1 to draw: choose from 1 to 1."),
    ],
)
def test_what_cannot_be_shown_is_said(count: int, shown: Shown, said: str) -> None:
    with pytest.raises(CreditError, match=re.escape(said)):
        drawing([one(10)] * count, shown)


def test_the_program_draws_what_its_flags_choose(tmp_path: Path) -> None:
    scored = write(tmp_path / "scored.json", [scored_row(two(range(200, 203), 400), ["chosen", "rejected"])])

    def captions(*flags: str) -> list[str]:
        figure = tmp_path / "figure.svg"
        ended = run("render", scored, "--png", figure, *flags)
        assert ended.code in (0, None), ended.stderr
        return re.findall(r"(?<=>)Shown: [^<]*", figure.read_text("utf-8"))

    assert captions("--whole") == captions("--lines", ":") == []
    assert captions("--around-edits", "4")[0].startswith("Shown: the edits, with 4 tokens around. Folded: 389 of 400")
    assert captions("--around-edits", "1", "--by", "word")[0].startswith("Shown: the edits, with 1 word around.")
    assert captions() == captions("--around-edits", "10")
