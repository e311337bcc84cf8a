"""What decides a run's numbers and rows, as JSON: a run goes on under the same alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dpo_credit.batch.work import chunk_tokens
from dpo_credit.identity import identity
from dpo_credit.rows.saved import SCHEMA

if TYPE_CHECKING:
    from dpo_credit.batch.job import Job
    from dpo_credit.scoring import Scorer


def settings(job: Job, scorer: Scorer) -> dict[str, Any]:
    """The pair's identity, what is read, how it is cut into chunks, and the version of what is written."""
    return {
        "inputs": [given.name for given in job.inputs],
        "split": next((given.split for given in job.inputs), None),
        **{name: getattr(job, name) for name in ("prompt_key", "answer_key", "limit", "chunk_rows")},
        "chunk_tokens": chunk_tokens(scorer),  # first of what asks the policy: of two in turn it is loaded once
        **identity(scorer.pair, scorer.conventions),
        "tokens_per_batch": scorer.state.tokens_per_batch,
        "output": SCHEMA,
    }
