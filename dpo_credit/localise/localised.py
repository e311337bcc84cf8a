"""What `localise` reports: plain data, numbers unrounded, whose JSON is "dpo-credit/localise@1"."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dpo_credit.estimates.intervals import Correlation
from dpo_credit.estimates.statistics import Bin, Estimate
from dpo_credit.localise.labels import Error
from dpo_credit.rows.aside import BadRow
from dpo_credit.segments import Unit

Verdict = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Detection:
    """How well one score finds the wrong units of the same answers; the reward's, or a baseline's.

    `auroc` and `average_precision` pool all units; their `_within` are means over answers. `top_1` and `top_k`: a wrong
    unit is the most suspicious one, or among the k most. Of answers with several errors: how often the `first_error`,
    the `later_errors` (each) and `all_errors` have a unit among the k most suspicious. `sees_right_answer`: the score
    knows more than the wrong answer alone, so it is no rival of the reward. `first_unit` and `later_units`: the AUROC
    within answers of the first unit of each error of several, and of its others, against the right units.
    """

    name: str
    about: str
    sees_right_answer: bool
    auroc: Estimate
    auroc_within: Estimate
    average_precision: Estimate
    average_precision_within: Estimate
    top_1: Estimate
    top_k: Estimate
    first_error: Estimate
    later_errors: Estimate
    all_errors: Estimate
    first_unit: Estimate
    later_units: Estimate


@dataclass(frozen=True, slots=True)
class BaselineComparison:
    """The reward against a baseline, paired by answer.

    `difference` of the AUROC within answers, with the p of a two-sided sign-flip permutation test, on which the
    `verdict` about the reward rests (at 0.05); `auroc_difference` of the pooled AUROC; `top_1_difference` of how often
    the most suspicious unit is a wrong one, with the p of McNemar's exact test. Both tests permute whole prompts.
    """

    baseline: str
    difference: Estimate
    p: float
    verdict: Verdict
    auroc_difference: Estimate
    top_1_difference: Estimate
    top_1_p: float


@dataclass(frozen=True, slots=True)
class Group:
    """A part of the units: errors of one kind, a third of the answer, a class of tokens.

    `reward` and `baseline` (the best one) are pooled AUROCs, of a kind against all right units, else within the part.
    `found`: the share of a kind's errors with a unit among the k that the reward suspects most.
    """

    by: Literal["kind", "position", "class"]
    name: str
    units: int
    wrong_units: int
    errors: int
    reward: Estimate
    baseline: Estimate
    found: Estimate


@dataclass(frozen=True, slots=True)
class AnswerGroup:
    """The answers of one group, such as one system's: what the reward and the best baseline find in them alone.

    `reward` and `baseline` are AUROCs within answers, with the `difference` and `p` of a `BaselineComparison`; likewise
    `reward_top_1`, `baseline_top_1` and `top_1_p`.
    """

    name: str
    answers: int
    prompts: int
    errors: int
    reward: Estimate
    baseline: Estimate
    difference: Estimate
    p: float
    verdict: Verdict
    reward_top_1: Estimate
    baseline_top_1: Estimate
    top_1_p: float


@dataclass(frozen=True, slots=True)
class PreferenceMeasures:
    """The answer-level side: which answer the pair prefers, how well its probability is calibrated, and the echo.

    `brier` is the mean squared error of P(right answer preferred), 0.25 for a coin; `log_loss` DPO's own loss, nats;
    `echo` how far an untouched token after the first edit moved; `edit` what an edit earned.
    """

    answers: int
    accuracy: Estimate
    margin: Estimate
    brier: Estimate
    log_loss: Estimate
    calibration_error: Estimate
    reliability: list[Bin]
    echo: Estimate
    edit: Estimate


@dataclass(frozen=True, slots=True)
class Fact:
    """A wrong fact of the answer `id`: its text and what that earned, as it stands and in other words."""

    id: str
    text: str
    reworded: str
    credit: float
    reworded_credit: float


@dataclass(frozen=True, slots=True)
class Paraphrased:
    """How far the credit of the same facts moves with the words.

    Means over facts: of the size of its `credit` as it stands, of the size of its `change` in other words, of that
    change itself (`shift`), and how often the sign is kept. `rank_correlation`: Spearman's, of what facts earn either
    way; None where all earn the same. Intervals are by prompt.
    """

    answers: int
    prompts: int
    facts: int
    credit: Estimate
    change: Estimate
    shift: Estimate
    kept_sign: Estimate
    rank_correlation: Correlation | None
    each: list[Fact]


@dataclass(frozen=True, slots=True)
class LabelledAnswer:
    """One wrong answer: its units as [start, end) characters, each one's error (-1 for none) and suspicion by score."""

    id: str
    answer: str
    labels: list[Error]
    units: list[tuple[int, int]]
    errors: list[int]
    scores: dict[str, list[float]]
    auroc: dict[str, float | None]
    margin: float | None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LocaliseReport:
    """Everything that `localise` found. `sentence` says whether the reward beats the best baseline, `best`.

    The `answers` stand on so many `prompts`: intervals and tests are by prompt. `answer_groups` are those of the field
    `group_by`. `paraphrased`: where the answers were given in other words too.
    """

    schema: Literal["dpo-credit/localise@1"]
    policy: str
    reference: str
    beta: float
    length_normalised: bool
    dtype: str
    unit: Unit
    top_k: int
    seed: int
    resamples: int
    answers: int
    prompts: int
    answers_with_right_one: int
    answers_with_several_errors: int
    errors: int
    errors_of_several_units: int
    units: int
    wrong_units: int
    end_token: Literal["excluded"]
    best: str
    sentence: str
    findings: list[Detection]
    comparisons: list[BaselineComparison]
    preference: PreferenceMeasures | None
    groups: list[Group]
    group_by: str | None
    answer_groups: list[AnswerGroup]
    notes: list[str]
    cases: list[LabelledAnswer]
    set_aside: list[BadRow] = field(default_factory=list)
    paraphrased: Paraphrased | None = None

    def finding(self, name: str) -> Detection:
        """The finding of a score."""
        return next(finding for finding in self.findings if finding.name == name)

    def record(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return asdict(self)
