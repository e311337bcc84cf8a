"""Answers -> packs: unpadded streams of tokens in which each prompt, and each prefix that answers share, comes once.

stream     p0 p1 p2 a0 a1 b1 | q0 q1 c0        answers "a0 a1 x" and "a0 b1 y" to one prompt, "c0 z" to another
positions   0  1  2  3  4  4 |  0  1  2        an answer's last token predicts nothing, so it is left out
end         6  6  6  6  5  6 |  9  9  9        behind the last token that continues it

The answers of a prompt are sorted, so that the stream walks through their trie depth first. What continues a token
then lies in one piece behind it, and a single integer a token says all that attention must know: the token at q sees
the one at k exactly if `k <= q < end[k]`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, pairwise
from operator import itemgetter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpo_credit.credit import Tokens

Integers = NDArray[np.int64]
Padding = Callable[[int, int], int]


@dataclass(frozen=True)
class Tree:
    """Answers to one prompt as a trie of L tokens, the prompt's among them, in the order of a walk depth first.

    `ids`, `positions`, `end` (L,): see above. `predictors`: for each answer, in the order of `answers` (indices of the
    batch), the places that predict each of its tokens.
    """

    prompt: int
    ids: Integers
    positions: Integers
    end: Integers
    answers: tuple[int, ...]
    predictors: tuple[Integers, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def is_chain(self) -> bool:
        """Whether every token simply follows the one before it, as in a single answer."""
        return bool((self.end == len(self)).all())


@dataclass(frozen=True)
class Stream:
    """A pack's N tokens, of which R predict a token of an answer, on one device; at their end perhaps padding.

    `ids`, `positions` (1, N); `end` (N,); `rows` (R,): the predicting places; for all tokens of the pack's answers one
    after the other, `at` is the place in `rows` that predicts each, and `labels` is its id. `needed`: the places whose
    last layer counts, each prompt's last token and all after it. A token of padding sees itself alone. `sees` keeps
    what attention made of `end`.
    """

    ids: Tensor
    positions: Tensor
    end: Tensor
    rows: Tensor
    at: Tensor
    labels: Tensor
    needed: Tensor
    sees: dict[object, object] = field(default_factory=dict, init=False, repr=False, compare=False)

    def to(self, device: torch.device) -> Stream:
        """A copy there; to a GPU while Python goes on."""
        parts = (self.ids, self.positions, self.end, self.rows, self.at, self.labels, self.needed)
        if device.type == "cuda":
            return Stream(*(part.pin_memory().to(device, non_blocking=True) for part in parts))
        return Stream(*(part.to(device) for part in parts))


@dataclass(frozen=True)
class Pack:
    """Trees in one stream; `answers` are indices of the batch, `lengths` the numbers of their tokens."""

    trees: tuple[Tree, ...]
    stream: Stream
    answers: tuple[int, ...]
    lengths: tuple[int, ...]
    _streams: dict[torch.device, Stream] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.stream.end)

    def on(self, device: torch.device) -> Stream:
        """The stream on a device, copied there once."""
        if device not in self._streams:
            self._streams[device] = self.stream.to(device)
        return self._streams[device]


class _Last(threading.local):
    """The packs that this thread made last: the other side of a pair asks for the same."""

    batch: tuple[Tokens, ...] = ()
    asked: tuple[int, Padding | None] = (0, None)
    packs: tuple[Pack, ...] = ()


_last = _Last()


def packs(batch: Sequence[Tokens], budget: int, padded: Padding | None = None) -> tuple[Pack, ...]:
    """All answers of a batch in packs of at most `budget` tokens; an answer longer than that has a pack of its own.

    `padded`: (a pack's length, the budget) -> the length it is padded to.
    """
    same = len(batch) == len(_last.batch) and all(a is b for a, b in zip(batch, _last.batch, strict=True))
    if not same or _last.asked != (budget, padded):
        made = []
        for trees in _filled(_trees(batch, budget), budget):
            length = sum(map(len, trees))
            made.append(_pack(batch, trees, padded(length, budget) - length if padded else 0))
        _last.packs, _last.batch, _last.asked = tuple(made), tuple(batch), (budget, padded)
    return _last.packs


def _filled(trees: Sequence[Tree], budget: int) -> list[list[Tree]]:
    """The trees in packs, the longest first, each in the first pack that has room for it."""
    filled: list[list[Tree]] = []
    room: list[int] = []
    for tree in sorted(trees, key=len, reverse=True):
        number = next((n for n, left in enumerate(room) if len(tree) <= left), len(filled))
        if number == len(filled):
            filled.append([])
            room.append(budget)
        filled[number].append(tree)
        room[number] -= len(tree)
    return filled


def _trees(batch: Sequence[Tokens], budget: int) -> list[Tree]:
    """One tree a prompt; several, each with the prompt again, where its answers are over the budget together."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, tokens in enumerate(batch):
        by_prompt.setdefault(tokens.prompt_ids, []).append(index)
    return [tree for prompt, answers in by_prompt.items() for tree in _trees_of(batch, prompt, answers, budget)]


def _trees_of(batch: Sequence[Tokens], prompt: tuple[int, ...], answers: list[int], budget: int) -> Iterator[Tree]:
    # the last token of an answer predicts nothing
    ordered = sorted(((batch[index].answer_ids[:-1], index) for index in answers), key=itemgetter(0))
    ids = [np.array(answer, dtype=np.int64) for answer, _ in ordered]
    common = [0, *(_common(before, after) for before, after in pairwise(ids))]
    first, length = 0, len(prompt)
    for n, answer in enumerate(ids):
        if n > first and length + len(answer) - common[n] > budget:
            yield _tree(prompt, ids[first:n], common[first:n], [index for _, index in ordered[first:n]])
            first, length, common[n] = n, len(prompt), 0
        length += len(answer) - common[n]
    yield _tree(prompt, ids[first:], common[first:], [index for _, index in ordered[first:]])


def _common(before: Integers, after: Integers) -> int:
    """How many tokens two answers begin with alike."""
    shorter = min(len(before), len(after))
    differ = np.flatnonzero(before[:shorter] != after[:shorter])
    return int(differ[0]) if len(differ) else shorter


def _tree(prompt: tuple[int, ...], ids: list[Integers], common: list[int], answers: list[int]) -> Tree:
    """`ids` are sorted, and `common` says how many tokens each has in common with the one before."""
    start = len(prompt)
    length = start + sum(map(len, ids)) - sum(common)
    end = np.full(length, length, dtype=np.int64)
    path = np.empty(0, dtype=np.int64)  # places of the answer before
    place, predictors = start, []
    for answer, kept in zip(ids, common, strict=True):
        end[path[kept:]] = place
        new = len(answer) - kept
        path = np.concatenate([path[:kept], np.arange(place, place + new)])
        predictors.append(np.concatenate([[start - 1], path]))
        place += new
    return Tree(
        prompt=start,
        ids=np.concatenate([np.array(prompt), *(answer[kept:] for answer, kept in zip(ids, common, strict=True))]),
        positions=np.concatenate(
            [np.arange(start), *(np.arange(start + k, start + len(a)) for a, k in zip(ids, common, strict=True))]
        ),
        end=end,
        answers=tuple(answers),
        predictors=tuple(predictors),
    )


def _pack(batch: Sequence[Tokens], trees: Sequence[Tree], padding: int) -> Pack:
    starts = list(accumulate((len(tree) for tree in trees), initial=0))
    length = starts.pop()
    predictors = [start + path for start, tree in zip(starts, trees, strict=True) for path in tree.predictors]
    rows, at = np.unique(np.concatenate(predictors), return_inverse=True)
    answers = tuple(index for tree in trees for index in tree.answers)
    nothing = np.zeros(padding, dtype=np.int64)
    ends = [start + tree.end for start, tree in zip(starts, trees, strict=True)]
    needed = [np.arange(s + tree.prompt - 1, s + len(tree)) for s, tree in zip(starts, trees, strict=True)]
    stream = Stream(
        ids=torch.from_numpy(np.concatenate([*(tree.ids for tree in trees), nothing]))[None],
        positions=torch.from_numpy(np.concatenate([*(tree.positions for tree in trees), nothing]))[None],
        end=torch.from_numpy(np.concatenate([*ends, np.arange(length + 1, length + padding + 1)])),
        rows=torch.from_numpy(rows),
        at=torch.from_numpy(at.reshape(-1)),
        labels=torch.tensor([token_id for index in answers for token_id in batch[index].answer_ids]),
        needed=torch.from_numpy(np.concatenate(needed)),
    )
    return Pack(tuple(trees), stream, answers, tuple(len(batch[index].answer_ids) for index in answers))
