"""Does length pay? An answer's reward against its number of tokens, over all answers and within each prompt.

A reward is known only up to a constant of its prompt (Rafailov et al. 2024, Theorem 1), so what counts is the
comparison within a prompt; the correlation over all answers mixes these constants in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from dpo_credit.estimates.intervals import Correlation, Mean, RatioSums, Reservoir, correlation

MIN_PAIRS = 10  # of different length; fewer say nothing
_SAMPLE = 200_000  # answers that the correlations are computed from
_SHOWN = 1000  # of them in the scatter plot


@dataclass(frozen=True, slots=True)
class LengthFigures:
    """Reward against length in tokens (the end token is one).

    `pearson` and `spearman` are over all answers. All else compares answers to one prompt: `slope` is the reward per
    further token (least squares with a constant for each prompt); `longer_wins` the share of pairs of different length
    in which the longer answer has the higher reward (a tie is a half); `longer_chosen`, for preferences, that in which
    it is the chosen one; `excess` the difference of the two. `sample` holds (tokens, reward) of some answers.
    """

    verdict: str
    pearson: Correlation | None
    spearman: Correlation | None
    slope: Mean | None
    longer_wins: Mean | None
    longer_chosen: Mean | None
    excess: Mean | None
    sample: list[tuple[int, float]]


class Length:
    """The sums behind `LengthFigures`, row by row."""

    def __init__(self) -> None:
        self._sample = Reservoir(_SAMPLE, 2)
        self._rows = 0
        self._slope = RatioSums(1)  # of sum dl dr over sum dl^2, from each row's own means
        self._shares = RatioSums(3)

    def add(self, group: int, answers: Sequence[tuple[int, float]], preference: bool) -> None:
        """One row: its prompt's group, (tokens, reward) of each answer; of a preference the chosen one first."""
        self._rows += 1
        for answer in answers:
            self._sample.add(answer)
        if len(answers) < 2:
            return
        lengths, rewards = np.array(answers, dtype=np.float64).T
        lengths, rewards = lengths - lengths.mean(), rewards - rewards.mean()
        self._slope.add(group, np.array([lengths @ rewards]), np.array([lengths @ lengths]))
        wins, pairs = 0.0, 0
        for (length, its), (other, others) in combinations(answers, 2):
            if length != other:
                pairs += 1
                wins += 0.5 if its == others else float((length > other) == (its > others))
        chosen = float(preference and answers[0][0] > answers[1][0])
        totals = np.array([wins, chosen, (wins - chosen) * preference])
        self._shares.add(group, totals, np.array([1.0, preference, preference]) * pairs)

    def figures(self, prompts: int) -> LengthFigures:
        """What the rows so far say, which stand on so many prompts."""
        sample = self._sample.values
        slope = self._slope.means()[0]  # counts squared tokens: what it tells of is the pairs
        wins, chosen, excess = self._shares.means()
        if slope is not None:
            slope = Mean(slope.mean, slope.low, slope.high, wins.count if wins else 0, slope.rows)
        rows, prompts = min(self._rows, len(sample)), min(prompts, len(sample))
        picked = np.linspace(0, len(sample) - 1, min(len(sample), _SHOWN)).astype(int)
        return LengthFigures(
            verdict=_verdict(wins, chosen, excess, slope),
            pearson=correlation(sample[:, 0], sample[:, 1], rows, prompts),
            spearman=correlation(sample[:, 0], sample[:, 1], rows, prompts, ranked=True),
            slope=slope,
            longer_wins=wins,
            longer_chosen=chosen,
            excess=excess,
            sample=[(int(tokens), float(reward)) for tokens, reward in sample[picked]],
        )


def _verdict(wins: Mean | None, chosen: Mean | None, excess: Mean | None, slope: Mean | None) -> str:
    """One sentence."""
    if wins is None or slope is None:
        return "No prompt has two answers of different length, so whether length pays cannot be said."
    if wins.count < MIN_PAIRS:
        return f"Only {wins.count} pairs of answers differ in length: too few to say whether length pays."
    if wins.low is None or wins.high is None:
        return "All pairs of different length answer one prompt, so whether length pays cannot be said."
    shown = f"in {_percent(wins)} of {wins.count:,} pairs of different length"
    if wins.low > 0.5:
        verdict = f"Length pays: the longer answer has the higher reward {shown}"
    elif wins.high < 0.5:
        verdict = f"Length costs: the longer answer has the higher reward only {shown}"
    else:
        verdict = f"Length does not pay: the longer answer has the higher reward {shown}, which may be chance"
    if chosen is not None and excess is not None and excess.low is not None and excess.high is not None:
        labels = f"the labels (the longer one is chosen in {100 * chosen.mean:.0f} %)"
        if excess.low > 0:
            verdict += f", more often than by {labels}"
        elif excess.high < 0:
            verdict += f", less often than by {labels}"
        else:
            verdict += f", no more and no less often than by {labels}"
    return f"{verdict}; a further token adds {slope.mean:+.3g}.".replace("-", "−")


def _percent(share: Mean) -> str:
    assert share.low is not None and share.high is not None
    low, high = max(0.0, share.low), min(1.0, share.high)
    return f"{100 * share.mean:.0f} % (95 % interval {100 * low:.0f} to {100 * high:.0f})"
