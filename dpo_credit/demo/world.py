"""A generated world of Reddit-like posts that state typed facts, and of summaries that restate some of them.

Wording comes from wording.py. A summary keeps the character
span of every value, so what is wrong in a corrupted one is known exactly (errors.py).
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

from .wording import SEX, Split, aside, capital, expand, fill, load, of_person, phrasings, plain, slots_of

# Of 20 buckets of fact combinations, one is kept for validation and one for the held-out posts.
BUCKETS: dict[Split, range] = {"held_out": range(0, 1), "validation": range(1, 2), "train": range(2, 20)}
N_BUCKETS = 20

MIN_FACTS, MAX_FACTS = 3, 5
ASIDE_PROBABILITY = 0.8
# Words that say nothing about which fact comes next.
NO_CUE = {"my", "a", "an", "the"}


@dataclass(frozen=True, slots=True)
class Fact:
    """A typed value of a post; facts of one type have distinct values within a post."""

    slot: str
    type: str
    value: str


@dataclass(frozen=True, slots=True)
class Post:
    """A post and the facts that it states."""

    topic: str
    subreddit: str
    title: str
    body: str
    facts: tuple[Fact, ...]
    phrasings: tuple[str, ...]

    @property
    def prompt(self) -> str:
        """The post in the public TL;DR format; an answer continues it with a space."""
        return f"SUBREDDIT: r/{self.subreddit}\n\nTITLE: {self.title}\n\nPOST: {self.body}\n\nTL;DR:"

    def fact(self, slot: str) -> Fact:
        """The fact that fills a slot."""
        return next(fact for fact in self.facts if fact.slot == slot)


@dataclass(frozen=True, slots=True)
class FactSpan:
    """Characters [start, end) of a summary that hold the value of a slot.

    `checkable` says that the clause's words before it tell which fact is due: elsewhere a left-to-right reader cannot
    see a wrong value when it comes, only afterwards.
    """

    slot: str
    start: int
    end: int
    checkable: bool


@dataclass(frozen=True, slots=True)
class Summary:
    """An answer (it starts with a space) and where its values are, in order."""

    text: str
    spans: tuple[FactSpan, ...]


@cache
def topics() -> dict[str, dict[str, Any]]:
    """Topics by name."""
    return {topic["name"]: topic for topic in load("topics")["topic"]}


def draw_posts(seed: int, count: int, split: Split = "train", *, early: bool = False) -> Iterator[tuple[Post, Random]]:
    """Yield `count` posts of a split, each with the generator to draw its summaries from.

    Post i depends on (seed, split, early, i) alone. `early` posts of training know fewer phrasings.
    """
    for index in range(count):
        rng = Random(f"{split}/{seed}/{index}")
        yield write_post(rng, split, early=early), rng


def write_post(rng: Random, split: Split = "train", *, early: bool = False) -> Post:
    """A post whose fact combination and phrasings belong to the split; see `draw_posts` for `early`."""
    topic = topics()[rng.choice(sorted(topics()))]
    facts = draw_facts(rng, topic)
    while bucket(facts) not in BUCKETS[split]:
        facts = draw_facts(rng, topic)
    phrases = load("phrases")
    beats = [rng.choice(phrasings(beat, split, early=early)) for beat in topic["beat"]]
    body, decision = beats[:-1], beats[-1]
    rng.shuffle(body)
    for filler in rng.sample(phrases["fillers"], rng.randint(1, 3)):
        body.insert(rng.randint(0, len(body)), filler)
    opener = rng.choice(phrasings(phrases["openers"], split, early=early))
    templates = [opener, *body, decision, *rng.sample(phrases["endings"], rng.randint(0, 1))]
    values = {fact.slot: fact.value for fact in facts}
    intros = phrasings(phrases["intros"], split, early=early)
    sentences = [capital(fill(expand(rng, template, intros), values)) for template in templates]
    return Post(
        topic=topic["name"],
        subreddit=rng.choice(topic["subreddits"]),
        title=expand(rng, rng.choice(topic["titles"]), intros),
        body=" ".join(sentences),
        facts=facts,
        phrasings=(opener, *beats),
    )


def bucket(facts: tuple[Fact, ...]) -> int:
    """Which of the N_BUCKETS buckets a combination of facts falls into."""
    return zlib.crc32("|".join(f"{fact.slot}={fact.value}" for fact in facts).encode()) % N_BUCKETS


def draw_facts(rng: Random, topic: dict[str, Any]) -> tuple[Fact, ...]:
    """Values for all slots of a topic and of its three people, distinct within each type."""
    slots = {"me": "age", "a_age": "age", "b_age": "age", "a_rel": "relation", "b_rel": "relation"} | topic["slots"]
    taken: set[tuple[str, str]] = set()
    facts = []
    for slot, kind in slots.items():
        value = draw_value(rng, kind, topic)
        while (kind, value) in taken:
            value = draw_value(rng, kind, topic)
        taken.add((kind, value))
        facts.append(Fact(slot, kind, value))
        if kind == "relation":
            sex = (
                "F"
                if value in load("values")["female"]
                else "M"
                if value in load("values")["male"]
                else rng.choice("FM")
            )
            name = rng.choice([name for name in load("values")[sex] if ("name", name) not in taken])
            taken.add(("name", name))
            facts += [Fact(slot[:2] + "name", "name", name), Fact(slot[:2] + SEX, "sex", sex)]
    return (*facts, Fact("me_" + SEX, "sex", rng.choice("FM")))


def draw_value(rng: Random, kind: str, topic: dict[str, Any]) -> str:
    """A value of a type: age "24", amount "$1,450", range "$50K-$90K", percent "47%", or one of a list."""
    match kind:
        case "age":
            return str(rng.randint(18, 67))
        case "amount":
            return f"${rng.choice([rng.randrange(150, 1000, 10), rng.randrange(1050, 9990, 50)]):,}"
        case "range":
            low = rng.randrange(30, 80, 5)
            return f"${low}K-${rng.randrange(low + 10, min(low + 40, 100), 5)}K"
        case "percent":
            return f"{rng.randint(31, 94)}%"
        case "relation":
            return rng.choice(topic["people"])
        case _:
            return rng.choice(kind.split("/") if "/" in kind else load("values")[kind])


def summarise(rng: Random, post: Post, *, plain: bool = False, roster: bool = False) -> Summary:
    """A right summary: 3 to 5 facts in free order, between asides; a plain one tells all it can and has no asides.

    Args:
        rng: where the choices come from.
        post: what it sums up.
        plain: see above.
        roster: tell twice of each person who that is, too.
    """
    clauses = [clause for beat in topics()[post.topic]["beat"] for clause in beat["clauses"]]
    rng.shuffle(clauses)
    most = len(post.facts) if plain else MAX_FACTS
    target = most if plain else rng.randint(MIN_FACTS, MAX_FACTS)
    used: set[str] = set()
    parts: list[str] = []
    for clause in clauses:
        if any(f"<{p}>" in clause and {f"{p.lower()}_rel", f"{p.lower()}_name"} <= used for p in "AB"):
            continue
        text = expand(rng, clause, [], used)
        slots = slots_of(text)
        if used & set(slots) or len(used) + len(slots) > most:
            continue
        used.update(slots)
        parts.append(text)
        if len(used) >= target:
            break
    if roster:
        parts += [of_person(line, person) for person in "AB" for line in rng.sample(load("phrases")["roster"], 2)]
        rng.shuffle(parts)
    return _join(rng, parts, post, 0.0 if plain else ASIDE_PROBABILITY)


def _join(rng: Random, clauses: list[str], post: Post, asides: float) -> Summary:
    phrases = load("phrases")
    values = {fact.slot: fact.value for fact in post.facts}
    text, spans = "", []
    if rng.random() < asides / 2:
        text = " " + capital(aside(rng)) + ". "
    for number, clause in enumerate(clauses):
        if number:
            text += rng.choice(phrases["joiners"])
        text = text or " "
        if text.endswith((". ", " ")) and text.rstrip()[-1:] in ("", ".") and not clause.startswith("{"):
            clause = capital(clause)
        text, places = _append(text, clause, values)
        spans += places
        roster = ""
        while rng.random() < asides * (0.5 if roster else 1):
            roster = aside(rng)
            text += rng.choice([f" ({roster})", f". {capital(roster)}", f", {roster}", f" - {roster}"])
    text += "."
    if rng.random() < asides / 2:
        text += " " + rng.choice([capital(aside(rng)) + ".", plain(rng, rng.choice(phrases["questions"]))])
    return Summary(text, tuple(spans))


def _append(text: str, clause: str, values: dict[str, str]) -> tuple[str, list[FactSpan]]:
    start, spans = len(text), []
    for piece in re.split(r"(\{\w+\})", clause):
        slot = piece[1:-1]
        if piece.startswith("{") and slot.endswith(SEX):
            text += values[slot]
        elif piece.startswith("{"):
            cue = set(re.findall(r"[a-z']+", text[start:].lower())) - NO_CUE
            spans.append(FactSpan(slot, len(text), len(text) + len(values[slot]), bool(cue)))
            text += values[slot]
        else:
            text += piece
    # Of one person's facts only the last is checkable: "Omar (27)" for "Nora (27)" would make the age look wrong, too.
    later: set[str] = set()
    for i in reversed(range(len(spans))):
        person = spans[i].slot[:2]
        if person in ("a_", "b_"):
            if person in later:
                spans[i] = FactSpan(spans[i].slot, spans[i].start, spans[i].end, checkable=False)
            later.add(person)
    return text, spans
