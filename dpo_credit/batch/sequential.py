"""The batch engine for models that do not fit together: the policy's numbers for all rows first, then the reference's.

What the policy gave lies in a cache on the disk meanwhile: the one that was asked for, or a temporary one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpo_credit.batch.job import Job, ScoredChunk, chunks, examples_of
from dpo_credit.batch.local import restore, score_chunk
from dpo_credit.batch.provenance import settings
from dpo_credit.batch.work import chunk_tokens
from dpo_credit.credit import CreditError
from dpo_credit.models.side import Exact
from dpo_credit.rows.journal import Commit
from dpo_credit.scoring import Scorer


class OneAtATime:
    """Holds one model in memory at a time.

    Args:
        make: makes a scorer, with a cache, of a pair that was loaded with `sequential`.
        cache: where numbers are kept between runs, if anywhere.
        say: told when one model is done.
    """

    def __init__(self, make: Callable[[Path | None], Scorer], cache: Path | None, say: Callable[[str], None]) -> None:
        self.make, self.cache, self.say = make, cache, say

    def settings(self, job: Job) -> dict[str, Any]:
        """See `provenance.settings`; needs the weights of both."""
        return settings(job, self.make(None))

    def score(self, job: Job, last: Commit) -> Iterator[ScoredChunk | str]:
        """The chunks behind `last`, in order, once the policy has been through all of them; it says how far that is."""
        with tempfile.TemporaryDirectory(prefix="dpo-credit-") as folder:
            scorer = self.make(self.cache or Path(folder))
            restore(scorer, last, compiled=True)
            policy = scorer.sides[0]
            job = replace(job, chunk_tokens=chunk_tokens(scorer))
            passed = last.rows
            for number, chunk in enumerate(chunks(job, last)):
                rows = scorer.encode(examples_of(chunk))
                batch = [tokens for row in rows if not isinstance(row, CreditError) for tokens in row]
                policy.logps(batch)
                if number == 0 and scorer.noise is None and isinstance(policy, Exact):
                    policy.exact_logps(scorer.sample(batch))
                passed += len(chunk.rows)
                yield f"{policy.name} has been through {passed:,} rows"
            self.say(f"{policy.name} has been through all rows; now the reference")
            for chunk in chunks(job, last):
                yield score_chunk(scorer, chunk)
