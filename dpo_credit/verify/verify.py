"""Are these a trainer's numbers? Ours beside theirs row by row, and the convention under which the two meet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dpo_credit.credit import CreditError
from dpo_credit.verify.conventions import PEERS, Convention, Way, table
from dpo_credit.verify.matching import Matching
from dpo_credit.verify.rewards import SAMPLE_ROWS, Answers, Rewards, spread
from dpo_credit.verify.targets import Compared, Target, Trial
from dpo_credit.verify.trials import Trials

_AUTOCAST = Way(numerics="bfloat16 autocast")
_ERRORS = 2  # standard errors within which bfloat16 may be why
_LOSS_DIGITS = 1e-3  # the relative difference from which on a loss is another


@dataclass(frozen=True, slots=True)
class Comparison:
    """One target: `rows` under the options given, and what was tried, best first."""

    target: Target
    rows: tuple[Compared, ...]
    trials: tuple[Trial, ...]
    agrees: bool
    notes: tuple[str, ...] = ()
    half: str = ""  # the half-precision dtype within whose own error the numbers were compared
    within_bfloat16: bool = False  # float32's numbers are off by no more than bfloat16's error, which may be why


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All targets, and how far the options given are from each peer's conventions."""

    comparisons: tuple[Comparison, ...]
    peers: tuple[tuple[Convention, Trial], ...]
    notes: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether every target's numbers are ours, under the options given."""
        return all(comparison.agrees for comparison in self.comparisons)


def verify(rewards: Rewards, targets: Sequence[Target], say: Callable[[str], None] = lambda _: None) -> VerifyReport:
    """Compare with each target; where the options given do not agree, try the known conventions, then two at a time.

    Args:
        rewards: the rows, the pair, and the way of the options given.
        targets: at least one.
        say: told what is being tried.

    Raises:
        CreditError: no row can be scored under the options given.
    """
    failed = [row for row in rewards.encode(rewards.base) if isinstance(row, CreditError)]
    if len(failed) == len(rewards.rows):
        raise failed[0]
    known = table(rewards.base, half=rewards.half, adapter=rewards.adapter, own_reference=rewards.own is not None)
    half = rewards.policy.dtype if rewards.half else ""
    comparisons = []
    for target in targets:
        trying = Trials(rewards, target, known, say)
        trials = trying.run()
        rows = tuple(trying.match.compared(rewards.base))
        within = not half and not trials[0].meets and trying.ours.rms <= _ERRORS * trying.match.error(_AUTOCAST)
        comparisons.append(Comparison(target, rows, trials, trying.ours.meets, _notes(trying, trials[0]), half, within))
    say("the peers' conventions")
    notes = tuple(
        f"{len(failed)} of {len(rewards.rows)} rows cannot be scored under the options given: {error}"
        for error in failed[:1]
    )
    return VerifyReport(tuple(comparisons), tuple(_peers(rewards)), notes)


def _notes(trying: Trials, best: Trial) -> tuple[str, ...]:
    """A word on trials that were left out, and on a loss that is not DPO's where the rewards are the same."""
    target, way = trying.match.target, trying.match.way(best.conventions)
    if trying.cut and not best.meets:
        return (
            f"{target.name}: conventions were tried for as long as scoring all rows once more takes; not all were, two "
            "together",
        )
    if target.loss is None or not best.meets:
        return ()
    rewards = [trying.match.numbers(pair, way) for pair in trying.rewards.answers(way) if pair is not None]
    # unlike the rewards, a Trainer's loss is the mean over rows, whatever the batches
    loss = math.fsum(_softplus(rejected - chosen) for chosen, rejected in rewards) / len(rewards)
    if abs(loss - target.loss) <= _LOSS_DIGITS * max(1.0, loss):
        return ()
    return (
        f"its loss is {target.loss:.4g}, where -log sigmoid of these margins is {loss:.4g}: another loss_type, label "
        "smoothing or weights",
    )


def _softplus(x: float) -> float:
    """log(1 + e^x): -log sigmoid(-x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _peers(rewards: Rewards) -> Iterator[tuple[Convention, Trial]]:
    """Each peer's numbers on a few rows beside ours."""
    plain = Way(template=rewards.base.template, beta=rewards.base.beta)
    few = spread(range(len(rewards.rows)), SAMPLE_ROWS)
    for peer in PEERS:
        way = peer.applied(plain)
        numbers: list[tuple[float, float] | None] = [None] * len(rewards.rows)
        for n, answers in zip(few, rewards.answers(way, few), strict=True):
            numbers[n] = _rewards(answers, way)
        if any(numbers):
            yield peer, Matching(rewards, Target(peer.name, peer.name, tuple(numbers))).ours


def _rewards(answers: Answers | None, way: Way) -> tuple[float, float] | None:
    if answers is None:
        return None
    return way.beta * answers[0].log_ratio(way), way.beta * answers[1].log_ratio(way)
