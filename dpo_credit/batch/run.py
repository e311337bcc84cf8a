"""Rows of any number scored chunk by chunk: results go to a sink in the order the rows came, errors beside them.

Where chunks end depends on the input alone: a run that was interrupted and goes on computes what it would have anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from dpo_credit.batch.provenance import settings
from dpo_credit.credit import Credit, CreditError
from dpo_credit.rows.journal import Commit
from dpo_credit.rows.output import PreferenceRecord, json_line, row_record, to_json
from dpo_credit.rows.reader import Record, read_records
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.rows.sources import Input
from dpo_credit.scoring import Scorer, ScorerState

if TYPE_CHECKING:
    from dpo_credit.credit import Example, Tokens

CHUNK_ROWS = 256
CHUNK_BYTES = 1 << 19  # of input: long rows make shorter chunks, so that a commit is never far away
REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")  # what TRL's precompute_ref_log_probs adds
Result = tuple[Credit, ...] | CreditError


@dataclass(frozen=True, slots=True)
class Job:
    """Which rows to read, what from them and how many; `strict` stops at the first bad one."""

    inputs: tuple[Input, ...]
    prompt_key: str | None = None
    answer_key: str | None = None
    limit: int | None = None
    chunk_rows: int = CHUNK_ROWS
    strict: bool = False


@dataclass(slots=True)
class Counts:
    """What a run adds up.

    Tokens are those of prompts and answers. A pair is won where chosen has the higher reward. Of the reference's
    log-probabilities that rows brought (see REFERENCE_COLUMNS), `checked` were compared with ours, and `furthest` is
    the largest difference in nats.
    """

    rows: int = 0
    failed: int = 0
    tokens: int = 0
    pairs: int = 0
    won: int = 0
    margins: float = 0.0
    checked: int = 0
    furthest: float = 0.0

    def add(self, other: Counts) -> None:
        """Count another run's rows, too."""
        for name, value in asdict(other).items():
            both = max if name == "furthest" else sum
            setattr(self, name, both((getattr(self, name), value)))  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands; `part` is how much of the input lies behind, where that is known."""

    counts: Counts
    part: float | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records, the row or the error that each of them is, and the hash of the input up to their end."""

    records: list[Record]
    rows: list[Row | CreditError]
    input: str


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """A chunk with each row's credits or error, and what its engine found out that later chunks depend on."""

    chunk: Chunk
    results: list[Result]
    state: dict[str, Any] = field(default_factory=dict)


class Engine(Protocol):
    """What scores the rest of a job, in order, from where an earlier run of it got to."""

    def settings(self, job: Job) -> dict[str, Any]:
        """What decides the job's numbers, as JSON: a run goes on under the same alone."""

    def score(self, job: Job, last: Commit) -> Iterator[ScoredChunk]:
        """The scored chunks behind `last`, in order."""


class Sink(Protocol):
    """Where lines go; `last` is how far an earlier run came. See `Journal`."""

    last: Commit

    def append(self, lines: list[str], errors: list[str], commit: Commit) -> None: ...

    def finish(self) -> None: ...


class Local:
    """The engine that scores with one pair, in this process; the next chunk is read and tokenised meanwhile."""

    def __init__(self, scorer: Scorer, stdin: BinaryIO | None = None) -> None:
        self.scorer, self.stdin = scorer, stdin

    def settings(self, job: Job) -> dict[str, Any]:
        """See `provenance.settings`."""
        return settings(job, self.scorer)

    def score(self, job: Job, last: Commit) -> Iterator[ScoredChunk]:
        """One chunk after the other."""
        restore(self.scorer, last)
        rest = chunks(job, last, self.stdin)
        if self.stdin is not None:  # waiting for a pipe must not keep what is scored from being written
            for chunk in rest:
                yield score_chunk(self.scorer, chunk)
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._next, rest)
            while (found := ahead.result()) is not None:
                ahead = pool.submit(self._next, rest)
                yield score_chunk(self.scorer, *found)

    def _next(self, rest: Iterator[Chunk]) -> tuple[Chunk, list[list[Tokens] | CreditError]] | None:
        chunk = next(rest, None)
        return None if chunk is None else (chunk, self.scorer.encode(examples_of(chunk)))


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
        stop: asked after each chunk; once it says yes, `finish` is left to a later run.

    Yields:
        How far it is: at the start, and after each chunk.

    Raises:
        CreditError: the input is not the one that was begun, cannot be read on, or has a bad row and the job is strict;
            or the results cannot be written. What was committed stays.
    """
    counts = Counts(**sink.last.counts)
    yield Progress(counts, None)
    for scored in engine.score(job, sink.last):
        lines, errors = [], []
        for record, row, result in zip(scored.chunk.records, scored.chunk.rows, scored.results, strict=True):
            line, added = _line(row, result)
            counts.add(added)
            if isinstance(line, str):
                lines.append(line)
            elif job.strict:
                kept = f"the {sink.last.rows} rows before its chunk are kept" if sink.last.rows else "nothing was kept"
                raise CreditError(f"{record.place}: {line} (--strict; {kept})") from line
            else:
                errors.append(_error(record, row, line, several=len(job.inputs) > 1))
        sink.append(lines, errors, Commit(counts.rows, scored.chunk.input, state=scored.state, counts=asdict(counts)))
        yield Progress(counts, scored.chunk.records[-1].part)
        if stop():
            return
    sink.finish()


def chunks(job: Job, last: Commit = Commit(), stdin: BinaryIO | None = None) -> Iterator[Chunk]:
    """The rows of a job behind an earlier run's last commit.

    Raises:
        CreditError: the rows before it are not the ones that were scored, or an input cannot be read.
    """
    records = islice(read_records(job.inputs, stdin), job.limit)
    seen, rows = "", 0
    for record in islice(records, last.rows):
        seen = _after(seen, record)
        rows += 1
    if seen != last.input:
        fewer = f"it has {rows} rows now" if rows < last.rows else f"its first {rows} rows are others now"
        raise CreditError(
            f"the input was changed since the run began: {fewer}, and {last.rows} were scored. Begin again with "
            "--overwrite."
        )
    found: list[Record] = []
    size = 0
    for record in records:
        seen = _after(seen, record)
        found.append(record)
        size += len(record.data)
        if len(found) >= job.chunk_rows or size >= CHUNK_BYTES:
            yield Chunk(found, [_row(record, job) for record in found], seen)
            found, size = [], 0
    if found:
        yield Chunk(found, [_row(record, job) for record in found], seen)


def score_chunk(
    scorer: Scorer, chunk: Chunk, encoded: Sequence[list[Tokens] | CreditError] | None = None
) -> ScoredChunk:
    """A chunk's rows under one pair; `encoded` are the tokens of its good rows, where they are known."""
    examples = examples_of(chunk)
    scored = iter(scorer.score(examples, scorer.encode(examples) if encoded is None else encoded))
    results = [row if isinstance(row, CreditError) else next(scored) for row in chunk.rows]
    return ScoredChunk(chunk, results, asdict(scorer.state))


def restore(scorer: Scorer, last: Commit) -> None:
    """Let a scorer go on with the noise floor and the batch size of an earlier run."""
    if last.state:
        scorer.restore(ScorerState(last.state["noise"], last.state["tokens_per_batch"]))


def _after(seen: str, record: Record) -> str:
    return hashlib.blake2b(seen.encode() + record.data, digest_size=16).hexdigest()


def examples_of(chunk: Chunk) -> list[tuple[Example, ...]]:
    """The answers of a chunk's good rows."""
    return [row.examples for row in chunk.rows if isinstance(row, Row)]


def _row(record: Record, job: Job) -> Row | CreditError:
    try:
        return record.row(prompt_key=job.prompt_key, answer_key=job.answer_key)
    except CreditError as error:
        return error


def _line(row: Row | CreditError, result: Result) -> tuple[str | CreditError, Counts]:
    """A row's line, or what is wrong with it, and what it adds to the counts."""
    failed = Counts(rows=1, failed=1)
    if isinstance(row, CreditError) or isinstance(result, CreditError):
        return (row if isinstance(row, CreditError) else result), failed  # type: ignore[return-value]
    try:
        record = row_record(ScoredRow(row, result))
        line = to_json(record, row.columns)
    except CreditError as error:
        return error, failed
    except RecursionError:
        return CreditError(f"{row.id} is nested too deeply to be written."), failed
    counts = Counts(rows=1, tokens=len(result[0].tokens.prompt_ids) + sum(len(one.tokens.answer_ids) for one in result))
    if isinstance(record, PreferenceRecord):
        counts.pairs, counts.won, counts.margins = 1, int(record.margin > 0), record.margin
        for name, credit in zip(REFERENCE_COLUMNS, result, strict=True):
            given = row.columns.get(name)
            if isinstance(given, float):
                counts.checked += 1
                counts.furthest = max(counts.furthest, abs(given - credit.reference_logp))
    return line, counts


def _error(record: Record, row: Row | CreditError, error: CreditError, *, several: bool) -> str:
    row_id = row.id if isinstance(row, Row) else record.default_id
    file = {"file": record.source} if several else {}
    return json_line({"id": row_id, **file, "line": record.line, "error": str(error)})
