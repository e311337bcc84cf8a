"""What a medium can show, and text made fit for it: our signs and other people's control characters."""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from dpo_credit.views.scale import Theme

# C0 (but tab and newline), C1, what reorders or hides text (bidi controls, line separators, the byte-order mark,
# invisible operators, annotations, tags), and halves of surrogate pairs; joiners stay, as emoji and scripts need them
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_STAND_INS = {
    **{"▼": "-", "▲": "+", "π": "pi", "−": "-", "×": "x", "…": "...", "→": "->", "Δ": "delta ", "·": "."},
    **{"±": "+/-", "–": "-", "↵": "\\n", "␣": "_", "‹": "<", "›": ">", "⟦": "[[", "⟧": "]]"},
    **{"▶": ">", "│": "|", "✗": "x", "▀": "#", "⇥": "\\t", "\xa0": " ", "†": "*"},
    **dict(zip("▁▂▃▄▅▆▇█", "01234567", strict=True)),
}
_TABLE = str.maketrans(_STAND_INS)
_SIGNS = "".join(_STAND_INS)
STAND_INS = (
    "dpo_credit.stand_ins"  # the name of a stream's `errors`: what it cannot carry is written as `stand_ins` does
)


@dataclass(frozen=True, slots=True)
class Look:
    """What the terminal can show: its theme, how many colours, how wide, and in which encoding."""

    theme: Theme = "dark"
    colours: Literal["full", "basic", "none"] = "full"
    width: int = 80
    encoding: str = "utf-8"

    @property
    def ascii_only(self) -> bool:
        """Whether some of our signs cannot be shown: all of them get stand-ins then."""
        try:
            _SIGNS.encode(self.encoding)
        except UnicodeEncodeError:
            return True
        return False

    def plain(self, text: str) -> str:
        """The text with ASCII stand-ins for our own signs, where the terminal does not show all of them."""
        return text.translate(_TABLE) if self.ascii_only else text


def visible(text: str, look: Look) -> str:
    """Text with its control and reordering characters written out, so that none acts on the terminal.

    Likewise the characters that the terminal's encoding does not have.
    """
    return written_out(text).encode(look.encoding, "backslashreplace").decode(look.encoding)


def written_out(text: str) -> str:
    """Text with its control and reordering characters written out; tabs and line breaks stay."""
    return _HIDDEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def direction(text: str) -> Literal["ltr", "rtl"]:
    """Where the text's first letter with a direction would have it run."""
    strong = next((kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")), "L")
    return "ltr" if strong == "L" else "rtl"


def escaped(text: str) -> str:
    """JSON with the same characters as escapes of its own: the same data."""
    return _HIDDEN.sub(lambda match: json.dumps(match[0])[1:-1], text)


def stand_ins(error: UnicodeError) -> tuple[str, int]:
    """An error handler for streams (see `codecs`): our signs' stand-ins, other characters written out."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return text.translate(_TABLE).encode("ascii", "backslashreplace").decode(), error.end


codecs.register_error(STAND_INS, stand_ins)
