"""A trajectory in the terminal: its figures by step, and when the tokens with the most credit learnt it."""

from __future__ import annotations

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from dpo_credit.estimates.intervals import Mean
from dpo_credit.estimates.wording import intervals_of, to_prompts
from dpo_credit.trajectory.trajectory import Learnt, Trajectory, learnt, points
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Scale
from dpo_credit.views.terminal.colours import signed, style
from dpo_credit.views.terminal.score import context, in_context

_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = 12  # tokens
_GROWTH = 72  # columns from which rewards over time stand in the table
_MOST = 24  # checkpoints in a row of bars
_WIDE = 110  # columns from which log-likelihoods stand in the table


def render(trajectory: Trajectory, look: Look, label: str = "") -> RenderableType:
    """Two tables under a head."""
    first = trajectory.moments[0].pairs[0][0]
    head = Text(visible(label or trajectory.name, look), style="bold")
    broken = f", {len(trajectory.diverged):,} more diverged" if trajectory.diverged else ""
    count, prompts = len(trajectory.ids), trajectory.prompts
    head.append(
        f": {count:,} preferences{to_prompts(count, prompts)}, {len(trajectory.moments):,} steps{broken}", "not bold"
    )
    weight = f"beta {first.beta:g}" + " / T (length-normalised)" * first.length_normalised
    intervals = intervals_of(count, prompts, "preferences")
    head.append(visible(f"\nreference {first.source.reference}, {weight}; {intervals}", look), "dim not bold")
    return Group(head, _figures(trajectory, look), Text(), _learnt(trajectory, look))


def _figures(trajectory: Trajectory, look: Look) -> RenderableType:
    wide = look.width >= _WIDE
    table = Table(box=None, padding=(0, 2, 0, 0))
    logps = ("log π chosen", "log π rejected") if wide else ()
    known = points(trajectory)
    expected = ("expected",) if known[-1].expected is not None else ()
    for heading in ("step", "chosen", "rejected", "margin", "accuracy", *expected, *logps):
        table.add_column(look.plain(heading), justify="right", no_wrap=True)
    left = list(trajectory.diverged)
    for point in known:
        while left and left[0].step < point.step:
            table.add_row(str(left.pop(0).step), "diverged")
        cells = [_mean(point.chosen, look), _mean(point.rejected, look), _mean(point.margin, look)]
        cells.append(look.plain("–") if point.accuracy is None else f"{100 * point.accuracy.share:.0f} %")
        cells += [_mean(point.expected, look)] * len(expected)
        if wide:
            cells += [look.plain(f"{m.mean:.1f}".replace("-", "−")) for m in (point.chosen_logp, point.rejected_logp)]
        table.add_row(str(point.step), *cells)
    for diverged in left:
        table.add_row(str(diverged.step), "diverged")
    note = "expected: the reward of an answer of the reference, −beta KL(π_ref || π), Eq. 16" if expected else ""
    notes = [note] if note else []
    notes += [visible(f"step {broken.step} diverged: {broken.reason}", look) for broken in trajectory.diverged]
    return Group(table, *(Text(look.plain(note), style="dim") for note in notes))


def _mean(mean: Mean | None, look: Look) -> str:
    if mean is None:
        return ""
    half = "" if mean.high is None else look.plain(f" ±{mean.high - mean.mean:.2f}")
    return signed(mean.mean, look, 3) + half


def _learnt(trajectory: Trajectory, look: Look) -> RenderableType:
    tokens = learnt(trajectory)[:_SHOWN]
    title = "when credit was learnt: the step from which on a token held at least half of its last reward"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for heading, side in (("token", "left"), ("answer", "left"), ("reward", "right"), ("by step", "right")):
        table.add_column(heading, justify=side, no_wrap=True)  # type: ignore[arg-type]
    growth = max(len("over time"), min(_MOST, len(trajectory.moments))) + 2 if look.width >= _GROWTH else 0
    if growth:
        table.add_column("over time", no_wrap=True)
    scale = Scale(max((abs(token.segment.reward) for token in tokens), default=0.0))
    answers = [f"{visible(trajectory.ids[token.row], look)} {token.answer}" for token in tokens]
    columns = context(look, 2 + max(map(cell_len, answers), default=0) + 2 + len("reward  by step") + 2 + growth)
    for token, answer in zip(tokens, answers, strict=True):
        credit = trajectory.moments[-1].pairs[token.row][token.side]
        table.add_row(
            in_context(credit, token.segment, scale, look, columns),
            answer,
            signed(token.segment.reward, look, scale.decimals),
            str(token.step),
            *((_growth(token, scale, look),) if growth else ()),
        )
    return table


def _growth(token: Learnt, scale: Scale, look: Look) -> Text:
    text = Text()
    last, bars = len(token.rewards) - 1, min(_MOST, len(token.rewards))
    for reward in (token.rewards[round(n * last / max(1, bars - 1))] for n in range(bars)):
        bar = _BARS[min(len(_BARS) - 1, round((len(_BARS) - 1) * abs(scale.position(reward))))]
        ink = style(-1.0 if reward < 0 else 1.0, Scale(1.0), look).bgcolor
        text.append(look.plain(bar), Style(color=ink))
    return text
