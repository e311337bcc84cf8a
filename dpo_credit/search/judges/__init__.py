"""Who says which of two answers is better. A judge is a function of a Contest; each lives in a module of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dpo_credit.credit import Credit


@dataclass(frozen=True, slots=True)
class Contest:
    """An answer to judge, and the chosen one to judge it against, where there is one. `prompt` is plain text."""

    id: str
    prompt: str
    answer: Credit
    chosen: Credit | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """1 where the answer beats the chosen one, 0 where it loses, 0.5 for a tie; None where there is none to beat."""

    win: float | None
    said: str


Judge = Callable[[Contest], Verdict]


def compare(ours: float, theirs: float) -> float:
    """1, 0.5 or 0: whether ours is the higher."""
    return 0.5 if ours == theirs else float(ours > theirs)
