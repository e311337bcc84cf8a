"""Saved JSON -> Credits: what `--json` wrote, read back without a model; and other tools' token lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

from dpo_credit.checked import check_fields
from dpo_credit.credit import LARGEST, Alternative, Credit, CreditError, Source, Tokens
from dpo_credit.optimal import OptimalValues
from dpo_credit.rows.output import AnswerRecord
from dpo_credit.rows.reader import Record
from dpo_credit.rows.records import Kind, Row, labels_of, parse_row, without_credit
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.rows.token_lines import answer_of, is_token_line, scalars
from dpo_credit.shift import Shift

T = TypeVar("T")
_MOST_TOKENS = 10**8  # of a prompt
_REQUIRED = (  # what every version wrote; the others came later, or are there only where they were asked for
    *("id", "answer", "policy", "reference", "beta", "eos", "dtype", "token_ids", "tokens", "spans"),
    *("policy_logps", "reference_logps", "prompt_tokens"),
)
_CHANGED = "The file was changed: score the answer again."
_ANSWERS = {"single": 1, "preference": 2}  # how many a kind has
SCHEMA, _FIRST = "dpo-credit/credit@2", "dpo-credit/credit@1"


def read_scored(records: Iterable[Record], beta: float | None = None) -> Iterator[ScoredRow]:
    """The scored rows of files of any size, one in memory at a time: answers, preferences, lists or diffs.

    The ids of a prompt are not saved, only their count and their hash; the answers of a record without the hash, which
    an older version wrote, count as answers to one prompt.

    Args:
        records: see `read_records`.
        beta: scores under another beta than the saved one; log-probabilities need no model for that.

    Raises:
        CreditError: a record is no scored row, or lacks a field; the message names its line.
    """
    for record in records:
        try:
            fields = record.fields()
        except CreditError as error:
            message = str(error).removeprefix(f"{record.place} ")
            raise CreditError(
                f"{record.place} is no scored row: {message} Score it again, or leave the line out."
            ) from error
        scored = parse_scored(fields, record.place, default_id=record.default_id, beta=beta)
        row = replace(scored.row, source=record.source, line=record.line, numbered=record.numbered)
        yield replace(scored, row=row)


def parse_scored(record: Any, name: str, *, default_id: str = "", beta: float | None = None) -> ScoredRow:
    """A saved record, parsed as JSON already; `name` is for messages.

    Raises:
        CreditError: it is no scored row, or lacks a field.
    """
    if not isinstance(record, dict):
        raise CreditError(f"{name} is no object. Give what dpo-credit score --json wrote.")
    first = "credit" not in record
    if first and is_token_line(record):
        answer, first = answer_of(record, name, default_id), False
        row = Row(answer["id"], "single", labels=(str(record.get("label") or ""),), fields=scalars(record))
        parts: list[Any] = [answer]
    else:
        row, parts = _first_row(record, default_id) if first else _row(record, name, default_id)
    credits = tuple(_credit(part, name, first=first) for part in parts)
    values = _all(_values(part, beta) for part in parts)
    shifts = _all(_shift(part) for part in parts)
    if beta is not None:
        credits = tuple(replace(credit, beta=beta) for credit in credits)
    return ScoredRow(row, credits, values, shifts)


def _all(each: Iterable[T | None]) -> tuple[T, ...]:
    """What there is of every answer, or nothing."""
    found = tuple(each)
    return () if None in found else found  # type: ignore[return-value]


def _row(record: dict[str, Any], name: str, default_id: str) -> tuple[Row, list[Any]]:
    """The row as it was given, and what its answers earned."""
    credit = record["credit"]
    schema = credit.get("schema") if isinstance(credit, dict) else None
    if schema != SCHEMA:
        raise CreditError(f"{name} is no scored row (schema {schema!r}). Give what dpo-credit score --json wrote.")
    kind, answers = credit.get("kind"), credit.get("answers")
    if kind not in ("single", "preference", "list") or not (isinstance(answers, list) and answers):
        raise CreditError(f"{name} is no whole record: its credit has no kind or no answers. Score the row again.")
    if len(answers) != _ANSWERS.get(kind, len(answers)):
        raise CreditError(f"{name} has {len(answers)} answers, and its credit is a {kind}. The file was changed.")
    keys = {key: credit.get(key) for key in ("prompt_key", "answer_key")}
    if wrong := [key for key, value in keys.items() if not (value is None or isinstance(value, str))]:
        raise CreditError(f"{name}: {wrong[0]} of its credit is no text. The file was changed: score the row again.")
    fields = without_credit(record)
    row_id = str(credit.get("id") or default_id)
    try:
        given = replace(parse_row(fields, row_id, **keys), id=row_id)
    except CreditError:  # its own fields were changed, or hold the prompt alone: what was scored is known all the same
        given = Row(row_id, kind, fields=fields, **keys)
    labels = tuple(str(answer.get("label", "")) if isinstance(answer, dict) else "" for answer in answers)
    examples = given.examples if len(given.examples) == len(answers) else ()
    return replace(given, kind=kind, labels=labels, examples=examples), answers


def _first_row(record: dict[str, Any], default_id: str) -> tuple[Row, list[Any]]:
    """A row as `dpo-credit/credit@1` has it: the answers' records in the place of the answers, and no prompt."""
    kind: Kind
    if record.get("chosen") is not None and record.get("rejected") is not None:  # a table has all columns in each row
        kind, parts = "preference", [record["chosen"], record["rejected"]]
    elif isinstance(record.get("completions"), list):
        kind, parts = "list", record["completions"]
    else:
        kind, parts = "single", [record]
    row = Row(str(record.get("id", default_id)), kind, labels=labels_of(kind, len(parts)), fields=record)
    return row, parts


def _credit(record: Any, name: str, *, first: bool) -> Credit:
    schema = record.get("schema") if isinstance(record, dict) else None
    if not isinstance(record, dict) or (first and schema != _FIRST):
        raise CreditError(f"{name} is no scored answer (schema {schema!r}). Give what dpo-credit score --json wrote.")
    check_fields(record, AnswerRecord, name, _CHANGED, required=_REQUIRED)
    if record["prompt_tokens"] not in range(_MOST_TOKENS):
        raise CreditError(f"{name}: prompt_tokens is {record['prompt_tokens']}. The file was changed.")
    try:
        spans = tuple((start, end) for start, end in record["spans"])
        length = len(record["answer"])
        wild = next((span for span in spans if not 0 <= span[0] <= span[1] <= length), None)
        if wild is not None:
            raise CreditError(f"{name}: a span is {wild} of an answer of {length} characters. The file was changed.")
        tokens = Tokens(
            prompt_ids=(-1,) * record["prompt_tokens"],
            answer_ids=tuple(record["token_ids"]),
            pieces=tuple(record["tokens"]),
            spans=spans,
            answer=record["answer"],
            end=record["eos"],
            notes=tuple(record.get("notes") or ()),
            saved_prompt=record.get("prompt_hash"),
            scored=record.get("turns") or "all",
            roles=tuple(record.get("roles") or ()),
            date=record.get("date") or "",
        )
        if not len(tokens.answer_ids) == len(tokens.pieces) == len(spans):
            raise CreditError(f"{name}: token_ids, tokens and spans differ in length. The file was changed.")
        lists = {field: record.get(field) for field in ("roles", "policy_top", "reference_top")}
        lists |= {key: each for field in ("optimal_values", "shift") for key, each in (record.get(field) or {}).items()}
        for field, each in lists.items():
            if each and len(each) != len(spans):
                raise CreditError(f"{name}: tokens and {field} differ in length. The file was changed.")
        credit = Credit(
            tokens=tokens,
            policy_logps=tuple(map(float, record["policy_logps"])),
            reference_logps=tuple(map(float, record["reference_logps"])),
            beta=float(record["beta"]),
            source=Source(record["policy"], record["reference"], record["dtype"]),
            id=record["id"],
            policy_top=_top(record.get("policy_top")),
            reference_top=_top(record.get("reference_top")),
            length_normalised=bool(record.get("length_normalised", False)),
        )
        noise = (record.get("noise") or 0.0) / credit.weight  # saved as a reward, kept in nats
        if not 0 <= noise <= LARGEST:
            raise CreditError(f"noise is {record['noise']}, which must be the size of a reward. The file was changed.")
    except CreditError as error:
        raise CreditError(str(error) if str(error).startswith(name) else f"{name}: {error}") from error
    except ZeroDivisionError as error:
        raise CreditError(f"{name}: no token of the answer counts. The file was changed: score it again.") from error
    return replace(credit, source=replace(credit.source, noise=noise))


def _values(record: dict[str, Any], beta: float | None) -> OptimalValues | None:
    """Q* and V*, which grow with beta as rewards do."""
    saved = record.get("optimal_values")
    if not saved:
        return None
    times = 1.0 if beta is None else beta / record["beta"]
    return OptimalValues(tuple(times * q for q in saved["q"]), tuple(times * v for v in saved["v"]))


def _shift(record: dict[str, Any]) -> Shift | None:
    saved = record.get("shift")
    return Shift(*(tuple(saved[field.name]) for field in fields(Shift))) if saved else None


def _top(top: Any) -> tuple[tuple[Alternative, ...], ...]:
    return tuple(tuple(Alternative(a["token"], a["logp"]) for a in position) for position in top or ())
