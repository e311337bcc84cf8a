"""A whole verification: rows, a pair and the numbers of others in; the record of who agrees out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.records import Row
from dpo_credit.text.conventions import Conventions
from dpo_credit.verify import verdict
from dpo_credit.verify.conventions import Way
from dpo_credit.verify.references import gather
from dpo_credit.verify.rewards import Rewards
from dpo_credit.verify.sides import is_adapter, torch_sides
from dpo_credit.verify.verify import verify


@dataclass(frozen=True, slots=True)
class Verification:
    """A `dpo-credit/verify@1` record, whether all in it agree, and what the user should be told."""

    record: dict[str, Any]
    agrees: bool
    notes: tuple[str, ...]


def verify_rows(
    rewards: Rewards,
    log: tuple[bytes, str] | None = None,
    *,
    trl: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Compare our rewards with all that there is to compare them with: see `gather` and `verify`.

    Args:
        rewards: the rows, the pair, and the way of the options given.
        log: a `trainer_state.json` and its name.
        trl: run TRL's own evaluation, where it is installed.
        say: told what is going on.

    Raises:
        CreditError: there is nothing to compare with, some of it cannot be used, no row can be scored, or a model's
            numbers are not finite.
    """
    say("Scoring")
    rewards.refuse_not_finite()
    say("Running TRL's evaluation")
    targets, notes = gather(rewards, log, trl=trl)
    if rewards.pair.length_normalised:
        notes += ("compared are sums, beta * log-ratio, as TRL logs them; this pair's rewards are their means",)
    say(f"Scoring {len(rewards.rows)} rows")
    report = verify(rewards, targets, lambda tried: say(f"Comparing: {tried}"))
    notes += report.notes + tuple(note for comparison in report.comparisons for note in comparison.notes)
    return Verification(verdict.record(report, rewards), report.agrees, notes)


def rewards_of(
    pair: ModelPair, rows: Sequence[Row], conventions: Conventions, own: Callable[[], ModelPair] | None = None
) -> Rewards:
    """The rewards of preference rows by our way, as the options given have it.

    Args:
        pair: both sides in memory, each a torch module.
        rows: with a chosen and a rejected answer each.
        conventions: how text becomes tokens.
        own: loads the policy without the reference that was named; used where it is an adapter, which has its own.

    Raises:
        CreditError: a side is no torch module.
    """
    way = Way(
        conventions.eos,
        template=conventions.chat_template,
        cut=conventions.truncate,
        max_length=conventions.max_length,
        turns=conventions.turns,
        date=conventions.date,
        today=conventions.today,
        beta=pair.beta,
    )
    if own is not None:
        own = cache(own) if is_adapter(torch_sides(pair)[0]) else None
    return Rewards(pair, rows, way, own)
