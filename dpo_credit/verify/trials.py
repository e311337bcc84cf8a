"""Known conventions tried on one target until its numbers and ours meet: what costs nothing first, then a few rows.

1. Scalings (another beta, average, no reference, swapped models) are arithmetic on numbers that are there.
2. One convention at a time on the cheapest row on which the options given fail; what agrees there, on a few rows; what
   agrees on these, on all. Of logged means, which no single row tells, a few rows say what may be expected.
3. Two together, likewise, for as long as all of it takes no more than scoring all rows once more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import combinations, islice

from dpo_credit.credit import CreditError
from dpo_credit.verify.conventions import PEERS, Convention, is_arithmetic
from dpo_credit.verify.matching import CLOSER, Matching, is_wide
from dpo_credit.verify.rewards import SAMPLE_ROWS, Rewards, spread
from dpo_credit.verify.targets import Target, Trial

Conventions = tuple[Convention, ...]
_SCALINGS = {"mean", "reference", "beta"}  # the fields of a way that only weigh numbers
_CLOSEST = 3  # of what fails on one row, how much is compared on a few
_EXPECTED = 5.0  # standard errors that logged means may be off what a few rows let expect
_LEAST_ROWS = 50  # however few there are, trials may take as much as scoring so many


class Trials:
    """The conventions that bring one target's numbers and ours together. `cut` says that not all were tried."""

    def __init__(
        self, rewards: Rewards, target: Target, known: Sequence[Convention], say: Callable[[str], None]
    ) -> None:
        self.rewards, self.known, self.say = rewards, known, say
        self.match = Matching(rewards, target)
        self.ours = self.match.ours
        self.few: list[int] | None = None  # rows to try on; None for all
        self.one: list[int] | None = None
        if not target.means:
            self._pick()
        self.expects = target.means and len(rewards.rows) > SAMPLE_ROWS
        self.most = rewards.asked + 4 * max(_LEAST_ROWS, len(rewards.rows))  # sequences: two answers, two models
        self.cut = False
        self.found: dict[tuple[str, ...], Trial] = {(): self.ours}
        self.failed: list[tuple[float, Conventions]] = []

    def _pick(self) -> None:
        """The rows to try on: of those that differ the cheapest, the dearest and some between; and some that do not."""
        compared = self.match.compared(self.rewards.base)
        cheap = sorted(compared, key=lambda row: (row.ours is None, self._cost(row.row)))
        differ = [row.row for row in cheap if not row.agrees] or [row.row for row in cheap]
        agree = [row.row for row in cheap if row.row not in differ]
        few = spread(differ, SAMPLE_ROWS - min(len(agree), SAMPLE_ROWS // 4))
        self.few = sorted([*few, *agree[: SAMPLE_ROWS - len(few)]])
        self.one = differ[:1]

    def _cost(self, row: int) -> int:
        (encoded,) = self.rewards.encode(self.rewards.base, [row])
        if isinstance(encoded, CreditError):
            return 0
        return sum(len(tokens.prompt_ids) + len(tokens.answer_ids) for tokens in encoded)

    def run(self) -> tuple[Trial, ...]:
        """What was tried on more than one row, best first."""
        if self.ours.meets:
            self._explain()
        elif not any(map(self._tried, self._stages())):
            failed = (conventions for _, conventions in sorted(self.failed, key=lambda item: item[0]))
            telling = (
                conventions for conventions in failed if conventions and not any(map(self._is_idle, conventions))
            )
            for conventions in islice(telling, _CLOSEST):
                self._keep(self.match.best(conventions, self.few))
        return tuple(sorted(self.found.values(), key=self._rank))

    def _stages(self) -> Iterable[Iterable[Conventions]]:
        """What to try one after the other, the cheapest first."""
        scalings = [convention for convention in self.known if _is_scaling(convention)]
        others = [convention for convention in self.known if not _is_scaling(convention)]
        yield [(), *((scaling,) for scaling in scalings)]
        singles: list[list[Conventions]] = [
            [(convention,) for convention in others if is_wide(convention) == wide] for wide in (False, True)
        ]
        pairs = [
            (first, second)
            for first, second in combinations([convention for convention in self.known if convention not in PEERS], 2)
            # two means are few: an arithmetic's wide error and a second convention would explain any two
            if not first.excludes(second) and not (self.match.target.means and (is_wide(first) or is_wide(second)))
        ]
        scaled: list[Conventions] = [pair for pair in pairs if any(map(_is_scaling, pair))]
        rest: list[Conventions] = [pair for pair in pairs if not any(map(_is_scaling, pair))]
        if self.expects:  # what few rows let expect is rough: the likeliest of all that costs something goes first
            each = [*singles[0], *singles[1], *scaled]
            free = [conventions for conventions in each if self._is_known(conventions)]
            yield free
            yield [conventions for conventions in each if conventions not in free]
            self.cut = bool(rest)
            return
        yield from singles
        yield scaled
        yield sorted(rest, key=lambda pair: any(map(is_wide, pair)))

    def _tried(self, stage: Iterable[Conventions]) -> bool:
        """Whether one of these, with the beta that the numbers suggest, explains all; what may do so goes on."""
        likely: list[tuple[float, Conventions]] = []
        for conventions in stage:
            free = all(map(_is_scaling, conventions)) or (self.expects and self._is_known(conventions))
            if not free and not self._may(conventions, self.one):
                continue
            self.say(", ".join(_names(conventions)) or "another beta")
            if self.expects and not free:
                distance = self.match.expected(conventions)
                if distance is not None and distance <= _EXPECTED:
                    likely.append((distance + len(conventions), conventions))
                continue
            trial = self.match.best(conventions, None if free else self.one)
            if trial is not None:
                distance = math.inf if trial.largest is None else trial.largest
                (likely if trial.meets else self.failed).append((distance, conventions))
        likely.sort(key=lambda item: item[0])
        return any(self._explains(conventions) for _, conventions in likely if self._may(conventions, None))

    def _is_idle(self, convention: Convention) -> bool:
        """Whether the rows that are tried do not show it."""
        way, rows = convention.applied(self.rewards.base), self.few or range(len(self.rewards.rows))
        return all(self.rewards.same_row(way, self.rewards.base, n) for n in rows)

    def _is_known(self, conventions: Conventions, rows: Sequence[int] | None = None) -> bool:
        """Whether every sequence was computed already."""
        return not self.rewards.unknown(self.match.way(conventions), rows)

    def _may(self, conventions: Conventions, rows: Sequence[int] | None) -> bool:
        """Whether trials took less than scoring all rows, or this one takes nothing."""
        may = self.rewards.asked <= self.most or self._is_known(conventions, rows)
        self.cut |= not may
        return may

    def _explains(self, conventions: Conventions) -> bool:
        """Whether these explain all rows, once they do so on a few."""
        rows = None if all(map(_is_scaling, conventions)) else self.few
        trial = self.match.best(conventions, rows)
        if trial is not None and trial.meets and rows is not None:
            trial = self.match.best(conventions, None)
        self._keep(trial)
        return trial is not None and trial.meets

    def _keep(self, trial: Trial | None) -> None:
        if trial is None or not trial.conventions:
            return
        also = self._also(trial.conventions) if trial.meets else ()
        self.found[_names(trial.conventions)] = replace(trial, also=also)

    def _also(self, conventions: Conventions) -> tuple[str, ...]:
        """What gives the same numbers on all rows, a convention in place of the first of these."""
        first, *rest = conventions
        way = self.match.way(conventions)
        others = ((other, *rest) for other in self.known if other is not first)
        return tuple(", ".join(_names(other)) for other in others if self.rewards.same(self.match.way(other), way))

    def _explain(self) -> None:
        """What agrees within half precision's own error may come closer by the other program's arithmetic."""
        if not self.rewards.error(self.rewards.base) or self.expects:
            return
        here = self.match.trial((), self.few)
        for convention in filter(is_arithmetic, self.known):
            self.say(convention.name)
            trial = self.match.best((convention,), self.few)
            if trial is not None and trial.meets and trial.rms * CLOSER <= here.rms:
                trial = self.match.best((convention,), None)
            self._keep(trial if trial is not None and trial.meets else None)

    def _rank(self, trial: Trial) -> tuple[object, ...]:
        explains = self.ours.meets and trial.meets and trial.rms * CLOSER <= self.ours.rms
        largest = math.inf if trial.largest is None else trial.largest
        return (
            not trial.meets,
            not explains,
            len(trial.conventions) if trial.meets else 0,
            -trial.agreeing / trial.of,
            largest,
        )


def _is_scaling(convention: Convention) -> bool:
    return convention.changes.keys() <= _SCALINGS


def _names(conventions: Conventions) -> tuple[str, ...]:
    return tuple(convention.name for convention in conventions)
