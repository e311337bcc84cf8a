"""How the implicit reward grew over a training (Rafailov et al. 2024, Sec. 5.4): means a checkpoint, tokens, Eq. 16."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy.special import stdtrit

from dpo_credit.align import diff
from dpo_credit.credit import Credit
from dpo_credit.estimates.intervals import CONFIDENCE, Mean, Share, mean_by_prompt, mean_of, share_by_prompt
from dpo_credit.estimates.statistics import numbered
from dpo_credit.rows.aside import BadRow
from dpo_credit.segments import Segment

SIDES = ("chosen", "rejected")
LISTED = 100  # tokens that are told when they were learnt
_UPPER = 0.5 + CONFIDENCE / 2
Pair = tuple[Credit, Credit]


@dataclass(frozen=True, slots=True)
class Divergence:
    """KL(pi_ref || pi), nats an answer, its standard error, and how many answers of the reference it rests on.

    `drawn` is a hash of these answers: estimates compare closely on the same ones alone. They answer so many `prompts`,
    between which the error is; where an older version kept none, it is between answers.
    """

    kl: float
    error: float
    samples: int
    drawn: str = ""
    prompts: int | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """A checkpoint: the step of training, the policy's name, chosen and rejected of each row, and Eq. 16's KL."""

    step: int
    name: str
    pairs: tuple[Pair, ...]
    divergence: Divergence | None = None

    def with_logps(self, step: int, name: str, logps: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Moment:
        """The same rows under another policy: `logps` (T,) of the chosen and the rejected answer of each."""
        pairs = tuple(
            (self._under(name, chosen, of_chosen), self._under(name, rejected, of_rejected))
            for (chosen, rejected), (of_chosen, of_rejected) in zip(self.pairs, logps, strict=True)
        )
        return Moment(step, name, pairs)

    @staticmethod
    def _under(name: str, credit: Credit, logps: Sequence[float]) -> Credit:
        return replace(credit, policy_logps=tuple(logps), source=replace(credit.source, policy=name))


@dataclass(frozen=True, slots=True)
class Diverged:
    """A checkpoint that gives numbers that are not finite: its step, the policy's name, and what is wrong."""

    step: int
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run's checkpoints in the order of training; the first may be its start, where policy and reference are one.

    `diverged` are the checkpoints that have no numbers. `set_aside`: rows that could not be followed; a file that was
    kept does not tell them.
    """

    name: str
    ids: tuple[str, ...]
    moments: tuple[Moment, ...]
    diverged: tuple[Diverged, ...] = ()
    set_aside: tuple[BadRow, ...] = ()

    @property
    def prompts(self) -> int:
        """How many prompts the rows stand on; a row whose prompt is not known has its own."""
        return len(set(_prompts(self).tolist()))


def in_order(name: str, ids: tuple[str, ...], moments: Sequence[Moment | Diverged]) -> Trajectory:
    """The trajectory of moments in any order; the first of a step stays before the others."""
    known = sorted(moments, key=lambda moment: moment.step)
    return Trajectory(
        name,
        ids,
        tuple(moment for moment in known if isinstance(moment, Moment)),
        tuple(moment for moment in known if isinstance(moment, Diverged)),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """Means over rows at a checkpoint, with 95 % intervals by prompt: rewards, margin, accuracy, log-likelihoods.

    `accuracy` is None where all margins are zero, as at the start.

    `expected` is the expected reward under the reference, -beta KL(pi_ref || pi) (Eq. 16); None where not estimated.
    """

    step: int
    chosen: Mean
    rejected: Mean
    margin: Mean
    accuracy: Share | None
    chosen_logp: Mean
    rejected_logp: Mean
    expected: Mean | None


@dataclass(frozen=True, slots=True)
class Learnt:
    """When a token's credit was learnt: the first step from which on it held at least half of its last reward.

    `side` is 0 for the chosen answer, 1 for the rejected one; `shared` says that the token stands in both.
    """

    row: int
    side: int
    segment: Segment
    rewards: tuple[float, ...]
    step: int
    shared: bool = False

    @property
    def answer(self) -> str:
        """ "chosen", "rejected" or "both"."""
        return "both" if self.shared else SIDES[self.side]


def points(trajectory: Trajectory) -> tuple[Point, ...]:
    """The figures of each checkpoint."""
    prompts = _prompts(trajectory)
    return tuple(_point(moment, prompts) for moment in trajectory.moments)


def _prompts(trajectory: Trajectory) -> np.ndarray:
    """(N,) the number of each row's prompt."""
    chosen = [chosen.tokens for chosen, _ in trajectory.moments[0].pairs]
    return numbered([tokens.shared_prompt or n for n, tokens in enumerate(chosen)])


def _point(moment: Moment, prompts: np.ndarray) -> Point:
    margins = [chosen.reward - rejected.reward for chosen, rejected in moment.pairs]

    def mean(value: Callable[[Credit], float], side: int) -> Mean:
        return mean_by_prompt([value(pair[side]) for pair in moment.pairs], prompts)

    return Point(
        step=moment.step,
        chosen=mean(lambda credit: credit.reward, 0),
        rejected=mean(lambda credit: credit.reward, 1),
        margin=mean_by_prompt(margins, prompts),
        accuracy=_accuracy(margins, prompts) if any(margins) else None,
        chosen_logp=mean(lambda credit: credit.policy_logp, 0),
        rejected_logp=mean(lambda credit: credit.policy_logp, 1),
        expected=_expected(moment),
    )


def _accuracy(margins: Sequence[float], prompts: np.ndarray) -> Share:
    right = [float(margin > 0) for margin in margins]
    return share_by_prompt(int(sum(right)), mean_by_prompt(right, prompts), len(set(prompts.tolist())))


def _expected(moment: Moment) -> Mean | None:
    divergence = moment.divergence
    beta = moment.pairs[0][0].beta
    if divergence is None or moment.pairs[0][0].length_normalised:  # beta / T times log-ratios: no KL is their mean
        return None
    prompts = divergence.samples if divergence.prompts is None else divergence.prompts
    half = beta * divergence.error * float(stdtrit(prompts - 1, _UPPER)) if prompts > 1 else math.nan
    return mean_of(0.0 - beta * divergence.kl, half, divergence.samples, divergence.samples)


def learnt(trajectory: Trajectory) -> list[Learnt]:
    """The tokens of all answers, those that ended with the most credit first.

    A token that both answers share is told once, with the chosen answer's reward.
    """
    tokens = []
    for row, last in enumerate(trajectory.moments[-1].pairs):
        ids = [[credit.tokens.answer_ids[a.start : a.stop] for a in credit.segments] for credit in last]
        shared = [(n, m) for n, m in diff(*last).pairs if ids[0][n] == ids[1][m]]
        ours, theirs = ({pair[side] for pair in shared} for side in (0, 1))
        tokens += [replace(token, shared=n in ours) for n, token in enumerate(learnt_in(trajectory, row, 0))]
        tokens += [token for n, token in enumerate(learnt_in(trajectory, row, 1)) if n not in theirs]
    return sorted(tokens, key=lambda token: -abs(token.segment.reward))


def learnt_in(trajectory: Trajectory, row: int, side: int) -> list[Learnt]:
    """The tokens of one answer (side 0: chosen, 1: rejected), in its order."""
    over_time = [moment.pairs[row][side].segments for moment in trajectory.moments]
    steps = [moment.step for moment in trajectory.moments]
    tokens = []
    for segments in zip(*over_time, strict=True):
        rewards = tuple(segment.reward for segment in segments)
        tokens.append(Learnt(row, side, segments[-1], rewards, _since(steps, rewards)))
    return tokens


def _since(steps: Sequence[int], rewards: Sequence[float]) -> int:
    last, since = rewards[-1], steps[-1]
    for step, reward in zip(reversed(steps), reversed(rewards), strict=True):
        if reward * last < 0.5 * last * last:
            break
        since = step
    return since


def record(trajectory: Trajectory, label: str = "") -> dict[str, Any]:
    """The figures as JSON: each checkpoint's, and when the tokens with the most credit learnt it."""
    first = trajectory.moments[0].pairs[0][0]
    return {
        "schema": "dpo-credit/trajectory-figures@1",
        "name": label or trajectory.name,
        "rows": len(trajectory.ids),
        "prompts": trajectory.prompts,
        "beta": first.beta,
        "length_normalised": first.length_normalised,
        "reference": first.source.reference,
        "checkpoints": [asdict(point) for point in points(trajectory)],
        "diverged": [asdict(diverged) for diverged in trajectory.diverged],
        "learnt": [
            {
                "id": trajectory.ids[token.row],
                "side": token.answer,
                "token": token.segment.text or token.segment.piece,
                "rewards": list(token.rewards),
                "step": token.step,
            }
            for token in learnt(trajectory)[:LISTED]
        ],
        "set_aside": [asdict(row) for row in trajectory.set_aside],
    }
