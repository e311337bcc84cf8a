"""Scored rows -> the JSON that users keep: each row as it was given, with its credit. The types are the schema.

`make schema` writes `schema.json` from these types; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from itertools import zip_longest
from typing import Any, Literal

from dpo_credit.credit import Alternative, Credit, margin, preference_probability
from dpo_credit.optimal import OptimalValues
from dpo_credit.rows.aligned import (
    AlignedRecord,
    EchoRecord,
    EditRecord,
    aligned_records,
    echo_record,
    edit_records,
)
from dpo_credit.rows.chats import answer_json, as_json
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.shift import Shift


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
class ShiftRecord:
    """What training changed at each token: whole distributions over the next token compared, in nats.

    `kl` = KL(policy || reference), `reverse_kl` = KL(reference || policy); a rank is 1 + the number of tokens that the
    model finds likelier than the answer's own.
    """

    kl: list[float]
    reverse_kl: list[float]
    policy_entropy: list[float]
    reference_entropy: list[float]
    policy_rank: list[int]
    reference_rank: list[int]


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """One scored answer. Log-probabilities are in nats; every list but `notes` has one entry a token.

    `label` is what the row calls it, such as "chosen"; `answer` is its text, `spans` are [start, end) characters of it;
    `rewards` = beta * (policy_logps - reference_logps) (Eq. 11), divided by their number if `length_normalised`, and
    `reward` is their sum; `noise` is the reward below which numerical error decides (0 for float32); `eos` says
    where the end token came from. `prompt_hash` tells the prompt from others: 16 hex digits of BLAKE2b over its token
    ids, each in 8 bytes, little-endian. `turns` says which turns of a chat count: a token's `rewards` are 0 where it
    does not. `roles` are there for an answer of several turns: whose each token is, "" for what a template writes
    before a turn. `date` is the day that the chat template wrote.
    """

    id: str
    label: str
    answer: str
    policy: str
    reference: str
    beta: float
    eos: Literal["appended", "template", "in-text", "none"]
    turns: Literal["all", "assistant", "last"]
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
    roles: list[str] | None = None
    date: str | None = None
    policy_top: list[list[AlternativeRecord]] | None = None
    reference_top: list[list[AlternativeRecord]] | None = None
    optimal_values: OptimalValuesRecord | None = None
    shift: ShiftRecord | None = None


@dataclass(frozen=True, slots=True)
class CreditRecord:
    """What a row's answers earned: a "single" answer, a "preference" (chosen first) or a "list", in the row's order.

    `id` is the row's, or what it is called that has none.
    `reward` is a single answer's. `margin` is DPO's logit and `preference_probability` its sigmoid (Eq. 8). Of a diff,
    `margin` = the sum of the `edits`' deltas + `echo.sum`, which is the sum of the deltas of `aligned`; a token that is
    in none of these belongs to an edit, and adds its reward to the margin, or takes it off if it is a rejected one.
    `prompt_key` and `answer_key` are the row's fields that
    prompt and answer were read from, where they were named.
    """

    schema: Literal["dpo-credit/credit@2"]
    id: str
    kind: Literal["single", "preference", "list"]
    answers: list[AnswerRecord]
    reward: float | None = None
    margin: float | None = None
    preference_probability: float | None = None
    edits: list[EditRecord] | None = None
    aligned: list[AlignedRecord] | None = None
    echo: EchoRecord | None = None
    prompt_key: str | None = None
    answer_key: str | None = None


@dataclass(frozen=True, slots=True)
class ScoredRecord:
    """A row as it was given, with what its answers earned beside its own fields."""

    id: str | int | float | None
    credit: CreditRecord


def answer_record(
    credit: Credit, label: str = "", values: OptimalValues | None = None, shift: Shift | None = None
) -> AnswerRecord:
    """One answer's record, numbers unrounded."""
    tokens, source = credit.tokens, credit.source
    return AnswerRecord(
        id=credit.id,
        label=label,
        answer=tokens.answer,
        policy=source.policy,
        reference=source.reference,
        beta=credit.beta,
        eos=tokens.end,  # type: ignore[arg-type]
        turns=tokens.scored,  # type: ignore[arg-type]
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
        roles=list(tokens.roles) or None,
        date=tokens.date or None,
        policy_top=_top(credit.policy_top),
        reference_top=_top(credit.reference_top),
        optimal_values=_optimal(values) if values else None,
        shift=_shift(shift) if shift else None,
    )


def credit_record(scored: ScoredRow, *, edits: bool = False) -> CreditRecord:
    """What a scored row's answers earned, numbers unrounded; with `edits`, the two of a diff aligned.

    Raises:
        CreditError: the answers of a preference, or of a diff, do not compare.
    """
    answers = [
        answer_record(credit, label, values, shift)
        for credit, label, values, shift in zip_longest(scored.credits, scored.labels, scored.values, scored.shifts)
    ]
    row = scored.row
    record = CreditRecord(
        "dpo-credit/credit@2",
        scored.id,
        scored.kind,  # type: ignore[arg-type]
        answers,
        prompt_key=row.prompt_key,
        answer_key=row.answer_key,
    )
    if scored.kind == "single":
        return replace(record, reward=scored.credits[0].reward)
    if scored.kind == "preference":
        logit = margin(*scored.credits)
        record = replace(record, margin=logit, preference_probability=preference_probability(logit))
    if not edits:
        return record
    diff = scored.diff
    return replace(
        record,
        edits=edit_records(diff),
        aligned=aligned_records(diff),
        echo=echo_record(diff),
        margin=diff.margin,
        preference_probability=diff.preference_probability,
    )


def to_json(scored: ScoredRow, record: CreditRecord | None = None, more: Mapping[str, Any] | None = None) -> str:
    """A scored row as one line of JSON: its own fields as they were given, its `credit`, and what `more` there is.

    A field of the row's own that has the name of one of these becomes `input_<name>`.
    """
    record = credit_record(scored) if record is None else record
    return json_line(beside_own(scored.row, {"credit": _fields(record), **(more or {})}))


def beside_own(row: Row, added: Mapping[str, Any]) -> dict[str, Any]:
    """A row's own fields, then what is added; see `beside`."""
    return beside(own_fields(row), added)


def beside(own: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    """Fields, then what is added; an own one that has the name of one of these becomes `input_<name>`."""
    fields: dict[str, Any] = {}
    # those that keep their names first
    for name, value in sorted(own.items(), key=lambda column: column[0] in added):
        while name in added or name in fields:
            name = f"input_{name}"
        fields[name] = value
    return {**fields, **added}


def own_fields(row: Row) -> dict[str, Any]:
    """A row's own fields with its id; of text, its prompt and answers under the names that a row has for them."""
    if row.fields:
        return {**row.fields} if "id" in row.fields else {**row.fields, "id": row.id}
    prompt, answers = as_json(row.prompt), [answer_json(example) for example in row.examples]
    fields: dict[str, Any] = {"id": row.id, **({"prompt": prompt} if prompt else {})}
    if row.kind == "list":
        return {**fields, "completions": answers}
    names = ("chosen", "rejected") if row.kind == "preference" else ("completion",)
    return {**fields, **dict(zip(names, answers, strict=False))}


def json_line(fields: dict[str, Any]) -> str:
    """One line of JSON that UTF-8 can carry."""
    line = json.dumps(fields, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:  # a passed-through column holds half a surrogate pair, which only an escape can carry
        line = json.dumps(fields)
    return line


def _fields(record: object) -> dict[str, Any]:
    """`asdict` without what was not asked for, and without a copy of every number."""
    named = ((field.name, getattr(record, field.name)) for field in fields(record))  # type: ignore[arg-type]
    return {name: _plain(value) for name, value in named if value is not None}


def _plain(value: Any) -> Any:
    """A field's value, the records in it as dictionaries."""
    if is_dataclass(value):
        return _fields(value)
    if isinstance(value, list) and value and (is_dataclass(value[0]) or isinstance(value[0], list)):
        return [_plain(item) for item in value]
    return value


def _optimal(values: OptimalValues) -> OptimalValuesRecord:
    return OptimalValuesRecord(list(values.q), list(values.v), list(values.advantage))


def _shift(shift: Shift) -> ShiftRecord:
    return ShiftRecord(**{name: list(values) for name, values in asdict(shift).items()})


def _top(top: tuple[tuple[Alternative, ...], ...]) -> list[list[AlternativeRecord]] | None:
    return [[AlternativeRecord(*alternative) for alternative in position] for position in top] or None
