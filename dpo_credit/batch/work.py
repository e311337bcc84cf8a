"""How many tokens make a chunk: so few that a commit is never far away, whatever the pair costs.

By the models' size and the kind of device alone. A measured speed would differ from run to run, and with it the packs
that rows are computed in, and the last bits of their numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpo_credit.models.side import Module, unwrapped

if TYPE_CHECKING:
    from dpo_credit.scoring import Scorer

COMMIT_S = 30  # between two commits, at most, on a machine that is as slow as these
_SLOW_FLOPS = {"cpu": 1e10, "cuda": 5e12}  # floating-point operations a second: a busy core, a small GPU
_OTHER_FLOPS = 1e12


def chunk_tokens(scorer: Scorer) -> int | None:
    """Tokens that both models of a pair go through in 30 s on a slow machine; None for sides of unknown size.

    A token takes 2 operations a parameter in each model, and the reference is taken to be as large as the policy.
    """
    policy = unwrapped(scorer.pair.policy)
    if not isinstance(policy, Module):
        return None
    parameters = sum(parameter.numel() for parameter in policy.module.parameters())
    return max(1, int(COMMIT_S * _SLOW_FLOPS.get(policy.device.type, _OTHER_FLOPS) / (4 * max(1, parameters))))
