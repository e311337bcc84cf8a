"""KL(pi_ref || pi) of whole answers, from samples of the reference (Rafailov et al. 2024, Eq. 16).

The expected reward under the reference is -beta times it. The log-ratios of sampled tokens are unbiased but noisy. Here
each position adds what its 64 likeliest tokens add exactly, and the sampled token's own log-ratio only where it is none
of them: as unbiased, with less noise.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dpo_credit.credit import CreditError, Tokens, not_finite
from dpo_credit.estimates.statistics import numbered
from dpo_credit.models.generate import generate
from dpo_credit.models.side import Distributions, Module, Side, require
from dpo_credit.trajectory.trajectory import Divergence

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
    reference: Side,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 128,
    seed: int = 0,
) -> Drawn:
    """One answer of the reference to each prompt, drawn token by token, at most `max_new_tokens` long.

    What the process draws elsewhere stays as it would have been: a callback must not change the training it watches.
    """
    side = require(reference, Module, "drawing answers (Eq. 16)")
    choice = {"do_sample": True, "top_k": 0, "top_p": 1.0, "temperature": 1.0}
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        answers = dict(generate(side, tokenizer, prompts, max_new_tokens=max_new_tokens, **choice))
    return look(reference, [_tokens(prompts[n], answers[n]) for n in range(len(prompts))])


def look(reference: Side, tokens: Sequence[Tokens]) -> Drawn:
    """What the reference gives at the positions of answers."""
    k = LIKELIEST
    likeliest: list[Tensor] = [torch.empty(0)] * len(tokens)
    logps, own = list(likeliest), list(likeliest)
    for n, rows in _log_probabilities(require(reference, Distributions, "Eq. 16"), tokens):
        top = rows.topk(min(k, rows.shape[-1]))
        likeliest[n], logps[n] = top.indices, top.values
        own[n] = _own(rows, tokens[n])
    return Drawn(tuple(tokens), tuple(likeliest), tuple(logps), tuple(own))


def divergence(policy: Side, drawn: Drawn) -> Divergence:
    """KL(pi_ref || pi) in nats an answer, with its standard error between the prompts of the answers drawn.

    Raises:
        CreditError: the policy has no number for a token that the reference finds likely, or none that is finite.
    """
    each = [0.0] * len(drawn.tokens)
    for n, rows in _log_probabilities(require(policy, Distributions, "Eq. 16"), drawn.tokens):
        own = torch.tensor(drawn.tokens[n].answer_ids)
        if (furthest := max(int(drawn.likeliest[n].max()), int(own.max()))) >= rows.shape[-1]:
            raise CreditError(
                f"policy {policy.name} has {rows.shape[-1]} vocabulary entries, but the reference may say token "
                f"{furthest}: Eq. 16 needs one vocabulary. Name the SFT model that it was trained from, or leave "
                "Eq. 16 out with --samples 0."
            )
        outside = (drawn.likeliest[n] != own[:, None]).all(-1)
        exact = (drawn.logps[n].exp() * (drawn.logps[n] - rows.gather(-1, drawn.likeliest[n]))).sum()
        rest = ((drawn.own[n] - _own(rows, drawn.tokens[n])) * outside).sum()
        each[n] = float(exact + rest)
        if not math.isfinite(each[n]):
            raise not_finite(f"the policy's KL from an answer drawn from the reference is {each[n]}", policy.dtype)
    mean = math.fsum(each) / len(each)
    prompts = numbered([tokens.shared_prompt or n for n, tokens in enumerate(drawn.tokens)])
    beyond = np.bincount(prompts, [value - mean for value in each])  # of each prompt, see `estimates.intervals`
    count = len(beyond)
    error = math.sqrt(count / max(1, count - 1) * float(beyond @ beyond)) / len(each)
    return Divergence(mean, error, len(each), _hash(drawn), count)


def _hash(drawn: Drawn) -> str:
    ids = json.dumps([[answer.prompt_ids, answer.answer_ids] for answer in drawn.tokens])
    return hashlib.sha256(ids.encode()).hexdigest()[:16]


def _own(rows: Tensor, tokens: Tokens) -> Tensor:
    return rows.gather(-1, torch.tensor(tokens.answer_ids)[:, None])[:, 0]


def _log_probabilities(side: Distributions, answers: Sequence[Tokens]) -> Iterator[tuple[int, Tensor]]:
    """(index of an answer, (T, V) log-probabilities at its positions, float64), in no order."""
    for index, (logps,) in side.per_token(answers, lambda logits, labels: (logits.double().log_softmax(-1),)):
        yield index, logps


def _tokens(prompt: Sequence[int], answer: Sequence[int]) -> Tokens:
    count = len(answer)
    return Tokens(tuple(prompt), tuple(answer), ("",) * count, ((0, 0),) * count, "")
