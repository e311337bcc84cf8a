"""How it is put into words that intervals are by prompt, whatever they are of."""

from __future__ import annotations


def to_prompts(count: int, prompts: int) -> str:
    """How many prompts so many answers, or rows, stand on, after their name; nothing where each has one of its own."""
    if prompts == count:
        return ""
    return f" to {prompts:,} prompts" if prompts > 1 else " to one prompt"


def stand_on(count: int, prompts: int, things: str) -> str:
    """How many prompts so many things stand on."""
    return f"{count:,} {things} stand on {prompts:,} prompts"


def intervals_of(count: int, prompts: int, things: str, known: str = "95 % intervals") -> str:
    """What intervals are between, after what they are called: things or their prompts; or why there are none."""
    if prompts == 1 < count:
        return f"no intervals: all {things} stand on one prompt"
    return f"{known}, " + (
        f"between {things}" if prompts == count else f"by prompt: {stand_on(count, prompts, things)}"
    )
