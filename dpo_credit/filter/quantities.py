"""What a scored row is filtered by: margin, disagreement, and its answers' rewards, lengths and classes of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from dpo_credit.credit import Credit, margin
from dpo_credit.text.token_class import CLASSES, token_classes

if TYPE_CHECKING:
    from dpo_credit.rows.scored import ScoredRow

Quantity = Literal["margin", "abs-margin", "reward", "length", "disagreement"]
Side = Literal["all", "chosen", "rejected"]
_OF_PAIRS = ("margin", "abs-margin", "disagreement")


def values_of(row: ScoredRow, quantity: Quantity, side: Side = "all") -> tuple[float, ...]:
    """A quantity of a row: one number, or one for each answer that is looked at; () where the row has none.

    `margin` is DPO's logit, `abs-margin` its size, and for `disagreement` see there: a preference has them. `reward`
    and `length` (tokens, the end among them) are each answer's, or that of one `side` of a preference.
    """
    if quantity in _OF_PAIRS:
        if row.kind != "preference":
            return ()
        if quantity == "disagreement":
            share = disagreement(row)
            return () if share is None else (share,)
        logit = margin(*row.credits)
        return (logit if quantity == "margin" else abs(logit),)
    answers = answers_of(row, side)
    if quantity == "length":
        return tuple(float(len(credit.tokens.answer_ids)) for credit in answers)
    return tuple(credit.reward for credit in answers)


def answers_of(row: ScoredRow, side: Side) -> Sequence[Credit]:
    """The answers that are looked at; a row without a preference has no sides."""
    if side == "all":
        return row.credits
    return [credit for credit, label in zip(row.credits, row.labels, strict=True) if label == side]


def disagreement(row: ScoredRow) -> float | None:
    """The share of a preference's credit that speaks against it, from 0 to 1; None where no token earned anything.

    Against it speak the tokens of the chosen answer with a reward below zero, and those of the rejected one above:
    their |rewards| over all |rewards|. Since the margin is what speaks for it less what speaks against it, the share is
    above a half exactly where the reward orders the two answers the other way.
    """
    chosen, rejected = (credit.rewards for credit in row.credits)
    speaks = (*chosen, *(-reward for reward in rejected))
    total = math.fsum(map(abs, speaks))
    return math.fsum(-reward for reward in speaks if reward < 0) / total if total else None


def part_of_class(row: ScoredRow, name: str, side: Side = "all") -> float | None:
    """What a class of tokens adds to a preference's margin, or earned in the answers looked at; None without any.

    Args:
        name: one of `CLASSES`.
        side: with "all", a rejected answer's rewards count against the margin.
    """
    wanted, part, present = CLASSES.index(name), 0.0, False  # type: ignore[arg-type]
    for credit in answers_of(row, side):
        sign = -1.0 if side == "all" and row.kind == "preference" and credit is row.credits[1] else 1.0
        for reward, kind in zip(credit.rewards, token_classes(credit.tokens), strict=True):
            if kind == wanted:
                part, present = part + sign * reward, True
    return part if present else None
