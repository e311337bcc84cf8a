"""Figure 3 of the paper: rewards of chosen and rejected answers over training, a column for each run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpo_credit.estimates.intervals import Mean
from dpo_credit.trajectory.trajectory import Trajectory, points
from dpo_credit.views.figure.heatmap import format_of, save
from dpo_credit.views.look import written_out

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["format_of", "render", "save"]

CHOSEN, REJECTED, QUIET, INK = "#0060b0", "#c34a00", "#6d6d75", "#1c1c1f"
WIDTH_IN, ONE_IN = 6.75, 3.6


def render(trajectories: Sequence[Trajectory], labels: Sequence[str]) -> Figure:
    """Rewards above, on one scale for all runs; log-likelihoods below.

    Args:
        trajectories: runs.
        labels: what each is called; "" for no title.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(WIDTH_IN if len(trajectories) > 1 else ONE_IN, 4.4), layout="constrained")
    panels = figure.subplots(2, len(trajectories), sharex="col", squeeze=False)
    for axes in panels[0][1:]:
        axes.sharey(panels[0][0])
    for column, (trajectory, label) in enumerate(zip(trajectories, labels, strict=True)):
        known = points(trajectory)
        steps = [point.step for point in known]
        rewards, logps = panels[0][column], panels[1][column]
        _line(rewards, steps, [point.chosen for point in known], CHOSEN, "chosen")
        _line(rewards, steps, [point.rejected for point in known], REJECTED, "rejected", dash=(4, 1.5))
        expected = [point.expected for point in known]
        if all(mean is not None for mean in expected):
            _line(rewards, steps, expected, QUIET, r"expected under $\pi_{ref}$", dash=(1, 1.2))
        _line(logps, steps, [point.chosen_logp for point in known], CHOSEN, "chosen")
        _line(logps, steps, [point.rejected_logp for point in known], REJECTED, "rejected", dash=(4, 1.5))
        for axes, name in ((rewards, "diverged"), (logps, None)):
            for broken in trajectory.diverged:
                axes.axvline(broken.step, color=QUIET, linewidth=0.8, linestyle=(0, (2, 2)), label=name)
                name = None
        rewards.axhline(0, color=QUIET, linewidth=0.6, zorder=0)
        last = known[-1].accuracy
        rewards.set_title(written_out(label), fontsize=9, color=INK, parse_math=False)
        if last is not None:
            interval = ""
            if last.low is not None and last.high is not None:
                interval = f" ({100 * last.low:.0f} to {100 * last.high:.0f})"
            rewards.text(
                *(0.03, 0.04, f"accuracy {100 * last.share:.0f} %{interval}"),
                transform=rewards.transAxes,
                fontsize=7,
                color=QUIET,
            )
        logps.set_xlabel("step", fontsize=8)
        logps.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    panels[0][0].set_ylabel("implicit reward", fontsize=8)
    panels[1][0].set_ylabel("log-likelihood (nats)", fontsize=8)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside lower center",
        ncols=len(names) if len(names) < 4 else 2,
        fontsize=7.5,
        frameon=False,
    )
    for axes in panels.flat:
        axes.tick_params(labelsize=7.5, colors=INK, width=0.6, length=3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_linewidth(0.6)
    return figure


def _line(
    axes: Axes,
    steps: Sequence[int],
    means: Sequence[Mean | None],
    colour: str,
    name: str,
    *,
    dash: tuple[float, float] | None = None,
) -> None:
    known = [mean for mean in means if mean is not None]
    axes.plot(
        list(steps),
        [mean.mean for mean in known],
        color=colour,
        linewidth=1.5,
        linestyle="-" if dash is None else (0, dash),
        label=name,
    )
    low = [mean.mean if mean.low is None else mean.low for mean in known]
    high = [mean.mean if mean.high is None else mean.high for mean in known]
    axes.fill_between(list(steps), low, high, color=colour, alpha=0.14, linewidth=0)
