"""Rows of any number scored chunk by chunk: results go to a sink in the order the rows came, errors beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, fields

from dpo_credit.batch.job import BEGIN_AGAIN, Counts, Engine, Job, Progress, Result, Sink
from dpo_credit.checked import check_fields
from dpo_credit.credit import CreditError
from dpo_credit.rows.journal import Commit
from dpo_credit.rows.output import credit_record, json_line, to_json
from dpo_credit.rows.reader import Record
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.rows.tally import Tally

REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")  # what TRL's precompute_ref_log_probs adds


class Stream:
    """The sink for a pipe: lines go out chunk by chunk, and nothing can be resumed."""

    def __init__(self, write: Callable[[bytes], None], complain: Callable[[str], None]) -> None:
        self.last = Commit()
        self._write, self._complain = write, complain

    def append(self, lines: list[str], errors: list[str], commit: Commit) -> None:
        """Write a chunk's rows, and complain of its errors."""
        self._write("".join(f"{line}\n" for line in lines).encode())
        for error in errors:
            self._complain(error)
        self.last = commit

    def finish(self) -> None:
        """Nothing is left to do."""


def run(job: Job, engine: Engine, sink: Sink, *, stop: Callable[[], bool] = lambda: False) -> Iterator[Progress]:
    """Score a job's rows into a sink, from where it stands.

    Args:
        job: see `Job`; what the sink has of its input already is read over, and checked to be the same.
        engine: what scores.
        sink: where the results go, in order, each chunk at once.
        stop: asked after each chunk and stage; once it says yes, `finish` is left to a later run.

    Yields:
        How far it is: at the start, and after each chunk and stage.

    Raises:
        CreditError: the input is not the one that was begun, cannot be read on, or has a bad row and the job is strict;
            or the results cannot be written. What was committed stays.
    """
    check_fields(sink.last.counts, Counts, "the journal's counts", BEGIN_AGAIN, required=())
    counts = Counts(
        **{part.name: sink.last.counts[part.name] for part in fields(Counts) if part.name in sink.last.counts}
    )
    of_rows = Tally()
    yield Progress(counts, None)
    for scored in engine.score(job, sink.last):
        if isinstance(scored, str):
            yield Progress(counts, None, stage=scored)
            if stop():
                return
            continue
        lines, errors = [], []
        for record, row, result in zip(scored.chunk.records, scored.chunk.rows, scored.results, strict=True):
            line, added = _line(row, result)
            counts.add(added)
            if isinstance(line, str):
                lines.append(line)
                of_rows.add(row.id, [*row.notes, *(note for credit in result for note in credit.tokens.notes)])  # type: ignore[union-attr]
            elif job.strict:
                kept = f"the {sink.last.rows} rows before its chunk are kept" if sink.last.rows else "nothing was kept"
                raise CreditError(f"{record.place}: {line} (--strict; {kept})") from line
            else:
                errors.append(_error(record, row, line, several=len(job.inputs) > 1))
        sink.append(lines, errors, Commit(counts.rows, scored.chunk.input, state=scored.state, counts=asdict(counts)))
        yield Progress(counts, scored.chunk.records[-1].part, scored.notes, of_rows)
        if stop():
            return
    sink.finish()


def _line(row: Row | CreditError, result: Result) -> tuple[str | CreditError, Counts]:
    """A row's line, or what is wrong with it, and what it adds to the counts."""
    failed = Counts(rows=1, failed=1)
    if isinstance(row, CreditError) or isinstance(result, CreditError):
        return (row if isinstance(row, CreditError) else result), failed  # type: ignore[return-value]
    try:
        scored = ScoredRow(row, result)
        record = credit_record(scored)
        line = to_json(scored, record)
    except CreditError as error:
        return error, failed
    except RecursionError:
        return CreditError(f"{row.id} is nested too deeply to be written."), failed
    tokens = len(result[0].tokens.prompt_ids) + sum(len(credit.tokens.answer_ids) for credit in result)
    counts = Counts(rows=1, tokens=tokens, without_prompt=int(not row.prompt))
    if record.margin is not None:
        counts.pairs, counts.won, counts.margins = 1, int(record.margin > 0), record.margin
        for name, credit in zip(REFERENCE_COLUMNS, result, strict=True):
            given = row.columns.get(name)
            if isinstance(given, float):
                counts.checked += 1
                counts.furthest = max(counts.furthest, abs(given - credit.reference_logp))
    return line, counts


def _error(record: Record, row: Row | CreditError, error: CreditError, *, several: bool) -> str:
    row_id = row.id if isinstance(row, Row) else record.id
    file = {"file": record.source} if several else {}
    return json_line({"id": row_id, **file, "line": record.line, "error": str(error)})
