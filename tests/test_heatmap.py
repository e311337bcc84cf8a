"""Heatmaps: what is drawn, and where it stands."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from figures import (  # noqa: F401  (unhinted is a fixture)
    CHOSEN,
    COLUMN_IN,
    PAGE_IN,
    REJECTED,
    SAMPLES,
    cells,
    credit,
    drawn,
    marks,
    pair,
    sample,
    unhinted,
    words,
    written,
)
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from scored import scored_row

from dpo_credit import align
from dpo_credit.views.figure.chart import colours
from dpo_credit.views.figure.heatmap import render
from dpo_credit.views.scale import Shading


@pytest.mark.parametrize("width", [COLUMN_IN, PAGE_IN])
@pytest.mark.parametrize("name", SAMPLES)
def test_cells_stay_inside_the_figure_and_never_overlap(name: str, width: float) -> None:
    figure = sample(name, width)
    boxes = [box for extents in cells(figure).values() for box in extents]
    assert boxes
    page = figure.bbox
    for box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    slack = 0.01  # pixels: sums of the same floats in another order
    by_row: dict[int, list[Bbox]] = {}
    for box in boxes:
        by_row.setdefault(round(box.y0), []).append(box)
    for row in by_row.values():
        row.sort(key=lambda box: box.x0)
        assert all(left.x1 <= right.x0 + slack for left, right in pairwise(row))
    bottoms = sorted(by_row)
    assert all(upper - lower > boxes[0].height for lower, upper in pairwise(bottoms))


@pytest.mark.parametrize("width", [COLUMN_IN, PAGE_IN])
@pytest.mark.parametrize("name", SAMPLES)
def test_all_text_is_at_least_6_pt_and_none_is_clipped_or_overlaps(name: str, width: float) -> None:
    figure = sample(name, width)
    texts = drawn(figure)
    assert min(text.get_fontsize() for text in texts) >= 6
    slack = 1.0  # pixels at 150 dpi, half a point: Agg rounds the extents of a text to whole pixels
    extents = [(text.get_text(), text.get_window_extent()) for text in texts]
    for shown, box in extents:
        inside = box.x0 >= -slack and box.x1 <= figure.bbox.x1 + slack and box.y1 <= figure.bbox.y1 + slack
        assert inside and box.y0 >= -slack, shown
    for (first, a), (second, b) in combinations(extents, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 2 * slack or down <= 2 * slack, (first, second)


@pytest.mark.parametrize("name", ["one", "diff", "long"])
def test_a_cell_holds_its_text(name: str) -> None:
    figure = sample(name, COLUMN_IN)
    boxes = [box for extents in cells(figure).values() for box in extents]
    shown = {piece.strip() for piece in (*CHOSEN, *REJECTED)}
    lowest = min(box.y0 for box in boxes)  # the table of edits, below, quotes some of the tokens
    texts = [t for t in drawn(figure) if t.get_text() in shown and t.get_window_extent().y1 > lowest]
    assert texts
    for text in texts:
        box = text.get_window_extent()
        assert any(
            cell.x0 - 1 <= box.x0 and box.x1 <= cell.x1 + 1 and cell.y0 - 1 <= box.y0 and box.y1 <= cell.y1 + 1
            for cell in boxes
        ), text.get_text()


@pytest.mark.parametrize("width", [COLUMN_IN, PAGE_IN])
@pytest.mark.parametrize("unit", ["token", "word"])
def test_untouched_tokens_of_a_diff_stand_above_each_other(unit: str, width: float) -> None:
    credits, labels = pair()
    at = cells(render(scored_row(credits, labels), width_in=width, shading=Shading(unit)))  # type: ignore[arg-type]
    ours, theirs = ({segment.start: n for n, segment in enumerate(c.by(unit))} for c in credits)  # type: ignore[arg-type]
    pairs = [
        (ours[credits[0].segments[i].start], theirs[credits[1].segments[j].start])
        for i, j in align.diff(*credits).pairs
        if credits[0].segments[i].start in ours
        and credits[1].segments[j].start in theirs
        and credits[0].by(unit)[ours[credits[0].segments[i].start]].text  # type: ignore[arg-type]
        == credits[1].by(unit)[theirs[credits[1].segments[j].start]].text  # type: ignore[arg-type]
    ]
    assert len(pairs) >= 8
    apart = {round(a.y0 - b.y0, 3) for i, j in pairs for a, b in zip(at[1, i + 1], at[2, j + 1], strict=True)}
    assert len(apart) == 1 and apart.pop() > 0  # the chosen answer is above, by the same everywhere
    for i, j in pairs:
        for a, b in zip(at[1, i + 1], at[2, j + 1], strict=True):
            assert (a.x0, a.x1) == pytest.approx((b.x0, b.x1), abs=1e-6)


@pytest.mark.parametrize("style", ["default", "paper"])
def test_every_edit_is_marked_on_both_answers(style: str) -> None:
    credits, labels = pair()
    figure = render(scored_row(credits, labels), style=style)  # type: ignore[arg-type]
    edits = align.diff(*credits).edits
    assert len(edits) == 2  # superv|isor -> editor, and " not" put in
    assert marks(figure, r"edit\d+a\dl\d+") == ["edit1a1l1", "edit1a2l1", "edit2a1l1", "edit2a2l1"]
    kind = Rectangle if style == "default" else Line2D
    assert all(isinstance(a, kind) for a in figure.findobj() if (a.get_gid() or "").startswith("edit"))


def test_the_chart_marks_the_edits_and_ends_at_the_totals() -> None:
    credits, labels = pair()
    figure = render(scored_row(credits, labels))
    assert marks(figure, r"band\d+") == ["band1", "band2"]
    curves = {a.get_gid(): a for a in figure.findobj(Line2D) if (a.get_gid() or "").startswith("cumulative")}
    for side, answer in enumerate(credits):
        x, y = curves[f"cumulative{side}"].get_data()
        assert (x[0], y[0]) == (0, 0)
        # 14 tokens and the end, and a place where only the other answer has one: isor, not
        assert x[-1] == 16
        assert y[-1] == pytest.approx(answer.reward)
    x, y = curves["cumulative-margin"].get_data()
    assert (x[0], y[0], x[-1]) == (0, 0, 16)
    assert y[-1] == pytest.approx(credits[0].reward - credits[1].reward)


def test_cells_are_coloured_by_what_they_add_to_the_margin() -> None:
    chosen = credit([" a", " good", " one"], [0.5, 1.0, 0.25])
    rejected = credit([" a", " bad", " one"], [0.5, -2.0, -0.25])
    both = scored_row([chosen, rejected], ["chosen", "rejected"])
    figure = render(both, shading=Shading(quantity="delta"))
    faces = {a.get_gid(): a.get_facecolor() for a in figure.findobj(Rectangle) if a.get_gid() and "t" in a.get_gid()}
    scale = Shading(quantity="delta").scales_of(both)[0]
    # a: 0.5 - 0.5; good: 1; bad: 2; one: 0.25 - -0.25, the same in both answers
    for name, delta in {"a1t1": 0.0, "a1t2": 1.0, "a1t3": 0.5, "a2t1": 0.0, "a2t2": 2.0, "a2t3": 0.5}.items():
        assert faces[name] == to_rgba(colours(scale, delta)[0]), name
    shown = " ".join(words(figure))
    assert "above 0 for chosen" in shown and "underlined: Δ below 0" in shown and "Δ in nats × β" in shown


def test_an_id_stands_once_in_a_figure() -> None:
    credits, labels = pair()
    names = [a.get_gid() for a in render(scored_row(credits, labels)).findobj() if a.get_gid()]
    assert len(names) == len({*names})


def test_a_diff_says_what_each_edit_earned_and_the_margin() -> None:
    chosen = credit([" a", " good", " one"], [0.5, 1.0, 0.25])
    rejected = credit([" a", " bad", " one"], [0.5, -2.0, 0.125])
    shown = words(render(scored_row([chosen, rejected], ["chosen", "rejected"])))
    # +1 - -2 = +3 by the edit; (0.5 + 0.25) - (0.5 + 0.125) = +0.125 by the rest
    for expected in ("good", "+1.00", "bad", "−2.00", "+3.00", "+0.75", "+0.62", "+0.12", "+1.75", "−1.38", "+3.12"):
        assert expected in shown, expected
    caption = " ".join(shown)
    assert "margin +3.12, P(chosen is preferred) = 0.958" in caption  # 1 / (1 + exp(-3.125)) = 0.9579
    assert "moved by 0.062 on average, by 0.12 at most" in caption  # 0.125 of " one" and 0 of the end token


def test_three_answers_are_ordered_by_reward() -> None:
    answers = [credit([" a"], [-1.0]), credit([" b"], [2.0]), credit([" c"], [0.5])]
    shown = words(render(scored_row(answers, ["low", "high", "middle"])))
    assert [text for text in shown if text in ("low", "high", "middle")] == ["high", "middle", "low"]


def test_the_colour_bar_names_unit_and_beta() -> None:
    shown = " ".join(words(render(scored_row([replace(credit(CHOSEN), beta=0.25)], [""]))))
    assert "reward = β · (log π − log π_ref), in nats × β; β = 0.25" in shown


def test_the_colour_bar_points_to_what_lies_beyond_it() -> None:
    at_limit = render(scored_row([credit([" a", " b"], [0.2, -0.2], end=False)], [""]))
    beyond = render(scored_row([credit([" a", " b"], [0.2, -0.2], end=False)], [""]), shading=Shading(limit=0.1))
    height = {name: written(figure, "svg").count(b"<path") for name, figure in (("at", at_limit), ("over", beyond))}
    assert height["over"] == height["at"] + 2  # an arrow at either end


def test_negative_rewards_are_underlined_and_others_are_not() -> None:
    figure = render(scored_row([credit([" a", " b", " c", " d"], [0.5, -0.5, -0.001, 0.0], end=False)], [""]))
    assert marks(figure, r"a1t\d+-below") == ["a1t2-below", "a1t3-below"]


def test_tokens_within_the_noise_floor_are_grey() -> None:
    # 0.1 * 0.2 nats = 0.02 is the floor
    figure = render(scored_row([credit([" a", " b", " c"], [0.5, -0.019, 0.021], noise=0.2, end=False)], [""]))
    faces = {p.get_gid(): to_rgb(p.get_facecolor()) for p in figure.findobj(Rectangle) if p.get_gid()}
    assert len(set(faces["a1t2"])) == 1  # red = green = blue
    assert len(set(faces["a1t1"])) > 1 and len(set(faces["a1t3"])) > 1
    assert marks(figure, r"a1t\d-below") == []
    assert "grey: within the bfloat16 error of ±0.02" in " ".join(words(figure))


def test_identical_models_give_one_colour_and_one_tick() -> None:
    same = replace(credit(CHOSEN), policy_logps=credit(CHOSEN).reference_logps)
    figure = render(scored_row([same], [""]))
    assert len({p.get_facecolor() for p in figure.findobj(Rectangle) if (p.get_gid() or "").startswith("a1t")}) == 1
    assert written(figure, "png")


def test_a_per_answer_scale_has_a_bar_for_each() -> None:
    shown = " ".join(words(render(scored_row(*pair()), shading=Shading(limit="per-answer"))))
    assert "chosen: reward = β" in shown and "rejected: reward = β" in shown
