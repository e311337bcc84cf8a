"""Same-type wrong facts put into a right summary, and exactly which of its characters are wrong then."""

import re
from dataclasses import dataclass
from random import Random

from .wording import load
from .world import Fact, FactSpan, Post, Summary, draw_value, topics

SWAP_PROBABILITY = 0.5


@dataclass(frozen=True, slots=True)
class FactEdit:
    """A changed value of a summary: characters [start, end) hold `wrong` where `right` stood."""

    slot: str
    right: str
    wrong: str
    start: int
    end: int

    @property
    def wrong_characters(self) -> tuple[int, int]:
        """[start, end) of the characters that differ: the value without what both values begin and end with.

        "$50K-$90K" for "$50K-$70K" is wrong in its "9" only. Of a value that merely lacks characters ("six" for
        "sixteen") the last one counts as wrong, so that no error is invisible.
        """
        head = 0
        while head < min(len(self.right), len(self.wrong)) and self.right[head] == self.wrong[head]:
            head += 1
        tail = 0
        while tail < min(len(self.right), len(self.wrong)) - head and self.right[-1 - tail] == self.wrong[-1 - tail]:
            tail += 1
        if head + tail < len(self.wrong):
            return self.start + head, self.end - tail
        if tail and (not head or self.wrong[head - 1].isspace()):
            return self.start + head, self.start + head + 1
        last = max(len(self.wrong[:head].rstrip()), 1)
        return self.start + last - 1, self.start + last


@dataclass(frozen=True, slots=True)
class Pair:
    """A preference: the right summary of a post and the same summary with wrong facts."""

    post: Post
    chosen: Summary
    rejected: Summary
    edits: tuple[FactEdit, ...]


def corrupt(rng: Random, post: Post, summary: Summary, count: int, *, swaps: float = SWAP_PROBABILITY) -> Pair:
    """Change `count` checkable values of a summary, or all that it has.

    Args:
        rng: where the choices come from.
        post: the summary's post.
        summary: a right summary.
        count: how many values to change.
        swaps: how often a wrong value is another fact of the post, where it holds one of the type.
    """
    candidates = [span for span in summary.spans if span.checkable]
    changed = sorted(rng.sample(candidates, min(count, len(candidates))), key=lambda span: span.start)
    return replace_values(
        post, summary, {span.slot: wrong_value(rng, post, post.fact(span.slot), swaps) for span in changed}
    )


def replace_values(post: Post, summary: Summary, wrong: dict[str, str]) -> Pair:
    """Put wrong values into the slots of a summary."""
    text, cursor = "", 0
    spans: list[FactSpan] = []
    edits: list[FactEdit] = []
    for span in summary.spans:
        right = summary.text[span.start : span.end]
        value = wrong.get(span.slot, right)
        text += summary.text[cursor : span.start]
        spans.append(FactSpan(span.slot, len(text), len(text) + len(value), span.checkable))
        if value != right:
            edits.append(FactEdit(span.slot, right, value, len(text), len(text) + len(value)))
        text += value
        cursor = span.end
    text += summary.text[cursor:]
    return Pair(post, summary, Summary(text, tuple(spans)), tuple(edits))


def wrong_value(rng: Random, post: Post, fact: Fact, swaps: float = SWAP_PROBABILITY) -> str:
    """A wrong value of the fact's type: with probability `swaps` another fact of the post, else a near value or any."""
    others = [other.value for other in post.facts if other.type == fact.type and other.value != fact.value]
    if others and rng.random() < swaps:
        return rng.choice(others)
    value = fact.value
    while value == fact.value:
        value = _near(rng, fact) or draw_value(rng, fact.type, topics()[post.topic])
    return value


def _near(rng: Random, fact: Fact) -> str | None:
    step = rng.choice([-3, -2, -1, 1, 2, 3])
    match fact.type:
        case "age":
            return str(int(fact.value) + step)
        case "percent":
            return f"{int(fact.value[:-1]) + step}%"
        case "amount":
            amount = int(fact.value[1:].replace(",", ""))
            return f"${amount + step * (10 if amount < 1000 else 100):,}"
        case "range":
            low, high = (int(number) for number in re.findall(r"\d+", fact.value))
            return rng.choice(
                [f"${low - 5}K-${high}K", f"${low}K-${high + 5}K" if high < 95 else f"${low + 5}K-${high}K"]
            )
        case "number" | "month" | "weekday":
            values = load("values")[fact.type]
            return values[(values.index(fact.value) + (1 if step > 0 else -1)) % len(values)]
        case _:
            return None


def parse_value(kind: str, text: str, topic: str) -> str | None:
    """The value of a type that `text` begins with, or None."""
    patterns = {"age": r"\d\d", "amount": r"\$\d{1,2},\d{3}|\$\d{3}", "range": r"\$\d\dK-\$\d\dK", "percent": r"\d\d%"}
    if kind in patterns:
        match = re.match(rf"(?:{patterns[kind]})(?!\w)|\d\d(?=[MF]\b)" if kind == "age" else patterns[kind], text)
        return match[0] if match else None
    values = kind.split("/") if "/" in kind else load("values").get(kind) or topics()[topic]["people"]
    for value in sorted(values, key=len, reverse=True):
        if re.match(re.escape(value) + r"(?!\w)", text):
            return value
    return None
