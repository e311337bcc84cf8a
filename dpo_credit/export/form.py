"""What rows are exported as."""

from __future__ import annotations

from typing import Literal

Form = Literal["columns", "tokens", "token-weights", "trl-reference", "prime-rl", "rollout-viz"]
FLAT: tuple[Form, ...] = ("columns", "tokens")  # what CSV holds
