"""A pair of segments as two answers of steps, which is what a trajectory of checkpoints and its views are made of."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from dpo_credit.credit import Credit, CreditError, Source, Tokens
from dpo_credit.mdp.credit import PairCredit, SegmentCredit

_NUMBER = re.compile(r"\d+")


def action_name(segment: SegmentCredit, t: int, names: Sequence[str] = ()) -> str:
    """What views call the action of a step: its name or its number, or its numbers to two decimals."""
    if segment.discrete:
        action = int(segment.actions[t])
        return names[action] if action < len(names) else str(action)
    return f"({', '.join(f'{number:+.2f}' for number in segment.actions[t])})".replace("-", "−")


def as_credits(pair: PairCredit) -> tuple[Credit, Credit]:
    """The chosen and the rejected segment as `Credit`, each step a token such as "3:up".

    Their rewards are `SegmentCredit.credits` with alpha for beta: with a discount, log-probabilities are discounted
    instead. Without a reference its log-probabilities are 0.
    """
    source = Source(pair.policy, pair.reference or "none", "float64")
    chosen = _credit(pair, pair.chosen, f"{pair.id}/chosen", 0, source)
    return chosen, _credit(pair, pair.rejected, f"{pair.id}/rejected", len(chosen.rewards), source)


def _credit(pair: PairCredit, segment: SegmentCredit, credit_id: str, first: int, source: Source) -> Credit:
    """`first` numbers the steps, so that none of a pair counts as shared: the states that they are in may differ."""
    steps = len(segment.policy_logps)
    pieces = [f" {t}:{action_name(segment, t, pair.action_names)}"[not t :] for t in range(steps)]
    ends = [0]
    for piece in pieces:
        ends.append(ends[-1] + len(piece))
    spans = tuple(pairwise(ends))
    tokens = Tokens((), tuple(range(first, first + steps)), tuple(pieces), spans, "".join(pieces))
    discounts = segment.weights.gamma ** np.arange(steps)
    reference = np.zeros(steps) if segment.reference_logps is None else segment.reference_logps
    return Credit(
        tokens,
        tuple((discounts * segment.policy_logps).tolist()),
        tuple((discounts * reference).tolist()),
        segment.weights.alpha,
        source,
        credit_id,
        length_normalised=segment.weights.length_normalised,
    )


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights of a training, and the step that they are from."""

    step: int
    path: str


def checkpoints(pattern: str) -> list[Checkpoint]:
    """The files of a pattern, by the last number in each name; where not all have one of their own, in their order.

    Raises:
        CreditError: there is none.
    """
    paths = sorted(glob.glob(pattern, recursive=True))
    if not paths:
        raise CreditError(f"--checkpoints {pattern} names no file. Give a pattern in quotes, 'run/step-*.safetensors'.")
    numbers = [_NUMBER.findall(Path(path).stem)[-1:] for path in paths]
    steps = [int(number[0]) for number in numbers if number]
    if len(set(steps)) < len(paths):
        steps = list(range(1, len(paths) + 1))
    return sorted((Checkpoint(*pair) for pair in zip(steps, paths, strict=True)), key=lambda at: at.step)
