"""The logits behind the log-probabilities: of each answer token, with the logsumexp that normalises it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dpo_credit.credit import Tokens
from dpo_credit.forward.logprobs import BATCH_LOGITS, BATCH_TOKENS, inputs, passes
from dpo_credit.models.pair import Model


@torch.no_grad()
def answer_logits(model: Model, batch: Sequence[Tokens]) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """One more pass over a batch: for every answer its tokens' logits (T,) and their normalisers (T,), nats, float32.

    `logit - normaliser` is the token's log-probability, as `Model.score` gives it.
    """
    found: list[tuple[tuple[float, ...], tuple[float, ...]]] = [((), ())] * len(batch)
    for picked in passes(batch, BATCH_TOKENS):
        some = [batch[index] for index in picked]
        ids, mask, rows = (one.to(model.device) for one in inputs(some))
        output = model.logits(ids, mask, rows)
        labels = torch.tensor([token_id for tokens in some for token_id in tokens.answer_ids], device=output.device)
        own, normalisers = [], []
        step = max(1, BATCH_LOGITS // output.shape[-1])
        for part, label in zip(output.split(step), labels.split(step), strict=True):
            exact = part if part.dtype == torch.float64 else part.float()
            own += exact.gather(-1, label[:, None]).squeeze(-1).tolist()
            normalisers += exact.logsumexp(-1).tolist()
        stop = 0
        for index, tokens in zip(picked, some, strict=True):
            start, stop = stop, stop + len(tokens.answer_ids)
            found[index] = tuple(own[start:stop]), tuple(normalisers[start:stop])
    return found
