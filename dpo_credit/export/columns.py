"""A row with what it earned as plain columns beside its own: numbers, and nothing nested but for a list of answers."""

from __future__ import annotations

from typing import Any

from dpo_credit.credit import Credit, margin, preference_probability
from dpo_credit.rows.output import beside_own
from dpo_credit.rows.scored import ScoredRow


def columns_row(row: ScoredRow) -> dict[str, Any]:
    """A row's own columns, then what it earned; one of its own with such a name becomes `input_<name>`.

    Of a preference `margin`, `preference_probability` and, for both answers, `chosen_reward`, `chosen_policy_logp`,
    `chosen_reference_logp` (nats) and `chosen_tokens`, their number; of a single answer `reward` and so on; of a list
    `rewards` and so on, an entry an answer.
    """
    if row.kind == "preference":
        logit = margin(*row.credits)
        added = {"margin": logit, "preference_probability": preference_probability(logit)}
        for label, credit in zip(row.labels, row.credits, strict=True):
            added |= {f"{label}_{name}": value for name, value in _numbers(credit).items()}
        return beside_own(row.row, added)
    numbers = [_numbers(credit) for credit in row.credits]
    if row.kind == "single":
        return beside_own(row.row, numbers[0])
    return beside_own(row.row, {_PLURAL.get(name, name): [of[name] for of in numbers] for name in numbers[0]})


_PLURAL = {"reward": "rewards", "policy_logp": "policy_logps", "reference_logp": "reference_logps"}


def _numbers(credit: Credit) -> dict[str, float]:
    return {
        "reward": credit.reward,
        "policy_logp": credit.policy_logp,
        "reference_logp": credit.reference_logp,
        "tokens": len(credit.tokens.answer_ids),
    }
