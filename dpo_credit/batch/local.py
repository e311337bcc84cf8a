"""The batch engine for one pair in this process; the other engines score their chunks as it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from dpo_credit.batch.job import BEGIN_AGAIN, Chunk, Job, ScoredChunk, chunks, examples_of
from dpo_credit.batch.provenance import settings
from dpo_credit.batch.work import chunk_tokens
from dpo_credit.checked import check_fields
from dpo_credit.credit import CreditError
from dpo_credit.models.side import OnDevice
from dpo_credit.rows.journal import Commit
from dpo_credit.scoring import Scorer, ScorerState, finished

if TYPE_CHECKING:
    from dpo_credit.credit import Tokens

MANY_TOKENS = 1 << 62  # more than any model's kernels pay for


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
        rest = chunks(replace(job, chunk_tokens=chunk_tokens(self.scorer)), last, self.stdin)
        if self.stdin is not None:  # waiting for a pipe must not keep what is scored from being written
            for chunk in rest:
                yield score_chunk(self.scorer, chunk)
            return
        # a GPU computes the next chunk while this one is written
        yield from finished(self._begun(rest), ahead=self.scorer.runs_ahead)

    def _begun(self, rest: Iterator[Chunk]) -> Iterator[Callable[[], ScoredChunk]]:
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._next, rest)
            while (chunk_and_tokens := ahead.result()) is not None:
                ahead = pool.submit(self._next, rest)
                yield begin_chunk(self.scorer, *chunk_and_tokens)

    def _next(self, rest: Iterator[Chunk]) -> tuple[Chunk, list[list[Tokens] | CreditError]] | None:
        chunk = next(rest, None)
        return None if chunk is None else (chunk, self.scorer.encode(examples_of(chunk)))


def score_chunk(scorer: Scorer, chunk: Chunk) -> ScoredChunk:
    """A chunk's rows under one pair."""
    return begin_chunk(scorer, chunk, scorer.encode(examples_of(chunk)))()


def begin_chunk(
    scorer: Scorer, chunk: Chunk, encoded: Sequence[list[Tokens] | CreditError]
) -> Callable[[], ScoredChunk]:
    """A chunk's rows under one pair, in two parts: see `Scorer.begin`; `encoded` are the tokens of its good rows."""
    begun = scorer.begin(examples_of(chunk), encoded)
    state = scorer.state  # of what comes after this chunk, whatever is begun before it is finished

    def finish() -> ScoredChunk:
        scored = iter(begun())
        results = [row if isinstance(row, CreditError) else next(scored) for row in chunk.rows]
        return ScoredChunk(chunk, results, asdict(replace(state, noise=scorer.noise)), tuple(scorer.notes))

    return finish


def restore(scorer: Scorer, last: Commit, *, compiled: bool = False) -> None:
    """Let a scorer go on with what an earlier run found out.

    `compiled`: on a GPU with compiled kernels from the start, where workers, or two models in turn, share no count of
    tokens.
    """
    required = ("noise", "tokens_per_batch")
    if last.state:
        check_fields(last.state, ScorerState, "the journal's state", BEGIN_AGAIN, required=required)
    state = ScorerState(**last.state) if last.state else scorer.state
    gpu = any(isinstance(side, OnDevice) and side.device.type == "cuda" for side in scorer.sides)
    scorer.restore(replace(state, tokens_done=MANY_TOKENS) if compiled and gpu else state)
