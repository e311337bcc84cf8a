"""What training changed at each position: the logits of both sides, a bounded number of tokens at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor

from dpo_credit.credit import CreditError, Tokens
from dpo_credit.models.side import Distributions, Side, require
from dpo_credit.shift import Shift

TOKENS = 256  # of answers whose logits are held at a time: 128 MiB a side for a vocabulary of 128,000
ROWS = 32  # of these, compared in float64 at a time
_Part = tuple[int, Tokens]  # which answer, and some of its tokens after all before them


def shifts(policy: Side, reference: Side, batch: Sequence[Tokens], tokens: int = TOKENS) -> list[Shift]:
    """What training changed at each token of some answers.

    Equals, with p and q the softmax of both sides' logits in float64, sum(p * log(p / q)), sum(q * log(q / p)),
    -sum(p * log p), -sum(q * log q), and 1 + the number of logits above the token's own. Vocabularies padded to
    different sizes are compared over the entries that both have.

    Args:
        policy: whatever stands before the model is taken off, part by part: sides in turn are never held together.
        reference: likewise.
        batch: encoded answers.
        tokens: of answers whose logits are held at a time.

    Raises:
        CreditError: a side gives no logits, or one rules out what the other does not, so that a divergence is infinite.
    """
    columns: list[list[Tensor]] = [[] for _ in batch]
    for group in _groups(batch, tokens):
        parts = [part for _, part in group]
        ours = _logits(require(policy, Distributions, "--show"), parts)
        theirs = _logits(require(reference, Distributions, "--show"), parts)
        for (index, part), p, q in zip(group, ours, theirs, strict=True):
            columns[index].append(_compared(p, q, torch.tensor(part.answer_ids)))
    return [_shift(torch.cat(parts, 1)) for parts in columns]


def _groups(batch: Sequence[Tokens], tokens: int) -> Iterator[list[_Part]]:
    """Answers in parts, so many tokens together; what comes before a part of an answer becomes its prompt."""
    group: list[_Part] = []
    room = tokens
    for index, answer in enumerate(batch):
        start, length = 0, len(answer.answer_ids)
        while start < length:
            stop = min(length, start + room)
            group.append((index, _part(answer, start, stop)))
            room -= stop - start
            start = stop
            if not room:
                yield group
                group, room = [], tokens
    if group:
        yield group


def _part(tokens: Tokens, start: int, stop: int) -> Tokens:
    return replace(
        tokens,
        prompt_ids=tokens.prompt_ids + tokens.answer_ids[:start],
        answer_ids=tokens.answer_ids[start:stop],
        pieces=tokens.pieces[start:stop],
        spans=tokens.spans[start:stop],
        roles=tokens.roles[start:stop],
    )


def _logits(side: Distributions, batch: Sequence[Tokens]) -> list[Tensor]:
    """(T, V) logits of each answer, on the CPU."""
    known = {index: logits for index, (logits,) in side.per_token(batch, lambda logits, _: (logits,))}
    return [known[index] for index in range(len(batch))]


def _compared(ours: Tensor, theirs: Tensor, ids: Tensor) -> Tensor:
    """(T, V), (T, V'), (T,) -> (6, T), in the order of the fields of a `Shift`."""
    size = min(ours.shape[1], theirs.shape[1])
    rows = zip(ours[:, :size].split(ROWS), theirs[:, :size].split(ROWS), ids.split(ROWS), strict=True)
    return torch.cat([_numbers(p.double().log_softmax(-1), q.double().log_softmax(-1), own) for p, q, own in rows], 1)


def _numbers(p: Tensor, q: Tensor, ids: Tensor) -> Tensor:
    return torch.stack([_kl(p, q), _kl(q, p), _entropy(p), _entropy(q), _rank(p, ids), _rank(q, ids)])


def _kl(p: Tensor, q: Tensor) -> Tensor:
    # what p rules out adds nothing; rounding may leave equal distributions a hair below zero
    return torch.where(p.isneginf(), 0.0, p.exp() * (p - q)).sum(-1).clamp(min=0.0)


def _entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p.exp()).sum(-1)


def _rank(p: Tensor, ids: Tensor) -> Tensor:
    return 1.0 + (p > p.gather(-1, ids[:, None])).sum(-1)


def _shift(columns: Tensor) -> Shift:
    if not columns.isfinite().all():
        position = int((~columns.isfinite()).any(0).nonzero()[0])
        raise CreditError(
            f"--show: a divergence is infinite at answer token {position + 1}: one model rules out a token that the "
            "other may say. Leave --show out."
        )
    numbers = dict(zip((field.name for field in fields(Shift)), columns.tolist(), strict=True))
    ranks = {name: tuple(map(int, numbers.pop(name))) for name in ("policy_rank", "reference_rank")}
    return Shift(**{name: tuple(values) for name, values in numbers.items()}, **ranks)
