"""Saved JSON -> Credits: what `--json` wrote, read back without a model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from dpo_credit.credit import Alternative, Credit, CreditError, Source, Tokens
from dpo_credit.rows.records import Kind, Row, labels_of
from dpo_credit.rows.sources import Record


@dataclass(frozen=True, slots=True)
class SavedRow:
    """A scored row of a file, and the line (or the row of a table) that it stood on."""

    source: str
    line: int
    row: Row
    credits: tuple[Credit, ...]

    @property
    def place(self) -> str:
        """Where it stood, for messages."""
        return f"{self.source}, line {self.line}"


def stream_saved(records: Iterable[Record]) -> Iterator[SavedRow]:
    """The scored rows of files of any size, one in memory at a time.

    Raises:
        CreditError: a record is none, or lacks a field; the message names its line.
    """
    for record in records:
        place = f"{record.source}, line {record.line}"
        try:
            fields = record.fields()
        except CreditError as error:
            raise CreditError(f"{place} is no scored row: {error} Score it again, or leave the line out.") from error
        yield SavedRow(record.source, record.line, *read_record(fields, place, None, record.default_id))


def read_saved(data: bytes, name: str, beta: float | None = None) -> list[tuple[Row, tuple[Credit, ...]]]:
    """The saved answers, preferences, lists or diffs of a file, one JSON object a line (or a single one on many lines).

    The ids of a prompt are not saved, only their count: the answers of one record share it.

    Args:
        data: UTF-8.
        name: the file's name, for messages.
        beta: scores under another beta than the saved one; log-probabilities need no model for that.

    Raises:
        CreditError: a line is none of these, or lacks a field.
    """
    text = data.decode("utf-8", errors="replace")
    try:
        found = [(name, json.loads(text))]
    except ValueError:
        found = [
            (f"{name}, line {n}", _line(line, f"{name}, line {n}"))
            for n, line in enumerate(text.splitlines(), 1)
            if line.strip()
        ]
    if not found:
        raise CreditError(f"{name} is empty. Give what dpo-credit score --json wrote.")
    return [read_record(record, place, beta) for place, record in found]


def _line(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise CreditError(f"{place} is not JSON: {error}.") from error


def read_record(
    record: Any, name: str, beta: float | None, default_id: str | None = None
) -> tuple[Row, tuple[Credit, ...]]:
    """A saved record as its row and credits; `read_saved` of one that is parsed already."""
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
    row_id = str(record.get("id", default_id or name))
    return Row(row_id, kind, (), labels_of(kind, len(credits))), credits


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
