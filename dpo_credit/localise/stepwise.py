"""What `localise --first-error` reports: plain data, numbers unrounded, whose JSON is "dpo-credit/first-error@1"."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dpo_credit.estimates.statistics import Estimate
from dpo_credit.rows.aside import BadRow

StepScore = Literal["sum", "mean", "lowest"]


@dataclass(frozen=True, slots=True)
class StepDetection:
    """How well one score finds first wrong steps, with the `threshold` that was chosen for it.

    `wrong_accuracy`: of the wrong solutions, the share whose first wrong step is named exactly; `right_accuracy`: of
    the right ones, the share in which no step is; `f1`: their harmonic mean. `gain`: the reward's F1 less this one,
    None for the reward's own. `swept_f1`: the highest of any threshold on these same solutions, which no choice made
    beforehand can exceed.
    """

    name: str
    about: str
    threshold: float
    wrong_accuracy: Estimate
    right_accuracy: Estimate
    f1: Estimate
    gain: Estimate | None
    swept_f1: float
    swept_threshold: float


@dataclass(frozen=True, slots=True)
class SolutionSteps:
    """A solution: where its steps begin, the first wrong one, each one's suspicion, and which a score names, by score.

    A suspicion is None where a step has no token of its own. `tuning`: thresholds were chosen on it, so it counts in no
    figure.
    """

    id: str
    answer: str
    starts: list[int]
    label: int
    tuning: bool
    scores: dict[str, list[float | None]]
    named: dict[str, int]


@dataclass(frozen=True, slots=True)
class FirstErrorReport:
    """What was found, of `wrong` and `right` solutions of so many `prompts`; thresholds come from `tuned_on` others."""

    schema: Literal["dpo-credit/first-error@1"]
    policy: str
    reference: str
    beta: float
    length_normalised: bool
    dtype: str
    step_score: StepScore
    tune_on: float
    seed: int
    tuned_on: int
    wrong: int
    right: int
    prompts: int
    best: str
    findings: list[StepDetection]
    notes: list[str]
    cases: list[SolutionSteps]
    set_aside: list[BadRow] = field(default_factory=list)

    def finding(self, name: str) -> StepDetection:
        """The finding of a score."""
        return next(finding for finding in self.findings if finding.name == name)

    def record(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)
