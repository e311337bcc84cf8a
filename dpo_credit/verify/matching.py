"""One target's numbers and ours by any conventions: how far apart they are, and whether that is rounding."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from dpo_credit.verify.conventions import Convention, Way, beta_convention
from dpo_credit.verify.rewards import ERRORS, SAMPLE_ROWS, Answers, Rewards, spread
from dpo_credit.verify.targets import Compared, Target, Trial, mean_of_batches

_FLOOR = 1e-6  # below which no logged number says anything
_OWN_ERROR = 0.7  # the share of its own error within which half-precision arithmetic must explain the numbers
CLOSER = 3  # times closer: then an arithmetic explains what agrees already


class Matching:
    """Compares one target with our rewards; `ours` is the trial of the options given, `given` the rows that count."""

    def __init__(self, rewards: Rewards, target: Target) -> None:
        self.rewards, self.target = rewards, target
        self.given = [n for n, numbers in enumerate(target.numbers) if numbers is not None]
        self.ours = self.trial((), None)

    def way(self, conventions: Sequence[Convention]) -> Way:
        """The options given, with these conventions."""
        way = self.rewards.base
        for convention in conventions:
            way = convention.applied(way)
        return way

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

    def trial(self, conventions: tuple[Convention, ...], rows: Sequence[int] | None) -> Trial:
        """What these conventions make of the target on some rows, or on all."""
        way = self.way(conventions)
        compared = self.compared(way, rows)
        differences = [row.difference for row in compared if row.ours is not None]
        beta = way.beta if self.target.quantity == "reward" else 1.0
        rms = math.sqrt(sum(x * x for x in differences) / len(differences)) / beta if differences else math.inf
        error = self.error(way)
        own = self.ours.rms if self.target.means and conventions else math.inf
        if way.numerics != self.rewards.base.numerics and (rms > _OWN_ERROR * error or rms * CLOSER > own):
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

    def best(self, conventions: tuple[Convention, ...], rows: Sequence[int] | None) -> Trial | None:
        """With their own beta, or the one of the numbers where that meets; None where no row can go that way."""
        way = self.way(conventions)
        compared = self.compared(way, rows)
        if all(row.ours is None for row in compared):
            return None
        trial = self.trial(conventions, rows)
        if trial.meets or self.ours.meets or (self.target.means and any(map(is_wide, conventions))):
            return trial
        beta = self._beta([(row.ours, row.theirs) for row in compared if row.ours is not None], way)
        if beta is None:
            return trial
        other = self.trial((*conventions, beta_convention(beta)), rows)
        return other if other.meets else trial

    def _beta(self, pairs: Sequence[tuple[tuple[float, float], tuple[float, float]]], way: Way) -> float | None:
        """The beta of least squares, to three digits (of means, two); None if there is none or it is the one used."""
        if self.target.quantity != "reward":
            return None
        each = [(a / way.beta, b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)]
        power = sum(a * a for a, _ in each)
        digits = 2 if self.target.means else 3
        beta = float(f"{sum(a * b for a, b in each) / power:.{digits}g}") if power else 0.0
        return beta if beta > 0 and beta != way.beta else None

    def expected(self, conventions: tuple[Convention, ...]) -> float | None:
        """How far logged means are from what a few rows let expect of these conventions, in standard errors.

        The mean over all rows that go the way of the options given is known, under any scaling. To it comes what the
        conventions change, on average, in some of the rows that they change.

        Returns:
            The distance under their own beta or the one that fits, whichever is nearer; None where nothing is changed,
            or a row cannot go that way.
        """
        way = self.way(conventions)
        plain = replace(self.rewards.base, mean=way.mean, reference=way.reference, beta=way.beta)
        count = len(self.rewards.rows)
        changed = [n for n in range(count) if not self.rewards.same_row(way, plain, n)]
        rows = spread(changed, SAMPLE_ROWS)
        here, before, everywhere = (
            [None if pair is None else self.numbers(pair, each) for pair in self.rewards.answers(each, picked)]
            for each, picked in ((way, rows), (plain, rows), (plain, range(count)))
        )
        if len(rows) < 2 or None in (*here, *before, *everywhere):
            return None
        (theirs,) = self.target.numbers
        share = len(changed) / count
        means, errors = [], []
        for side in (0, 1):
            change = [a[side] - b[side] for a, b in zip(here, before, strict=True) if a and b]
            means.append(statistics.fmean(both[side] for both in everywhere if both) + share * statistics.fmean(change))
            errors.append(share * statistics.stdev(change) / math.sqrt(len(change)) + _FLOOR)
        beta = self._beta([((means[0], means[1]), theirs)], way) if theirs is not None else None
        scales = [1.0] if beta is None else [1.0, beta / way.beta]
        return min(
            max(
                abs(scale * mean - x) / (scale * error)
                for mean, error, x in zip(means, errors, theirs or (), strict=True)
            )
            for scale in scales
        )


def is_wide(convention: Convention) -> bool:
    """Whether its arithmetic's own error is so wide that two means tell little."""
    return "numerics" in convention.changes
