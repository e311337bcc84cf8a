"""Each token's suspicion by the reward and by the baselines, and the units that they are summed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from dpo_credit.align import diff
from dpo_credit.credit import Credit
from dpo_credit.localise.grading import Graded, errors_of, sum_over
from dpo_credit.localise.labels import Error
from dpo_credit.segments import Unit, word_spans

REWARD, RANDOM, ALIGNED = "-reward", "random", "right - wrong"
UNSURE, SURE, GRADIENT = "entropy", "-entropy", "-gradient"
ABOUT = {
    REWARD: "minus the token's reward, beta * (log pi - log pi_ref)",
    "-log pi": "surprise under the policy",
    "-log pi_ref": "surprise under the reference",
    UNSURE: "entropy of the policy's prediction at that position; of the two signs, the better one on these answers",
    SURE: "minus the entropy of the policy's prediction there; of the two signs, the better one on these answers",
    "-log pi - entropy": "surprise under the policy beyond what the policy itself expected there",
    "-log pi_ref - entropy_ref": "surprise under the reference beyond what the reference itself expected there",
    GRADIENT: "minus input x gradient (Captum) of the answer's reward, policy minus reference",
    RANDOM: "a uniform draw for each unit",
    ALIGNED: "reward of the aligned place in the right answer minus that of the token; it is told the right answer",
}


@dataclass(frozen=True)
class Units:
    """One wrong answer in units: their [start, end) characters, and for each score its graded suspicion."""

    spans: tuple[tuple[int, int], ...]
    errors: np.ndarray
    scores: dict[str, np.ndarray]

    def graded(self, name: str) -> Graded:
        """The units under one score."""
        return Graded(self.scores[name], self.errors)


def units_of(
    credit: Credit, errors: Sequence[Error], values: dict[str, Sequence[float]], unit: Unit, rng: np.random.Generator
) -> Units:
    """Cut a wrong answer into units, and sum each score's token values (T,) over them.

    A word is one of `word_spans`; a token, the smallest run of tokens that owns whole characters; the others are those
    of `Credit.by`. What shows no text, such as the end token, is in no unit, but in a turn. A unit is wrong if it holds
    a character of an error.
    """
    if unit == "word":
        spans = tuple(word_spans(credit.tokens.answer, credit.tokens.spans))
        sums = {name: sum_over(spans, credit.tokens.spans, each) for name, each in values.items()}
    else:
        whole = credit.by(unit)
        ends = list(accumulate(len(segment.text) for segment in whole))
        shown = [(s, end) for s, end in zip(whole, ends, strict=True) if s.text]
        spans = tuple((end - len(segment.text), end) for segment, end in shown)
        sums = {name: np.array([sum(each[s.start : s.stop]) for s, _ in shown]) for name, each in values.items()}
    # drawn for units, not tokens: a sum of many draws would find long words
    sums[RANDOM] = rng.random(len(spans))
    wrong = [(error.start, error.end) for error in errors]
    return Units(spans, errors_of(spans, wrong), {name: sums[name] for name in ABOUT if name in sums})


class Beyond(NamedTuple):
    """What baselines need and no Credit holds, (T,) each: both models' entropies, attributions where asked for."""

    entropy: Sequence[float] | None = None
    reference_entropy: Sequence[float] | None = None
    attribution: Sequence[float] | None = None


def token_values(credit: Credit, beyond: Beyond, right: Credit | None) -> dict[str, Sequence[float]]:
    """(T,) suspicions of a wrong answer's tokens by every score but chance; of the entropy, both signs.

    Args:
        credit: the wrong answer's.
        beyond: what the credit does not hold.
        right: the right answer's credit, where there is one.
    """
    values: dict[str, Sequence[float]] = {
        REWARD: [-reward for reward in credit.rewards],
        "-log pi": [-logp for logp in credit.policy_logps],
        "-log pi_ref": [-logp for logp in credit.reference_logps],
    }
    if (entropy := beyond.entropy) is not None:
        values[UNSURE], values[SURE] = entropy, [-value for value in entropy]
        values["-log pi - entropy"] = [-logp - own for logp, own in zip(credit.policy_logps, entropy, strict=True)]
    if (entropy := beyond.reference_entropy) is not None:
        values["-log pi_ref - entropy_ref"] = [
            -logp - own for logp, own in zip(credit.reference_logps, entropy, strict=True)
        ]
    if beyond.attribution is not None:
        values[GRADIENT] = [-value for value in beyond.attribution]
    if right is not None:
        values[ALIGNED] = aligned_difference(right, credit)
    return values


def aligned_difference(right: Credit, wrong: Credit) -> list[float]:
    """(T,) the reward at the aligned place of the right answer minus that of each token of the wrong one.

    An edit's right reward is shared out evenly among its wrong segments. So the values sum to the margin, but for
    what the right answer has and the wrong one lacks.
    """
    aligned = diff(right, wrong)
    ours, theirs = right.segments, wrong.segments
    values = [0.0] * len(wrong.rewards)
    for i, j in aligned.pairs:
        values[theirs[j].start] = ours[i].reward - theirs[j].reward
    for edit in aligned.edits:
        start, stop = edit.rejected
        for j in range(start, stop):
            values[theirs[j].start] = edit.chosen_reward / (stop - start) - theirs[j].reward
    return values
