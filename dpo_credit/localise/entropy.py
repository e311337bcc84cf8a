"""How unsure a model is at each position of an answer: the entropy of what it would say there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dpo_credit.credit import Tokens
from dpo_credit.models.side import Distributions


def entropies(side: Distributions, batch: Sequence[Tokens]) -> list[tuple[float, ...]]:
    """Entropy of the prediction of each answer token, -sum p log p over the vocabulary, before the token is seen.

    Args:
        side: either side of a pair.
        batch: encoded answers.

    Returns:
        (T,) nats an answer, in the batch's order.
    """
    values: list[tuple[float, ...]] = [()] * len(batch)
    for index, (entropy,) in side.per_token(batch, _entropy):
        values[index] = tuple(entropy.tolist())
    return values


def _entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    # entr(0) = 0: a token that a model rules out adds nothing
    return (torch.special.entr(logits.float().softmax(-1)).sum(-1),)
