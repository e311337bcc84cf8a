"""What training changed at each position of an answer: two divergences, both entropies, and the token's rank."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shift:
    """Policy and reference as whole distributions over the next token, at each of an answer's T tokens; in nats.

    `kl` is KL(pi || pi_ref), `reverse_kl` is KL(pi_ref || pi): how far the two are apart, whatever token follows.
    `policy_entropy` and `reference_entropy` say how unsure each is; `policy_rank` and `reference_rank` how many
    tokens each finds likelier than the answer's own, plus one.
    """

    kl: tuple[float, ...]
    reverse_kl: tuple[float, ...]
    policy_entropy: tuple[float, ...]
    reference_entropy: tuple[float, ...]
    policy_rank: tuple[int, ...]
    reference_rank: tuple[int, ...]
