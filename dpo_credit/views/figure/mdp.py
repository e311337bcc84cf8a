"""A pair of segments as a figure: credit over steps, its sum so far, the MDP's own rewards, and the steps' pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dpo_credit.mdp.credit import SegmentCredit
from dpo_credit.mdp.segments import SIDES
from dpo_credit.mdp.training import action_name
from dpo_credit.views.look import written_out
from dpo_credit.views.scale import Scale
from dpo_credit.views.steps import Drawn, colours_of, weights_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"chosen": "#0060b0", "rejected": "#c34a00"}
QUIET, INK = "#6d6d75", "#1c1c1f"
WIDTH_IN = 6.75
_MOST_NAMED = 24  # steps that have the room for their action's name
_MOST_PICTURES = 16  # likewise, for a picture; of more steps, as many at even distances


def render(drawn: Drawn) -> Figure:
    """Bars of both segments on one scale, sums so far beside them, the MDP's rewards below those."""
    from matplotlib.figure import Figure

    pair = drawn.pair
    segments = dict(zip(SIDES, (pair.chosen, pair.rejected), strict=True))
    frames = dict(zip(SIDES, (drawn.chosen, drawn.rejected), strict=True))
    rewarded = all(segment.rewards is not None for segment in segments.values())
    scale, steps = colours_of(pair), max(len(segment.actions) for segment in segments.values())
    rows = [row for side in SIDES for row in ((side, "bars"), (side, "frames")) if row[1] == "bars" or frames[side]]
    heights = [1.0 if kind == "bars" else 0.42 for _, kind in rows]
    figure = Figure(figsize=(WIDTH_IN, 0.55 + 1.55 * sum(heights)), layout="constrained")
    columns = figure.add_gridspec(1, 2, width_ratios=(1.9, 1))
    grid = columns[0].subgridspec(len(rows), 1, height_ratios=heights)
    first: Axes | None = None
    reach = -0.6, steps - 0.4
    for n, (side, kind) in enumerate(rows):
        if kind == "frames":
            _pictures(figure.add_subplot(grid[n], xlim=reach), frames[side])
            continue
        axes = figure.add_subplot(grid[n], xlim=reach, sharey=first)
        first = first or axes
        _bars(axes, segments[side], scale, pair.middle, pair.action_names, discrete_names=steps <= _MOST_NAMED)
        axes.set_title(f"{side}: credit {_signed(segments[side].credit)}", fontsize=8, color=COLOURS[side], loc="left")
        axes.set_ylabel("credit", fontsize=7.5)
    sums = columns[1].subgridspec(2 if rewarded else 1, 1)
    summed = figure.add_subplot(sums[0])
    _lines(summed, {name: segment.credits for name, segment in segments.items()}, "credit so far")
    summed.legend(fontsize=7, frameon=False)
    if rewarded:
        rewards = {name: segment.rewards for name, segment in segments.items() if segment.rewards is not None}
        _lines(figure.add_subplot(sums[1]), rewards, "the MDP's reward so far")
    for axes in figure.axes:
        axes.tick_params(labelsize=7, colors=INK, width=0.6, length=2.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_linewidth(0.6)
    about = "; colours are against the mean" if pair.middle else ""
    figure.suptitle(
        f"{written_out(pair.id)}   margin {_signed(pair.margin)}, P(chosen is preferred) "
        f"{pair.preference_probability:.3f}   ({weights_of(pair.weights)}{about})",
        fontsize=8,
        color=INK,
        parse_math=False,
    )
    return figure


def _bars(
    axes: Axes, segment: SegmentCredit, scale: Scale, middle: float, names: Sequence[str], *, discrete_names: bool
) -> None:
    credits = segment.credits
    shades = [tuple(part / 255 for part in scale.shade(float(credit) - middle, "light")[0]) for credit in credits]
    axes.bar(np.arange(len(credits)), credits - middle, bottom=middle, color=shades, edgecolor=INK, linewidth=0.5)
    axes.axhline(middle, color=QUIET, linewidth=0.6, zorder=0)
    axes.set_xticks(_spread(len(credits), _MOST_NAMED))
    if segment.discrete and discrete_names:
        named = [f"{t}\n{written_out(action_name(segment, t, names))}" for t in range(len(credits))]
        axes.set_xticks(np.arange(len(credits)), named, parse_math=False)


def _pictures(axes: Axes, frames: Sequence[bytes]) -> None:
    from matplotlib.image import imread

    axes.set_axis_off()
    axes.set_ylim(-0.5, 0.5)
    shown = _spread(len(frames), _MOST_PICTURES)
    for t in shown:
        picture = imread(io.BytesIO(frames[t]), format="png")
        height, width = picture.shape[:2]
        inset = axes.inset_axes((t - 0.46, -0.5, 0.92, 1.0), transform=axes.transData)
        inset.imshow(picture, aspect="equal", extent=(0, width, 0, height), interpolation="none")
        inset.set_axis_off()


def _lines(axes: Axes, values: dict[str, np.ndarray], title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for name, each in values.items():
        dash = "-" if name == "chosen" else (0, (4, 1.5))
        sums = np.concatenate(([0.0], np.cumsum(each)))
        axes.plot(np.arange(len(sums)), sums, color=COLOURS[name], linewidth=1.4, linestyle=dash, label=name)
    axes.axhline(0, color=QUIET, linewidth=0.6, zorder=0)
    axes.set_title(title, fontsize=8, color=INK, loc="left")
    axes.set_xlabel("steps", fontsize=7.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _spread(count: int, most: int) -> list[int]:
    """Numbers from 0 below the count at even distances, at most so many."""
    return list(range(0, count, -(-count // most)))


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")
