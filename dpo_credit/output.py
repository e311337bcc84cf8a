"""Credits -> the JSON that users keep: one record a scored answer, a preference or a list. The types are the schema.

`make schema` writes `schema.json` from these types; a test holds the two together.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dpo_credit.credit import Alternative, Credit, margin, preference_probability
from dpo_credit.records import Row


@dataclass(frozen=True, slots=True)
class AlternativeRecord:
    """A token that a model preferred at a position, and its log-probability in nats."""

    token: str
    logp: float


@dataclass(frozen=True, slots=True)
class CreditRecord:
    """One scored answer. Log-probabilities are in nats; every list but `notes` has one entry a token.

    `spans` are [start, end) characters of `answer`; `rewards` = beta * (policy_logps - reference_logps) (Eq. 11) and
    `reward` is their sum; `noise` is the reward below which numerical error decides (0 for float32); `eos` says where
    the end token came from.
    """

    schema: Literal["dpo-credit/credit@1"]
    id: str
    answer: str
    policy: str
    reference: str
    beta: float
    eos: Literal["appended", "template", "in-text", "none"]
    dtype: str
    token_ids: list[int]
    tokens: list[str]
    spans: list[tuple[int, int]]
    policy_logps: list[float]
    reference_logps: list[float]
    rewards: list[float]
    reward: float
    policy_logp: float
    reference_logp: float
    prompt_tokens: int
    noise: float
    notes: list[str]
    policy_top: list[list[AlternativeRecord]] | None = None
    reference_top: list[list[AlternativeRecord]] | None = None


@dataclass(frozen=True, slots=True)
class PreferenceRecord:
    """Two answers to one prompt: `margin` is DPO's logit, `preference_probability` its sigmoid (Eq. 8)."""

    id: str
    chosen: CreditRecord
    rejected: CreditRecord
    margin: float
    preference_probability: float


@dataclass(frozen=True, slots=True)
class ListRecord:
    """Several answers to one prompt, in the order they came."""

    id: str
    completions: list[CreditRecord]


def credit_record(credit: Credit) -> CreditRecord:
    """One answer's record, numbers unrounded."""
    tokens, source = credit.tokens, credit.source
    return CreditRecord(
        schema="dpo-credit/credit@1",
        id=credit.id,
        answer=tokens.answer,
        policy=source.policy,
        reference=source.reference,
        beta=credit.beta,
        eos=tokens.end,  # type: ignore[arg-type]
        dtype=source.dtype,
        token_ids=list(tokens.answer_ids),
        tokens=list(tokens.pieces),
        spans=list(tokens.spans),
        policy_logps=list(credit.policy_logps),
        reference_logps=list(credit.reference_logps),
        rewards=list(credit.rewards),
        reward=credit.reward,
        policy_logp=credit.policy_logp,
        reference_logp=credit.reference_logp,
        prompt_tokens=len(tokens.prompt_ids),
        noise=credit.noise,
        notes=list(tokens.notes),
        policy_top=_top(credit.policy_top),
        reference_top=_top(credit.reference_top),
    )


def row_record(row: Row, credits: tuple[Credit, ...]) -> CreditRecord | PreferenceRecord | ListRecord:
    """A scored row's record.

    Raises:
        CreditError: the two answers of a preference do not compare.
    """
    records = [credit_record(credit) for credit in credits]
    if row.kind == "single":
        return records[0]
    if row.kind == "list":
        return ListRecord(row.id, records)
    logit = margin(credits[0], credits[1])
    return PreferenceRecord(row.id, records[0], records[1], logit, preference_probability(logit))


def to_json(row: Row, credits: tuple[Credit, ...]) -> str:
    """One line of JSON. The row's other columns follow the record's; one of the same name becomes `input_<name>`."""
    record: dict[str, Any] = asdict(row_record(row, credits), dict_factory=_without_unasked)
    for name, value in row.columns.items():
        record[f"input_{name}" if name in record else name] = value
    line = json.dumps(record, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # a passed-through column holds half a surrogate pair, which only an escape can carry
        line = json.dumps(record)
    return line


def _without_unasked(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def _top(top: tuple[tuple[Alternative, ...], ...]) -> list[list[AlternativeRecord]] | None:
    return [[AlternativeRecord(*alternative) for alternative in position] for position in top] or None
