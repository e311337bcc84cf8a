"""What each step of a segment earns under a policy, and what preferring one segment to another rests on.

Source: Hejna et al. 2024, "Contrastive Preference Learning: Learning from Human Feedback without RL": the optimal
advantage of an MDP with an entropy bonus is A*(s, a) = alpha log pi*(a|s), so preferences by regret are logits of sums
of these (Eqs. 4, 5), of which the rejected segment's may be weighted down by a bias (Eq. 6, lambda there).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dpo_credit.credit import LARGEST, CreditError, NotFiniteError, preference_probability
from dpo_credit.mdp.policies import Policy
from dpo_credit.mdp.segments import Floats, Numbers, Segment, SegmentPair


@dataclass(frozen=True, slots=True)
class Weights:
    """Of CPL's loss: `alpha`, `gamma` (the discount of its sums) and `bias`, of the rejected segment's sum.

    `length_normalised` divides a segment's sums by its steps; CPL itself compares segments of one length and does not.

    Raises:
        CreditError: one is out of range.
    """

    alpha: float = 0.1
    gamma: float = 1.0
    bias: float = 1.0
    length_normalised: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.alpha <= LARGEST:
            raise CreditError(f"alpha is {self.alpha}; it must be a positive number, the policy's own.")
        for name in ("gamma", "bias"):
            if not 0 < getattr(self, name) <= 1:
                raise CreditError(f"{name} is {getattr(self, name)}; it must be above 0 and at most 1.")


@dataclass(frozen=True, eq=False)
class SegmentCredit:
    """What the steps of a segment earned. Causes are stored, in nats: `policy_logps` (L,) and `reference_logps` (L,).

    `reference_logps` are None without a reference: CPL has none, as if it gave every action the same density of 1.
    `actions`, `rewards` and `frames` are the segment's.
    """

    actions: Numbers
    policy_logps: Floats
    reference_logps: Floats | None
    weights: Weights
    rewards: Floats | None = None
    frames: tuple[str, ...] = ()

    @property
    def factors(self) -> Floats:
        """(L,) alpha * gamma^t, what a nat at each step is worth; divided by L if that was asked for."""
        length = len(self.policy_logps)
        factors: Floats = self.weights.alpha * self.weights.gamma ** np.arange(length, dtype=np.float64)
        return factors / length if self.weights.length_normalised else factors

    @property
    def credits(self) -> Floats:
        """(L,) alpha * gamma^t * (log pi(a_t|s_t) - log pi_ref(a_t|s_t)), the latter where there is a reference."""
        return self.factors * (self.policy_logps - (0.0 if self.reference_logps is None else self.reference_logps))

    @property
    def credit(self) -> float:
        """The segment's: the sum of `credits`."""
        return math.fsum(self.credits)

    @property
    def discrete(self) -> bool:
        """Whether actions are whole numbers and not real ones."""
        return self.actions.ndim == 1


@dataclass(frozen=True, eq=False)
class PairCredit:
    """Two segments under one policy, the preferred one first; `source` is the file that they stood in.

    `policy` and `reference` are their names ("" for none); `action_names`, what discrete actions are called.
    """

    id: str
    chosen: SegmentCredit
    rejected: SegmentCredit
    policy: str = ""
    reference: str = ""
    action_names: tuple[str, ...] = ()
    source: str = ""

    @property
    def weights(self) -> Weights:
        """Of both segments."""
        return self.chosen.weights

    @property
    def margin(self) -> float:
        """chosen - rejected credit: above 0, the policy prefers what was preferred."""
        return self.chosen.credit - self.rejected.credit

    @property
    def logit(self) -> float:
        """CPL's: chosen - bias * rejected credit (Eq. 6)."""
        return self.chosen.credit - self.weights.bias * self.rejected.credit

    @property
    def preference_probability(self) -> float:
        """exp(chosen) / (exp(chosen) + exp(bias * rejected)) of their credits (Eq. 6; Eq. 5 with a bias of 1)."""
        return preference_probability(self.logit)

    @property
    def middle(self) -> float:
        """The credit of a step that counts as neither good nor bad, from which views colour.

        It is 0 beside a reference, and for discrete actions, where no log-probability is above 0. A log-density has no
        zero of its own (it moves with the unit of the actions): there it is the mean over all steps of the pair.
        """
        if self.reference or self.chosen.discrete:
            return 0.0
        return float(np.concatenate((self.chosen.credits, self.rejected.credits)).mean())


def score(
    pair: SegmentPair, policy: Policy, reference: Policy | None = None, weights: Weights = Weights()
) -> PairCredit:
    """The credit of both segments of a pair.

    Raises:
        CreditError: the policy or the reference does not take its observations or actions.
        NotFiniteError: one of them gives a log-probability that is not finite.
    """
    chosen, rejected = (
        _segment(pair.id, name, segment, (policy, reference), weights)
        for name, segment in (("chosen", pair.chosen), ("rejected", pair.rejected))
    )
    return PairCredit(
        pair.id,
        chosen,
        rejected,
        policy.name,
        "" if reference is None else reference.name,
        policy.action_names,
        pair.source,
    )


def _segment(
    row_id: str, name: str, segment: Segment, sides: tuple[Policy, Policy | None], weights: Weights
) -> SegmentCredit:
    policy, reference = sides
    try:
        logps = _logps(policy, segment)
        reference_logps = None if reference is None else _logps(reference, segment)
    except CreditError as error:
        raise type(error)(f"{row_id}: {name}: {error}") from error
    return SegmentCredit(segment.actions, logps, reference_logps, weights, segment.rewards, segment.frames)


def _logps(policy: Policy, segment: Segment) -> Floats:
    logps = policy.log_prob(segment.observations, segment.actions)
    bad = np.flatnonzero(~(np.abs(logps) <= LARGEST))
    if len(bad):
        raise NotFiniteError(
            f"policy {policy.name} gives log-probability {logps[bad[0]]} at step {bad[0]} (action "
            f"{segment.actions[bad[0]]}). "
            + ("It never takes that action." if logps[bad[0]] == -np.inf else "Take an earlier checkpoint.")
        )
    return logps
