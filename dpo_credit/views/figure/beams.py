"""Figure 2 of the paper: win rate against the chosen answers, and mean length, by number of beams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpo_credit.estimates.intervals import Mean
from dpo_credit.search.beams import Search, chosen_tokens, figures
from dpo_credit.views.figure.heatmap import format_of, save
from dpo_credit.views.look import written_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["format_of", "render", "save"]

_COLOURS = ("#0060b0", "#c34a00", "#3d7a33", "#7a3d8f", "#5c5c64")
_MARKS = ("o", "s", "^", "D", "v")
QUIET, INK = "#6d6d75", "#1c1c1f"


def render(searches: Sequence[Search], labels: Sequence[str]) -> Figure:
    """Two panels, a line for each search, 95 % intervals as bars; the chosen answers' mean length is the grey line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.75, 2.9), layout="constrained")
    wins, lengths = figure.subplots(1, 2)
    for n, (search, label) in enumerate(zip(searches, labels, strict=True)):
        known = figures(search)
        shift = 1 + 0.035 * (n - (len(searches) - 1) / 2)
        beams = [width.beams * shift for width in known]
        if all(width.win is not None for width in known):
            _line(wins, beams, [width.win for width in known], n, label, times=100)
        _line(lengths, beams, [width.tokens for width in known], n, label)
    judges = dict.fromkeys(str(search.settings["judge"]) for search in searches)
    wins.set_ylabel(written_out(f"win rate, % (judge: {', '.join(judges)})"), fontsize=8, parse_math=False)
    wins.set_ylim(bottom=0)
    lengths.set_ylabel("mean length, tokens", fontsize=8)
    chosen = chosen_tokens(searches[0])
    if chosen is not None:
        lengths.axhline(
            chosen.mean, color=QUIET, linewidth=0.8, linestyle=(0, (4, 2)), zorder=0, label="chosen answers"
        )
    lengths.set_ylim(bottom=0)
    every = sorted({beams for search in searches for beams in search.beams})
    for axes in (wins, lengths):
        axes.set_xscale("log")
        axes.set_xticks(every, [str(beams) for beams in every])
        axes.minorticks_off()
        axes.set_xlabel("beams", fontsize=8)
        axes.tick_params(labelsize=7.5, colors=INK, width=0.6, length=3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_linewidth(0.6)
    handles, names = lengths.get_legend_handles_labels()
    if len(searches) > 1 or chosen is not None:
        names = [written_out(name) for name in names]
        legend = figure.legend(
            handles, names, loc="outside lower center", ncols=len(names), fontsize=7.5, frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def _line(
    axes: Axes, beams: Sequence[float], means: Sequence[Mean | None], n: int, label: str, *, times: float = 1
) -> None:
    known = [mean for mean in means if mean is not None]
    middle = [times * mean.mean for mean in known]
    below = [times * (mean.mean - (mean.mean if mean.low is None else mean.low)) for mean in known]
    above = [times * ((mean.mean if mean.high is None else mean.high) - mean.mean) for mean in known]
    axes.errorbar(
        list(beams),
        middle,
        yerr=[below, above],
        color=_COLOURS[n % len(_COLOURS)],
        marker=_MARKS[n % len(_MARKS)],
        markersize=4,
        linewidth=1.4,
        elinewidth=0.8,
        capsize=2,
        label=label or "search",
    )
