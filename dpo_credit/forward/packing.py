"""Answers -> packs: unpadded streams of tokens in which each prompt, and each prefix that answers share, comes once.

stream     p0 p1 p2 a0 a1 b1 | q0 q1 c0        answers "a0 a1 x" and "a0 b1 y" to one prompt, "c0 z" to another
positions   0  1  2  3  4  4 |  0  1  2        an answer's last token predicts nothing, so it is left out
sees          all before it in its own sequence: b1 sees p0 p1 p2 a0 b1
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dpo_credit.credit import Tokens

_PROMPT = -1  # in place of a node: the prompt's last token


@dataclass(frozen=True)
class Tree:
    """Answers to one prompt as a trie of S tokens, a parent before its children.

    `parents` (S,): the node before each, -1 for the prompt's last token. `predictors`: for each answer, in the order of
    `answers` (indices of the batch), the node that predicts each of its tokens, -1 for the prompt's last.
    """

    prompt_ids: tuple[int, ...]
    answers: tuple[int, ...]
    ids: tuple[int, ...]
    parents: tuple[int, ...]
    depths: tuple[int, ...]
    predictors: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.ids)

    @property
    def is_chain(self) -> bool:
        """Whether every token simply follows the one before it, as in a single answer."""
        return all(parent == node - 1 for node, parent in enumerate(self.parents))

    @cached_property
    def bias(self) -> Tensor:
        """(S + 1, P + S): 0 where the prompt's last token (row 0) and each node look, -inf where they do not."""
        prompt, nodes = len(self.prompt_ids), len(self.ids)
        sees = torch.zeros(nodes + 1, prompt + nodes, dtype=torch.bool)
        sees[:, :prompt] = True
        for node, parent in enumerate(self.parents):
            if parent != _PROMPT:
                sees[node + 1, prompt : prompt + node] = sees[parent + 1, prompt : prompt + node]
            sees[node + 1, prompt + node] = True
        return torch.zeros(sees.shape).masked_fill_(~sees, -torch.inf)


@dataclass(frozen=True)
class Pack:
    """Trees in one stream of N tokens, of which R predict a token of an answer.

    `ids`, `positions` (1, N); `rows` (R,): the predicting places of the stream; for all tokens of `answers` (indices
    of the batch) one after the other, `at` is the place in `rows` that predicts each, and `labels` is its id.
    """

    trees: tuple[Tree, ...]
    ids: Tensor
    positions: Tensor
    rows: Tensor
    at: Tensor
    labels: Tensor
    answers: tuple[int, ...]
    lengths: tuple[int, ...]


def packs(batch: Sequence[Tokens], budget: int) -> Iterator[Pack]:
    """All answers of a batch in packs of at most `budget` tokens; an answer longer than that has a pack of its own."""
    current: list[Tree] = []
    for tree in _trees(batch, budget):
        if current and sum(map(len, current)) + len(tree) > budget:
            yield _pack(batch, current)
            current = []
        current.append(tree)
    if current:
        yield _pack(batch, current)


def _trees(batch: Sequence[Tokens], budget: int) -> Iterator[Tree]:
    """One tree a prompt; several, each with the prompt again, where its answers are over the budget together."""
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for index, tokens in enumerate(batch):
        by_prompt.setdefault(tokens.prompt_ids, []).append(index)
    for prompt_ids, answers in by_prompt.items():
        taken: list[int] = []
        length = len(prompt_ids)
        for index in answers:
            count = len(batch[index].answer_ids)
            if taken and length + count > budget:
                yield _tree(batch, taken)
                taken, length = [], len(prompt_ids)
            taken.append(index)
            length += count
        yield _tree(batch, taken)


def _tree(batch: Sequence[Tokens], answers: Sequence[int]) -> Tree:
    ids: list[int] = []
    parents: list[int] = []
    depths: list[int] = []
    children: dict[tuple[int, int], int] = {}
    predictors = []
    for index in answers:
        node, path = _PROMPT, [_PROMPT]
        for depth, token_id in enumerate(batch[index].answer_ids[:-1]):
            child = children.setdefault((node, token_id), len(ids))
            if child == len(ids):
                ids.append(token_id)
                parents.append(node)
                depths.append(depth)
            path.append(node := child)
        predictors.append(tuple(path))
    prompt_ids = batch[answers[0]].prompt_ids
    return Tree(prompt_ids, tuple(answers), tuple(ids), tuple(parents), tuple(depths), tuple(predictors))


def _pack(batch: Sequence[Tokens], trees: Sequence[Tree]) -> Pack:
    ids: list[int] = []
    positions: list[int] = []
    places: dict[int, int] = {}
    at: list[int] = []
    labels: list[int] = []
    for tree in trees:
        prompt = len(tree.prompt_ids)
        first = len(ids) + prompt  # the place of the tree's node 0; its prompt's last token is the one before
        ids += (*tree.prompt_ids, *tree.ids)
        positions += (*range(prompt), *(prompt + depth for depth in tree.depths))
        for index, predictors in zip(tree.answers, tree.predictors, strict=True):
            at += [places.setdefault(first + node, len(places)) for node in predictors]
            labels += batch[index].answer_ids
    answers = tuple(index for tree in trees for index in tree.answers)
    return Pack(
        trees=tuple(trees),
        ids=torch.tensor([ids]),
        positions=torch.tensor([positions]),
        rows=torch.tensor(list(places)),
        at=torch.tensor(at),
        labels=torch.tensor(labels),
        answers=answers,
        lengths=tuple(len(batch[index].answer_ids) for index in answers),
    )
