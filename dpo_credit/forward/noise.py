"""The error of a model's arithmetic, as a pair's log-ratios show it: half precision against float32. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dpo_credit.credit import Logps, Tokens

NOISE_TOKENS = 512  # answer tokens measured
NOISE_QUANTILE = 0.95


def noise_floor(ratios: Sequence[float], exact: Sequence[float]) -> float:
    """The measured error of a token's log-ratio: the 95th percentile of |as computed - recomputed in float32|, nats."""
    errors = np.abs(np.array(ratios) - np.array(exact))
    errors = errors[np.isfinite(errors)]  # an answer whose numbers are not finite fails by itself
    return float(np.quantile(errors, NOISE_QUANTILE)) if len(errors) else 0.0


def log_ratios(policy: Sequence[Logps], reference: Sequence[Logps]) -> list[float]:
    """Of all tokens of the answers, one answer after the other; nats."""
    return [
        ours - theirs
        for answer, other in zip(policy, reference, strict=True)
        for ours, theirs in zip(answer.logps, other.logps, strict=True)
    ]


def sampled(batch: Sequence[Tokens]) -> list[int]:
    """Answers enough for the noise floor, the first ones."""
    picked, total = [], 0
    for index, tokens in enumerate(batch):
        if total >= NOISE_TOKENS:
            break
        picked.append(index)
        total += len(tokens.answer_ids)
    return picked
