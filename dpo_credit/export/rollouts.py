"""Answers as reinforcement-learning tools export and show rollouts: one JSON line an answer.

`prime-rl` is the token export of PrimeIntellect-ai/prime-rl (its `trainer/rl/token_export.py`, schema version 1): at
each position the log-probability of the token that stands there, under two models. `rollout-viz` is what
diatkinson/rollout_viz shows: tokens, and numbers for each of them under any name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from dpo_credit.credit import Credit
from dpo_credit.rows.scored import ScoredRow

PRIME_RL = 1  # the version of its schema
_MOST = 700.0  # nats: the exponential of more is no float, and null there too


@dataclass(frozen=True, slots=True)
class PrimeRecord:
    """An answer as a sequence of prime-rl, one entry a token: `trainer` is the policy, `inference` the reference.

    `rewards` repeat the answer's reward, `advantages` are its tokens'. The prompt's ids are not saved with scores:
    `position_ids` begin behind it. What scoring does not know is null, as prime-rl writes it.
    """

    schema_version: int
    step: int
    export_step: int
    rank: int
    micro_step: int
    micro_sequence_idx: int
    export_sequence_idx: int
    run_id: str | None
    env_name: str | None
    token_ids: list[int]
    position_ids: list[int]
    loss_mask: list[bool]
    advantages: list[float]
    rewards: list[float]
    inference_logprobs: list[float]
    trainer_logprobs: list[float]
    entropy: list[float | None]
    mismatch_kl: list[float | None]
    log_importance_ratio: list[float]
    importance_ratio: list[float | None]
    prob_delta: list[float]
    is_masked: list[bool | None]
    is_masked_high: list[bool | None]
    is_masked_low: list[bool | None]


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """An answer as rollout_viz shows it: `tokens` (T,) as text, and `metrics`, (T,) each.

    The rest it leaves alone: it is there so that the line reads back as the same credit.
    """

    id: str
    label: str
    tokens: list[str]
    metrics: dict[str, list[float]]
    answer: str
    token_ids: list[int]
    spans: list[tuple[int, int]]
    policy: str
    reference: str
    beta: float
    eos: str
    turns: str
    roles: list[str] | None
    prompt_tokens: int
    prompt_hash: str | None


def prime_records(row: ScoredRow, first: int) -> Iterator[PrimeRecord]:
    """The answers of a row; `first` is how many sequences stand before them."""
    for number, credit in enumerate(row.credits, first):
        tokens = credit.tokens
        length, start = len(tokens.answer_ids), len(tokens.prompt_ids)
        ratios = [policy - reference for policy, reference in _logps(credit)]
        nothing: list[None] = [None] * length
        yield PrimeRecord(
            schema_version=PRIME_RL,
            step=0,
            export_step=0,
            rank=0,
            micro_step=0,
            micro_sequence_idx=number,
            export_sequence_idx=number,
            run_id=None,
            env_name=credit.id or row.id,
            token_ids=list(tokens.answer_ids),
            position_ids=list(range(start, start + length)),
            loss_mask=list(tokens.counted),
            advantages=list(credit.rewards),
            rewards=[credit.reward] * length,
            inference_logprobs=list(credit.reference_logps),
            trainer_logprobs=list(credit.policy_logps),
            entropy=[*nothing],
            mismatch_kl=[math.expm1(ratio) - ratio if ratio < _MOST else None for ratio in ratios],
            log_importance_ratio=ratios,
            importance_ratio=[math.exp(ratio) if ratio < _MOST else None for ratio in ratios],
            prob_delta=[math.exp(policy) - math.exp(reference) for policy, reference in _logps(credit)],
            is_masked=[*nothing],
            is_masked_high=[*nothing],
            is_masked_low=[*nothing],
        )


def rollout_records(row: ScoredRow) -> Iterator[RolloutRecord]:
    """The answers of a row."""
    for label, credit in zip(row.labels, row.credits, strict=True):
        metrics = {
            "reward": list(credit.rewards),
            "policy_logp": list(credit.policy_logps),
            "reference_logp": list(credit.reference_logps),
        }
        tokens = credit.tokens
        yield RolloutRecord(
            id=row.id,
            label=label,
            tokens=list(tokens.pieces),
            metrics=metrics,
            answer=tokens.answer,
            token_ids=list(tokens.answer_ids),
            spans=list(tokens.spans),
            policy=credit.source.policy,
            reference=credit.source.reference,
            beta=credit.weight,
            eos=tokens.end,
            turns=tokens.scored,
            roles=list(tokens.roles) or None,
            prompt_tokens=len(tokens.prompt_ids),
            prompt_hash=tokens.prompt_hash,
        )


def _logps(credit: Credit) -> Iterator[tuple[float, float]]:
    return zip(credit.policy_logps, credit.reference_logps, strict=True)
