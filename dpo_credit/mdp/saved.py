"""Scored pairs as JSON Lines. The types are the schema: `python -m dpo_credit.mdp.saved` writes it as `schema.json`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dpo_credit.mdp.credit import PairCredit, SegmentCredit
from dpo_credit.rows.output import json_line
from dpo_credit.rows.schema import schema_of, ship

SHIPPED = Path(__file__).parent / "schema.json"


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """One segment; every list has one entry a step. Log-probabilities are in nats, of real actions log-densities.

    `credits` = alpha * gamma^t * (policy_logps - reference_logps), divided by the number of steps if
    `length_normalised`; `credit` is their sum. `rewards` and `frames` are the row's own.
    """

    actions: list[int] | list[list[float]]
    policy_logps: list[float]
    reference_logps: list[float] | None
    credits: list[float]
    credit: float
    rewards: list[float] | None
    frames: list[str] | None


@dataclass(frozen=True, slots=True)
class PairRecord:
    """Two segments, the preferred one first, and what CPL reads from them (Hejna et al. 2024, Eqs. 5 and 6).

    `margin` = chosen - rejected credit; `preference_probability` is the sigmoid of `logit` = chosen - bias * rejected.
    """

    schema: Literal["dpo-credit/mdp@1"]
    id: str
    policy: str
    reference: str | None
    alpha: float
    gamma: float
    bias: float
    length_normalised: bool
    action_names: list[str] | None
    chosen: SegmentRecord
    rejected: SegmentRecord
    margin: float
    logit: float
    preference_probability: float


def pair_record(pair: PairCredit) -> PairRecord:
    """A pair's record, numbers unrounded."""
    return PairRecord(
        schema="dpo-credit/mdp@1",
        id=pair.id,
        policy=pair.policy,
        reference=pair.reference or None,
        **asdict(pair.weights),
        action_names=list(pair.action_names) or None,
        chosen=_segment(pair.chosen),
        rejected=_segment(pair.rejected),
        margin=pair.margin,
        logit=pair.logit,
        preference_probability=pair.preference_probability,
    )


def to_json(pair: PairCredit) -> str:
    """A pair as one line of JSON."""
    return json_line(asdict(pair_record(pair)))


def json_schema() -> dict[str, Any]:
    """Draft 2020-12, of a line."""
    return schema_of(PairRecord, "dpo-credit/mdp@1")


def _segment(segment: SegmentCredit) -> SegmentRecord:
    reference, rewards = segment.reference_logps, segment.rewards
    return SegmentRecord(
        actions=segment.actions.tolist(),
        policy_logps=segment.policy_logps.tolist(),
        reference_logps=None if reference is None else reference.tolist(),
        credits=segment.credits.tolist(),
        credit=segment.credit,
        rewards=None if rewards is None else rewards.tolist(),
        frames=list(segment.frames) or None,
    )


if __name__ == "__main__":
    ship(json_schema(), SHIPPED)
