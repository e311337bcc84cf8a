"""What one score finds on all answers, and the reward against a baseline, paired by answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from dpo_credit.estimates.statistics import Estimate, Ranking, estimate, mcnemar_p, mean, sign_flip_p
from dpo_credit.localise.grading import Graded
from dpo_credit.localise.localised import BaselineComparison, Detection, Verdict
from dpo_credit.localise.scores import ABOUT, ALIGNED, REWARD
from dpo_credit.segments import Unit

ALPHA = 0.05
_DOES: dict[Verdict, str] = {"better": "finds", "worse": "does not find", "undecided": "does not clearly find"}


class Measured:
    """One score on all answers: its ranking of all units, and (N,) numbers of each answer, NaN where undefined."""

    def __init__(self, graded: Sequence[Graded], top_k: int) -> None:
        sizes = [len(answer.scores) for answer in graded]
        self.ranking = Ranking(
            np.concatenate([answer.scores for answer in graded]),
            np.concatenate([answer.wrong for answer in graded]),
            np.repeat(np.arange(len(graded)), sizes),
        )
        alone = [
            Ranking(answer.scores, answer.wrong, np.zeros(len(answer.scores), dtype=int)).areas() for answer in graded
        ]
        self.auroc_within, self.precision_within = (
            np.array(column, dtype=float) for column in zip(*alone, strict=True)
        )
        hits_of = [(answer.names, answer.found(top_k)) for answer in graded]
        self.top_1 = _where(answer.lowest_is_wrong if answer.names else None for answer in graded)
        self.top_k = _where(bool(hits) if names else None for names, hits in hits_of)
        self.first = _where(names[0] in hits if len(names) > 1 else None for names, hits in hits_of)
        self.later = _where(
            len(hits & set(names[1:])) / (len(names) - 1) if len(names) > 1 else None for names, hits in hits_of
        )
        self.all = _where(hits == set(names) if len(names) > 1 else None for names, hits in hits_of)
        begins = [answer.begins for answer in graded]
        self.first_unit, self.later_units = (
            np.array([_area(answer, units[n]) for answer, units in zip(graded, begins, strict=True)]) for n in (0, 1)
        )

    def finding(self, name: str, drawn: tuple[np.ndarray, np.ndarray], draws: np.ndarray) -> Detection:
        """The score's numbers with their intervals."""
        auroc, precision = self.ranking.areas()
        per_answer = (self.top_1, self.top_k, self.first, self.later, self.all, self.first_unit, self.later_units)
        return Detection(
            name,
            ABOUT[name],
            name == ALIGNED,
            estimate(auroc, drawn[0]),
            mean(self.auroc_within, draws),
            estimate(precision, drawn[1]),
            mean(self.precision_within, draws),
            *(mean(values, draws) for values in per_answer),
        )


def _area(answer: Graded, wrong: np.ndarray) -> float:
    """AUROC within an answer of some of its wrong units (U,) against the right ones; NaN where there are none."""
    if not wrong.any():
        return float("nan")
    kept = wrong | ~answer.wrong
    return Ranking(answer.scores[kept], wrong[kept], np.zeros(int(kept.sum()), dtype=int)).areas()[0]


def _where(values: Iterable[float | None]) -> np.ndarray:
    """(N,) with NaN for None."""
    return np.array([np.nan if value is None else float(value) for value in values])


@dataclass(frozen=True)
class Resampling:
    """What chance is measured with: (R, N) bootstrap `draws` of N answers, and (N,) the number of each one's prompt."""

    draws: np.ndarray
    prompts: np.ndarray
    rng: np.random.Generator


@dataclass(frozen=True, slots=True)
class Paired:
    """The reward against another score on the same answers; see `BaselineComparison`."""

    difference: Estimate
    p: float
    verdict: Verdict
    top_1_difference: Estimate
    top_1_p: float


def paired(ours: Measured, theirs: Measured, chance: Resampling, inside: np.ndarray | slice = slice(None)) -> Paired:
    """The reward against another score, by the AUROC within answers, which does not depend on scores' scales.

    Args:
        ours: the reward on N answers.
        theirs: the other score.
        chance: of the same answers.
        inside: (N,) bool, the answers to compare on.
    """
    draws, prompts = chance.draws[:, inside], chance.prompts[inside]
    gains = (ours.auroc_within - theirs.auroc_within)[inside]
    ranked = ~np.isnan(gains)
    p = sign_flip_p(gains[ranked], prompts[ranked], chance.rng)
    verdict: Verdict = "undecided" if p > ALPHA else "better" if np.nanmean(gains) > 0 else "worse"
    our_hits, their_hits = ours.top_1[inside], theirs.top_1[inside]
    known = ~np.isnan(our_hits)
    return Paired(
        mean(gains, draws),
        p,
        verdict,
        mean(our_hits - their_hits, draws),
        mcnemar_p(our_hits[known] > 0, their_hits[known] > 0, prompts[known]),
    )


def compare(
    name: str,
    measured: dict[str, Measured],
    drawn: dict[str, tuple[np.ndarray, np.ndarray]],
    chance: Resampling,
) -> BaselineComparison:
    """The reward against the baseline `name`."""
    against = paired(measured[REWARD], measured[name], chance)
    pooled = measured[REWARD].ranking.areas()[0] - measured[name].ranking.areas()[0]
    return BaselineComparison(
        name,
        against.difference,
        against.p,
        against.verdict,
        estimate(pooled, drawn[REWARD][0] - drawn[name][0]),
        against.top_1_difference,
        against.top_1_p,
    )


def sentence(findings: Sequence[Detection], against: BaselineComparison, unit: Unit) -> str:
    """Whether the reward beats the best baseline, in plain words, also when it does not."""
    by_name = {finding.name: finding for finding in findings}
    ours, theirs = (by_name[name].auroc_within.value or 0.0 for name in (REWARD, against.baseline))
    gain = against.difference
    interval = "" if gain.low is None or gain.high is None else f" [{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
    text = (
        f"The reward {_DOES[against.verdict]} the wrong {unit}s better than the best baseline: within an answer it "
        f"ranks a wrong {unit} below a right one {ours:.1%} of the time, that baseline ({against.baseline}) "
        f"{theirs:.1%} ({100 * (ours - theirs):+.1f} points{interval}, p = {against.p:.2g})."
    )
    if against.verdict == "worse":
        text += " The baseline finds them better."
    hits = [by_name[name].top_1.value or 0.0 for name in (REWARD, against.baseline)]
    text += (
        f" The {unit} that the reward suspects most is a wrong one in {hits[0]:.1%} of the answers, the baseline's in "
        f"{hits[1]:.1%} (p = {against.top_1_p:.2g})."
    )
    pooled = max(
        (finding for finding in findings if not finding.sees_right_answer),
        key=lambda finding: finding.auroc.value or 0.0,
    )
    if pooled.name not in (REWARD, against.baseline if against.verdict == "worse" else REWARD):
        text += (
            f" With all answers pooled, {pooled.name} ranks them better: AUROC {pooled.auroc.value:.3f}, the reward "
            f"{by_name[REWARD].auroc.value:.3f}."
        )
    return text
