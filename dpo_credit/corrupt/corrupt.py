"""Right answers made minimally wrong, and exactly which of their characters are wrong then.

What the paper did by hand (Rafailov et al. 2024, Section 5.1: a summary with two facts changed), for any data. Labels
have RAGTruth's field names (Niu et al. 2024), so annotations by people and these are read alike.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any

from dpo_credit.corrupt.errors import date, entity, negation, number, relation, role
from dpo_credit.corrupt.errors.change import Change, applied, mended
from dpo_credit.corrupt.errors.passage import Passage
from dpo_credit.credit import CreditError, Example
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.chats import answer_json, as_json
from dpo_credit.rows.records import Row

Finder = Callable[[Passage, Passage], Iterator[Change]]
FINDERS: dict[str, tuple[Finder, ...]] = {
    number.KIND: (number.find, date.find),
    entity.KIND: (entity.find,),
    negation.KIND: (negation.find,),
    relation.KIND: (relation.find,),
    role.KIND: (role.find,),
}
KINDS = tuple(FINDERS)
_POLAR = (negation.KIND, relation.KIND)  # two of these in one sentence can cancel out
# What nearly every sentence offers, whatever it states.
_ANYWHERE = frozenset({negation.KIND, relation.KIND})
_APART = 12  # characters between two changes: two in one phrase ("24 months" for "2 years") can cancel out, too


@dataclass(frozen=True, slots=True)
class Label:
    """Characters [start, end) of the wrong answer that are wrong, what stands there, and what stood there.

    Where something was added ("don't"), `text` begins with the space before it and `original` is "": putting
    `original` in the place of every label's `text` gives back the right answer.
    """

    start: int
    end: int
    text: str
    kind: str
    original: str


@dataclass(frozen=True, slots=True)
class Corrupted:
    """A right answer to a prompt and a wrong one that differs from it in the labelled spans alone."""

    chosen: str
    rejected: str
    labels: tuple[Label, ...]


@dataclass(slots=True)
class Tally:
    """How many answers came, how many offered too little to change, and the labels by kind."""

    answers: int = 0
    unchanged: int = 0
    labels: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to change: between `fewest` and `most` wrong spans of an answer, of which kinds, drawn by which seed.

    Raises:
        CreditError: no such kind, or no such number.
    """

    fewest: int = 1
    most: int = 2
    kinds: tuple[str, ...] = KINDS
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.most:
            raise CreditError(f"{self.fewest}-{self.most} errors is no range from 1 up; give one such as 1-2.")
        unknown = [kind for kind in self.kinds if kind not in FINDERS]
        if unknown or not self.kinds:
            raise CreditError(f"no kind of error {', '.join(map(repr, unknown))}. There are: {', '.join(KINDS)}.")


def plan(errors: str, kinds: str, seed: int = 0) -> Plan:
    """A plan as it is written: "2" or "1-2" errors, kinds with commas between them.

    Raises:
        CreditError: errors is no number and no range, or there is no such kind.
    """
    fewest, dash, most = errors.partition("-")
    try:
        bounds = int(fewest), int(most if dash else fewest)
    except ValueError:
        raise CreditError(f"--errors is {errors!r}; it must be a number such as 2 or a range such as 1-2.") from None
    return Plan(*bounds, tuple(dict.fromkeys(kind.strip() for kind in kinds.split(","))), seed)


def corrupt(example: Example, plan: Plan) -> Corrupted | None:
    """A wrong answer made from a right one, or None where that offers too few changes.

    The draw depends on the plan and on this example's text only. An even number of spans is drawn between the plan's
    bounds. What an answer states, its numbers, names, places and roles, is changed as often as it states it; negations
    and relations, which nearly every sentence offers, count as half a place each, however many there are.
    """
    post = prompt_text(example)
    digest = hashlib.blake2b(f"{plan.seed}\0{post}\0{example.answer}".encode("utf-8", "surrogatepass"))
    rng = Random(int.from_bytes(digest.digest()[:8]))
    changes = _drawn(rng, candidates(example, plan.kinds), Passage(example.answer), plan)
    if sum(len(change.edits) for change in changes) < plan.fewest:
        return None
    return _made(example.answer, changes)


def prompt_text(example: Example) -> str:
    """The prompt as one text, a chat's turns after one another."""
    return example.prompt if isinstance(example.prompt, str) else "\n\n".join(turn.text for turn in example.prompt)


def candidates(example: Example, kinds: Sequence[str] = KINDS) -> list[Change]:
    """Every single change that could make an answer wrong, those left out that the checks find still true."""
    answer, post = Passage(example.answer), Passage(prompt_text(example))
    changes = (mended(answer, change) for kind in kinds for find in FINDERS[kind] for change in find(answer, post))
    return [change for change in changes if is_wrong(answer, change)]


def is_wrong(answer: Passage, change: Change) -> bool:
    """Whether each edit of a change leaves text that is not what stood there: not even in other letters or signs."""
    return all(
        edit.text.strip() and _said(edit.text) != _said(answer.text[edit.start : edit.end]) for edit in change.edits
    )


def _said(text: str) -> str:
    """What a text says, whatever its letters' case, its commas and spaces, and how it spells its numbers."""
    words = "".join(char for char in text.casefold() if char.isalnum() or char in ".:").split()
    return " ".join(str(number.VALUES.get(word, word)) for word in words)


def _drawn(rng: Random, candidates: Sequence[Change], answer: Passage, plan: Plan) -> list[Change]:
    """Changes with up to a drawn number of spans in all that stand clear of one another, in their order."""
    left = rng.randint(plan.fewest, plan.most)
    drawn: list[Change] = []
    while left:
        fit = [c for c in candidates if len(c.edits) <= left and all(_clear(answer, c, other) for other in drawn)]
        if not fit:
            break
        places = {
            kind: sorted({(change.start, change.end) for change in fit if change.kind == kind})
            for kind in KINDS
            if any(change.kind == kind for change in fit)
        }
        weights = [0.5 if kind in _ANYWHERE else len(offered) for kind, offered in places.items()]
        kind = rng.choices(list(places), weights)[0]
        place = rng.choice(places[kind])
        change = rng.choice([c for c in fit if c.kind == kind and (c.start, c.end) == place])
        drawn.append(change)
        left -= len(change.edits)
    return sorted(drawn, key=lambda change: change.start)


def _clear(answer: Passage, change: Change, other: Change) -> bool:
    """Whether two changes do not touch, and cannot undo each other."""
    if change.start > other.start:
        change, other = other, change
    same_sentence = answer.sentence(change.start) == answer.sentence(other.start)
    if same_sentence and change.kind in _POLAR and other.kind in _POLAR:
        return False
    return change.end + _APART <= other.start


def _made(text: str, changes: Iterable[Change]) -> Corrupted:
    edits = [(edit, change.kind) for change in changes for edit in change.edits]
    rejected, placed = applied(text, [edit for edit, _ in edits])
    labels = tuple(
        Label(at.start, at.end, at.text, kind, text[edit.start : edit.end])
        for at, (edit, kind) in zip(placed, edits, strict=True)
    )
    return Corrupted(text, rejected, labels)


def right_answer(row: Row) -> Example:
    """The right answer of a row: the chosen one of a preference, or its only one; of several turns, the last.

    Raises:
        CreditError: the row has several answers and does not say which is right.
    """
    if row.kind == "list":
        raise CreditError(
            f"{row.id}: {len(row.examples)} answers, and none is said to be right. Give it as chosen, with a rejected "
            "one, or as the only answer."
        )
    example = row.examples[0]
    if not example.turns or isinstance(example.prompt, str):
        return example
    last = example.last_turn
    return replace(example, prompt=(*example.prompt, *example.turns[:last]), answer=example.turns[last].text, turns=())


def summary(tally: Tally) -> list[str]:
    """A tally as lines to say."""
    wrong = tally.answers - tally.unchanged
    kinds = ", ".join(f"{tally.labels[kind]} {kind}" for kind in KINDS if tally.labels[kind])
    lines = [
        f"{wrong} of {tally.answers} answers made wrong in {tally.labels.total()} places"
        + (f": {kinds}" if kinds else "")
    ]
    if tally.unchanged:
        lines.append(f"{tally.unchanged} answers offered too little to change and were left out")
    return lines


def corrupted_rows(rows: Iterable[Row], plan: Plan, tally: Tally, aside: SetAside = STRICT) -> Iterator[dict[str, Any]]:
    """Rows with `id`, `prompt`, `chosen`, `rejected` and `labels`, one at a time; the tally is kept on the way.

    Other columns of a row follow. One named like a field of these rows becomes `input_<name>`, and so does the
    rejected answer that a preference came with. An answer that offers too little to change gives no row.
    """
    for row in rows:
        try:
            example = right_answer(row)
        except CreditError as error:
            aside.add(row.id, row.place, error)
            continue
        made = corrupt(example, plan)
        tally.answers += 1
        if made is None:
            tally.unchanged += 1
            continue
        tally.labels.update(label.kind for label in made.labels)
        fields: dict[str, Any] = {"id": row.id, "prompt": as_json(example.prompt), **asdict(made)}
        fields |= {name: answer_json(replace(example, answer=fields[name])) for name in ("chosen", "rejected")}
        fields["labels"] = list(fields["labels"])
        columns = dict(row.columns)
        if row.kind == "preference":
            columns["rejected"] = answer_json(row.examples[1])
        for name, value in sorted(columns.items(), key=lambda column: column[0] in fields):
            while name in fields:
                name = f"input_{name}"
            fields[name] = value
        yield fields
