"""Credits to draw, and what to look for in a figure."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import cache
from weakref import WeakSet

import credits
import matplotlib
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from scored import scored_row

from dpo_credit.credit import Credit
from dpo_credit.views.figure.heatmap import render, save
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
    return credits.credit(pieces, rewards, end=0.0 if end else None, beta=beta, source=credits.noisy(noise))


def pair(**options: float) -> tuple[list[Credit], list[str]]:
    return [credit(CHOSEN, **options), credit(REJECTED, **options)], ["chosen", "rejected"]  # type: ignore[arg-type]


_laid_out: WeakSet[Figure] = WeakSet()


def lay_out(figure: Figure) -> None:
    """Draw a figure, the first time only: that is what places its texts."""
    if figure not in _laid_out:
        FigureCanvasAgg(figure).draw()
        _laid_out.add(figure)


def cells(figure: Figure) -> dict[tuple[int, int], list[Bbox]]:
    """Extents of the cells by (answer, unit), both from 1, in points from the left and the bottom."""
    lay_out(figure)
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
    lay_out(figure)
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
    "one": lambda width: render(scored_row([credit(CHOSEN)], ["answer"]), width_in=width),
    "diff": lambda width: render(scored_row(*pair()), width_in=width),
    "paper": lambda width: render(scored_row(*pair()), width_in=width, style="paper"),
    "words": lambda width: render(scored_row(*pair()), width_in=width, shading=Shading("word")),
    "sentences": lambda width: render(scored_row(*pair()), width_in=width, shading=Shading("sentence")),
    "three": lambda width: render(
        scored_row([credit(CHOSEN), credit(REJECTED), credit(WORLD)], ["a", "b", "c"]), width_in=width
    ),
    "hostile": lambda width: render(
        scored_row([credit(HOSTILE), credit([*HOSTILE[:4], " new"])], ["$a$", "b"]), width_in=width
    ),
    "world": lambda width: render(scored_row([credit(WORLD)], ["世界 😀 🎉"]), width_in=width),
    "long": lambda width: render(scored_row([credit([*CHOSEN, " " + "x" * 300, *REJECTED] * 6)], [""]), width_in=width),
    "rewritten": lambda width: render(
        scored_row([credit(CHOSEN), credit([" Quite", " another", " one"])], ["a", "b"]), width_in=width
    ),
}


@cache
def sample(name: str, width: float) -> Figure:
    """One of the samples, rendered once for all tests that look at it. Do not change it."""
    return SAMPLES[name](width)
