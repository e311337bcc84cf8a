"""Pairs of segments in the terminal: steps shaded by their credit, as tokens are, with sums and a table of the ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from dpo_credit.mdp.credit import PairCredit, SegmentCredit
from dpo_credit.mdp.segments import SIDES
from dpo_credit.mdp.summary import summary_of
from dpo_credit.mdp.training import action_name
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Scale
from dpo_credit.views.steps import colours_of, weights_of
from dpo_credit.views.terminal.colours import mark, signed, signs, style

_LISTED = 20  # pairs in the table of many
_ROWS = 5  # of the lowest and of the highest steps


def render(pairs: Sequence[PairCredit], look: Look, rows: int = _ROWS) -> RenderableType:
    """One pair with its steps and the `rows` lowest and highest of each segment; or a line each of many."""
    first = pairs[0]
    made = f"policy {first.policy}, " + (f"reference {first.reference}" if first.reference else "no reference")
    head = Text(visible(f"{made}; {weights_of(first.weights)}", look), style="dim")
    if len(pairs) > 1:
        return Group(head, Text(), _figures(pairs, look), Text(), _listed(pairs, look))
    scale = colours_of(first)
    parts: list[RenderableType] = [head, Text()]
    for name, segment in zip(SIDES, (first.chosen, first.rejected), strict=True):
        parts += [Text(name, style="bold"), _strip(first, segment, scale, look), _sums(segment, look), Text()]
    parts += [_comparison(first, look), Text(), _legend(first, scale, look)]
    for name, segment in zip(SIDES, (first.chosen, first.rejected), strict=True) if rows else ():
        parts += [Text(), _ends(first, segment, scale, look, rows, name)]
    return Group(*parts)


def _strip(pair: PairCredit, segment: SegmentCredit, scale: Scale, look: Look) -> Text:
    """Each step with its number, and its action where that is one of a few."""
    text = Text(overflow="fold")
    for t, credit in enumerate((segment.credits - pair.middle).tolist()):
        action = f":{action_name(segment, t, pair.action_names)}" if segment.discrete else ""
        text.append(" " if t else "")
        text.append(visible(f"{t}{action}", look), style(credit, scale, look))
        text.append(mark(credit, scale, look))
    return text


def _sums(segment: SegmentCredit, look: Look) -> Text:
    line = Text(f"credit {signed(segment.credit, look)}", style="bold")
    facts = [f"log π {segment.policy_logps.sum():.2f}"]
    facts += [] if segment.reference_logps is None else [f"log π_ref {segment.reference_logps.sum():.2f}"]
    facts += [f"{len(segment.actions)} steps"]
    facts += [] if segment.rewards is None else [f"the MDP's rewards sum to {signed(segment.rewards.sum(), look)}"]
    return line.append(look.plain("   " + "   ".join(facts).replace("-", "−")), "not bold dim")


def _comparison(pair: PairCredit, look: Look) -> Text:
    probability = pair.preference_probability
    shown = "> 0.999" if probability >= 0.9995 else "< 0.001" if probability < 0.0005 else f"= {probability:.3f}"
    line = Text.assemble((f"margin {signed(pair.margin, look)}", "bold"), f"  P(chosen is preferred) {shown}")
    if pair.weights.bias != 1:
        line.append(look.plain(f"  (of chosen − {pair.weights.bias:g} × rejected, {signed(pair.logit, look)})"), "dim")
    return line


def _legend(pair: PairCredit, scale: Scale, look: Look) -> Text:
    about = " against their mean in the pair" if pair.middle else ""
    unit = "alpha × nats" if not pair.weights.length_normalised else "alpha / L × nats, L steps"
    if look.colours == "none":
        return Text(look.plain(f"{signs(scale, look)}  credit of a step{about}, {unit}"), style="dim")
    text = Text(f"{signed(-scale.limit, look)} ", style="dim")
    steps = 20 if look.colours == "full" else 6
    for step in range(steps + 1):
        text.append("  " if look.colours == "basic" else " ", style(scale.limit * (2 * step / steps - 1), scale, look))
    return text.append(
        look.plain(f" {signed(scale.limit, look)}  credit of a step{about}, {unit}; underlined below 0"), "dim"
    )


def _ends(pair: PairCredit, segment: SegmentCredit, scale: Scale, look: Look, rows: int, name: str) -> Table:
    """The most punished and the most rewarded steps."""
    known = segment.reference_logps is not None
    table = Table(title=f"steps of {name}: lowest, highest", title_justify="left", title_style="bold", box=None,
                  padding=(0, 2, 0, 0))  # fmt: skip
    table.add_column("step", justify="right")
    table.add_column("action", overflow="fold")
    headings = ["log π", *(["log π_ref"] if known else []), *([] if segment.rewards is None else ["MDP's reward"])]
    for heading in (*headings, "credit"):
        table.add_column(look.plain(heading), justify="right", no_wrap=True)
    credits = segment.credits.tolist()
    order = np.argsort(credits, kind="stable")
    half = (len(order) + 1) // 2
    for group in (order[:half][:rows], order[half:][::-1][:rows]):
        for t in map(int, group):
            cells = [f"{segment.policy_logps[t]:.3f}"]
            cells += [] if segment.reference_logps is None else [f"{segment.reference_logps[t]:.3f}"]
            cells += [] if segment.rewards is None else [f"{segment.rewards[t]:+.3g}"]
            table.add_row(
                str(t),
                Text(
                    visible(action_name(segment, t, pair.action_names), look),
                    style(credits[t] - pair.middle, scale, look) + Style(bold=True),
                ),
                *(look.plain(cell.replace("-", "−")) for cell in cells),
                signed(credits[t], look, scale.decimals),
            )
        table.add_section()
    return table


def _figures(pairs: Sequence[PairCredit], look: Look) -> Text:
    summary = summary_of(pairs)
    share = summary.accuracy
    line = Text(f"{summary.pairs:,} pairs", style="bold")
    interval = "" if share.low is None or share.high is None else f" ({100 * share.low:.0f} to {100 * share.high:.0f})"
    line.append(f"   chosen preferred in {100 * share.share:.0f} %{interval}", "not bold")
    for name, mean in (("margin", summary.margin), ("chosen", summary.chosen), ("rejected", summary.rejected)):
        half = "" if mean.high is None else look.plain(f" ±{mean.high - mean.mean:.2g}")
        line.append(f"   {name} {signed(mean.mean, look)}{half}", "not bold")
    return line.append(look.plain(f"   CPL's loss {summary.loss.mean:.3f}   means with 95 % intervals"), "not bold dim")


def _listed(pairs: Sequence[PairCredit], look: Look) -> RenderableType:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("pair", overflow="fold")
    table.add_column("steps", justify="right", no_wrap=True)
    for heading in ("chosen", "rejected", "margin", "P"):
        table.add_column(heading, justify="right", no_wrap=True)
    for pair in pairs[:_LISTED]:
        sums = (signed(value, look, 3) for value in (pair.chosen.credit, pair.rejected.credit, pair.margin))
        table.add_row(
            visible(pair.id, look),
            f"{len(pair.chosen.actions)}, {len(pair.rejected.actions)}",
            *sums,
            f"{pair.preference_probability:.3f}",
        )
    left = len(pairs) - _LISTED
    more = f"{left:,} more are in what -o writes; " if left > 0 else ""
    return Group(table, Text(f"{more}--row N or --id ID shows a pair step by step", style="dim"))
