"""How unsure a model is at each position of an answer: the entropy of what it would say there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dpo_credit.credit import Tokens
from dpo_credit.forward.logprobs import BATCH_LOGITS, BATCH_TOKENS, inputs, passes
from dpo_credit.models.pair import Model


@torch.no_grad()
def entropies(model: Model, batch: Sequence[Tokens], budget: int = BATCH_TOKENS) -> list[tuple[float, ...]]:
    """Entropy of the prediction of each answer token, -sum p log p over the vocabulary, before the token is seen.

    Args:
        model: either side of a pair.
        batch: encoded answers.
        budget: padded tokens in one forward pass.

    Returns:
        (T,) nats an answer, in the batch's order.
    """
    found: list[tuple[float, ...]] = [()] * len(batch)
    for picked in passes(batch, budget):
        ids, mask, rows = inputs([batch[i] for i in picked])
        logits = model.logits(ids.to(model.device), mask.to(model.device), rows.to(model.device))
        parts = logits.split(max(1, BATCH_LOGITS // logits.shape[-1]))
        # entr(0) = 0: a token that a model rules out adds nothing
        values = torch.cat([torch.special.entr(part.float().softmax(-1)).sum(-1) for part in parts]).tolist()
        stops = rows.sum(1).cumsum(0).tolist()
        for index, start, stop in zip(picked, [0, *stops], stops, strict=False):
            found[index] = tuple(values[start:stop])
    return found
