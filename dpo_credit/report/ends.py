"""The rows at either end of a data set, and why they stand there: what of an answer carries most of a margin."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal

import numpy as np

from dpo_credit.report.figures import Carrier, RowFigures
from dpo_credit.report.words import Place
from dpo_credit.rows.chats import prompt_text
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.text.token_class import CLASSES, TokenClass, token_classes

_CHARACTERS = 100  # of a prompt's beginning


class Ends:
    """The rows with the lowest and the highest values, a few of each."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen = 0
        self._heaps: tuple[list[tuple[float, int, ScoredRow]], list[tuple[float, int, ScoredRow]]] = ([], [])

    def add(self, value: float, row: ScoredRow) -> None:
        """Take a row in."""
        self._seen += 1
        for sign, heap in zip((-1, 1), self._heaps, strict=True):
            item = (sign * value, sign * self._seen, row)  # of equal rows the first are low, and the last high
            if len(heap) < self._count:
                heapq.heappush(heap, item)
            elif self._count and item > heap[0]:
                heapq.heapreplace(heap, item)

    def figures(self) -> tuple[list[RowFigures], list[RowFigures]]:
        """The lowest, ascending, and the highest, descending; of a few rows, either half."""
        low, high = (sorted(heap, reverse=True) for heap in self._heaps)
        low = low[: (self._seen + 1) // 2]
        taken = {-number for _, number, _ in low}
        return (
            [row_figures(row, -value, -1) for value, _, row in low],
            [row_figures(row, value, 1) for value, number, row in high if number not in taken],
        )


def place_of(row: ScoredRow) -> Place:
    """Where a row stands."""
    return Place(row.row.source, row.row.line, row.id)


def row_figures(row: ScoredRow, value: float, sign: int) -> RowFigures:
    """One row with what carries most of its value: most of what is against it for a `sign` of -1, for it for 1."""
    return RowFigures(
        place_of(row), value, [len(credit.rewards) for credit in row.credits], first_words(row.row), _carrier(row, sign)
    )


def first_words(row: Row) -> str:
    """How a row's prompt begins, on one line; of a chat, after its system's turns. Empty where there is none."""
    prompt = row.prompt
    if not isinstance(prompt, str):
        prompt = tuple(message for message in prompt if message.role != "system")
    text = prompt_text(prompt)
    words = " ".join(text[:_CHARACTERS].split())
    return words if len(text) <= _CHARACTERS else (words.rpartition(" ")[0] or words) + "…"


def class_parts(row: ScoredRow, names: Sequence[TokenClass]) -> list[float | None]:
    """What each class of token adds to a row's margin, or mean reward; None where it has no such token."""
    totals, counts = np.zeros(len(CLASSES)), np.zeros(len(CLASSES))
    weights = (1.0, -1.0) if row.kind == "preference" else (1 / len(row.credits),) * len(row.credits)
    for credit, weight in zip(row.credits, weights, strict=True):
        classes = token_classes(credit.tokens)
        totals += weight * np.bincount(classes, credit.rewards, len(CLASSES))
        counts += np.bincount(classes, minlength=len(CLASSES))
    return [float(totals[n]) if counts[n] else None for n in map(CLASSES.index, names)]


def _carrier(row: ScoredRow, sign: int) -> Carrier:
    """The sentence that adds most to the row's value times `sign`; the token, where each answer is one sentence."""
    shares = _shares(row)
    sentences = [sum(bool(unit.text) for unit in credit.by("sentence")) for credit in row.credits]
    unit: Literal["sentence", "token"] = "sentence" if max(sentences) > 1 else "token"
    found: list[Carrier] = []
    for n, (credit, of_segments) in enumerate(zip(row.credits, shares, strict=True)):
        sums = [0.0, *accumulate(of_segments)]
        at = {segment.start: k for k, segment in enumerate(credit.segments)} | {len(credit.rewards): len(of_segments)}
        found += [
            Carrier(unit, n, part.start, part.text or part.piece, sums[at[part.stop]] - sums[at[part.start]])
            for part in credit.by(unit)
        ]
    return max(found, key=lambda carrier: sign * carrier.share)


def _shares(row: ScoredRow) -> list[Sequence[float]]:
    """What each segment of each answer adds: rewards, or of a preference its parts of the margin.

    What both answers share counts with the chosen one, by the difference that it makes; what the rejected answer has
    of its own counts against the margin. So the parts add up to it.
    """
    rewards: list[list[float]] = [[segment.reward for segment in credit.segments] for credit in row.credits]
    if row.kind != "preference":
        return list(rewards)
    chosen, rejected = rewards
    rejected = [-reward for reward in rejected]
    for i, j in row.diff.pairs:
        chosen[i], rejected[j] = chosen[i] + rejected[j], 0.0
    return [chosen, rejected]
