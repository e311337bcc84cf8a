"""Numbers and text as the page shows them: proper minus signs, and nothing that hides or reorders."""

from __future__ import annotations

import re

from dpo_credit.views.look import Look
from dpo_credit.views.look import visible as written_out


def visible(text: str) -> str:
    """Text with control and reordering characters, and halves of surrogate pairs, written out as <U+202E>."""
    return written_out(text, Look())


def signed(value: float, decimals: int) -> str:
    """A reward with its sign (none if it rounds to zero) and a proper minus."""
    shown = f"{value:+.{decimals}f}".replace("-", "−")
    return shown if re.search("[1-9]", shown) else shown[1:]


def minus(value: float, decimals: int = 3) -> str:
    return f"{value:.{decimals}f}".replace("-", "−")


def spoken(value: float, decimals: int) -> str:
    """A reward for ears: some screen readers skip the signs."""
    shown = signed(value, decimals)
    return shown.replace("−", "minus ").replace("+", "plus ")


def trimmed(text: str) -> str:
    """Text without the white space around it, or that white space as signs if it is all there is."""
    return text.strip() or text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
