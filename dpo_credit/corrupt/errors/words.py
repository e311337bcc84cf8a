"""The word lists, and the forms that English words take.

Verbs and plurals come from lemminflect's lexicon (Jascob 2019), which is part of its wheel.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from lemminflect import getAllLemmas, getInflection


@cache
def load(name: str) -> dict[str, Any]:
    """A list of words beside this file."""
    return tomllib.loads((Path(__file__).parent / "words" / f"{name}.toml").read_text("utf-8"))


@cache
def lemma(word: str, kind: str) -> str | None:
    """The dictionary form of a "VERB", "NOUN", "ADJ" or "ADV", None for a word that is none."""
    lemmas = getAllLemmas(word, upos=kind).get(kind, ())
    return lemmas[0] if lemmas else None


@cache
def inflect(word: str, tag: str) -> str:
    """A dictionary form inflected, by its Penn tag: VBD, VBN, VBZ, NNS."""
    forms = getInflection(word, tag=tag)
    return forms[0] if forms else word


@cache
def tags(word: str) -> frozenset[str]:
    """Which of VB, VBD, VBN, VBZ a word can be."""
    base = lemma(word, "VERB")
    if base is None:
        return frozenset()
    fitting = {tag for tag in ("VBD", "VBN", "VBZ") if word in getInflection(base, tag=tag)}
    return frozenset(fitting | ({"VB"} if word == base else set()))


def plural(noun: str) -> str:
    """The plural of a noun, or of the last word of a compound."""
    head, dash, last = noun.rpartition(" ") if " " in noun else noun.rpartition("-")
    return head + dash + inflect(last, "NNS")


def is_plural(word: str) -> bool:
    """Whether a word can only be read as the plural of a noun."""
    base = lemma(word, "NOUN")
    return base is not None and base != word and word == inflect(base, "NNS")
