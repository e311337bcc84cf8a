"""What a medium can show, and text made fit for it: our signs and other people's control characters."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dpo_credit.views.scale import Theme

# C0 (but tab and newline), C1, and what reorders or hides text: bidi controls, line separators, the byte-order mark
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060\u2066-\u2069\ufeff]")
_STAND_INS = {
    **{"▼": "-", "▲": "+", "π": "pi", "−": "-", "×": "x", "…": "...", "→": "->", "Δ": "delta "},
    **{"±": "+/-", "–": "-", "↵": "\\n", "␣": "_", "‹": "<", "›": ">", "⟦": "[[", "⟧": "]]"},
    **dict(zip("▁▂▃▄▅▆▇█", "01234567", strict=True)),
}


@dataclass(frozen=True, slots=True)
class Look:
    """What the terminal can show: its theme, how many colours, how wide, and whether more than ASCII."""

    theme: Theme = "dark"
    colours: Literal["full", "basic", "none"] = "full"
    width: int = 80
    ascii_only: bool = False

    def plain(self, text: str) -> str:
        """The text with ASCII stand-ins for our own signs, where the terminal shows no more."""
        if not self.ascii_only:
            return text
        for sign, stand_in in _STAND_INS.items():
            text = text.replace(sign, stand_in)
        return text


def visible(text: str, look: Look) -> str:
    """Text with its control and reordering characters written out, so that none acts on the terminal."""
    text = _HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)
    return text.encode("ascii", "backslashreplace").decode() if look.ascii_only else text
