"""Pairs of segments in figures: how often the policy prefers what was preferred, and by how much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dpo_credit.estimates.intervals import Mean, Share, mean_by_prompt, wilson
from dpo_credit.mdp.credit import PairCredit
from dpo_credit.rows.aside import BadRow


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over pairs with 95 % intervals; `loss` is CPL's, the mean of -log P (Hejna et al. 2024, Eq. 6).

    `lengths` is how many pairs have segments of different lengths, whose sums are of different numbers of steps.
    """

    pairs: int
    accuracy: Share
    chosen: Mean
    rejected: Mean
    margin: Mean
    loss: Mean
    lengths: int


def summary_of(pairs: Sequence[PairCredit]) -> Summary:
    """The figures of at least one pair."""
    each = np.arange(len(pairs))

    def mean(value: Callable[[PairCredit], float]) -> Mean:
        return mean_by_prompt([value(pair) for pair in pairs], each)

    return Summary(
        pairs=len(pairs),
        accuracy=wilson(sum(pair.margin > 0 for pair in pairs), len(pairs)),
        chosen=mean(lambda pair: pair.chosen.credit),
        rejected=mean(lambda pair: pair.rejected.credit),
        margin=mean(lambda pair: pair.margin),
        loss=mean(lambda pair: float(np.logaddexp(0.0, -pair.logit))),
        lengths=sum(len(pair.chosen.actions) != len(pair.rejected.actions) for pair in pairs),
    )


def record(pairs: Sequence[PairCredit], set_aside: Sequence[BadRow] = ()) -> dict[str, Any]:
    """The figures as JSON."""
    first = pairs[0]
    return {
        "schema": "dpo-credit/mdp-figures@1",
        "policy": first.policy,
        "reference": first.reference or None,
        **asdict(first.weights),
        **asdict(summary_of(pairs)),
        "set_aside": [asdict(row) for row in set_aside],
    }
