"""What a comparison comes to, in one sentence; and the whole report as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpo_credit.rows.records import Row
    from dpo_credit.verify.rewards import Rewards
    from dpo_credit.verify.targets import Trial
    from dpo_credit.verify.verify import Comparison, VerifyReport

SCHEMA = "dpo-credit/verify@1"


def sentence(comparison: Comparison) -> str:
    """Whether the numbers are ours, or under which convention they are, or that none is known."""
    target, best = comparison.target, comparison.trials[0]
    ours = next((trial for trial in comparison.trials if not trial.conventions), None)
    if ours is not None and ours.meets:
        within = f", within {comparison.half}'s own error," if comparison.half else ""
        text = f"{_all(comparison, ours)} with {target.name} to {close(ours.largest)}{within} under the options given"
        if best is ours:
            return f"{text}."
        return f"{text}, and to {close(best.largest)} where we do as it did: it {_did(best)}."
    if best.meets:
        how = f"with {best.flags} " if best.flags else "doing so, "
        known = "" if best.flags else " (no option of ours goes that way)"
        also = f" These rows do not tell this from: {'; '.join(best.also)}." if best.also else ""
        agree = _all(comparison, best)
        agree = f"{agree[0].lower()}{agree[1:]} to {close(best.largest)}"
        return f"{target.who} {_did(best)}; {how}{agree}{known}.{also}"
    tried = "rows agree" if best.of == len(comparison.rows) else "rows tried agree"
    agree = "" if target.means else f"{best.agreeing} of {best.of} {tried}, and "
    closest = f"Closest comes {best.name}: {agree}the largest difference is {close(best.largest)}."
    why = "Other weights, another base or other rows would do this."
    if comparison.within_bfloat16:
        why = (
            "Yet the options given are off by no more than bfloat16's own error: a run with bf16=True, TRL's default, "
            "differs as much."
        )
    return f"No known convention, nor two together, makes our numbers those of {target.name}. {closest} {why}"


def close(difference: float | None) -> str:
    """A difference, rounded up to one digit below a thousandth and to two above it."""
    if difference is None or not math.isfinite(difference):
        return "unknown"
    if difference == 0:
        return "0"
    digits = 0 if difference < 1e-3 else 1
    step = 10 ** (math.floor(math.log10(difference)) - digits)
    number = math.ceil(difference / step - 1e-9) * step
    return f"{number:.{digits + 1}g}".replace("e-0", "e-")


def _all(comparison: Comparison, trial: Trial) -> str:
    if comparison.target.means:
        return "Both means agree"
    return f"All {trial.of} rows agree" if trial.of > 1 else "The row agrees"


def _did(trial: Trial) -> str:
    return " and ".join(convention.did for convention in trial.conventions)


def record(report: VerifyReport, rewards: Rewards) -> dict[str, Any]:
    """The report as JSON, numbers unrounded.

    `rows` are ours and theirs, (chosen, rejected) each, under the options given; `conventions` are best first.
    """
    reference = rewards.pair.reference
    return {
        "schema": SCHEMA,
        "policy": rewards.policy.name,
        "reference": getattr(reference, "name", ""),
        "beta": rewards.base.beta,
        "dtype": rewards.policy.dtype,
        "agrees": report.agrees,
        "comparisons": [_comparison(comparison, rewards.rows) for comparison in report.comparisons],
        "peers": [{"name": peer.name, "did": peer.did, **_counts(trial)} for peer, trial in report.peers],
        "notes": list(report.notes),
    }


def _comparison(comparison: Comparison, rows: Sequence[Row]) -> dict[str, Any]:
    target = comparison.target
    return {
        "target": target.name,
        "quantity": target.quantity,
        "means": target.means,
        "agrees": comparison.agrees,
        "sentence": sentence(comparison),
        "conventions": [
            {"name": item.name, "flags": item.flags, "agrees": item.meets, "same_as": list(item.also), **_counts(item)}
            for item in comparison.trials
        ],
        "rows": [
            {
                "id": "mean" if target.means else rows[item.row].id,
                "ours": item.ours,
                "theirs": item.theirs,
                "tolerance": item.tolerance,
                "agrees": item.agrees,
            }
            for item in comparison.rows
        ],
        "notes": list(comparison.notes),
    }


def _counts(trial: Trial) -> dict[str, Any]:
    return {"rows_agree": trial.agreeing, "rows": trial.of, "largest_difference": trial.largest}
