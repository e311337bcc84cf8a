"""Pairs of segments as one self-contained page: credit over steps with their pictures, and the sums so far."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from markupsafe import Markup

from dpo_credit.mdp.credit import PairCredit, SegmentCredit
from dpo_credit.mdp.segments import SIDES
from dpo_credit.mdp.summary import summary_of
from dpo_credit.mdp.training import action_name
from dpo_credit.views.page.cells import shade_class
from dpo_credit.views.page.chart import ticks
from dpo_credit.views.page.frame import block_hash, environment, shades, verbatim
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Scale
from dpo_credit.views.steps import Drawn, colours_of, weights_of

PAIRS = 20  # that are drawn


def render(drawn: Sequence[Drawn], pairs: Sequence[PairCredit]) -> str:
    """The page; it has no script.

    Args:
        drawn: those that are drawn.
        pairs: all, for the figures above them.
    """
    templates, first = environment(), pairs[0]
    style = Markup(
        verbatim(templates, "style.css")
        + verbatim(templates, "report.css")
        + verbatim(templates, "mdp.css")
        + shades("orange-blue")
    )
    source = [("policy", first.policy), ("reference", first.reference or "none"), ("loss", weights_of(first.weights))]
    return templates.get_template("mdp.html").render(
        title=f"Credit of {first.id}" if len(pairs) == 1 else "Credit of segments",
        source=[(name, visible(value)) for name, value in source],
        summary=summary_of(pairs) if len(pairs) > 1 else None,
        pairs=[_pair(each, n) for n, each in enumerate(drawn, 1)],
        style=style,
        style_hash=block_hash(style),
    )


def _pair(drawn: Drawn, number: int) -> dict[str, Any]:
    pair = drawn.pair
    scale = colours_of(pair)
    segments = (pair.chosen, pair.rejected)
    charts = [_chart("Credit so far", [segment.credits.tolist() for segment in segments])]
    if pair.chosen.rewards is not None and pair.rejected.rewards is not None:
        rewards = [pair.chosen.rewards.tolist(), pair.rejected.rewards.tolist()]
        charts.append(_chart("The MDP's reward so far", rewards))
    return {
        "id": visible(pair.id),
        "anchor": f"p{number}",
        "margin": pair.margin,
        "logit": pair.logit,
        "probability": pair.preference_probability,
        "bias": pair.weights.bias,
        "scale": scale,
        "middle": pair.middle,
        "charts": charts,
        "segments": [
            _segment(pair, name, segment, frames, scale)
            for name, segment, frames in zip(SIDES, segments, (drawn.chosen, drawn.rejected), strict=True)
        ],
    }


def _segment(
    pair: PairCredit, name: str, segment: SegmentCredit, frames: Sequence[bytes], scale: Scale
) -> dict[str, Any]:
    reference, rewards = segment.reference_logps, segment.rewards
    return {
        "name": name,
        "credit": segment.credit,
        "logp": float(segment.policy_logps.sum()),
        "reference_logp": None if reference is None else float(reference.sum()),
        "reward": None if rewards is None else float(rewards.sum()),
        "discrete": segment.discrete,
        "steps": [
            {
                "t": t,
                "action": visible(action_name(segment, t, pair.action_names)),
                "class": shade_class(float(credit) - pair.middle, scale),
                "credit": float(credit),
                "logp": float(segment.policy_logps[t]),
                "reference_logp": None if reference is None else float(reference[t]),
                "reward": None if rewards is None else float(rewards[t]),
                "picture": base64.b64encode(frames[t]).decode() if frames else "",
            }
            for t, credit in enumerate(segment.credits)
        ],
    }


def _chart(title: str, values: Sequence[Sequence[float]]) -> dict[str, Any]:
    sums = [list(accumulate(each, initial=0.0)) for each in values]
    low, high = min(map(min, sums)), max(map(max, sums))
    room = (high - low) * 0.05 or 1.0
    low, high, width = low - room, high + room, max(map(len, sums)) - 1
    marks, decimals = ticks(low, high)
    return {
        "title": title,
        "decimals": decimals,
        "ticks": [(round(100 * (high - mark) / (high - low), 2), mark) for mark in marks],
        "lines": [
            {
                "number": n,
                "name": name,
                "points": " ".join(
                    f"{1000 * t / width:.0f},{100 * (high - value) / (high - low):.2f}" for t, value in enumerate(each)
                ),
            }
            for n, (name, each) in enumerate(zip(SIDES, sums, strict=True), 1)
        ],
        "x": [(round(100 * mark / width, 2), round(mark)) for mark in ticks(0, width)[0] if mark == round(mark)],
    }
