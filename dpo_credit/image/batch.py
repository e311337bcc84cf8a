"""Rows of pictures scored one by one into a sink, in order; what was interrupted goes on where it stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, Protocol

from dpo_credit.checked import check_fields
from dpo_credit.credit import CreditError
from dpo_credit.image.denoiser import DenoiserPair
from dpo_credit.image.rows import picture_row
from dpo_credit.image.saved import SCHEMA, fields_of, image_record
from dpo_credit.image.scoring import Sampling, score_pictures
from dpo_credit.rows.journal import Commit
from dpo_credit.rows.output import json_line
from dpo_credit.rows.reader import Record
from dpo_credit.rows.tally import Tally

Line = tuple[str, tuple[str, ...], float | None]  # a row's line of JSON, its notes, and its margin if it has one
_AGAIN = "Begin again with --overwrite."
_NUMBERS_COME_FROM = ("dpo-credit", "torch", "transformers", "diffusers")


@dataclass(slots=True)
class Counts:
    """What a run adds up. A pair is won where chosen has the higher reward."""

    rows: int = 0
    failed: int = 0
    pairs: int = 0
    won: int = 0
    margins: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: `part` of the input lies behind, if known; `of_rows` are the notes of its rows so far."""

    counts: Counts
    part: float | None
    of_rows: Tally


class Sink(Protocol):
    """Where lines go: see `rows.journal.Journal`."""

    last: Commit

    def append(self, lines: list[str], errors: list[str], commit: Commit) -> None: ...

    def finish(self) -> None: ...


def settings(pair: DenoiserPair, sampling: Sampling) -> dict[str, Any]:
    """What decides a run's numbers, as JSON: a run goes on under the same alone."""
    sides = pair.policy, pair.reference
    return {
        "policy": pair.policy.name,
        "reference": pair.reference.name,
        "policy's weights": pair.policy.fingerprint(),
        "reference's weights": pair.reference.fingerprint(),
        "shared weights": pair.space.fingerprint(),
        "noise": hashlib.blake2b(pair.scheduler.alphas_cumprod.numpy().tobytes(), digest_size=8).hexdigest(),
        "prediction": pair.prediction,
        "dtype": [side.dtype for side in sides],
        "beta": pair.beta,
        **asdict(sampling),
        "versions": {package: version(package) for package in _NUMBERS_COME_FROM},
        "output": SCHEMA,
    }


def run(
    records: Iterable[Record],
    pair: DenoiserPair,
    sampling: Sampling,
    sink: Sink,
    *,
    prompt_key: str = "prompt",
    strict: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Score rows into a sink, from where it stands: a line a row, its own fields and its `credit` without the errors.

    Args:
        records: the input's; those that the sink has already are read over, and checked to be the same.
        pair: see `load_denoisers`.
        sampling: see `Sampling`.
        sink: where lines go.
        prompt_key: the field that holds the prompt.
        strict: the first bad row stops it.
        stop: asked after each row; once it says yes, `finish` is left to a later run.

    Yields:
        How far it is, after each row.

    Raises:
        CreditError: the input is not the one that was begun, cannot be read on, or has a bad row and is `strict`; or
            the results cannot be written. What was committed stays.
    """
    return run_rows(records, partial(_line, pair, sampling, prompt_key), sink, strict=strict, stop=stop)


def run_rows(
    records: Iterable[Record],
    line_of: Callable[[Record], Line],
    sink: Sink,
    *,
    strict: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """`run` for rows of another shape: `line_of` scores one."""
    check_fields(sink.last.counts, Counts, "the journal's counts", _AGAIN, required=())
    counts, of_rows, seen, passed = Counts(**sink.last.counts), Tally(), "", 0
    for record in records:
        seen = hashlib.blake2b(seen.encode() + record.data, digest_size=16).hexdigest()
        passed += 1
        if passed <= sink.last.rows:
            if passed == sink.last.rows and seen != sink.last.input:
                raise CreditError(f"the input was changed: its first {passed} rows are others now. {_AGAIN}")
            continue
        lines, errors = [], []
        try:
            line, notes, margin = line_of(record)
            lines.append(line)
            if margin is not None:
                counts.pairs += 1
                counts.won += margin > 0
                counts.margins += margin
            of_rows.add(record.default_id, notes)
        except CreditError as error:
            if strict:
                raise CreditError(f"{record.place}: {error} (--strict; {sink.last.rows} rows are kept)") from error
            counts.failed += 1
            errors.append(json_line({"id": record.id, "file": record.source, "line": record.line, "error": str(error)}))
        counts.rows += 1
        sink.append(lines, errors, Commit(counts.rows, seen, counts=asdict(counts)))
        yield Progress(counts, record.part, of_rows)
        if stop():
            return
    if passed < sink.last.rows:
        raise CreditError(f"the input was changed: it has {passed} rows now. {_AGAIN}")
    sink.finish()


def _line(pair: DenoiserPair, sampling: Sampling, prompt_key: str, record: Record) -> Line:
    """A row's line, the notes on its pictures, and the margin of two."""
    row = picture_row(record, prompt_key)
    scored = score_pictures(pair, row.prompt, row.pictures, sampling, row_id=row.id)
    kept = {f"input_{name}" if name == "credit" else name: value for name, value in row.fields.items()}
    line = json_line({"id": row.id, **kept, "credit": fields_of(image_record(scored, errors=False))})
    notes = tuple(dict.fromkeys(note for credit in scored.credits for note in credit.notes))
    return line, notes, None if scored.diff is None else scored.diff.margin
