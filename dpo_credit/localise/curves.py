"""ROC and precision-recall curves of every score over all units, by scikit-learn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dpo_credit.localise.localised import LocaliseReport

POINTS = 200  # kept of a curve; the eye sees no more


class Curve(NamedTuple):
    """One score's curves as points (x, y) in order: (false, true positive rate), and (recall, precision)."""

    name: str
    roc: list[tuple[float, float]]
    precision_recall: list[tuple[float, float]]


def curves(report: LocaliseReport) -> list[Curve]:
    """The curves of every score of a report, over all units of all answers."""
    from sklearn.metrics import precision_recall_curve, roc_curve

    wrong = np.concatenate([np.array(case.errors) >= 0 for case in report.cases])
    made = []
    for finding in report.findings:
        scores = np.concatenate([case.scores[finding.name] for case in report.cases])
        false_rate, true_rate, _ = roc_curve(wrong, scores)
        precision, recall, _ = precision_recall_curve(wrong, scores, drop_intermediate=True)
        made.append(Curve(finding.name, _thinned(false_rate, true_rate), _thinned(recall[::-1], precision[::-1])))
    return made


def _thinned(x: np.ndarray, y: np.ndarray) -> list[tuple[float, float]]:
    """At most POINTS points, evenly along the curve's length, and both ends."""
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    kept = np.unique(np.searchsorted(length, np.linspace(0, length[-1], POINTS)))
    kept = np.unique(np.append(kept, [0, len(x) - 1]))
    return [(float(x[n]), float(y[n])) for n in kept]
