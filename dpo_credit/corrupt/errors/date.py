"""Wrong dates and durations: weekdays, months, days, and the unit of a length of time."""

from __future__ import annotations

from collections.abc import Iterator

from dpo_credit.corrupt.errors.change import Change, Replacement, like, single
from dpo_credit.corrupt.errors.number import KIND
from dpo_credit.corrupt.errors.passage import Passage
from dpo_credit.corrupt.errors.words import load, plural

_WORDS = load("quantities")
_UNITS: list[str] = _WORDS["units"]
_PLURALS = {plural(unit): unit for unit in _UNITS}
_COUNTS = frozenset([*_WORDS["cardinals"], *_WORDS["tens"], "few", "couple", "several", "many"])
_CALENDAR = {name.lower(): name for name in (*_WORDS["weekdays"], *_WORDS["months"])}
_AMBIGUOUS = ("may", "march", "august", "second")
_ORDERED = ("frequencies", "many_magnitudes", "currencies")


def find(answer: Passage, post: Passage) -> Iterator[Change]:
    """Every other day, month or unit of time that could stand in a place of the answer."""
    for index, word in enumerate(answer.words):
        key, before = word.key, answer.behind(index)
        if key in _CALENDAR:
            dated = before in _WORDS["before_dates"]
            if key not in _AMBIGUOUS or (dated and word.text[0].isupper()):
                yield from single(KIND, word.start, word.end, _others(word.text, key))
        elif key in _PLURALS and (
            before in _COUNTS or before.isdigit() or (before == "of" and answer.key(index - 2) == "couple")
        ):
            units = (plural(unit) for unit in _units(_PLURALS[key]))
            yield from single(KIND, word.start, word.end, (like(word.text, unit) for unit in units))
        elif key in _UNITS and before in ("last", "next", "per", "every", "each") and key not in ("second", "minute"):
            spans = [unit for unit in _units(key) if unit in ("week", "month", "year") or before != "last"]
            yield from single(KIND, word.start, word.end, (unit for unit in spans if unit not in ("hour", "minute")))
        elif key in ("yesterday", "tomorrow") and answer.beside(index) not in ("morning", "night"):
            other = "last week" if key == "yesterday" else "next month"
            yield Change(KIND, (Replacement(word.start, word.end, like(word.text, other)),))
        else:
            for name in _ORDERED:
                if key in _WORDS[name]:
                    yield from single(
                        KIND, word.start, word.end, (like(word.text, other) for other in _WORDS[name] if other != key)
                    )


def _others(written: str, key: str) -> list[str]:
    names = next(_WORDS[name] for name in ("weekdays", "months") if _CALENDAR[key] in _WORDS[name])
    return [
        name if written[0].isupper() else name.lower() for name in names if name.lower() not in (key, "may", "march")
    ]


def _units(unit: str) -> list[str]:
    """The units one or two steps away: another length, and still a plausible one."""
    place = _UNITS.index(unit)
    return [other for n, other in enumerate(_UNITS) if 1 <= abs(n - place) <= 2 and other != "second"]
