"""A job's rows in chunks, and what scores and takes them.

Where chunks end depends on the input and the pair, and on no clock: a run that was interrupted and goes on, here or on
a faster machine, computes what it would have anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from dpo_credit.credit import Credit, CreditError
from dpo_credit.rows.journal import Commit
from dpo_credit.rows.reader import Record, read_records
from dpo_credit.rows.records import Row
from dpo_credit.rows.sources import Input
from dpo_credit.rows.tally import Tally

if TYPE_CHECKING:
    from dpo_credit.credit import Example

CHUNK_ROWS = 256
CHUNK_BYTES = 1 << 19  # of input: what is held in memory
BYTES_A_TOKEN = 4  # of text, about: a chunk ends before its rows are tokenised
BEGIN_AGAIN = "Begin again with --overwrite."  # what to do about a journal that was changed
Result = tuple[Credit, ...] | CreditError


@dataclass(frozen=True, slots=True)
class Job:
    """Which rows to read, what from them and how many; `strict` stops at the first bad one.

    `chunk_tokens`: about how many tokens a chunk has at most, unless a single row has more; see `work.chunk_tokens`.
    """

    inputs: tuple[Input, ...]
    prompt_key: str | None = None
    answer_key: str | None = None
    limit: int | None = None
    chunk_rows: int = CHUNK_ROWS
    chunk_tokens: int | None = None
    strict: bool = False


@dataclass(slots=True)
class Counts:
    """What a run adds up.

    Tokens are those of prompts and answers. A pair is won where chosen has the higher reward. Of the reference's
    log-probabilities that rows brought (see `run.REFERENCE_COLUMNS`), `checked` were compared with ours, and
    `furthest` is the largest difference in nats. `without_prompt` are the scored rows that had none.
    """

    rows: int = 0
    failed: int = 0
    tokens: int = 0
    pairs: int = 0
    won: int = 0
    margins: float = 0.0
    checked: int = 0
    furthest: float = 0.0
    without_prompt: int = 0

    def add(self, other: Counts) -> None:
        """Count another run's rows, too."""
        for name, value in asdict(other).items():
            both = max if name == "furthest" else sum
            setattr(self, name, both((getattr(self, name), value)))  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: `part` of the input lies behind, if known; `notes` are what there was to say so far.

    `of_rows`: the notes of the rows that this run scored. `stage` says what an engine is at that has nothing to write
    yet.
    """

    counts: Counts
    part: float | None
    notes: tuple[str, ...] = ()
    of_rows: Tally = field(default_factory=Tally)
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records, the row or the error that each of them is, and the hash of the input up to their end."""

    records: list[Record]
    rows: list[Row | CreditError]
    input: str


@dataclass(frozen=True, slots=True)
class ScoredChunk:
    """A chunk with each row's credits or error, and what its engine found out that later chunks depend on.

    `notes` are the engine's up to there, see `Scorer.notes`.
    """

    chunk: Chunk
    results: list[Result]
    state: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """What scores the rest of a job, in order, from where an earlier run of it got to."""

    def settings(self, job: Job) -> dict[str, Any]:
        """What decides the job's numbers, as JSON: a run goes on under the same alone."""

    def score(self, job: Job, last: Commit) -> Iterator[ScoredChunk | str]:
        """The scored chunks behind `last`, in order; text says what it is at before there is one."""


class Sink(Protocol):
    """Where lines go; `last` is how far an earlier run came. See `Journal`."""

    last: Commit

    def append(self, lines: list[str], errors: list[str], commit: Commit) -> None: ...

    def finish(self) -> None: ...


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
    chunk = _Filling()
    for record in records:
        row = _row(record, job)
        if chunk.records and job.chunk_tokens and chunk.tokens + chunk.tokens_of(row) > job.chunk_tokens:
            yield Chunk(chunk.records, chunk.rows, seen)
            chunk = _Filling()
        seen = _after(seen, record)
        chunk.add(record, row)
        if len(chunk.records) >= job.chunk_rows or chunk.size >= CHUNK_BYTES:
            yield Chunk(chunk.records, chunk.rows, seen)
            chunk = _Filling()
    if chunk.records:
        yield Chunk(chunk.records, chunk.rows, seen)


@dataclass(slots=True)
class _Filling:
    """A chunk that rows are added to: its bytes of input, and about how many tokens its text has."""

    records: list[Record] = field(default_factory=list)
    rows: list[Row | CreditError] = field(default_factory=list)
    size: int = 0
    tokens: int = 0
    prompts: set[str] = field(default_factory=set)

    def add(self, record: Record, row: Row | CreditError) -> None:
        self.tokens += self.tokens_of(row)
        self.records.append(record)
        self.rows.append(row)
        self.size += len(record.data)
        if isinstance(row, Row):
            self.prompts.add(str(row.prompt))

    def tokens_of(self, row: Row | CreditError) -> int:
        """About how many tokens a row would add: a prompt that is here already is computed once."""
        if isinstance(row, CreditError):
            return 0
        prompt = str(row.prompt)
        texts = [*(() if prompt in self.prompts else (prompt,)), *(str(example.answer) for example in row.examples)]
        return sum(len(text.encode("utf-8", "replace")) for text in texts) // BYTES_A_TOKEN


def examples_of(chunk: Chunk) -> list[tuple[Example, ...]]:
    """The answers of a chunk's good rows."""
    return [row.examples for row in chunk.rows if isinstance(row, Row)]


def _after(seen: str, record: Record) -> str:
    return hashlib.blake2b(seen.encode() + record.data, digest_size=16).hexdigest()


def _row(record: Record, job: Job) -> Row | CreditError:
    try:
        return record.row(prompt_key=job.prompt_key, answer_key=job.answer_key)
    except CreditError as error:
        return error
