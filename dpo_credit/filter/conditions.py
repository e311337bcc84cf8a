"""What users ask of a row: a comparison of a quantity, a class of tokens, and the ends of a whole data set."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dpo_credit.credit import CreditError
from dpo_credit.filter.quantities import Quantity, Side, part_of_class, values_of
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.text.token_class import CLASSES

_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?"
_COMPARISON = re.compile(rf"(<=|>=|<|>)\s*({_NUMBER})")
_END = re.compile(rf"({_NUMBER})\s*(%?)")


@dataclass(frozen=True, slots=True)
class Condition:
    """A quantity, or the part of a class of tokens, and how it compares; without a sign, that there is one.

    Of several answers that are looked at, each has to meet it.
    """

    quantity: Quantity | None
    token_class: str = ""
    sign: str = ""
    limit: float = 0.0
    side: Side = "all"

    def __str__(self) -> str:
        name = self.quantity or self.token_class
        return f"{name} {self.sign} {self.limit:g}" if self.sign else f"some {name}"

    def meets(self, row: ScoredRow) -> bool | None:
        """Whether a row meets it; None where it has no such quantity."""
        if self.quantity is None:
            part = part_of_class(row, self.token_class, self.side)
            if part is None:
                return False
            return not self.sign or _SIGNS[self.sign](part, self.limit)
        values = values_of(row, self.quantity, self.side)
        return all(_SIGNS[self.sign](value, self.limit) for value in values) if values else None


@dataclass(frozen=True, slots=True)
class End:
    """One end of a data set by a quantity (of several answers their mean): a share of its rows, or a number of them."""

    which: Literal["smallest", "largest"]
    quantity: Quantity
    share: float | None = None
    count: int = 0
    side: Side = "all"

    def __str__(self) -> str:
        size = f"{self.count:,}" if self.share is None else f"{100 * self.share:g} %"
        return f"the {self.which} {size} by {self.quantity}"

    def size(self, rows: int) -> int:
        """How many of so many rows it has: a share is rounded to whole rows, and to one at least."""
        wanted = self.count if self.share is None else max(1, int(self.share * rows + 0.5))
        return min(wanted, rows)


def comparison(flag: str, text: str, quantity: Quantity, side: Side = "all") -> Condition:
    """A condition such as "< 0".

    Raises:
        CreditError: it is none; the message names the flag.
    """
    match = _COMPARISON.fullmatch(text.strip())
    if match is None:
        raise CreditError(f"{flag} {text!r} compares with nothing. Give a sign and a number in quotes, such as '< 0'.")
    return Condition(quantity, sign=match[1], limit=float(match[2]), side=side)


def class_condition(flag: str, text: str, side: Side = "all") -> Condition:
    """A condition such as "digits" or "digits < 0".

    Raises:
        CreditError: there is no such class, or no such comparison.
    """
    at = next((n for n, char in enumerate(text) if char in "<>"), len(text))
    name = text[:at].strip()
    if name not in CLASSES:
        raise CreditError(f"{flag} {text!r} names no class of tokens. There are {', '.join(CLASSES)}.")
    if at == len(text):
        return Condition(None, name, side=side)
    match = _COMPARISON.fullmatch(text[at:].strip())
    if match is None:
        raise CreditError(f"{flag} {text!r} compares with nothing. Give a sign and a number, such as '{name} < 0'.")
    return Condition(None, name, match[1], float(match[2]), side)


def end_of(which: Literal["smallest", "largest"], text: str, quantity: Quantity, side: Side = "all") -> End:
    """An end such as "10%" or "500".

    Raises:
        CreditError: it is none.
    """
    match, flag = _END.fullmatch(text.strip()), f"--{which}"
    number = float(match[1]) if match else 0.0
    if match and match[2] and 0 < number <= 100:
        return End(which, quantity, share=number / 100, side=side)
    if match and not match[2] and number >= 1 and number.is_integer():
        return End(which, quantity, count=int(number), side=side)
    raise CreditError(f"{flag} {text!r} is neither a share of the rows such as 10% nor a number of them such as 500.")
