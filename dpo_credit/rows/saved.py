"""Saved JSON -> Credits: what `--json` wrote, read back without a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from dpo_credit.credit import Alternative, Credit, CreditError, Source, Tokens
from dpo_credit.rows.reader import Record
from dpo_credit.rows.records import Kind, Row, labels_of
from dpo_credit.rows.scored import ScoredRow


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
    kind: Kind
    if record.get("chosen") is not None and record.get("rejected") is not None:  # a table has all columns in each row
        kind, parts = "preference", [record["chosen"], record["rejected"]]
    elif isinstance(record.get("completions"), list):
        kind, parts = "list", record["completions"]
    else:
        kind, parts = "single", [record]
    credits = tuple(_credit(part, name) for part in parts)
    if beta is not None:
        credits = tuple(replace(credit, beta=beta) for credit in credits)
    row = Row(str(record.get("id", default_id)), kind, labels=labels_of(kind, len(credits)), fields=record)
    return ScoredRow(row, credits)


def _credit(record: Any, name: str) -> Credit:
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema != "dpo-credit/credit@1":
        raise CreditError(f"{name} is no scored answer (schema {schema!r}). Give what dpo-credit score --json wrote.")
    try:
        spans = tuple((int(start), int(end)) for start, end in record["spans"])
        tokens = Tokens(
            prompt_ids=(-1,) * record["prompt_tokens"],
            answer_ids=tuple(record["token_ids"]),
            pieces=tuple(record["tokens"]),
            spans=spans,
            answer=record["answer"],
            end=record["eos"],
            notes=tuple(record.get("notes") or ()),
            saved_prompt=record.get("prompt_hash"),
        )
        if not len(tokens.answer_ids) == len(tokens.pieces) == len(spans):
            raise CreditError(f"{name}: token_ids, tokens and spans differ in length. The file was changed.")
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
        noise = record.get("noise", 0.0) / credit.weight  # saved as a reward, kept in nats
        return replace(credit, source=replace(credit.source, noise=noise))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise CreditError(
            f"{name} is no whole record: {type(error).__name__} {error}. Score the answer again."
        ) from error


def _top(top: Any) -> tuple[tuple[Alternative, ...], ...]:
    return tuple(tuple(Alternative(a["token"], a["logp"]) for a in position) for position in top or ())
