"""What views say alike of an answer."""

from __future__ import annotations

from itertools import groupby

from dpo_credit.credit import Tokens


def extent(tokens: Tokens) -> str:
    """How many tokens there are, in how many turns, and how many of them count."""
    length, counted = len(tokens.answer_ids), sum(tokens.counted)
    turns = sum(1 for role, _ in groupby(tokens.roles) if role)
    if counted < length:
        return f"{counted} of {length} tokens, those of the assistant's turns"
    count = f"{length} token{'s' * (length != 1)}"
    return f"{count} in {turns} turns" if turns else count
