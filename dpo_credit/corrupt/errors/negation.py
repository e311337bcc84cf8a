"""Wrong polarity: what is said denied, and what is denied said, with the verb in the form that this takes."""

from __future__ import annotations

from collections.abc import Iterator

from dpo_credit.corrupt.errors import role
from dpo_credit.corrupt.errors.change import Change, Replacement, like
from dpo_credit.corrupt.errors.passage import Passage, denies
from dpo_credit.corrupt.errors.words import inflect, lemma, load, tags

KIND = "negation"
_WORDS = load("negation")
_LISTS: dict[str, frozenset[str]] = {name: frozenset(words) for name, words in _WORDS["lists"].items()}
_DENIED: dict[str, str] = _WORDS["auxiliaries"]
_REACH = 40  # words after a denial that are looked at
# "isn't" and "isnt", "do not" and "don't": the auxiliary that is left when the denial is gone.
_AFFIRMED = {denied: said for said, denied in _DENIED.items()} | {f"{do}n't": do for do in ("do", "does", "did")}
_AFFIRMED |= {denied.replace("'", ""): said for denied, said in _AFFIRMED.items() if denied not in ("won't", "can't")}
_AFFIRMED |= {"wont": "will", "cant": "can", "cannot": "can"}


def find(answer: Passage, post: Passage) -> Iterator[Change]:
    """Every claim of the answer that can be denied, and every denial that can be taken back; questions have none."""
    for index, word in enumerate(answer.words):
        if answer.is_question(answer.sentence(word.start)):
            continue
        if denies(word.key):
            change = _affirmed(answer, index)
        elif not answer.denials(*answer.clause(index)):
            change = _denied(answer, index)
        else:
            change = None
        if change:
            yield change


def _affirmed(answer: Passage, index: int) -> Change | None:
    """The claim that a denial denies."""
    word = answer.words[index]
    first, last = answer.clause(index)
    polar = any(answer.key(n) in _LISTS["polarity"] for n in range(index + 1, min(last, index + _REACH)))
    if answer.denials(first, last) > 1 or polar or answer.beside(index) in _LISTS["not_denied"]:
        return None
    if word.key in _WORDS["words"] and word.key != "cannot":
        return _by_word(answer, index)
    if word.key == "not":
        return _without_not(answer, index)
    affirmed = _AFFIRMED.get(word.key)
    if affirmed is None or answer.key(index - 1) in ("why", "how", "what") or not answer.beside(index):
        return None
    if affirmed not in _LISTS["supports"]:
        return Change(KIND, (Replacement(word.start, word.end, like(word.text, affirmed)),))
    return _verb_affirmed(answer, word.start, index + 1, affirmed)


def _verb_affirmed(answer: Passage, start: int, verb: int, support: str) -> Change | None:
    """ "didn't go" as "went", "doesn't like" as "likes", "don't want" as "want"."""
    written = answer.words[verb]
    if "VB" not in tags(written.key):
        return None
    form = {"do": written.key, "does": inflect(written.key, "VBZ"), "did": inflect(written.key, "VBD")}[support]
    return Change(KIND, (Replacement(start, written.end, like(answer.text[start], form)),))


def _without_not(answer: Passage, index: int) -> Change | None:
    word, before = answer.words[index], answer.behind(index)
    after = answer.words[index + 1] if answer.beside(index) else None
    if after is None:
        return None
    if before in _LISTS["supports"] and index:
        return _verb_affirmed(answer, answer.words[index - 1].start, index + 1, before)
    if before in _DENIED or before in _WORDS["contracted"] or before in ("am", "be"):
        previous = answer.words[index - 1]
        return Change(KIND, (Replacement(previous.start, word.end, previous.text),))
    if (answer.first_in_sentence(index) or not before) and (lemma(after.key, "ADJ") or after.key.endswith("ing")):
        return Change(KIND, (Replacement(word.start, after.end, like(word.text, after.text)),))
    return None


def _by_word(answer: Passage, index: int) -> Change | None:
    word, after = answer.words[index], answer.beside(index)
    if word.key == "never" and (
        not after or after in _LISTS["never_before"] or answer.behind(index) in _LISTS["never_after"]
    ):
        return None
    if word.key == "without" and (after.endswith("ing") or not after or after in ("a", "an")):
        return None
    if word.key == "none" and after != "of":
        return None
    return Change(KIND, (Replacement(word.start, word.end, like(word.text, _WORDS["words"][word.key])),))


def _denied(answer: Passage, index: int) -> Change | None:
    """The denial of what is said with a word."""
    word, after, before = answer.words[index], answer.beside(index), answer.behind(index)
    if word.key == "always":
        return _by_word(answer, index)
    if not after or _is_firm(answer, index) or _is_aside(answer, index):
        return None
    if word.key in _WORDS["contracted"]:
        if word.key in ("he's", "she's", "it's", "that's", "there's") and after in ("got", "been", "had", "gotten"):
            return None
        return Change(KIND, (Replacement(word.end, word.end, " not"),))
    if word.key in _WORDS["expanded"]:
        if word.key.endswith("'ve") and "VBN" not in tags(after):
            return None
        return Change(KIND, (Replacement(word.start, word.end, like(word.text, _WORDS["expanded"][word.key])),))
    if word.key in _DENIED:
        return _auxiliary_denied(answer, index)
    return _verb_denied(answer, index) if tags(word.key) or before else None


def _auxiliary_denied(answer: Passage, index: int) -> Change | None:
    word, before, after = answer.words[index], answer.behind(index), answer.beside(index)
    if before in _LISTS["no_claim_after"] or before in _DENIED:
        return None
    if before in _LISTS["subjects"] and answer.behind(index - 1) not in _LISTS["openers"]:
        return None  # "the number you can call"
    if word.key in ("have", "has", "had"):
        if "VBN" in tags(after) and after not in ("to", "put", "set"):
            return Change(KIND, (Replacement(word.start, word.end, like(word.text, _DENIED[word.key])),))
        return _verb_denied(answer, index)
    if word.key in _LISTS["modals"] and not ("VB" in tags(after) or after in ("be", "have")):
        return None
    return Change(KIND, (Replacement(word.start, word.end, like(word.text, _DENIED[word.key])),))


def _verb_denied(answer: Passage, index: int) -> Change | None:
    """ "went" as "didn't go", "likes" as "doesn't like", "want" as "don't want"."""
    word, base, forms = answer.words[index], lemma(answer.key(index), "VERB"), tags(answer.key(index))
    if base is None or (base in _LISTS["plain"] and base != "have") or word.key in ("got", "gotta", "having"):
        return _opening_denied(answer, index)
    person = _subject(answer, index)
    if person is None:
        return _opening_denied(answer, index)
    if "VB" in forms:
        fits = person == "many" and "VBD" not in forms
        before = answer.words[index - 1].end
        return Change(KIND, (Replacement(before, before, " don't"),)) if fits else None
    if "VBZ" in forms:
        return Change(KIND, (Replacement(word.start, word.end, f"doesn't {base}"),)) if person == "one" else None
    return Change(KIND, (Replacement(word.start, word.end, f"didn't {base}"),)) if "VBD" in forms else None


def _subject(answer: Passage, index: int) -> str | None:
    """Whether "one" or "many" stands as the subject just before a verb, or neither."""
    at = index - 1
    if answer.behind(index) in _LISTS["adverbs"]:
        at -= 1
    if not answer.behind(at + 1):
        return None
    key, before = answer.key(at), answer.behind(at)
    if key in _LISTS["subjects"]:
        return None if before not in _LISTS["openers"] else "one" if key in ("he", "she", "it") else "many"
    if before in _LISTS["possessives"] and key in role.table(True):
        opens = answer.behind(at - 1) in _LISTS["openers"]
        return "one" if opens else None
    return None


def _opening_denied(answer: Passage, index: int) -> Change | None:
    """A summary's first verb, with its subject left out: an order, or "I"."""
    word, forms, after = answer.words[index], tags(answer.key(index)), answer.beside(index)
    base = lemma(word.key, "VERB")
    if base is None or not answer.first_in_sentence(index):
        return None
    if word.key in _LISTS["openings"] and "VB" in forms and (word.key, after) != ("let", "me"):
        return Change(KIND, (Replacement(word.start, word.end, like(word.text[0], f"don't {word.key}")),))
    past = "VBD" in forms and "VB" not in forms and base not in _LISTS["plain"] and base != "get"
    if past and after in _LISTS["after_past"] and word.key not in _LISTS["participles"]:
        return Change(KIND, (Replacement(word.start, word.end, like(word.text[0], f"didn't {base}")),))
    return None


def _is_aside(answer: Passage, index: int) -> bool:
    """Whether the claim only says when, or what something is: "when she was 20", "any help you can offer"."""
    first, _ = answer.clause(index)
    if answer.key(first) in _LISTS["temporal"]:
        return True
    if answer.key(first) in ("if", "whether") and answer.behind(first) in _LISTS["doubts"]:
        return True
    near = [answer.key(n) for n in range(max(first, index - 6), index)]
    return any(key in _LISTS["asides"] for key in near) or any(key in _LISTS["temporal"] for key in near[-3:])


def _is_firm(answer: Passage, index: int) -> bool:
    """Whether one of the next two words keeps the claim from being denied."""
    after, second = answer.key(index + 1), answer.key(index + 2)
    return after in _LISTS["positive"] or second in _LISTS["positive_second"]
