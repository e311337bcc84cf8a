"""The batch engine for many workers: Ray Data reads chunks, an actor pool scores them, and they come back in order.

One task reads the input, a chunk a block; each actor loads the pair once. A chunk whose worker dies is scored again
elsewhere, and since only this process writes, no row is written twice. Everything else is `batch.local`'s.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from dpo_credit.batch.job import Job, ScoredChunk, chunks
from dpo_credit.batch.local import restore, score_chunk
from dpo_credit.batch.provenance import settings
from dpo_credit.batch.work import chunk_tokens
from dpo_credit.credit import CreditError
from dpo_credit.extras import optional
from dpo_credit.models.torch_side import HALF
from dpo_credit.rows.journal import Commit

if TYPE_CHECKING:
    from dpo_credit.scoring import Scorer

Block = dict[str, np.ndarray]  # "pickled" (1,): a chunk, a scored chunk, or what went wrong


class Ray:
    """Workers of a Ray cluster: the one that RAY_ADDRESS names, else this machine.

    Args:
        make: loads the pair and makes a scorer; each worker calls it once.
        workers: how many; each takes one CPU, or `gpus_per_worker` GPUs and one CPU.
        gpus_per_worker: may be a fraction, where several pairs fit one GPU.

    Raises:
        CreditError: Ray is not installed, or the cluster has no room for a single worker.
    """

    def __init__(self, make: Callable[[], Scorer], workers: int, gpus_per_worker: float) -> None:
        self.ray = optional("ray", "--engine ray", extra="ray")
        optional("ray.data", "--engine ray", extra="ray")
        self.make, self.workers = make, workers
        self.needs = {"num_cpus": 1, "num_gpus": gpus_per_worker}
        if not self.ray.is_initialized():
            self.ray.init(log_to_driver=False, logging_level=logging.ERROR)
        has = self.ray.cluster_resources()
        for kind, wanted in (("CPU", workers), ("GPU", workers * gpus_per_worker)):
            if has.get(kind, 0) < wanted:
                raise CreditError(
                    f"{workers} workers need {wanted:g} {kind}s and the cluster has {has.get(kind, 0):g}. Ask for "
                    "fewer --workers or --gpus-per-worker."
                )

    def settings(self, job: Job) -> dict[str, Any]:
        """`provenance.settings`, asked of a worker: this machine may have no GPU."""
        return self._asked(lambda scorer: settings(job, scorer) | {"engine": "ray"})

    def _asked(self, question: Callable[[Scorer], Any]) -> Any:
        """What a worker with the pair answers."""
        make = self.make
        ask = self.ray.remote(**self.needs)(lambda: _or_error(lambda: question(make())))
        return _raised(self.ray.get(ask.remote()))

    def score(self, job: Job, last: Commit) -> Iterator[ScoredChunk]:
        """The chunks behind `last`, in order."""
        job = replace(job, chunk_tokens=self._asked(chunk_tokens))
        data = self.ray.data
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        context.target_max_block_size = 1  # else small blocks are joined, and fewer workers than asked for have work
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        scored = data.read_datasource(_source(data, job, last), override_num_blocks=1, num_cpus=0).map_batches(
            _Worker,
            fn_constructor_args=(self.make, job, last),
            batch_size=1,
            batch_format="numpy",
            compute=data.ActorPoolStrategy(size=self.workers),
            **self.needs,
        )
        for block in scored.iter_batches(batch_size=1, batch_format="numpy", prefetch_batches=self.workers):
            yield _raised(_unpacked(block))


class _Worker:
    """One actor: a pair, and the chunks that come its way."""

    def __init__(self, make: Callable[[], Scorer], job: Job, last: Commit) -> None:
        self.scorer = _or_error(make)
        if isinstance(self.scorer, CreditError):
            return
        restore(self.scorer, last, compiled=True)
        if not last.state and any(side.dtype in HALF for side in self.scorer.sides):
            for first in islice(chunks(job), 1):  # its noise floor is every worker's, as it is a single process's
                score_chunk(self.scorer, first)

    def __call__(self, block: Block) -> Block:
        chunk = _unpacked(block)
        if isinstance(chunk, CreditError) or isinstance(self.scorer, CreditError):
            return _packed(chunk if isinstance(chunk, CreditError) else self.scorer)
        scorer = self.scorer
        return _packed(_or_error(lambda: score_chunk(scorer, chunk)))


def _source(data: Any, job: Job, last: Commit) -> Any:
    """The job's chunks as a Ray datasource of one task, whose blocks are read as they are needed."""
    from ray.data.block import BlockMetadata

    class Chunks(data.Datasource):
        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            unknown = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
            return [data.ReadTask(lambda: _blocks(job, last), unknown)]

    return Chunks()


def _blocks(job: Job, last: Commit) -> Iterator[Any]:
    import pyarrow

    rest = chunks(job, last)
    while (chunk := _or_error(lambda: next(rest, None))) is not None:
        yield pyarrow.table({"pickled": [pickle.dumps(chunk)]})
        if isinstance(chunk, CreditError):
            return


def _packed(value: object) -> Block:
    return {"pickled": np.array([pickle.dumps(value)], dtype=object)}


def _unpacked(block: Block) -> Any:
    return pickle.loads(block["pickled"][0])


def _or_error(job: Callable[[], Any]) -> Any:
    """What a job gives, or its CreditError as a value: Ray would wrap a raised one in its own."""
    try:
        return job()
    except CreditError as error:
        return error


def _raised(value: Any) -> Any:
    if isinstance(value, CreditError):
        raise value
    return value
