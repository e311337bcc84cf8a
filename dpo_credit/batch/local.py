"""The batch engine for one pair in this process; the other engines score their chunks as it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from dpo_credit.batch.job import BEGIN_AGAIN, Chunk, Job, ScoredChunk, chunks, examples_of
from dpo_credit.batch.provenance import settings
from dpo_credit.batch.work import chunk_tokens
from dpo_credit.checked import check_fields
from dpo_credit.credit import CreditError
from dpo_credit.rows.journal import Commit
from dpo_credit.scoring import Scorer, ScorerState

if TYPE_CHECKING:
    from dpo_credit.credit import Tokens


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
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._next, rest)
            while (chunk_and_tokens := ahead.result()) is not None:
                ahead = pool.submit(self._next, rest)
                yield score_chunk(self.scorer, *chunk_and_tokens)

    def _next(self, rest: Iterator[Chunk]) -> tuple[Chunk, list[list[Tokens] | CreditError]] | None:
        chunk = next(rest, None)
        return None if chunk is None else (chunk, self.scorer.encode(examples_of(chunk)))


def score_chunk(
    scorer: Scorer, chunk: Chunk, encoded: Sequence[list[Tokens] | CreditError] | None = None
) -> ScoredChunk:
    """A chunk's rows under one pair; `encoded` are the tokens of its good rows, where they are known."""
    examples = examples_of(chunk)
    scored = iter(scorer.score(examples, scorer.encode(examples) if encoded is None else encoded))
    results = [row if isinstance(row, CreditError) else next(scored) for row in chunk.rows]
    return ScoredChunk(chunk, results, asdict(scorer.state), tuple(scorer.notes))


def restore(scorer: Scorer, last: Commit) -> None:
    """Let a scorer go on with the noise floor and the batch size of an earlier run."""
    if last.state:
        check_fields(
            last.state, ScorerState, "the journal's state", BEGIN_AGAIN, required=("noise", "tokens_per_batch")
        )
        scorer.restore(ScorerState(last.state["noise"], last.state["tokens_per_batch"]))
