"""From a template to words: free choices, people, rare words. Templates: topics.toml, values.toml and phrases.toml."""

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from random import Random
from typing import Any, Literal, get_args

Split = Literal["train", "validation", "held_out"]
SPLITS: tuple[Split, ...] = get_args(Split)

ADVERB_PROBABILITY = 0.6
# Slots that end so fill "24M" consistently; nothing asks for them alone, so they are no values of a summary.
SEX = "sex"


@cache
def load(name: str) -> dict[str, Any]:
    """The parsed data file `name`.toml of this package."""
    return tomllib.loads(resources.files(__package__).joinpath(f"{name}.toml").read_text("utf-8"))


def phrasings(table: dict[str, list[str]], split: Split, *, early: bool = False) -> list[str]:
    """The phrasings of a split; those of training `early` without the ones that it meets later."""
    return table[split] if early or split != "train" else table["train"] + table["later"]


def all_phrasings(table: dict[str, list[str]]) -> list[str]:
    """The phrasings of all splits."""
    return [phrasing for split in SPLITS for phrasing in phrasings(table, split)]


def expand(rng: Random, template: str, intros: Sequence[str], used: set[str] | None = None) -> str:
    """Resolve people, adverbs, free choices and rare words of a template; only {slot}s remain.

    Args:
        rng: where the choices come from.
        template: a phrasing of topics.toml or phrases.toml.
        intros: how to introduce people.
        used: slots already told in a summary, which mentions of people then avoid.
    """
    phrases = load("phrases")
    used = used or set()

    def person(match: re.Match[str]) -> str:
        forms = intros if match[2] else phrases["people"]
        forms = [of_person(form, match[1]) for form in forms]
        return rng.choice([form for form in forms if not used & set(slots_of(form))])

    text = re.sub(r"<([AB])(!?)>", person, template)
    writers = ["I"] if "me" in used else ["I", "I", "I ({me})", "I ({me}{me_sex})", "I, {me},"]
    text = text.replace("<I>", rng.choice(writers))
    text = text.replace("<adv> ", "{r} " if rng.random() < ADVERB_PROBABILITY else "")
    return plain(rng, text)


def of_person(form: str, person: str) -> str:
    """A form like "my {rel} {name}" with the slots of person "A" or "B": "my {a_rel} {a_name}"."""
    return form.replace("{", "{" + person.lower() + "_")


def plain(rng: Random, text: str) -> str:
    """Resolve free choices and rare words of a template."""
    phrases = load("phrases")
    while choice := re.search(r"\[([^\[\]]*)\]", text):
        text = text[: choice.start()] + rng.choice(choice[1].split("|")) + text[choice.end() :]
    rare = {"n": "nouns", "a": "adjectives", "r": "adverbs", "v": "verbs"}

    def word(match: re.Match[str]) -> str:
        if match[1] == "c":
            return "-".join(rng.sample(phrases["nouns"], 2))
        if match[1] == "k":
            return rng.choice(phrases["adjectives"]) + "-" + rng.choice(phrases["nouns"])
        return rng.choice(phrases[rare[match[1]]])

    text = re.sub(r"\{([narvck])\}", word, text)
    text = re.sub(r" {2,}", " ", text)
    text = re.sub(r",(?=[,.;])", "", text)
    return re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", text)


def aside(rng: Random) -> str:
    """Surprising words that state no fact."""
    return plain(rng, rng.choice(load("phrases")["asides"]))


def slots_of(text: str) -> list[str]:
    """The slots of a template that are values, in order."""
    return [slot for slot in re.findall(r"\{(\w+)\}", text) if not slot.endswith(SEX)]


def fill(text: str, values: dict[str, str]) -> str:
    """A template with its slots filled."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], text)


def capital(text: str) -> str:
    """The text with its first letter capitalised, the rest as it is."""
    return text[:1].upper() + text[1:]
