"""Credits made by hand: an answer in pieces, and what each piece earned. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from dpo_credit.credit import Credit, Source, Tokens

END = "</s>"
SOURCE = Source("policy/model", "reference/model", "float32")


def noisy(nats: float) -> Source:
    """`SOURCE` in bfloat16, with this noise floor of one log-ratio."""
    return Source(SOURCE.policy, SOURCE.reference, "bfloat16", nats)


def tokens(pieces: Sequence[str], *, end: bool = False) -> Tokens:
    """An answer cut into these pieces after a prompt of two; `end` appends the end token, which shows no text."""
    places = [*accumulate(map(len, pieces), initial=0)]
    spans = [*pairwise(places), *[(places[-1], places[-1])] * end]
    shown = [*pieces, *[END] * end]
    answer = "".join(pieces)
    return Tokens((1, 2), tuple(range(len(shown))), tuple(shown), tuple(spans), answer, "appended" if end else "none")


def credit(
    pieces: Sequence[str],
    rewards: Sequence[float],
    *,
    end: float | None = None,
    beta: float = 1.0,
    reference: float = 0.0,
    source: Source = SOURCE,
) -> Credit:
    """An answer whose pieces earned these rewards, and its end token `end`, if it has one; its id is "x".

    The reference gives every token the log-probability `reference`, and the policy that and reward / beta: with the
    defaults, the rewards are exact.
    """
    earned = [*rewards] if end is None else [*rewards, end]
    policy = tuple(reference + reward / beta for reward in earned)
    return Credit(tokens(pieces, end=end is not None), policy, (reference,) * len(policy), beta, source, "x")


def segments(tokens: Tokens) -> list[str]:
    """The texts of the answer's segments, which its log-probabilities have no part in."""
    zeros = (0.0,) * len(tokens.answer_ids)
    return [segment.text for segment in Credit(tokens, zeros, zeros, 0.1, SOURCE).segments]
