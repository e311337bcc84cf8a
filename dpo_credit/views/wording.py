"""What views say alike of an answer, and of two."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from dpo_credit.credit import Credit, Tokens
from dpo_credit.segments import Unit


def models_of(credit: Credit) -> str:
    """Which models an answer's numbers come from, and what a nat is multiplied with."""
    source = credit.source
    beta = f"beta {credit.beta:g}" + " / T (length-normalised)" * credit.length_normalised
    return f"{source.policy} against {source.reference}, {beta}, {source.dtype}"


def extent(tokens: Tokens) -> str:
    """How many tokens there are, in how many turns, and how many of them count."""
    length, counted = len(tokens.answer_ids), sum(tokens.counted)
    turns = sum(1 for role, _ in groupby(tokens.roles) if role)
    if counted < length:
        return f"{counted} of {length} tokens, those of the assistant's turns"
    count = f"{length} token{'s' * (length != 1)}"
    return f"{count} in {turns} turns" if turns else count


def meaning(delta: str, labels: Sequence[str], unit: Unit) -> str:
    """What a `delta`, however it is written, is of two answers with these labels."""
    ours, theirs = labels
    return (
        f"{delta}: what a {unit} adds to the margin, above 0 for {ours}; shared tokens count reward in {ours} − reward "
        f"in {theirs}, edited ones +reward in {ours}, −reward in {theirs}"
    )
