"""The batch engine for models that do not fit together: the policy's numbers for all rows first, then the reference's.

What the policy gave lies in a cache on the disk meanwhile: the one that was asked for, or a temporary one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dpo_credit.batch.provenance import settings
from dpo_credit.batch.run import Job, ScoredChunk, chunks, examples_of, restore, score_chunk
from dpo_credit.cache import Cache
from dpo_credit.credit import CreditError
from dpo_credit.models.pair import Model, ModelPair, free
from dpo_credit.models.weights import fingerprint
from dpo_credit.rows.journal import Commit
from dpo_credit.scoring import Scorer, exact, freed

Make = Callable[[ModelPair, Path | None], Scorer]  # a scorer of a pair, with a cache


class OneAtATime:
    """Holds one model in memory at a time.

    Args:
        pair: its sides load a model when they are called; see `load_pair` with `sequential`.
        make: makes a scorer of a pair and a cache.
        cache: where numbers are kept between runs, if anywhere.
        say: told when one model is done.
    """

    def __init__(self, pair: ModelPair, make: Make, cache: Path | None, say: Callable[[str], None]) -> None:
        self.pair, self.make, self.cache, self.say = pair, make, cache, say
        self._known: list[Model] = []

    def settings(self, job: Job) -> dict[str, Any]:
        """`provenance.settings`, which needs the weights of both."""
        for side in (self.pair.policy, self.pair.reference) if not self._known else ():
            assert callable(side)
            self._known.append(_known(side()))
            free()
        policy, reference = self._known
        return settings(job, self.make(replace(self.pair, policy=policy, reference=reference), None))

    def score(self, job: Job, last: Commit) -> Iterator[ScoredChunk]:
        """The chunks behind `last`, in order, once the policy has been through all of them."""
        load_policy, load_reference = self.pair.policy, self.pair.reference
        assert callable(load_policy) and callable(load_reference)
        with tempfile.TemporaryDirectory(prefix="dpo-credit-") as folder:
            kept = self.cache or Path(folder)
            model = load_policy()
            policy, sample = _known(model), self._through(model, job, last, kept)
            del model
            free()
            self.say(f"{policy.name} has been through all rows; now the reference")
            scorer = self.make(replace(self.pair, policy=policy, reference=load_reference()), kept)
            scorer.exact = sample
            restore(scorer, last)
            for chunk in chunks(job, last):
                yield score_chunk(scorer, chunk)

    def _through(self, model: Model, job: Job, last: Commit, kept: Path) -> Any:
        """Keep what the policy gives for all rows; its sample in float32, for the noise floor, comes back."""
        alone = self.make(replace(self.pair, policy=model, reference=model), kept)
        restore(alone, last)
        cache, sample = Cache(kept, model), None
        for number, chunk in enumerate(chunks(job, last)):
            rows = alone.encode(examples_of(chunk))
            batch = [tokens for row in rows if not isinstance(row, CreditError) for tokens in row]
            if batch:
                alone.run_cached(model, cache, batch)
            if number == 0 and alone.noise is None:
                sample = exact(model, batch)
        return sample


def _known(model: Model) -> Model:
    """A model's stand-in, by whose fingerprint a cache still knows it."""
    return replace(freed(model), weights=fingerprint(model))
