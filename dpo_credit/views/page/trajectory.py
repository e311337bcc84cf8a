"""A trajectory as one self-contained page: charts, and answers whose colours a slider walks through training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from dpo_credit.credit import Credit
from dpo_credit.estimates.intervals import Mean
from dpo_credit.estimates.wording import intervals_of, to_prompts
from dpo_credit.trajectory.trajectory import SIDES, Point, Trajectory, learnt, learnt_in, points
from dpo_credit.views.page.cells import shade_class
from dpo_credit.views.page.chart import ticks
from dpo_credit.views.page.frame import block_hash, environment, shades, source, verbatim, writing
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Scale

ROWS = 20  # whose answers are drawn
TOKENS = 30  # told when they were learnt


def render(trajectories: Sequence[Trajectory], labels: Sequence[str]) -> str:
    """The page; without a script it shows the last checkpoint."""
    templates = environment()
    style = Markup(
        verbatim(templates, "style.css")
        + verbatim(templates, "report.css")
        + verbatim(templates, "trajectory.css")
        + shades("orange-blue")
    )
    script = Markup(verbatim(templates, "trajectory.js"))
    credits = [credit for trajectory in trajectories for pair in trajectory.moments[-1].pairs for credit in pair]
    return templates.get_template("trajectory.html").render(
        title="Credit over training",
        runs=[
            _run(trajectory, label or trajectory.name, n)
            for n, (trajectory, label) in enumerate(zip(trajectories, labels, strict=True))
        ],
        source=source(credits),
        style=style,
        script=script,
        style_hash=block_hash(style),
        script_hash=block_hash(script),
    )


def _run(trajectory: Trajectory, label: str, number: int) -> dict[str, Any]:
    known = points(trajectory)
    shown = trajectory.moments[-1].pairs[:ROWS]
    scale = _scale([credit for pair in shown for credit in pair])
    return {
        "label": visible(label),
        "anchor": f"r{number}",
        "count": len(trajectory.ids),
        "to_prompts": to_prompts(len(trajectory.ids), trajectory.prompts),
        "intervals": intervals_of(len(trajectory.ids), trajectory.prompts, "preferences"),
        "points": known,
        "steps": [point.step for point in known],
        "diverged": [
            {"step": broken.step, "name": visible(broken.name), "reason": visible(broken.reason)}
            for broken in trajectory.diverged
        ],
        "broken": _inside([broken.step for broken in trajectory.diverged], known[0].step, known[-1].step),
        "charts": [
            _chart("Implicit reward", known, ("chosen", "rejected", "expected")),
            _chart("Log-likelihood under the policy", known, ("chosen_logp", "rejected_logp")),
        ],
        "scale": scale,
        "decimals": scale.decimals,
        "credit": shown[0][0],
        "answers": [_answer(trajectory, row, side, scale) for row in range(len(shown)) for side in (0, 1)],
        "learnt": [
            {
                "id": visible(trajectory.ids[learning.row]),
                "side": learning.answer,
                "around": _around(trajectory.moments[-1].pairs[learning.row][learning.side], learning.segment.start),
                "reward": learning.segment.reward,
                "step": learning.step,
                "classes": [shade_class(reward, scale) for reward in learning.rewards],
            }
            for learning in learnt(trajectory)[:TOKENS]
        ],
    }


def _inside(steps: Sequence[int], first: int, last: int) -> list[float]:
    """Where the steps between the first and the last that have numbers stand, of 1000."""
    return [round(1000 * (step - first) / (last - first), 1) for step in steps if first < step < last]


def _scale(credits: Sequence[Credit]) -> Scale:
    from dpo_credit.views.scale import Shading

    return Shading().scales(credits)[0]


def _answer(trajectory: Trajectory, row: int, side: int, scale: Scale) -> dict[str, Any]:
    over_time = [moment.pairs[row][side] for moment in trajectory.moments]
    return {
        "id": visible(trajectory.ids[row]),
        "side": SIDES[side],
        **writing(over_time[-1].tokens.answer),
        "totals": [credit.reward for credit in over_time],
        "cells": [
            {
                **_parted(token.segment.text or token.segment.piece),
                "end": not token.segment.text,
                "classes": [shade_class(reward, scale) for reward in token.rewards],
                "reward": token.segment.reward,
                "step": token.step,
            }
            for token in learnt_in(trajectory, row, side)
        ],
    }


def _parted(text: str) -> dict[str, str]:
    """The white space before a token, which is not shaded, and the token; white space alone is the token."""
    rest = text.lstrip() or text
    return {"before": text[: len(text) - len(rest)], "text": visible(rest)}


def _around(credit: Credit, start: int) -> tuple[str, str, str]:
    """A token's text with what stands before and behind it."""
    segments = credit.segments
    at = next(n for n, segment in enumerate(segments) if segment.start == start)
    before = "".join(segment.text for segment in segments[max(0, at - 6) : at])
    after = "".join(segment.text for segment in segments[at + 1 : at + 5])
    return visible(before), visible(segments[at].text or segments[at].piece), visible(after)


def _chart(title: str, known: Sequence[Point], names: Sequence[str]) -> dict[str, Any]:
    lines = {name: [getattr(point, name) for point in known] for name in names}
    lines = {name: means for name, means in lines.items() if all(mean is not None for mean in means)}
    values = [end for means in lines.values() for mean in means for end in (mean.mean, mean.low, mean.high)]
    reach = [value for value in values if value is not None]
    low, high = min(reach), max(reach)
    room = (high - low) * 0.05 or 1.0
    low, high = low - room, high + room
    first, last = known[0].step, max(known[-1].step, known[0].step + 1)

    def place(step: int, value: float) -> str:
        return f"{1000 * (step - first) / (last - first):.0f},{100 * (high - value) / (high - low):.2f}"

    marks, decimals = ticks(low, high)
    return {
        "title": title,
        "ticks": [(round(100 * (high - mark) / (high - low), 2), mark) for mark in marks],
        "decimals": decimals,
        "lines": [
            {"name": name.removesuffix("_logp"), "number": n, **_path(known, means, place)}
            for n, (name, means) in enumerate(lines.items(), 1)
        ],
        "x": [
            (round(100 * (mark - first) / (last - first), 2), round(mark))
            for mark in ticks(first, last)[0]
            if mark == round(mark)
        ],
    }


def _path(known: Sequence[Point], means: Sequence[Mean], place: Callable[[int, float], str]) -> dict[str, str]:
    line = [place(point.step, mean.mean) for point, mean in zip(known, means, strict=True)]
    upper = [place(p.step, m.mean if m.high is None else m.high) for p, m in zip(known, means, strict=True)]
    lower = [place(p.step, m.mean if m.low is None else m.low) for p, m in zip(known, means, strict=True)]
    return {"line": " ".join(line), "band": " ".join((*upper, *reversed(lower)))}
