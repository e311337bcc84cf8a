"""Heatmaps: what is drawn, where it stands, and what the files hold."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from dpo_credit import align
from dpo_credit.credit import Credit, CreditError, Source, Tokens
from dpo_credit.views.heatmap import format_of, render, save
from dpo_credit.views.scale import Shading

COLUMN_IN, PAGE_IN = 3.25, 6.75
CHOSEN = [" I", " got", " an", " offer", " as", " superv", "isor", ",", " and", " my", " boss", " is", " glad", "."]
REJECTED = [" I", " got", " an", " offer", " as", " editor", ",", " and", " my", " boss", " is", " not", " glad", "."]
HOSTILE = [" $", "x", "$", " $\\frac{1}{2}$", " {", "}", " \\", " <script>", "&amp;", " a_b^c", "\n", "#%", " $$"]
WORLD = [
    " 世界",
    "你好吗",
    "。",
    " 😀",
    " 🎉",
    "🎉",
    " שלום",
    " مرحبا",
    "\t",
    "  ",
    " \u202e",
    "\x00",
    "\n\n",
    "é",
    "\ud800",
]


def credit(
    pieces: list[str], rewards: list[float] | None = None, *, beta: float = 0.1, noise: float = 0.0, end: bool = True
) -> Credit:
    """An answer of these tokens, which earn these rewards (alternating ones, if not given), and an end token."""
    rewards = rewards or [(-1) ** t * (0.1 + 0.01 * t) for t in range(len(pieces))]
    spans, at = [], 0
    for piece in pieces:
        spans.append((at, at + len(piece)))
        at += len(piece)
    if end:
        pieces, rewards = [*pieces, "<|endoftext|>"], [*rewards, 0.0]
        spans.append((at, at))
    text = "".join(pieces[: len(pieces) - end])
    tokens = Tokens((1, 2), tuple(range(len(pieces))), tuple(pieces), tuple(spans), text, "appended" if end else "none")
    reference = (-2.0,) * len(pieces)
    policy = tuple(-2.0 + reward / beta for reward in rewards)
    return Credit(tokens, policy, reference, beta, Source("policy", "reference", "bfloat16", noise))


def pair(**options: float) -> tuple[list[Credit], list[str]]:
    return [credit(CHOSEN, **options), credit(REJECTED, **options)], ["chosen", "rejected"]  # type: ignore[arg-type]


def cells(figure: Figure) -> dict[tuple[int, int], list[Bbox]]:
    """Extents of the cells by (answer, unit), both from 1, in points from the left and the bottom."""
    FigureCanvasAgg(figure).draw()
    found: dict[tuple[int, int], list[Bbox]] = {}
    for patch in figure.findobj(Rectangle):
        if name := re.fullmatch(r"a(\d+)t(\d+)", patch.get_gid() or ""):
            # the rectangle itself: its outline's width may touch the neighbour's
            found.setdefault((int(name[1]), int(name[2])), []).append(
                patch.get_path().get_extents(patch.get_transform())
            )
    return found


def marks(figure: Figure, pattern: str) -> list[str]:
    return sorted(a.get_gid() for a in figure.findobj() if re.fullmatch(pattern, a.get_gid() or ""))


@pytest.fixture(autouse=True)
def unhinted() -> Iterator[None]:
    """Draw as `save` does: matplotlib's default rounds each glyph's width to whole pixels of the screen."""
    with matplotlib.rc_context({"text.hinting": "no_hinting"}):
        yield


def drawn(figure: Figure) -> list[Text]:
    """All texts but the labels of ticks that lie outside an axis's range: matplotlib keeps those and draws none."""
    FigureCanvasAgg(figure).draw()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            hidden |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
        if not axes.axison:
            hidden |= {label for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels()}
    return [t for t in figure.findobj(Text) if t.get_text() and t.get_visible() and t not in hidden]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def written(figure: Figure, format: str) -> bytes:
    buffer = io.BytesIO()
    save(figure, buffer, format)  # type: ignore[arg-type]
    return buffer.getvalue()


SAMPLES = {
    "one": lambda width: render([credit(CHOSEN)], ["answer"], width_in=width),
    "diff": lambda width: render(*pair(), width_in=width),
    "paper": lambda width: render(*pair(), width_in=width, style="paper"),
    "words": lambda width: render(*pair(), width_in=width, shading=Shading("word")),
    "sentences": lambda width: render(*pair(), width_in=width, shading=Shading("sentence")),
    "three": lambda width: render([credit(CHOSEN), credit(REJECTED), credit(WORLD)], ["a", "b", "c"], width_in=width),
    "hostile": lambda width: render([credit(HOSTILE), credit([*HOSTILE[:4], " new"])], ["$a$", "b"], width_in=width),
    "world": lambda width: render([credit(WORLD)], ["世界 😀 🎉"], width_in=width),
    "long": lambda width: render([credit([*CHOSEN, " " + "x" * 300, *REJECTED] * 6)], [""], width_in=width),
    "rewritten": lambda width: render(
        [credit(CHOSEN), credit([" Quite", " another", " one"])], ["a", "b"], width_in=width
    ),
}


@pytest.mark.parametrize("width", [COLUMN_IN, PAGE_IN])
@pytest.mark.parametrize("sample", SAMPLES)
def test_cells_stay_inside_the_figure_and_never_overlap(sample: str, width: float) -> None:
    figure = SAMPLES[sample](width)
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
@pytest.mark.parametrize("sample", SAMPLES)
def test_all_text_is_at_least_6_pt_and_none_is_clipped_or_overlaps(sample: str, width: float) -> None:
    figure = SAMPLES[sample](width)
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


@pytest.mark.parametrize("sample", ["one", "diff", "long"])
def test_a_cell_holds_its_text(sample: str) -> None:
    figure = SAMPLES[sample](COLUMN_IN)
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
    at = cells(render(credits, labels, width_in=width, shading=Shading(unit)))  # type: ignore[arg-type]
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
    figure = render(credits, labels, style=style)  # type: ignore[arg-type]
    edits = align.diff(*credits).edits
    assert len(edits) == 2  # superv|isor -> editor, and " not" put in
    assert marks(figure, r"edit\d+a\dl\d+") == ["edit1a1l1", "edit1a2l1", "edit2a1l1", "edit2a2l1"]
    kind = Rectangle if style == "default" else Line2D
    assert all(isinstance(a, kind) for a in figure.findobj() if (a.get_gid() or "").startswith("edit"))


def test_the_chart_marks_the_edits_and_ends_at_the_totals() -> None:
    credits, labels = pair()
    figure = render(credits, labels)
    assert marks(figure, r"band\d+") == ["band1", "band2"]
    curves = {a.get_gid(): a for a in figure.findobj(Line2D) if (a.get_gid() or "").startswith("cumulative")}
    for side, answer in enumerate(credits):
        x, y = curves[f"cumulative{side}"].get_data()
        assert (x[0], y[0]) == (0, 0)
        # 14 tokens and the end, and a place where only the other answer has one: isor, not
        assert x[-1] == 16
        assert y[-1] == pytest.approx(answer.reward)


def test_a_diff_says_what_each_edit_earned_and_the_margin() -> None:
    chosen = credit([" a", " good", " one"], [0.5, 1.0, 0.25])
    rejected = credit([" a", " bad", " one"], [0.5, -2.0, 0.125])
    shown = words(render([chosen, rejected], ["chosen", "rejected"]))
    # +1 - -2 = +3 by the edit; (0.5 + 0.25) - (0.5 + 0.125) = +0.125 by the rest
    for expected in ("good", "+1.00", "bad", "−2.00", "+3.00", "+0.75", "+0.62", "+0.12", "+1.75", "−1.38", "+3.12"):
        assert expected in shown, expected
    caption = " ".join(shown)
    assert "margin +3.12, P(chosen is preferred) = 0.958" in caption  # 1 / (1 + exp(-3.125)) = 0.9579
    assert "moved by 0.062 on average, by 0.12 at most" in caption  # 0.125 of " one" and 0 of the end token


def test_three_answers_are_ordered_by_reward() -> None:
    answers = [credit([" a"], [-1.0]), credit([" b"], [2.0]), credit([" c"], [0.5])]
    shown = words(render(answers, ["low", "high", "middle"]))
    assert [text for text in shown if text in ("low", "high", "middle")] == ["high", "middle", "low"]


def test_the_colour_bar_names_unit_and_beta() -> None:
    shown = " ".join(words(render([replace(credit(CHOSEN), beta=0.25)], [""])))
    assert "reward = β · (log π − log π_ref), in nats × β; β = 0.25" in shown


def test_the_colour_bar_points_to_what_lies_beyond_it() -> None:
    at_limit = render([credit([" a", " b"], [0.2, -0.2], end=False)], [""])
    beyond = render([credit([" a", " b"], [0.2, -0.2], end=False)], [""], shading=Shading(limit=0.1))
    height = {name: written(figure, "svg").count(b"<path") for name, figure in (("at", at_limit), ("over", beyond))}
    assert height["over"] == height["at"] + 2  # an arrow at either end


def test_negative_rewards_are_underlined_and_others_are_not() -> None:
    figure = render([credit([" a", " b", " c", " d"], [0.5, -0.5, -0.001, 0.0], end=False)], [""])
    assert marks(figure, r"a1t\d+-below") == ["a1t2-below", "a1t3-below"]


def test_tokens_within_the_noise_floor_are_grey() -> None:
    # 0.1 * 0.2 nats = 0.02 is the floor
    figure = render([credit([" a", " b", " c"], [0.5, -0.019, 0.021], noise=0.2, end=False)], [""])
    faces = {p.get_gid(): to_rgb(p.get_facecolor()) for p in figure.findobj(Rectangle) if p.get_gid()}
    assert len(set(faces["a1t2"])) == 1  # red = green = blue
    assert len(set(faces["a1t1"])) > 1 and len(set(faces["a1t3"])) > 1
    assert marks(figure, r"a1t\d-below") == []
    assert "grey: within the bfloat16 error of ±0.02" in " ".join(words(figure))


def test_identical_models_give_one_colour_and_one_tick() -> None:
    same = replace(credit(CHOSEN), policy_logps=credit(CHOSEN).reference_logps)
    figure = render([same], [""])
    assert len({p.get_facecolor() for p in figure.findobj(Rectangle) if (p.get_gid() or "").startswith("a1t")}) == 1
    assert written(figure, "png")


def test_a_per_answer_scale_has_a_bar_for_each() -> None:
    shown = " ".join(words(render(*pair(), shading=Shading(limit="per-answer"))))
    assert "chosen: reward = β" in shown and "rejected: reward = β" in shown


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_hostile_text_is_drawn_as_it_is(format: str) -> None:
    figure = render([credit(HOSTILE)], ["$\\frac{1}{$"])
    assert written(figure, format)  # mathtext would raise on the label
    shown = words(figure)
    for piece in HOSTILE:
        assert piece.strip() in shown if piece.strip() else "↵" in shown
    assert "$\\frac{1}{$" in shown


def test_control_and_reordering_characters_are_written_out() -> None:
    shown = words(render([credit(["a", "\u202e", "\x00", "\u2028", " ", "\n", "\t"])], [""]))
    for sign in ("<U+202E>", "<U+0000>", "<U+2028>", "␣", "↵", "⇥"):
        assert sign in shown


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_any_script_is_drawn_without_a_warning(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    figure = render([credit(WORLD)], ["世界 😀 🎉 שלום"])
    assert written(figure, format)  # warnings are errors here
    assert capfd.readouterr().err == ""
    assert "Right-to-left tokens" in " ".join(words(figure))


def test_a_line_break_in_the_answer_begins_a_line() -> None:
    at = cells(render([credit(["one", "\n", "two", ".\n\nthree"], end=False)], [""]))
    tops = [[round(box.y1) for box in at[1, n]] for n in (1, 2, 3, 4)]
    assert tops[0] == tops[1] and tops[1][0] > tops[2][0]
    assert tops[3][0] == tops[2][0] > tops[3][1]  # the full stop, and three on the next line


def test_a_word_is_kept_whole_where_it_fits_a_line() -> None:
    at = cells(render([credit([" counter", "intu", "itively"] * 12, end=False)], [""], width_in=COLUMN_IN))
    for n in range(1, 36, 3):
        assert len({round(at[1, n + part][0].y0) for part in range(3)}) == 1


def test_a_token_longer_than_a_line_goes_on_in_the_next() -> None:
    figure = render([credit(["x" * 10_000], end=False)], [""], width_in=COLUMN_IN)
    at = cells(figure)[1, 1]
    assert len(at) > 100
    assert sum(text.count("x") for text in words(figure) if set(text) == {"x"}) == 10_000


@pytest.mark.parametrize("name", ["fig.png", "fig.svg", "fig.pdf", "fig.PNG"])
def test_the_extension_says_the_format(name: str, tmp_path: Path) -> None:
    save(render([credit(CHOSEN)], [""]), tmp_path / name)
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[format_of(Path(name))]
    assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["fig.jpg", "fig", "png", "fig.png.gz"])
def test_an_unknown_extension_is_refused_with_the_three(name: str, tmp_path: Path) -> None:
    with pytest.raises(CreditError, match=r"\.png, \.svg or \.pdf"):
        save(render([credit(CHOSEN)], [""]), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_too_tall_for_a_png_is_refused_and_drawn_as_svg() -> None:
    figure = render([credit(["a"])], [""])
    figure.set_size_inches(3, 219)  # 219 in * 300 dpi = 65700 > 65535 pixels
    with pytest.raises(CreditError, match=r"219 in tall.*SVG or PDF"):
        written(figure, "png")


def test_an_svg_holds_the_words_and_a_pdf_its_fonts() -> None:
    figure = render(*pair())
    svg = written(figure, "svg").decode()
    for piece in (*CHOSEN, *REJECTED):
        assert f">{piece.strip()}</text>" in svg
    pdf = written(figure, "pdf")
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_the_same_answer_gives_the_same_bytes(format: str) -> None:
    first = render(*pair())
    assert written(first, format) == written(first, format) == written(render(*pair()), format)
    assert b"Date" not in written(first, format)


def test_global_settings_are_neither_used_nor_changed() -> None:
    usual = written(render(*pair()), "svg")
    with matplotlib.rc_context({"font.size": 40, "text.usetex": True, "svg.fonttype": "path", "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        assert written(render(*pair()), "svg") == usual
        assert dict(matplotlib.rcParams) == before


def test_importing_the_view_loads_no_matplotlib_and_drawing_no_pyplot_or_torch() -> None:
    code = (
        "import sys; from dpo_credit.views import heatmap; assert 'matplotlib' not in sys.modules;"
        "from dpo_credit.credit import *; import io;"
        "c = Credit(Tokens((1,), (2,), ('a',), ((0, 1),), 'a'), (-1.0,), (-2.0,), 0.1, Source('p', 'r', 'float32'));"
        "heatmap.save(heatmap.render([c], ['a']), io.BytesIO(), 'png');"
        "assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("credits", "labels", "width", "said"),
    [
        ([], [], 6.75, "no answer to draw"),
        ([credit(CHOSEN)], ["a", "b"], 6.75, "2 labels for 1 answers"),
        ([credit(CHOSEN)], ["a"], 0.5, "0.5 in"),
        ([credit(CHOSEN), credit(CHOSEN, beta=0.2)], ["a", "b"], 6.75, "different models or betas"),
    ],
)
def test_what_cannot_be_drawn_is_said(credits: list[Credit], labels: list[str], width: float, said: str) -> None:
    with pytest.raises(CreditError, match=said):
        render(credits, labels, width_in=width)
