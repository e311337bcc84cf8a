"""The policy as a Q-function: Q*, V* and the advantage of every token of an answer.

Rafailov et al. 2024, Eqs. 5-7 and 10. A softmax over logits l is the optimal policy of the Q-function beta * l (Eq. 5),
whose value is V* = beta * logsumexp(l) (Eq. 6). Adding a constant to all logits of one state changes neither the policy
nor any reward of Eq. 11, so Q* and V* are known up to one constant a state; the model's own logits fix it here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dpo_credit.credit import Credit, CreditError

# What two forward passes may differ by, nats: batches of another shape sum in another order.
ALLOWED_NATS = {"float32": 1e-3}
ALLOWED_HALF_NATS = 0.25


@dataclass(frozen=True, slots=True)
class OptimalValues:
    """Q* and V* of one answer, in units of reward; `V*` after the last token is 0: that state is terminal (Eq. 7).

    `q` (T,): Q*(s_t, a_t) of the answer's tokens. `v` (T,): V*(s_t) of the states that they were chosen in.
    """

    q: tuple[float, ...]
    v: tuple[float, ...]

    @property
    def advantage(self) -> tuple[float, ...]:
        """(T,): Q* - V* = beta * log pi (Eq. 5)."""
        return tuple(q - v for q, v in zip(self.q, self.v, strict=True))

    def rewards(self, credit: Credit) -> tuple[float, ...]:
        """(T,): r = Q* - beta * log pi_ref - V*(s'), the reward whose optimal policy this one is (Eq. 7 inverted).

        It differs from Eq. 11's by the potential V* (Eq. 10): both belong to the same policy and the same preferences.
        """
        after = (*self.v[1:], 0.0)
        return tuple(
            q - credit.beta * logp - following
            for q, logp, following in zip(self.q, credit.reference_logps, after, strict=True)
        )

    def misfit(self, credit: Credit) -> tuple[float, float]:
        """How far the numbers are from two identities, in units of reward.

        Returns:
            the largest |beta * log(pi / pi_ref) - (r + V*(s') - V*(s))| of a token (Eq. 10), and
            |V*(s_0) + sum of beta * log(pi / pi_ref) - sum of r|: Eq. 10 summed, where the V* between cancel.
        """
        rewards, after = self.rewards(credit), (*self.v[1:], 0.0)
        token = max(
            abs(ours - (r + following - v))
            for ours, r, following, v in zip(credit.rewards, rewards, after, self.v, strict=True)
        )
        return token, abs(self.v[0] + math.fsum(credit.rewards) - math.fsum(rewards))


def optimal_values(credit: Credit, logits: Sequence[float], normalisers: Sequence[float]) -> OptimalValues:
    """Q* = beta * logit and V* = beta * logsumexp of an answer's tokens.

    Args:
        credit: the scored answer.
        logits: (T,) of the answer's own tokens under the policy.
        normalisers: (T,) logsumexp over the vocabulary at the same positions.

    Raises:
        CreditError: the policy was trained with a length-normalised loss, which has no such Q-function.
    """
    if credit.length_normalised:
        raise CreditError("--show is for DPO's summed loss: a length-normalised reward is no Q* - V* of the policy.")
    return OptimalValues(tuple(credit.beta * x for x in logits), tuple(credit.beta * x for x in normalisers))


def allowed(credit: Credit) -> float:
    """The misfit of one token that rounding explains, in units of reward."""
    return credit.beta * ALLOWED_NATS.get(credit.source.dtype, ALLOWED_HALF_NATS)
