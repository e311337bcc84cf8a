"""Wrong numbers: counts, ranges, money, percentages, ages, years, times, ordinals and number words, in their format."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from dpo_credit.corrupt.errors.change import Change, Replacement, like, single
from dpo_credit.corrupt.errors.passage import Passage
from dpo_credit.corrupt.errors.words import is_plural, load, plural

KIND = "number"
_WORDS = load("quantities")
VALUES = {word: n for n, word in enumerate(_WORDS["cardinals"])} | {
    word: 10 * n for n, word in enumerate(_WORDS["tens"], 2)
}
_NAMES = {n: word for word, n in VALUES.items()}
_NUMBER = re.compile(
    r"(?P<clock>\d{1,2}:[0-5]\d)|(?P<ordinal>\d{1,3})(?:st|nd|rd|th)\b|(?:[$£€]\s?)?(?P<n>\d(?:[\d,]*\d)?(?:\.\d+)?)"
)
_PERCENT = re.compile(r"\s?(?:%|percent\b|per cent\b)")
# What a number that counts may be glued to: a unit, k for thousands, M or F after an age.
_UNIT = re.compile(
    r"(?:k|m|f|h|hrs?|hours?|mins?|secs?|s|yo|y/o|yrs?|lbs?|kgs?|g|mg|km|mi|ft|cm|mm|am|pm|x|gb|mb|mph|bucks)?(?![\w/:])",
    re.IGNORECASE,
)
# Digits that count nothing: dates, versions, addresses and telephones; "9/11", "24/7", "v2", "#3", "1 3" for "1/3".
_CODE = re.compile(r"(?<!\d)\d++(?:(?:[-/.]\d++){2,}|/\d++| \d++(?= \w))")
_GLUED = re.compile(r"(?:[\w#/.:,'’]|(?<![\d%])(?<!\d[kKmM])-)$")
_RANGE = re.compile(r"\s?[kKmM%]?\s?(?:-|–|to)\s?[$£€]?")
_SUFFIXES = {1: "st", 2: "nd", 3: "rd"}
_SEEN = 40  # characters before and after a number that are looked at
_YEARS = range(1900, 2036)


def find(answer: Passage, post: Passage) -> Iterator[Change]:
    """Every other value that a number of the answer could take, and that its context does not make true again."""
    yield from _digits(answer, post)
    yield from _spelled(answer, post)


def _digits(answer: Passage, post: Passage) -> Iterator[Change]:
    text = answer.text
    prose = {word.start for word in answer.words}
    code = {at for match in _CODE.finditer(text) for at in range(*match.span())}
    numbers = list(_NUMBER.finditer(text))
    for place, match in enumerate(numbers):
        start, end = match.span("n") if match["n"] else match.span()
        before, after = text[max(0, match.start() - _SEEN) : match.start()], text[end : end + _SEEN]
        if start not in prose or start in code or _GLUED.search(before) or _numbers_a_list(before, after):
            continue
        if match["clock"]:
            alone = not (_RANGE.match(after) or re.search(r"(?:[-–]|\bto)\s?$", before))
            yield from single(KIND, start, end, _clocks(match[0]) if alone else ())
        elif match["ordinal"]:
            yield from single(KIND, start, end, map(_ordinal, _ordinals(int(match["ordinal"]), after)))
        elif _UNIT.match(after) and len(match["n"]) <= 12:
            beside = [other for other in numbers[max(0, place - 1) : place + 2] if other is not match and other["n"]]
            claim = _claim(answer, start)
            for option in _counts(match["n"], before, after):
                if _in_order(text, match, beside, _value(option)) and not _said(post, option, claim):
                    yield Change(KIND, (_with_noun(text, start, end, option),))


def _numbers_a_list(before: str, after: str) -> bool:
    shown = before.rstrip()
    begins = len(before) < _SEEN and not shown
    return bool((begins or shown.endswith("|") or "\n" in before[len(shown) :]) and re.match(r"[.)]\s", after))


def _counts(written: str, before: str, after: str) -> list[str]:
    """Other values for a number in digits, in its format."""
    whole, dot, decimals = written.replace(",", "").partition(".")
    value = int(whole)
    if whole != str(value):
        return []  # "007"
    if dot:
        return [f"{n}.{decimals}" for n in _others(value, before)]
    unit = re.match(r" ?([a-z]+)", after)
    if value in _YEARS and "," not in written and not (unit and is_plural(unit[1])):
        return [str(value + step) for step in (-7, -4, -3, -2, -1, 1, 2, 3, 4) if value + step in _YEARS]
    values = [n for n in _others(value, before) if n <= 100 or value > 100 or not _PERCENT.match(after)]
    return [f"{n:,}" if "," in written else str(n) for n in values]


def _value(written: str) -> float:
    return float(written.replace(",", ""))


def _with_noun(text: str, start: int, end: int, option: str) -> Replacement:
    """The edit, with the noun of a former "1" made plural."""
    noun = re.match(r" ([a-z]+)\b", text[end : end + _SEEN]) if text[start:end] == "1" else None
    if noun and not is_plural(noun[1]):
        return Replacement(start, end + noun.end(), f"{option} {plural(noun[1])}")
    return Replacement(start, end, option)


def _others(value: int, before: str) -> list[int]:
    """Other plausible values that the words before do not allow: near ones, else a multiple or a part."""
    near = [n for n in _near(value) if _leaves(before, value, n)]
    return near or [n for n in (value // 3, value // 2, value * 2, value * 3) if n > 1 and _leaves(before, value, n)]


def _near(value: int) -> list[int]:
    """Values near a given one, and as round, in order; never 0 or 1."""
    if value <= 12:
        steps, scale = [-4, -3, -2, -1, 1, 2, 3, 4], 1
    else:
        digits = str(value)
        zeros = len(digits) - len(digits.rstrip("0"))
        scale = int(10 ** max(zeros - (digits.strip("0") == "1"), len(digits) - 2))
        if value % (5 * scale) == 0 and (value // scale) % 10:
            scale *= 5
        steps = [-4, -3, -2, 2, 3, 4] if scale == 1 else [-3, -2, -1, 1, 2, 3]
    numbers = [value + step * scale for step in steps]
    return [n for n in numbers if n > 1 and n * 4 >= value]


def _leaves(before: str, value: int, new: int) -> bool:
    """Whether a new value is outside what the words before it allow of the old: "about 9" holds for 10, too."""
    words = re.findall(r"[a-z]+", before.lower())[-2:]
    last, phrase = (words or [""])[-1], " ".join(words)
    if last in _WORDS["about"] or before.rstrip().endswith("~"):
        return new >= 1.5 * value or new <= value / 1.5
    if last in _WORDS["at_least"] or phrase in _WORDS["more_than"]:
        return new >= 1.3 * value
    if last in _WORDS["at_most"] or phrase in _WORDS["less_than"]:
        return new <= value / 1.3
    return True


def _in_order(text: str, match: re.Match[str], beside: Iterable[re.Match[str]], new: float) -> bool:
    """Whether a range stays one: its lower end below its upper."""
    for other in beside:
        first, second = sorted((match, other), key=lambda number: number.start("n"))
        if not _RANGE.fullmatch(text[first.end("n") : second.start("n")]):
            continue
        limit = _value(other["n"])
        if (new >= limit) if first is match else (new <= limit):
            return False
    return True


def _claim(answer: Passage, start: int) -> frozenset[str]:
    """What the clause around a number says of it."""
    index = max(0, bisect_right(answer.starts, start) - 1)
    return answer.claim(index, index + 1)


def _said(post: Passage, value: str, claim: frozenset[str]) -> bool:
    """Whether the post has the same claim with another value of the number, in digits or in words."""
    number = value.lower().replace(",", "")
    spelled = _NAMES.get(int(number), value) if number.isdigit() else str(VALUES.get(number, value))
    return any(post.says(form, claim) for form in {value, spelled})


def _clocks(written: str) -> list[str]:
    hour, minute = written.split(":")
    return [f"{h}:{minute}" for h in range(1, 13) if 2 <= abs(h - int(hour)) <= 4 and 1 <= int(hour) <= 12]


def _ordinals(value: int, after: str) -> list[int]:
    last = 21 if after.lower().startswith(" century") else value + 4
    return [n for n in range(max(1, value - 4), min(last, value + 4) + 1) if n != value]


def _ordinal(n: int) -> str:
    return f"{n}{'th' if n % 100 in (11, 12, 13) else _SUFFIXES.get(n % 10, 'th')}"


def _spelled(answer: Passage, post: Passage) -> Iterator[Change]:
    for index, word in enumerate(answer.words):
        key, after, before = word.key, answer.beside(index), answer.behind(index)
        if VALUES.get(key, 0) > 1:
            glued = answer.text[word.start - 1 : word.start] == "-"
            if not glued and before not in VALUES and after not in VALUES and after not in _WORDS["magnitudes"]:
                values = _others(VALUES[key], answer.text[max(0, word.start - _SEEN) : word.start])
                claim = _claim(answer, word.start)
                names = [_NAMES[n] for n in values if n in _NAMES and not _said(post, _NAMES[n], claim)]
                yield from single(KIND, word.start, word.end, (like(word.text, name) for name in names))
        elif key == "one" and after in _WORDS["counts_with_one"] and before not in _WORDS["one_not_after"]:
            noun = answer.words[index + 1]
            names = [f"{like(word.text, name)} {plural(noun.text)}" for name in ("two", "three", "four")]
            yield from single(KIND, word.start, noun.end, names)
        elif key in _WORDS["ordinals"] and before and after:
            if before not in _WORDS["ordinals_not_after"] and after not in _WORDS["ordinals_not_before"]:
                others = (like(word.text, name) for name in _WORDS["ordinals"][:4] if name != key)
                yield from single(KIND, word.start, word.end, others)
        elif key == "twice":
            yield from single(KIND, word.start, word.end, (like(word.text, "once"), like(word.text, "three times")))
