"""Known conventions tried on one target, one at a time, then two, until its numbers and ours meet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

from dpo_credit.verify.conventions import PEERS, Convention, Way, beta_convention, is_arithmetic
from dpo_credit.verify.rewards import ERRORS, SAMPLE_ROWS, Answers, Rewards
from dpo_credit.verify.targets import Compared, Target, Trial, mean_of_batches

_FLOOR = 1e-6  # below which no logged number says anything
_OWN_ERROR = 0.7  # the share of its own error within which half-precision arithmetic must explain the numbers
_CLOSER = 3  # times closer: then an arithmetic explains what agrees already


class Trials:
    """The conventions that bring one target's numbers and ours together.

    All are tried on a few rows, those on which the options given fail among them; only what agrees there is computed
    for all rows, and, where nothing does, what comes closest.
    """

    def __init__(
        self, rewards: Rewards, target: Target, known: Sequence[Convention], say: Callable[[str], None]
    ) -> None:
        self.rewards, self.target, self.known, self.say = rewards, target, known, say
        self.given = [n for n, numbers in enumerate(target.numbers) if numbers is not None]
        self.ours = self._trial((), None)
        self.sample = None if self.ours.meets else self._sample()
        self.seen: dict[tuple[tuple[float, float] | None, ...], tuple[Convention, ...]] = {}
        self.found: dict[tuple[str, ...], Trial] = {(): self.ours}
        self.also: dict[tuple[str, ...], list[str]] = {}

    def _sample(self) -> list[int] | None:
        """Indices of the rows to try on; None for all."""
        if self.target.means or len(self.given) <= SAMPLE_ROWS:
            return None
        compared = self.compared(self.rewards.base)
        differ = [comparison.row for comparison in compared if not comparison.agrees]
        some = differ[:: math.ceil(len(differ) / (SAMPLE_ROWS * 3 // 4))]
        rest = [n for n in self.given if n not in some]
        return sorted(some + rest[: SAMPLE_ROWS - len(some)])

    def run(self) -> tuple[Trial, ...]:
        """All that was tried, best first; of two conventions together, what meets, or comes closer than any one."""
        base = self.rewards.base
        singles = [convention for convention in self.known if not self.rewards.same(convention.applied(base), base)]
        for rows in (None, self.sample):
            self.seen[self._numbers((), rows)] = ()
        if self.ours.meets:
            singles = [
                convention for convention in singles if is_arithmetic(convention) and self.rewards.error(base) > 0
            ]
        else:
            self._try(())
        for single in singles:
            self._try((single,))
        if not self._met():
            for first, second in combinations([convention for convention in singles if convention not in PEERS], 2):
                # two means are few: an arithmetic's wide error and a second convention would explain any two
                if not first.excludes(second) and not (self.target.means and (_wide(first) or _wide(second))):
                    self._try((first, second))
        if not self._met():
            closest = min(self.found.values(), key=self._rank)
            self.found[_names(closest.conventions)] = self._trial(closest.conventions, None)
        also = {key: tuple(names) for key, names in self.also.items()}
        trials = (replace(convention, also=also.get(key, ())) for key, convention in self.found.items())
        return tuple(sorted(trials, key=self._rank))

    def _met(self) -> bool:
        return any(trial.meets for trial in self.found.values())

    def _rank(self, trial: Trial) -> tuple[object, ...]:
        explains = self.ours.meets and trial.meets and trial.rms * _CLOSER <= self.ours.rms
        largest = math.inf if trial.largest is None else trial.largest
        return (
            not trial.meets,
            not explains,
            len(trial.conventions) if trial.meets else 0,
            -trial.agreeing / trial.of,
            largest,
        )

    def compared(self, way: Way, rows: Sequence[int] | None = None, *, error: float | None = None) -> list[Compared]:
        """Ours and theirs, row by row, or the means.

        Args:
            rows: indices of the rows; all that the target has numbers for, if not given.
            error: the arithmetic's own error of a log-ratio, nats; as measured, if not given.
        """
        if error is None:
            error = self.rewards.error(way)
        if self.target.means:
            return [self._means(self.rewards.answers(way), way, error)]
        picked = self.given if rows is None else list(rows)
        made = []
        for n, pair in zip(picked, self.rewards.answers(way, picked), strict=True):
            theirs = self.target.numbers[n]
            assert theirs is not None
            ours = None if pair is None else self.numbers(pair, way)
            made.append(Compared(n, ours, theirs, (0.0, 0.0) if pair is None else self._tolerance(pair, way, error)))
        return made

    def numbers(self, answers: Answers, way: Way) -> tuple[float, float]:
        """What the target has for a row, as we compute it."""
        if self.target.quantity == "reference_logp":
            sides = [answer.policy if way.reference == "swapped" else answer.reference for answer in answers]
            chosen, rejected = (
                side / (answer.tokens if way.mean else 1) for side, answer in zip(sides, answers, strict=True)
            )
            return chosen, rejected
        return way.beta * answers[0].log_ratio(way), way.beta * answers[1].log_ratio(way)

    def _tolerance(self, answers: Answers, way: Way, error: float) -> tuple[float, float]:
        """By how much two programs may differ that do the same: float32's rounding, and the arithmetic's own error."""
        beta = way.beta if self.target.quantity == "reward" else 1.0
        chosen, rejected = (
            max(_FLOOR, beta * (answer.rounding(way) + ERRORS * error / (answer.tokens if way.mean else 1)))
            for answer in answers
        )
        return chosen, rejected

    def _means(self, answers: Sequence[Answers | None], way: Way, error: float) -> Compared:
        (theirs,) = (numbers for numbers in self.target.numbers if numbers is not None)
        whole = [pair for pair in answers if pair is not None]
        if len(whole) < len(answers):
            return Compared(0, None, theirs)
        error /= math.sqrt(len(whole))  # independent errors average out
        numbers, tolerances = (
            [self.numbers(pair, way) for pair in whole],
            [self._tolerance(pair, way, error) for pair in whole],
        )
        sizes = self.target.batches or (len(whole),)
        means = [Compared(0, mean_of_batches(numbers, n), theirs, mean_of_batches(tolerances, n)) for n in sizes]
        return min(means, key=lambda pair: pair.difference)

    def _trial(self, conventions: tuple[Convention, ...], rows: Sequence[int] | None) -> Trial:
        way = self.way(conventions)
        compared = self.compared(way, rows)
        differences = [row.difference for row in compared if row.ours is not None]
        beta = way.beta if self.target.quantity == "reward" else 1.0
        rms = math.sqrt(sum(x * x for x in differences) / len(differences)) / beta if differences else math.inf
        error = self.error(way)
        own = self.ours.rms if self.target.means and conventions else math.inf
        if way.numerics != self.rewards.base.numerics and (rms > _OWN_ERROR * error or rms * _CLOSER > own):
            # what float32 made is within the error of half precision too: that alone tells nothing
            compared = self.compared(way, rows, error=0.0)
        agreeing = sum(row.agrees for row in compared)
        return Trial(
            conventions=conventions,
            agreeing=agreeing,
            of=len(compared),
            largest=max(differences, default=None),
            rms=rms,
            meets=agreeing == len(compared) > 0,
        )

    def error(self, way: Way) -> float:
        """The arithmetic's own error of what the target has, nats; in means, independent errors average out."""
        return self.rewards.error(way) / (math.sqrt(len(self.rewards.rows)) if self.target.means else 1)

    def _try(self, conventions: tuple[Convention, ...]) -> None:
        """These conventions, and with them the beta that the numbers themselves suggest."""
        self.say(", ".join(_names(conventions)))
        trial = self._best(conventions, self.sample)
        if trial is None:
            return
        if trial.meets and self.sample is not None:
            trial = self._best(conventions, None)
            assert trial is not None
        numbers = self._numbers(trial.conventions, None if trial.meets else self.sample)
        known = self.seen.setdefault(numbers, trial.conventions)
        if known != trial.conventions:
            if len(known) == len(trial.conventions):
                self.also.setdefault(_names(known), []).append(trial.name)
            return
        closer = len(conventions) <= 1 or self._rank(trial) < min(map(self._rank, self.found.values()))
        if trial.conventions and (trial.meets or closer):
            self.found[_names(trial.conventions)] = trial

    def _best(self, conventions: tuple[Convention, ...], rows: Sequence[int] | None) -> Trial | None:
        """With their own beta, or another where that meets; None where no row can go that way."""
        way = self.way(conventions)
        compared = self.compared(way, rows)
        if all(row.ours is None for row in compared):
            return None
        trial = self._trial(conventions, rows)
        beta = None if trial.meets or self.ours.meets else self._beta(compared, way)
        if self.target.means and any(map(_wide, conventions)):
            beta = None
        if beta is None:
            return trial
        other = self._trial((*conventions, beta_convention(beta)), rows)
        return other if other.meets else trial

    def _numbers(
        self, conventions: tuple[Convention, ...], rows: Sequence[int] | None
    ) -> tuple[tuple[float, float] | None, ...]:
        return tuple(row.ours for row in self.compared(self.way(conventions), rows))

    def way(self, conventions: tuple[Convention, ...]) -> Way:
        """The options given, with these conventions."""
        way = self.rewards.base
        for convention in conventions:
            way = convention.applied(way)
        return way

    def _beta(self, compared: Sequence[Compared], way: Way) -> float | None:
        """The beta of least squares, to three digits (of means, two); None if there is none or it is the one used."""
        if self.target.quantity != "reward":
            return None
        pairs = [
            (a / way.beta, b)
            for row in compared
            if row.ours is not None
            for a, b in zip(row.ours, row.theirs, strict=True)
        ]
        power = sum(a * a for a, _ in pairs)
        digits = 2 if self.target.means else 3
        beta = float(f"{sum(a * b for a, b in pairs) / power:.{digits}g}") if power else 0.0
        return beta if beta > 0 and beta != way.beta else None


def _wide(convention: Convention) -> bool:
    return "numerics" in convention.changes


def _names(conventions: tuple[Convention, ...]) -> tuple[str, ...]:
    return tuple(convention.name for convention in conventions)
