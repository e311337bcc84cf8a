"""What the views of segments share: where their colours end, and what their numbers are called."""

from __future__ import annotations

from dataclasses import dataclass

from dpo_credit.mdp.credit import PairCredit, Weights
from dpo_credit.views.scale import Scale, limit_of


@dataclass(frozen=True, eq=False)
class Drawn:
    """A pair and, where its rows name pictures, those of each segment's steps, PNG: (L,), or () for none."""

    pair: PairCredit
    chosen: tuple[bytes, ...] = ()
    rejected: tuple[bytes, ...] = ()


def colours_of(pair: PairCredit) -> Scale:
    """One scale for the steps of both segments, of their credit less `PairCredit.middle`."""
    credits = [*pair.chosen.credits, *pair.rejected.credits]
    return Scale(limit_of([float(credit) - pair.middle for credit in credits]))


def weights_of(weights: Weights) -> str:
    """The loss's numbers in words; those that change nothing are left out."""
    facts = [f"alpha {weights.alpha:g}" + " / L, length-normalised: L steps" * weights.length_normalised]
    facts += [f"gamma {weights.gamma:g}"] * (weights.gamma != 1) + [f"bias {weights.bias:g}"] * (weights.bias != 1)
    return ", ".join(facts)
