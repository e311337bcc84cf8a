"""What several policies gave the same answers: where they disagree, and how far they agree over a data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dpo_credit.credit import Credit, margin
from dpo_credit.estimates.intervals import Correlation, Prompts, Share, correlation, wilson
from dpo_credit.rows.records import Row
from dpo_credit.segments import Segment, Unit

Answers = tuple[Credit, ...]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A unit of an answer, such as a word, under every policy: `row` and `answer` say which answer it is of.

    `segments` have its reward under each policy, in their order; they differ in their numbers only.
    """

    row: int
    answer: int
    segments: tuple[Segment, ...]

    @property
    def rewards(self) -> tuple[float, ...]:
        return tuple(segment.reward for segment in self.segments)

    @property
    def range(self) -> float:
        """Its highest reward less its lowest."""
        return max(self.rewards) - min(self.rewards)


@dataclass(frozen=True, slots=True)
class Summary:
    """One policy, or reward model, over all rows.

    `accuracy` and `margin` (a mean) are of preferences, None where there is none: `accuracy` is the share whose margin
    is above 0, with Wilson's 95 % interval for as many draws as there are prompts. `reward` is the mean of all
    answers'. A reward model has no `beta`.
    """

    name: str
    beta: float | None
    accuracy: Share | None
    margin: float | None
    reward: float


@dataclass(frozen=True, slots=True)
class Explicit:
    """An explicit reward model, whose rewards are of whole answers: for each row, one an answer."""

    name: str
    rewards: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Policies and rows, and `credits`: for each policy, for each row, one an answer. Tokens are the same for all.

    `explicit`: reward models of whole answers, which stand behind the policies in figures that need no tokens.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    credits: tuple[tuple[Answers, ...], ...]
    explicit: tuple[Explicit, ...] = ()

    @property
    def everyone(self) -> tuple[str, ...]:
        """The policies' names, then the reward models'."""
        return (*self.names, *(model.name for model in self.explicit))

    def disagreements(self, unit: Unit = "word") -> list[Disagreement]:
        """Every unit of every answer, those first whose rewards range widest over the policies."""
        units = [
            Disagreement(row, answer, segments)
            for row, policies in enumerate(zip(*self.credits, strict=True))
            for answer, credits in enumerate(zip(*policies, strict=True))
            for segments in zip(*(credit.by(unit) for credit in credits), strict=True)
        ]
        return sorted(units, key=lambda each: -each.range)

    def margins(self) -> list[list[float]]:
        """For each policy and reward model, the margin of each preference."""
        kept = [n for n, row in enumerate(self.rows) if row.kind == "preference"]
        return [
            *([margin(*its[n]) for n in kept] for its in self.credits),
            *([model.rewards[n][0] - model.rewards[n][1] for n in kept] for model in self.explicit),
        ]

    def rewards(self) -> list[list[float]]:
        """For each policy and reward model, the reward of each answer."""
        return [
            *([credit.reward for answers in its for credit in answers] for its in self.credits),
            *([reward for rewards in model.rewards for reward in rewards] for model in self.explicit),
        ]

    def summaries(self) -> list[Summary]:
        """Each policy, and each reward model, by itself."""
        prompts = self._prompts([n for n, row in enumerate(self.rows) if row.kind == "preference"])
        betas = [*(its[0][0].beta for its in self.credits), *(None for _ in self.explicit)]
        return [
            Summary(
                name,
                beta,
                _share(margins, prompts) if margins else None,
                math.fsum(margins) / len(margins) if margins else None,
                math.fsum(rewards) / len(rewards),
            )
            for name, beta, margins, rewards in zip(self.everyone, betas, self.margins(), self.rewards(), strict=True)
        ]

    def correlations(self, quantity: str = "margin") -> list[list[Correlation | None]]:
        """Spearman's rank correlation of every two (`everyone`) over preferences' margins, or answers' rewards.

        None where one of them is constant, or there are fewer than two. See `intervals.correlation` for the interval.

        Args:
            quantity: "margin" or "reward".
        """
        values = [np.asarray(its) for its in (self.margins() if quantity == "margin" else self.rewards())]
        rows = [n for n, row in enumerate(self.rows) if quantity == "reward" or row.kind == "preference"]
        if not rows:
            return [[None] * len(values) for _ in values]
        prompts = self._prompts(rows)
        return [[correlation(x, y, len(rows), prompts, ranked=True) for y in values] for x in values]

    def agreements(self) -> list[tuple[str, list[list[Correlation | None]]]]:
        """Margins and rewards with their `correlations`, where there are any; none of a single row."""
        if len(self.rows) == 1:
            return []
        both = [(quantity, self.correlations(quantity)) for quantity in ("margin", "reward")]
        return [
            (quantity, matrix)
            for quantity, matrix in both
            if any(each for n, line in enumerate(matrix) for each in line[:n])
        ]

    def _prompts(self, rows: Sequence[int]) -> int:
        prompts = Prompts()
        for n in rows:
            prompts.group(self.credits[0][n][0].tokens.shared_prompt)
        return prompts.count if rows else 0


def _share(margins: Sequence[float], prompts: int) -> Share:
    hits, count = sum(value > 0 for value in margins), len(margins)
    if prompts == 1 < count:
        return Share(hits / count, None, None, hits, count)
    return wilson(hits, count, prompts)
