"""Posts in the prose of different people, with typed slots: one post gives many, their summaries, and wrong ones.

`natural/*.toml` holds them. A slot's values all fit its post; a value may have two forms, "post | summary". What a
summary of a drawn post says is right by how it was written, and an error is another value of the type in a slot's
place: of half of them another fact of the post. `natural_rows` makes rows of them.
"""

import re
import tomllib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from .corpus import TWO_CHANGES_SHARE
from .errors import SWAP_PROBABILITY, FactEdit, Pair
from .wording import Split
from .world import Fact, FactSpan, Post, Summary

FOLDER = Path(__file__).parent / "natural"
# Of 20 buckets of authors' subjects, three are kept for validation and three for the held-out posts.
BUCKETS: dict[Split, range] = {"held_out": range(0, 3), "validation": range(3, 6), "train": range(6, 20)}
N_BUCKETS = 20
EXCHANGE_SHARE = 0.4  # of the pairs with two errors: where a summary has two facts of a type, these change places
# What amounts are told apart by, before their last word is.
_UNITS = {
    "money": r"[$€£¥₹]|\b(?:bucks?|dollars?|euros?|pounds sterling|quid|cents?|grand|francs?|crowns?|yen|rupees?)\b",
    "percent": r"%|\bper ?cent\b",
    "degrees": r"°|\bdegrees?\b",
}
_CLOCK = r"\d:\d\d|\b[ap]\.?m\b|o'clock|\bnoon\b|midnight|\b(?:half|quarter|past) |in the (?:morning|evening)"
_SLOT = re.compile(r"\{(\w+)\}")
# Where a sentence begins: at the start, behind its end and white space, and in a list.
_SENTENCE_START = re.compile(r"(?:^|[.!?]\s+|\n[^\S\n]*)(?=[a-z])")


@dataclass(frozen=True, slots=True)
class Slot:
    """A typed fact of a post and the values it may have: the form in the post and the one in summaries."""

    type: str
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """A post before its values are drawn, and summaries of it by different hands."""

    author: str
    subject: str
    subreddit: str
    title: str
    text: str
    summaries: tuple[str, ...]
    slots: dict[str, Slot]

    @property
    def bucket(self) -> int:
        """Posts by one author on one subject are of one bucket, and so of one split."""
        return zlib.crc32(f"{self.author}/{self.subject}".encode()) % N_BUCKETS


@dataclass(frozen=True, slots=True)
class Drawn:
    """A draft with values: each slot's number in its list."""

    draft: Draft
    chosen: dict[str, int]

    @property
    def post(self) -> Post:
        """As a post of the generated world; a fact's value is the form that summaries have."""
        draft = self.draft
        values = {name: draft.slots[name].values[n] for name, n in self.chosen.items()}
        return Post(
            topic=draft.subject,
            subreddit=draft.subreddit,
            title=draft.title,
            body=_filled(draft.text.strip(), {name: forms[0] for name, forms in values.items()}).text,
            facts=tuple(Fact(name, draft.slots[name].type, forms[1]) for name, forms in values.items()),
            phrasings=(f"{draft.author}/{draft.title}",),
        )


@dataclass(frozen=True, slots=True)
class Wrong:
    """A summary of a drawn post, and what stands wrong in some of its slots: {slot: value}."""

    drawn: Drawn
    template: str
    values: dict[str, str]

    @property
    def pair(self) -> Pair:
        """The right summary over this one."""
        right, rejected = (summary_of(self.drawn, self.template, wrong) for wrong in ({}, self.values))
        edits = [
            FactEdit(before.slot, right.text[before.start : before.end], rejected.text[start:end], start, end)
            for before, after in zip(right.spans, rejected.spans, strict=True)
            for start, end in [(after.start, after.end)]
            if before.slot in self.values
        ]
        return Pair(self.drawn.post, right, rejected, tuple(edits))


@cache
def drafts(split: Split) -> tuple[Draft, ...]:
    """The posts of a split, in the order of their files."""
    every = (_draft(post) for path in sorted(FOLDER.glob("*.toml")) for post in _posts(path))
    return tuple(draft for draft in every if draft.bucket in BUCKETS[split])


def draw(rng: Random, draft: Draft) -> Drawn:
    """Values for all slots, distinct within each type."""
    taken: set[tuple[str, str]] = set()
    chosen: dict[str, int] = {}
    for name, slot in draft.slots.items():
        free = [n for n, (_, short) in enumerate(slot.values) if (slot.type, short.lower()) not in taken]
        chosen[name] = rng.choice(free or range(len(slot.values)))
        taken.add((slot.type, slot.values[chosen[name]][1].lower()))
    return Drawn(draft, chosen)


def draw_posts(seed: int, count: int, split: Split) -> Iterator[tuple[Drawn, Random]]:
    """Yield `count` posts of a split, each with the generator for its summaries; every draft comes about as often."""
    order: list[Draft] = []
    shuffle = Random(f"natural/{split}/{seed}")
    for index in range(count):
        if not order:
            order = list(drafts(split))
            shuffle.shuffle(order)
        rng = Random(f"natural/{split}/{seed}/{index}")
        yield draw(rng, order.pop()), rng


def draw_wrong(seed: int, count: int, split: Split, *, swaps: float = SWAP_PROBABILITY) -> Iterator[Wrong]:
    """Wrong summaries of a split's posts, as many with two facts wrong as with one."""
    for drawn, rng in draw_posts(seed, count, split):
        errors = 2 if rng.random() < TWO_CHANGES_SHARE else 1
        template = rng.choice(drawn.draft.summaries)
        yield Wrong(drawn, template, errors_in(rng, drawn, template, errors, swaps=swaps))


def draw_pairs(seed: int, count: int, split: Split, *, swaps: float = SWAP_PROBABILITY) -> Iterator[Pair]:
    """Preferences of a split: a right summary over the same one with one or two facts wrong."""
    return (wrong.pair for wrong in draw_wrong(seed, count, split, swaps=swaps))


def summary_of(drawn: Drawn, template: str, wrong: dict[str, str]) -> Summary:
    """A summary, with wrong values in some slots' places."""
    values = {name: drawn.draft.slots[name].values[n][1] for name, n in drawn.chosen.items()}
    return _filled(f" {template.strip()}", values | wrong)


def errors_in(
    rng: Random, drawn: Drawn, template: str, count: int, *, swaps: float = SWAP_PROBABILITY
) -> dict[str, str]:
    """`count` wrong values for a summary, by slot.

    Args:
        rng: where the choices come from.
        drawn: the summary's post.
        template: one of its summaries.
        count: how many values to change; two of a type may change places.
        swaps: how often a wrong value is another fact of the post, where it holds one of the type.
    """
    post = drawn.post
    slots = list(dict.fromkeys(_SLOT.findall(template)))
    alike = [(a, b) for a in slots for b in slots if a < b and _exchangeable(post.fact(a), post.fact(b))]
    if count > 1 and alike and swaps and rng.random() < EXCHANGE_SHARE:
        a, b = rng.choice(alike)
        return {a: post.fact(b).value, b: post.fact(a).value}
    return {name: _wrong_value(rng, drawn, post, name, swaps) for name in rng.sample(slots, min(count, len(slots)))}


def _wrong_value(rng: Random, drawn: Drawn, post: Post, name: str, swaps: float) -> str:
    others = other_facts(post, name)
    if others and rng.random() < swaps:
        return rng.choice(others)
    right = post.fact(name).value
    return rng.choice([short for _, short in drawn.draft.slots[name].values if short != right])


def other_facts(post: Post, name: str) -> list[str]:
    """The post's other values that could stand in a slot's place."""
    fact = post.fact(name)
    return [other.value for other in post.facts if other.slot != name and _exchangeable(fact, other)]


def _exchangeable(fact: Fact, other: Fact) -> bool:
    """Whether one fact could be taken for another: of a type, and of a unit where the type has some."""
    return fact.type == other.type and _unit(fact) == _unit(other)


def _unit(fact: Fact) -> str:
    """What a quantity counts, or whether a date is a time of the day; "" for facts without units."""
    value = fact.value.lower()
    match fact.type:
        case "amount" | "range":
            for unit, signs in _UNITS.items():
                if re.search(signs, value):
                    return unit
            return re.sub(r"[^a-z]", "", value.split()[-1])
        case "count":  # of what: stars are no meals
            return re.sub(r"[^a-z]", "", value.split()[-1]).removesuffix("s")
        case "date":
            return "clock" if re.search(_CLOCK, value) else ""
        case _:
            return ""


def _filled(template: str, values: dict[str, str]) -> Summary:
    """A text with its values, a capital at the start of each sentence, and where the values are."""
    text, spans, cursor = "", [], 0
    for match in _SLOT.finditer(template):
        text += template[cursor : match.start()]
        spans.append(FactSpan(match[1], len(text), len(text) + len(values[match[1]]), checkable=True))
        text += values[match[1]]
        cursor = match.end()
    text += template[cursor:]
    starts = {match.end() for match in _SENTENCE_START.finditer(text.lstrip(" "))}
    shift = len(text) - len(text.lstrip(" "))
    text = "".join(char.upper() if n - shift in starts else char for n, char in enumerate(text))
    return Summary(text, tuple(spans))


def _posts(path: Path) -> list[dict]:
    with path.open("rb") as file:
        return tomllib.load(file)["post"]


def _draft(post: dict) -> Draft:
    slots = {
        name: Slot(slot["type"], tuple(_forms(value) for value in slot["values"]))
        for name, slot in post["slots"].items()
    }
    texts = {name: post[name] for name in ("author", "subject", "subreddit", "title", "text")}
    return Draft(**texts, summaries=tuple(post["summaries"]), slots=slots)


def _forms(value: str) -> tuple[str, str]:
    """ "in the post | in a summary", or one for both."""
    first, *rest = (form.strip() for form in value.split(" | "))
    return first, rest[0] if rest else first
