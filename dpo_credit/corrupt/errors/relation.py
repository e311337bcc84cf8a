"""Wrong relations: a comparison or a word turned into its opposite, and who did it to whom turned round."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dpo_credit.corrupt.errors.change import Change, Replacement, like, single
from dpo_credit.corrupt.errors.passage import Passage
from dpo_credit.corrupt.errors.words import is_plural, lemma, load, tags

KIND = "relation"
_WORDS = load("opposites")
_OPPOSITES: dict[str, list[str]] = _WORDS["opposites"]
_LONGEST = max(len(phrase.split()) for phrase in _OPPOSITES)
_OBJECT = {"i": "me", "he": "him", "she": "her", "we": "us", "they": "them", "you": "you"}
_SUBJECT = {"me": "I", "him": "he", "us": "we", "them": "they", "you": "you", "her": "she"}
# Who does these with whom makes no difference.
_MUTUAL = frozenset(load("grammar")["mutual"])
_PART_OF_A_PHRASE = frozenset(load("grammar")["determiners"]) | {"now", "here", "there", "be", "what"}
_ENDS_OBJECT = frozenset(load("grammar")["ends_object"])
_MODALS = frozenset(load("grammar")["modals"])


def find(answer: Passage, post: Passage) -> Iterator[Change]:
    """Every opposite and every turned relation that the answer allows."""
    yield from _opposites(answer, post)
    yield from _turned_pronouns(answer)
    yield from _turned_phrases(answer)


def _opposites(answer: Passage, post: Passage) -> Iterator[Change]:
    index = 0
    while index < len(answer.words):
        for length in range(_LONGEST, 0, -1):
            last = index + length - 1
            phrase = " ".join(answer.key(n) for n in range(index, last + 1))
            if phrase in _OPPOSITES and all(answer.beside(n) for n in range(index, last)):
                if _means_so(answer, index, last, phrase):
                    start, end = answer.words[index].start, answer.words[last].end
                    claim = answer.claim(index, last + 1)
                    options = [option for option in _options(answer, last, phrase) if not _said(post, option, claim)]
                    yield from single(KIND, start, end, (like(answer.text[start:end], option) for option in options))
                index = last
                break
        index += 1


def _said(post: Passage, option: str, claim: frozenset[str]) -> bool:
    """Whether the post says the opposite, too, of the same things."""
    return len(claim) > 2 and post.says(option, claim)


def _options(answer: Passage, last: int, phrase: str) -> list[str]:
    if phrase in ("more", "most") and _before_plural(answer, last):
        return ["fewer" if phrase == "more" else "few"]
    return _OPPOSITES[phrase]


def _before_plural(answer: Passage, index: int) -> bool:
    return is_plural(answer.beside(index)) and not lemma(answer.beside(index), "ADJ")


def _means_so(answer: Passage, index: int, last: int, phrase: str) -> bool:
    after, before = answer.beside(last), answer.behind(index)
    if after in _WORDS["not_before"].get(phrase, ()) or before in _WORDS["not_after"].get(phrase, ()):
        return False
    return not answer.denials(answer.clause(index)[0], index) and "-" not in (
        answer.text[answer.words[last].end :][:1],
        answer.text[: answer.words[index].start][-1:],
    )


def _turned_pronouns(answer: Passage) -> Iterator[Change]:
    """ "I told him" as "he told me": the verb keeps its form in the past and after a modal."""
    for index, subject in enumerate(answer.words):
        if subject.key not in _OBJECT or (
            subject.key == "you" and answer.behind(index) not in ("", "and", "if", "that")
        ):
            continue
        verb = index + 1 + (answer.beside(index) in _MODALS)
        target = verb + 1 + (answer.beside(verb) in ("to", "at", "on", "for"))
        if not all(answer.beside(n) for n in range(index, target)) or not _turns(answer, verb, verb > index + 1):
            continue
        other, after = answer.words[target], answer.beside(target)
        if other.key not in _SUBJECT or _OBJECT[subject.key] == other.key or (after and after not in _ENDS_OBJECT):
            continue  # "her" may be "her mother" there
        text = _SUBJECT[other.key]
        if answer.first_in_sentence(index):
            text = like(subject.text, text)
        yield Change(
            KIND,
            (Replacement(subject.start, subject.end, text), Replacement(other.start, other.end, _OBJECT[subject.key])),
        )


def _turns(answer: Passage, index: int, after_modal: bool) -> bool:
    """Whether a verb has a form for every person, and it matters who did it to whom."""
    forms = tags(answer.key(index))
    past = "VBD" in forms and "VB" not in forms
    return lemma(answer.key(index), "VERB") not in _MUTUAL and ("VB" in forms if after_modal else past)


_NAME = r"[A-Z][\w-]+"
# Of the places in a run of letters and hyphens where a name may begin, the first: each run is read once.
_FIRST = r"(?<![\w-])(?>[\w-]*?\b(?=[A-Z]))(?P<one>[A-Z][\w-]++)"
_VALUE = r"[$€£]?\w[\w.,-]*(?<=\w)%?"
_TURNED = (
    re.compile(rf"\bfrom (?P<one>{_VALUE}) to (?P<two>{_VALUE})(?!\w)"),
    re.compile(
        rf"{_FIRST} (?:is|was|are|were) (?:much |far |way |a lot )?"
        rf"(?:\w+er|better|worse|(?:more|less) \w+) than (?P<two>{_NAME})\b"
    ),
    re.compile(rf"{_FIRST} (?:over|instead of|rather than) (?P<two>{_NAME})\b"),
)


def _turned_phrases(answer: Passage) -> Iterator[Change]:
    """The two sides of a comparison or of a way from one to the other, exchanged."""
    prose = {word.start for word in answer.words}
    for pattern in _TURNED:
        for match in pattern.finditer(answer.text):
            first, two = match["one"], match["two"]
            words = {first.lower(), two.lower()}
            whole = not words & _PART_OF_A_PHRASE and not tags(first.lower()) and len(words) == 2
            if whole and {match.start("one"), match.start("one") + 1} & prose:
                yield Change(KIND, (Replacement(*match.span("one"), two), Replacement(*match.span("two"), first)))
