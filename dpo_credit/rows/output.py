"""Credits -> the JSON that users keep: one record a scored answer, a preference or a list. The types are the schema.

`make schema` writes `schema.json` from these types; a test holds the two together.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as dataclass_fields
from itertools import zip_longest
from typing import Any, Literal

from dpo_credit.credit import Alternative, Credit, margin, preference_probability
from dpo_credit.optimal import OptimalValues
from dpo_credit.rows.scored import ScoredRow


@dataclass(frozen=True, slots=True)
class AlternativeRecord:
    """A token that a model preferred at a position, and its log-probability in nats."""

    token: str
    logp: float


@dataclass(frozen=True, slots=True)
class OptimalValuesRecord:
    """The policy as a Q-function: `q` = beta * logit, `v` = beta * logsumexp, `advantage` = their difference.

    One entry a token; `q` and `v` up to a constant of each state, which the model's own logits fix (Eqs. 5, 6).
    """

    q: list[float]
    v: list[float]
    advantage: list[float]


@dataclass(frozen=True, slots=True)
class CreditRecord:
    """One scored answer. Log-probabilities are in nats; every list but `notes` has one entry a token.

    `spans` are [start, end) characters of `answer`; `rewards` = beta * (policy_logps - reference_logps) (Eq. 11),
    divided by the number of tokens if `length_normalised`, and `reward` is their sum; `noise` is the reward below which
    numerical error decides (0 for float32); `eos` says where the end token came from. `prompt_hash` tells the prompt
    from others: 16 hex digits of BLAKE2b over its token ids, each in 8 bytes, little-endian.
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
    length_normalised: bool
    notes: list[str]
    prompt_hash: str | None = None
    policy_top: list[list[AlternativeRecord]] | None = None
    reference_top: list[list[AlternativeRecord]] | None = None
    optimal_values: OptimalValuesRecord | None = None


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


@dataclass(frozen=True, slots=True)
class EditRecord:
    """One edit: [start, end) characters, texts and summed rewards on both sides; `delta` is its share of the margin."""

    chosen_span: tuple[int, int]
    rejected_span: tuple[int, int]
    chosen_text: str
    rejected_text: str
    chosen_reward: float
    rejected_reward: float
    delta: float


@dataclass(frozen=True, slots=True)
class EchoRecord:
    """How far the untouched tokens after the first edit moved, and the signed sum over all untouched ones."""

    mean_abs: float
    max_abs: float
    sum: float


@dataclass(frozen=True, slots=True)
class DiffRecord:
    """Two answers to one prompt, aligned: `margin` = the sum of the edits' deltas + `echo.sum`."""

    schema: Literal["dpo-credit/diff@1"]
    id: str
    chosen: CreditRecord
    rejected: CreditRecord
    edits: list[EditRecord]
    echo: EchoRecord
    margin: float
    preference_probability: float


Record = CreditRecord | PreferenceRecord | ListRecord | DiffRecord


def credit_record(credit: Credit, values: OptimalValues | None = None) -> CreditRecord:
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
        length_normalised=credit.length_normalised,
        notes=list(tokens.notes),
        prompt_hash=tokens.prompt_hash,
        policy_top=_top(credit.policy_top),
        reference_top=_top(credit.reference_top),
        optimal_values=_optimal(values) if values else None,
    )


def row_record(scored: ScoredRow) -> CreditRecord | PreferenceRecord | ListRecord:
    """A scored row's record, with the answers' optimal values where there are any.

    Raises:
        CreditError: the two answers of a preference do not compare.
    """
    records = [credit_record(credit, values) for credit, values in zip_longest(scored.credits, scored.values)]
    if scored.kind == "single":
        return records[0]
    if scored.kind == "list":
        return ListRecord(scored.id, records)
    logit = margin(*scored.credits)
    return PreferenceRecord(scored.id, records[0], records[1], logit, preference_probability(logit))


def diff_record(scored: ScoredRow) -> DiffRecord:
    """The record of a row's two answers aligned, numbers unrounded.

    Raises:
        CreditError: they do not compare.
    """
    diff = scored.diff
    return DiffRecord(
        schema="dpo-credit/diff@1",
        id=scored.id,
        chosen=credit_record(diff.chosen),
        rejected=credit_record(diff.rejected),
        edits=[
            EditRecord(
                edit.chosen_span,
                edit.rejected_span,
                edit.chosen_text,
                edit.rejected_text,
                edit.chosen_reward,
                edit.rejected_reward,
                edit.delta,
            )
            for edit in diff.edits
        ],
        echo=EchoRecord(diff.echo_mean_abs, diff.echo_max_abs, math.fsum(diff.echo)),
        margin=diff.margin,
        preference_probability=diff.preference_probability,
    )


def to_json(record: Record, columns: Mapping[str, Any] | None = None) -> str:
    """One line of JSON. A row's other columns follow the record's; one of the same name becomes `input_<name>`."""
    fields: dict[str, Any] = asdict(record, dict_factory=_without_unasked)
    taken = {field.name for field in dataclass_fields(record)}  # `policy_top` too, where it was not asked for
    for name, value in sorted((columns or {}).items(), key=lambda column: column[0] in taken):
        while name in taken or name in fields:
            name = f"input_{name}"
        fields[name] = value
    return json_line(fields)


def json_line(fields: dict[str, Any]) -> str:
    """One line of JSON that UTF-8 can carry."""
    line = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # a passed-through column holds half a surrogate pair, which only an escape can carry
        line = json.dumps(fields)
    return line


def _without_unasked(items: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in items if value is not None}


def _optimal(values: OptimalValues) -> OptimalValuesRecord:
    return OptimalValuesRecord(list(values.q), list(values.v), list(values.advantage))


def _top(top: tuple[tuple[Alternative, ...], ...]) -> list[list[AlternativeRecord]] | None:
    return [[AlternativeRecord(*alternative) for alternative in position] for position in top] or None
