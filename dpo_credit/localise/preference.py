"""Which answer the pair prefers as a whole, how calibrated its probability is, and how far credit leaks (the echo)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpo_credit.align import diff
from dpo_credit.credit import Credit, preference_probability
from dpo_credit.estimates.statistics import Estimate, calibration_error, mean, reliability, resampled
from dpo_credit.localise.localised import PreferenceMeasures


def preference(wrong: Sequence[Credit], right: Sequence[Credit | None], draws: np.ndarray) -> PreferenceMeasures | None:
    """The preferences of the answers that have a right one beside them; None if no answer has.

    Args:
        wrong: N wrong answers.
        right: the right ones.
        draws: (R, N) bootstrap resamples.

    Raises:
        CreditError: two answers of a case do not compare.
    """
    pairs = [(n, diff(ours, theirs)) for n, (ours, theirs) in enumerate(zip(right, wrong, strict=True)) if ours]
    if not pairs:
        return None
    margins, echo, edit = (np.full(len(wrong), np.nan) for _ in range(3))
    for n, aligned in pairs:
        margins[n] = aligned.margin
        if aligned.edits:
            echo[n] = aligned.echo_mean_abs
            edit[n] = sum(change.delta for change in aligned.edits) / len(aligned.edits)
    known = ~np.isnan(margins)
    probabilities = np.array([preference_probability(margin) for margin in margins[known]])

    def over_all(values: np.ndarray) -> Estimate:
        spread = np.full(len(wrong), np.nan)
        spread[known] = values
        return mean(spread, draws)

    return PreferenceMeasures(
        answers=len(pairs),
        accuracy=over_all(margins[known] > 0),
        margin=mean(margins, draws),
        brier=over_all((1 - probabilities) ** 2),
        log_loss=over_all(np.logaddexp(0, -margins[known])),
        calibration_error=resampled(calibration_error, probabilities, draws[:, known]),
        reliability=reliability(probabilities),
        echo=mean(echo, draws),
        edit=mean(edit, draws),
    )
