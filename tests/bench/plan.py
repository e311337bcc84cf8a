"""The plan: find each contender's best batch, run them all in random order in every round, check that all agree."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from contender import Contender

TOLERANCE = 1e-3  # nats, of an answer's summed log-ratio
PATIENCE = 1.1  # the search for a batch stops at one that is this much slower than the best so far
SEED = 0


class Disagreement(Exception):
    """A contender's sums are not ours."""


@dataclass(slots=True)
class Entry:
    """A contender at its best batch and, where only one prompt's answers are at hand, at its best of these batches.

    `seconds` and `single_seconds` hold one pass each round; `difference` is the largest from our sums, nats.
    """

    contender: Contender
    batch: int
    single_batch: int
    seconds: list[float] = field(default_factory=list)
    single_seconds: list[float] = field(default_factory=list)
    difference: float = 0.0
    megabytes: float | None = None


def check(contender: Contender, sums: Sequence[float], expected: Sequence[float]) -> float:
    """The largest difference of two lists of sums.

    Raises:
        Disagreement: it is over `TOLERANCE`, or there are not as many.
    """
    if len(sums) != len(expected):
        raise Disagreement(f"{contender.name} gave {len(sums)} sums for {len(expected)} answers")
    differences = [abs(a - b) for a, b in zip(sums, expected, strict=True)]
    worst = max(range(len(sums)), key=lambda n: (differences[n] != differences[n], differences[n]))
    if not differences[worst] <= TOLERANCE:  # not a number fails too
        raise Disagreement(
            f"{contender.name} disagrees on answer {worst}: {sums[worst]:+.6f} where dpo-credit has "
            f"{expected[worst]:+.6f} nats, {differences[worst]:.1e} apart (at most {TOLERANCE:.0e})"
        )
    return differences[worst]


def sizes(contender: Contender, answers_each: int, answers: int) -> Iterator[int]:
    """Batches to try, in answers: the smallest, one prompt's, then twice as many each time."""
    if contender.step < answers_each:
        yield contender.step
    size = answers_each
    while True:
        yield min(size, answers)
        if size >= answers:
            return
        size *= 2


def search(contender: Contender, answers_each: int, few: int, answers: int) -> tuple[int, int]:
    """(best batch, best batch of at most one prompt), in answers: by one pass each over the first `few` answers.

    Where all of these in one batch is the best, larger ones are tried on all `answers`.
    """
    timed: dict[int, float] = {}

    def best(over: int, batches: list[int]) -> int:
        timed.clear()
        for batch in batches:
            timed[batch] = _seconds(lambda batch=batch: contender.run(over, batch))
            if batch > answers_each and timed[batch] > PATIENCE * min(timed.values()):
                break
        return min(timed, key=timed.__getitem__)

    contender.run(answers_each, contender.step)  # a warm-up
    found = best(few, list(sizes(contender, answers_each, few)))
    single = min((batch for batch in timed if batch <= answers_each), key=timed.__getitem__)
    if found == few < answers:
        found = best(answers, [batch for batch in sizes(contender, answers_each, answers) if batch >= few])
    return found, single


def rounds(
    entries: Sequence[Entry],
    expected: Callable[[str], Sequence[float]],
    answers: int,
    count: int,
    limit: Callable[[], float] | None,
    say: Callable[[str], None] = lambda line: None,
) -> list[float]:
    """Run every entry once a round, in random order, and record its seconds; the limit is measured among them.

    Args:
        entries: what to run; times and differences are added to them.
        expected: our sums, for prompts that begin with the text given.
        answers: how many of the workload to score.
        count: rounds.
        limit: measures the limit's seconds.
        say: told of every round.

    Returns:
        The limit's seconds of each round.

    Raises:
        Disagreement: an entry's sums are not ours.
    """
    draw = random.Random(SEED)
    limits: list[float] = []

    def once(entry: Entry, batch: int, seconds: list[float]) -> None:
        gc.collect()
        start = time.perf_counter()
        sums = entry.contender.run(answers, batch)
        seconds.append(time.perf_counter() - start)
        entry.difference = max(entry.difference, check(entry.contender, sums, expected(entry.contender.start)))

    for number in range(count):
        jobs: list[Callable[[], None]] = [lambda e=entry: once(e, e.batch, e.seconds) for entry in entries]
        jobs += [
            lambda e=entry: once(e, e.single_batch, e.single_seconds)
            for entry in entries
            if entry.single_batch != entry.batch
        ]
        if limit:
            jobs.append(lambda: limits.append(limit()))
        draw.shuffle(jobs)
        for job in jobs:
            job()
        say(f"round {number + 1} of {count} done")
    for entry in entries:
        if entry.single_batch == entry.batch:
            entry.single_seconds = entry.seconds
    return limits


def _seconds(job: Callable[[], object]) -> float:
    gc.collect()
    start = time.perf_counter()
    job()
    return time.perf_counter() - start
