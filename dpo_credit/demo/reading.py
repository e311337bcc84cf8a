"""Reading the generated world: the facts that a post states, and what a summary claims of them.

Posts and summaries are matched against the very templates that wrote them (topics.toml), so nothing is guessed: what no
template says is no claim.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from .wording import SEX, all_phrasings, load, of_person
from .world import topics

_NUMBERS = {"age": r"\d\d", "amount": r"\$\d{1,2},\d{3}|\$\d{3}", "range": r"\$\d\dK-\$\d\dK", "percent": r"\d\d%"}
_WRITER = ("I ({me})", "I ({me}{me_sex})", "I, {me},", "I")


@dataclass(frozen=True, slots=True)
class Claim:
    """A value that a summary gives for a slot of its post, at characters [start, end)."""

    slot: str
    value: str
    start: int
    end: int


def facts_of(post: str) -> dict[str, str] | None:
    """The values of a post's slots, with its topic as "topic"; None for a post of another world."""
    body = post.partition("POST:")[2] or post
    for name, topic in topics().items():
        told: list[list[Claim]] = []
        for n in range(len(topic["beat"])):  # most topics end here at their first beat, before the rest is compiled
            claims = _first(_phrasings(name, n), body)
            if claims is None:
                break
            told.append(claims)
        else:
            told += [list(_matches(pattern, body)) for pattern in _openers()]
            return {"topic": name, **{claim.slot: claim.value for claims in told for claim in claims}}
    return None


def claims_of(summary: str, topic: str) -> list[Claim]:
    """What a summary of a post on the topic claims, each value once at its place."""
    claims = {claim: None for pattern in _clauses(topic) for claim in _matches(pattern, summary)}
    return sorted(claims, key=lambda claim: claim.start)


def wrong_and_right(facts: dict[str, str], summary: str) -> tuple[list[Claim], list[Claim]]:
    """The claims of a summary that its post's facts contradict, and those that they bear out."""
    claims = [claim for claim in claims_of(summary, facts["topic"]) if claim.slot in facts]
    wrong = [claim for claim in claims if facts[claim.slot] != claim.value]
    return wrong, [claim for claim in claims if facts[claim.slot] == claim.value]


def _first(patterns: Sequence[re.Pattern[str]], text: str) -> list[Claim] | None:
    return next((claims for pattern in patterns if (claims := list(_matches(pattern, text)))), None)


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[Claim]:
    for match in pattern.finditer(text):
        for group, value in match.groupdict().items():
            slot = group.partition("__")[0]
            if value is not None and not slot.endswith(SEX):
                yield Claim(slot, _uncapitalised(value), *match.span(group))


def _uncapitalised(value: str) -> str:
    """A value that opens a sentence, as the world knows it: "Eleven" is eleven, "Austin" stays."""
    lower = value[:1].lower() + value[1:]
    return lower if any(lower in values for values in load("values").values()) else value


@cache
def _phrasings(topic: str, beat: int) -> list[re.Pattern[str]]:
    phrases, told = load("phrases"), topics()[topic]["beat"][beat]
    intros = all_phrasings(phrases["intros"])
    return [_pattern(template, topic, intros) for template in all_phrasings(told)]


@cache
def _openers() -> list[re.Pattern[str]]:
    return [_pattern(opener, next(iter(topics())), []) for opener in all_phrasings(load("phrases")["openers"])]


@cache
def _clauses(topic: str) -> list[re.Pattern[str]]:
    people, told = load("phrases")["people"], topics()[topic]["beat"]
    return [_pattern(clause, topic, people) for beat in told for clause in beat["clauses"]]


def _pattern(template: str, topic: str, people: Sequence[str]) -> re.Pattern[str]:
    """The regular expression of a template: literals in any case, each slot a group named after it."""
    types = {"me": "age", "me_sex": "sex", **topics()[topic]["slots"]}
    for person in "ab":
        types |= {f"{person}_{name}": kind for name, kind in (("rel", "relation"), ("name", "name"), ("age", "age"))}
        types[f"{person}_{SEX}"] = "sex"
    counter = iter(range(10_000))

    def literal(text: str) -> str:
        # wording.plain drops a comma before another stop
        return re.sub(r",(?=\\? |$)", ",?", re.escape(text)) if text else ""

    def forms(texts: Sequence[str]) -> str:
        return "(?:" + "|".join(build(text) for text in texts) + ")"

    def build(text: str) -> str:
        out = ""
        for piece in re.split(r"(\{\w+\}|<[AB]!?>|<I>|<adv> |\[[^\[\]]*\])", text):
            if piece.startswith("{"):
                slot = piece[1:-1]
                out += f"(?P<{slot}__{next(counter)}>(?-i:{_values(types[slot], topic)}))"
            elif piece == "<I>":
                out += forms(_WRITER)
            elif piece == "<adv> ":
                out += r"(?:\w+ )?"
            elif piece.startswith("<"):
                # the longest first: at a clause's end "my {rel}" alone would match, too
                out += forms([of_person(form, piece[1]) for form in sorted(people, key=len, reverse=True)])
            elif piece.startswith("["):
                out += forms(piece[1:-1].split("|"))
            else:
                out += literal(piece)
        return out

    return re.compile(rf"(?<![\w$])(?i:{build(template)})(?!\w)")


def _values(kind: str, topic: str) -> str:
    if kind == "sex":
        return "[FM]"
    if kind in _NUMBERS:
        return _NUMBERS[kind]
    known: Any = kind.split("/") if "/" in kind else load("values").get(kind) or topics()[topic]["people"]
    return "|".join(
        f"[{value[0]}{value[0].upper()}]{re.escape(value[1:])}" for value in sorted(known, key=len, reverse=True)
    )
