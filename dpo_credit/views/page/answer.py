"""An entry's answers for the templates and for the script: their cells in one unit, their numbers for all of them."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import replace
from typing import Any

from dpo_credit.align import Diff
from dpo_credit.credit import Credit
from dpo_credit.segments import Segment, Unit
from dpo_credit.views.page.cells import Marked, Span, cell_blocks, cells_of, cut_at_edits
from dpo_credit.views.page.frame import writing
from dpo_credit.views.page.stretches import LONG, UNITS, Stretch, bounds_of, code_blocks, folds
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Quantity, Scale, Shading
from dpo_credit.views.wording import extent


class Drawing:
    """What the answers of an entry share: their units, the scales of these, and how two of them are aligned.

    `plain` are their segments; `segments` have what is coloured in their reward's place. `partners` are the second
    answer's segments that the first has too, and where.
    """

    def __init__(self, credits: Sequence[Credit], aligned: Diff | None, shading: Shading) -> None:
        self.credits, self.aligned = credits, aligned
        self.unit: Unit = shading.unit
        self.quantity: Quantity = shading.quantity if aligned else "reward"
        self.partners = {j: i for i, j in aligned.pairs} if aligned else {}
        self.plain = [credit.segments for credit in credits]
        self.bounds: dict[Unit, list[list[Stretch]]] = {
            unit: [
                bounds_of(segments, unit, credit.tokens.roles)
                for segments, credit in zip(self.plain, credits, strict=True)
            ]
            for unit in UNITS
        }
        values: dict[Quantity, Sequence[Sequence[float]]] = {
            "reward": [[segment.reward for segment in segments] for segments in self.plain]
        }
        if aligned:
            values["delta"] = aligned.deltas()
        self.scales = {
            quantity: {
                unit: replace(shading, quantity=quantity).scales_over(credits, _sums(of, self.bounds[unit]))
                for unit in UNITS
            }
            for quantity, of in values.items()
        }
        self.segments: list[list[Segment]] = [
            [segment._replace(reward=value) for segment, value in zip(segments, of, strict=True)]
            for segments, of in zip(self.plain, values[self.quantity], strict=True)
        ]
        long = aligned is not None and max(len(credit.rewards) for credit in credits) > LONG
        self.folds = (
            folds(aligned, {unit: its[0] for unit, its in self.bounds.items()})
            if aligned and long
            else ([],) * len(credits)
        )

    @property
    def decimals(self) -> int:
        return max(scale.decimals for scale in self.scales["reward"]["token"])

    def scale(self, n: int) -> Scale:
        """The one that the cells of an answer are drawn by."""
        return self.scales[self.quantity][self.unit][n]

    def edits(self, n: int) -> list[Span]:
        """The edits of an answer."""
        aligned = self.aligned.edits if self.aligned else ()
        return [(*(edit.chosen, edit.rejected)[n], k) for k, edit in enumerate(aligned, 1)]


def _sums(values: Sequence[Sequence[float]], bounds: Sequence[Sequence[Stretch]]) -> list[list[float]]:
    return [[math.fsum(of[start:stop]) for start, stop in its] for of, its in zip(values, bounds, strict=True)]


def draw(drawing: Drawing, n: int, *, label: str, anchor: str, cells: bool, linked: Container[int]) -> dict[str, Any]:
    """What the templates need of an answer; `data` is for the script.

    Args:
        drawing: its entry.
        n: which of the entry's answers it is.
        label: what it is called.
        anchor: what its links begin with.
        cells: whether its cells are drawn without JavaScript.
        linked: the tokens, from 1, that links lead to.
    """
    credit, segments, edits = drawing.credits[n], drawing.segments[n], drawing.edits(n)
    apart, rewards = credit.tokens.aside, credit.rewards
    aside = [k for k, segment in enumerate(segments) if apart[segment.start]]
    marked = Marked(segments, edits, drawing.folds[n], code_blocks(segments), aside)
    bounds = drawing.bounds[drawing.unit][n]
    blocks = cell_blocks(marked, bounds, drawing.unit, drawing.scale(n)) if cells else []
    for cell in cells_of(blocks):
        token = segments[cell["start"]].start + 1
        cell["id"] = f"{anchor}t{token}" if token in linked else ""
    return {
        "data": _data(drawing, n, visible(label), marked),
        "label": visible(label),
        "anchor": anchor,
        "credit": credit,
        "extent": extent(credit.tokens),
        "segments": drawing.plain[n] if cells else (),
        "blocks": blocks,
        "parts": cut_at_edits(segments, (0, len(segments)), edits),
        "edit_anchors": {number: f"{anchor}d{number}" for *_, number in edits},
        **writing(credit.tokens.answer),
        "scale": drawing.scale(n),
        "rose": [reward for reward in rewards if reward > 0],
        "fell": [reward for reward in rewards if reward < 0],
    }


def _data(drawing: Drawing, n: int, label: str, marked: Marked) -> dict[str, Any]:
    credit, segments = drawing.credits[n], marked.segments
    counted = credit.tokens.counted
    data: dict[str, Any] = {
        "label": label,
        "weight": credit.weight,
        "noise": {quantity: scales["token"][n].noise for quantity, scales in drawing.scales.items()},
        "limits": {
            quantity: {unit: float(f"{scales[n].limit:.8g}") for unit, scales in of.items()}
            for quantity, of in drawing.scales.items()
        },
        "text": [visible(segment.text or segment.piece) for segment in segments],
        "ends": [k for k, segment in enumerate(segments) if not segment.text],
        "policy": [round(segment.policy_logp, 5) for segment in segments],
        # the log-ratio to six digits, so that rewards near zero keep theirs; the reference follows from the two
        "ratio": [float(f"{segment.policy_logp - segment.reference_logp:.6g}") for segment in segments],
        "edits": marked.edits,
    }
    data |= {unit: [stop - start for start, stop in drawing.bounds[unit][n]] for unit in UNITS if unit != "token"}
    uncounted = [k for k, segment in enumerate(segments) if not counted[segment.start]]
    optional = {"aside": marked.aside, "uncounted": uncounted, "folds": marked.folds, "code": marked.code}
    data |= {name: numbers for name, numbers in optional.items() if numbers}
    if len(segments) < len(credit.rewards):
        data["sizes"] = [segment.stop - segment.start for segment in segments]
    for name, tops in (("policyTop", credit.policy_top), ("referenceTop", credit.reference_top)):
        if tops:
            data[name] = [[(visible(a.piece), round(a.logp, 4)) for a in tops[s.start]] for s in segments]
    return data
