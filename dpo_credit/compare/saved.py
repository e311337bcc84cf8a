"""A comparison as the JSON that users keep: `dpo-credit/compare@1`. The types are the schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dpo_credit.compare.comparison import Comparison, Summary
from dpo_credit.estimates.intervals import Correlation
from dpo_credit.segments import Unit

SCHEMA = "dpo-credit/compare@1"
MOST = 1000  # units kept


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """One policy over all rows. `accuracy` is the share of preferences with a margin above 0, `low` and `high` its 95 %
    interval; `margin` and `reward` are means. Null where there are no preferences.
    """

    name: str
    policy: str
    reference: str
    beta: float
    accuracy: float | None
    low: float | None
    high: float | None
    margin: float | None
    reward: float


@dataclass(frozen=True, slots=True)
class RewardModelRecord:
    """An explicit reward model over all rows, likewise; `rewards` has one list a row, one entry an answer."""

    name: str
    accuracy: float | None
    low: float | None
    high: float | None
    margin: float | None
    reward: float
    rewards: list[list[float]]


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """One answer: `rewards` has one list a policy, one entry a token."""

    label: str
    answer: str
    tokens: list[str]
    spans: list[tuple[int, int]]
    rewards: list[list[float]]


@dataclass(frozen=True, slots=True)
class RowRecord:
    """A row's answers; `margins`, one a policy and then one a reward model, of a preference."""

    id: str
    answers: list[AnswerRecord]
    margins: list[float] | None


@dataclass(frozen=True, slots=True)
class DisagreementRecord:
    """A unit of an answer that the policies reward differently: its text and one reward a policy."""

    row: str
    label: str
    text: str
    rewards: list[float]
    range: float


@dataclass(frozen=True, slots=True)
class CompareRecord:
    """Several policies on the same answers.

    `margin_correlations` and `reward_correlations` are Spearman's, of every two, the reward models behind the policies,
    over preferences' margins and answers' rewards; null where one is constant. `disagreements` are the first 1,000
    units, widest range first.
    """

    schema: Literal["dpo-credit/compare@1"]
    policies: list[PolicyRecord]
    reward_models: list[RewardModelRecord]
    unit: Unit
    rows: list[RowRecord]
    margin_correlations: list[list[float | None]]
    reward_correlations: list[list[float | None]]
    disagreements: list[DisagreementRecord]


def record(comparison: Comparison, unit: Unit = "word") -> CompareRecord:
    """The whole comparison, numbers unrounded."""
    margins = iter(zip(*comparison.margins(), strict=True))
    rows = []
    for n, row in enumerate(comparison.rows):
        answers = [
            AnswerRecord(
                label,
                credits[0].tokens.answer,
                list(credits[0].tokens.pieces),
                list(credits[0].tokens.spans),
                [list(credit.rewards) for credit in credits],
            )
            for label, *credits in zip(row.labels, *(its[n] for its in comparison.credits), strict=True)
        ]
        rows.append(RowRecord(row.id, answers, list(next(margins)) if row.kind == "preference" else None))
    sources = [its[0][0].source for its in comparison.credits]
    summaries = comparison.summaries()
    return CompareRecord(
        "dpo-credit/compare@1",
        [
            PolicyRecord(
                summary.name,
                source.policy,
                source.reference,
                credits[0][0].beta,
                *_figures(summary),
            )
            for summary, source, credits in zip(summaries, sources, comparison.credits, strict=False)
        ],
        [
            RewardModelRecord(model.name, *_figures(summary), [list(rewards) for rewards in model.rewards])
            for model, summary in zip(comparison.explicit, summaries[len(sources) :], strict=True)
        ],
        unit,
        rows,
        _values(comparison.correlations("margin")),
        _values(comparison.correlations("reward")),
        [
            DisagreementRecord(
                comparison.rows[each.row].id,
                comparison.rows[each.row].labels[each.answer],
                each.segments[0].text or each.segments[0].piece,
                list(each.rewards),
                each.range,
            )
            for each in comparison.disagreements(unit)[:MOST]
        ],
    )


def _figures(summary: Summary) -> tuple[float | None, float | None, float | None, float | None, float]:
    """Accuracy with its interval, mean margin and mean reward."""
    share = summary.accuracy
    accuracy = (share.share, share.low, share.high) if share else (None, None, None)
    return *accuracy, summary.margin, summary.reward


def _values(matrix: Sequence[Sequence[Correlation | None]]) -> list[list[float | None]]:
    return [[None if each is None else each.value for each in line] for line in matrix]
