"""KL(pi_ref || pi) of whole answers, from samples of the reference (Rafailov et al. 2024, Eq. 16).

The expected reward under the reference is -beta times it. The log-ratios of sampled tokens are unbiased but noisy. Here
each position adds what its 64 likeliest tokens add exactly, and the sampled token's own log-ratio only where it is none
of them: as unbiased, with less noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, set_seed

from dpo_credit.credit import Tokens
from dpo_credit.decode.batched import generate
from dpo_credit.evaluate.trajectory import Divergence
from dpo_credit.logprobs import BATCH_TOKENS, inputs, passes
from dpo_credit.models import Model

LIKELIEST = 64


@dataclass(frozen=True, slots=True)
class Drawn:
    """Answers drawn from the reference, and what it gave at each of their T positions.

    `likeliest` (T, k) token ids, `logps` (T, k) and `own` (T,) log-probabilities of these and of the drawn token.
    """

    tokens: tuple[Tokens, ...]
    likeliest: tuple[Tensor, ...]
    logps: tuple[Tensor, ...]
    own: tuple[Tensor, ...]


def draw(
    reference: Model,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 128,
    seed: int = 0,
) -> Drawn:
    """One answer of the reference to each prompt, drawn token by token, at most `max_new_tokens` long."""
    set_seed(seed)
    answers = dict(
        generate(
            reference,
            tokenizer,
            prompts,
            max_new_tokens=max_new_tokens,
            do_sample=True,
            top_k=0,
            top_p=1.0,
            temperature=1.0,
        )
    )
    return look(reference, [_tokens(prompts[n], answers[n]) for n in range(len(prompts))])


def look(reference: Model, tokens: Sequence[Tokens]) -> Drawn:
    """What the reference gives at the positions of answers."""
    k = LIKELIEST
    likeliest: list[Tensor] = [torch.empty(0)] * len(tokens)
    logps, own = list(likeliest), list(likeliest)
    for n, rows in _log_probabilities(reference, tokens):
        top = rows.topk(min(k, rows.shape[-1]))
        likeliest[n], logps[n] = top.indices, top.values
        own[n] = _own(rows, tokens[n])
    return Drawn(tuple(tokens), tuple(likeliest), tuple(logps), tuple(own))


def divergence(policy: Model, drawn: Drawn) -> Divergence:
    """KL(pi_ref || pi) in nats an answer, with its standard error over the answers drawn."""
    each = [0.0] * len(drawn.tokens)
    for n, rows in _log_probabilities(policy, drawn.tokens):
        own = torch.tensor(drawn.tokens[n].answer_ids)
        outside = (drawn.likeliest[n] != own[:, None]).all(-1)
        exact = (drawn.logps[n].exp() * (drawn.logps[n] - rows.gather(-1, drawn.likeliest[n]))).sum()
        rest = ((drawn.own[n] - _own(rows, drawn.tokens[n])) * outside).sum()
        each[n] = float(exact + rest)
    mean = math.fsum(each) / len(each)
    spread = math.fsum((one - mean) ** 2 for one in each) / max(1, len(each) - 1)
    return Divergence(mean, math.sqrt(spread / len(each)), len(each))


def _own(rows: Tensor, tokens: Tokens) -> Tensor:
    return rows.gather(-1, torch.tensor(tokens.answer_ids)[:, None])[:, 0]


@torch.no_grad()
def _log_probabilities(model: Model, tokens: Sequence[Tokens]) -> Iterator[tuple[int, Tensor]]:
    """(index of an answer, (T, V) log-probabilities at its positions), in no order."""
    for picked in passes(tokens, BATCH_TOKENS):
        batch = [tokens[n] for n in picked]
        ids, mask, rows = (one.to(model.device) for one in inputs(batch))
        found = model.logits(ids, mask, rows).double().log_softmax(-1).cpu()
        yield from zip(picked, found.split([len(one.answer_ids) for one in batch]), strict=True)


def _tokens(prompt: Sequence[int], answer: Sequence[int]) -> Tokens:
    count = len(answer)
    return Tokens(tuple(prompt), tuple(answer), ("",) * count, ((0, 0),) * count, "")
