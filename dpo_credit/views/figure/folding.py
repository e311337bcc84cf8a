"""What of long answers a figure draws: what matters, or what was asked for. The rest is folded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from dpo_credit.credit import Credit, CreditError
from dpo_credit.segments import Segment, Unit
from dpo_credit.views.figure.layout import Column, TextRun
from dpo_credit.views.figure.lines import unbroken, wrap

LONG = 300  # tokens of an answer up to which it is drawn whole
_PLACES = 5  # at either end of the rewards
_REACH: dict[Unit, int] = {"token": 10, "word": 6}  # drawn before and after what matters; of larger units, none


class AroundEdits(NamedTuple):
    """The edits of two answers, with so many units (tokens or words, say) before and after each."""

    units: int


class Lines(NamedTuple):
    """These lines of an answer's text, both included, from 1; of two answers, the first one's. None: to the end."""

    first: int
    last: int | None = None


Shown = AroundEdits | Lines | Literal["telling", "whole"]
Answers = Sequence[Sequence[Segment]]  # the units of one answer, or of two


class Selection(NamedTuple):
    """The units of each answer that are drawn, by their numbers, and which these are in words."""

    units: tuple[set[int], ...]
    words: str


class Fold(NamedTuple):
    """What is left out at one place: which units of each answer, how many tokens they have, and the hidden edits."""

    units: tuple[tuple[int, ...], ...]
    tokens: tuple[int, ...]
    edits: tuple[int, ...]


Block = list[Column] | Fold


def check(shown: Shown, credits: Sequence[Credit]) -> None:
    """Make sure that there is something to show.

    Raises:
        CreditError: edits are asked for where there are no two answers, or lines that there are not.
    """
    if isinstance(shown, AroundEdits):
        if len(credits) != 2:
            counted = "is one" if len(credits) == 1 else f"are {len(credits)}"
            raise CreditError(f"Edits stand between two answers, and here {counted}: choose two, or lines to draw.")
        if shown.units < 0:
            raise CreditError(f"{shown.units} units around each edit cannot be drawn: choose 0 or more.")
    if isinstance(shown, Lines):
        most = max(_lines(credit.tokens.answer) for credit in (credits[:1] if len(credits) == 2 else credits))
        last = most if shown.last is None else shown.last
        if not 1 <= shown.first <= min(last, most):
            lines = f"{shown.first}:{'' if shown.last is None else shown.last}"
            raise CreditError(f"There are no lines {lines} to draw: choose from 1 to {most}.")


def select(shown: Shown, answers: Answers, unit: Unit, edits: Sequence[TextRun] = ()) -> Selection | None:
    """The units to draw of one answer, or of two with these edits; None for all of them.

    "telling" is what matters in answers of more than `LONG` tokens: the edits and what stands around them, or the units
    with the lowest and the highest rewards; of longer edits, those that add most to the margin and take most from it.
    """
    if isinstance(shown, Lines):
        return _in_lines(shown, answers, edits)
    if isinstance(shown, AroundEdits):
        return _around_edits(shown.units, answers, unit, edits)
    if shown == "whole" or max(map(_tokens, answers)) <= LONG:
        return None
    around = _around_edits(_REACH.get(unit, 0), answers, unit, edits)
    return around if edits and _drawn(around.units, answers) <= LONG else _telling(answers, unit, edits)


def fold(columns: Sequence[Column], answers: Answers, selection: Selection | None, width: float) -> list[Block]:
    """What is drawn, in whole words, and what is folded: what was not selected and takes more than a line.

    A unit of which a part is drawn, a sentence beside another one, counts as drawn.
    """
    if selection is None:
        return [list(columns)]
    wanted = {(row, n) for row, units in enumerate(selection.units) for n in units}
    runs: list[tuple[bool, list[Column]]] = []
    for kept, words in groupby(unbroken(columns), lambda word: not wanted.isdisjoint(_units(word, answers))):
        run = [column for word in words for column in word]
        folded = not kept and wrap(run, width)[2] > 1
        if runs and not folded and not runs[-1][0]:
            runs[-1][1].extend(run)
        else:
            runs.append((folded, run))
    drawn = [column for folded, run in runs if not folded for column in run]
    counted, edits = _units(drawn, answers), {column.edit for column in drawn}
    blocks: list[Block] = []
    for folded, run in runs:
        units = _units(run, answers) - counted
        counted |= units
        hidden = {column.edit for column in run if column.edit is not None} - edits
        blocks.append(_folded(units, answers, hidden) if folded else run)
    return blocks


def caption(selection: Selection | None, blocks: Iterable[Block], answers: Answers) -> str:
    """What is drawn and how much is folded; empty where nothing is."""
    folds = [block for block in blocks if isinstance(block, Fold)]
    if selection is None or not folds:
        return ""
    folded = [sum(tokens) for tokens in zip(*(block.tokens for block in folds), strict=True)]
    counts = " and ".join(f"{n} of {_tokens(answer)}" for n, answer in zip(folded, answers, strict=True))
    return f"Shown: {selection.words}. Folded: {counts} tokens."


def _in_lines(shown: Lines, answers: Answers, edits: Sequence[TextRun]) -> Selection:
    end = _lines("".join(unit.text for unit in answers[0]))
    last = end if shown.last is None else min(shown.last, end)
    first_answer, line = set(), 1
    for n, unit in enumerate(answers[0]):
        before = unit.text[: len(unit.text) - len(unit.text.lstrip())] if unit.text.strip() else ""
        begins, ends = line + before.count("\n"), line + unit.text.rstrip().count("\n")
        if min(begins, end) <= last and ends >= shown.first:
            first_answer.add(n)
        line += unit.text.count("\n")
    lines = f"line {last}" if last == shown.first else f"lines {shown.first} to {last}"
    if len(answers) == 1:
        return Selection((first_answer,), lines)
    second_answer: set[int] = set()  # of edits that end in these lines; the rest comes with what it stands below
    for (start, stop), other in edits:
        if min(max(start, stop - 1), len(answers[0]) - 1) in first_answer:
            second_answer.update(range(*other))
    return Selection((first_answer, second_answer), f"{lines} of the first answer")


def _around_edits(reach: int, answers: Answers, unit: Unit, edits: Sequence[TextRun]) -> Selection:
    units = tuple(
        {n for edit in edits for n in _around(edit[side], reach, answer)} for side, answer in enumerate(answers)
    )
    return Selection(units, f"the edits{_reaching(reach, unit)}" if edits else "the edits: there are none")


def _telling(answers: Answers, unit: Unit, edits: Sequence[TextRun]) -> Selection:
    """Units at both ends of the rewards, or of what edited ones add to the margin: as many as `LONG` has room for."""
    reach = _REACH.get(unit, 0)
    candidates = (
        [(0, range(len(answers[0])))] if not edits else [(n, range(*edit[n])) for edit in edits for n in (0, 1)]
    )
    places = sorted(((-1) ** side * answers[side][n].reward, side, n) for side, members in candidates for n in members)
    units: tuple[set[int], ...] = tuple(set() for _ in answers)
    count = 0
    while count < _PLACES and _drawn(units, answers) <= LONG:
        count += 1
        for order in (places, places[::-1]):
            for _, side, n in order:
                if n not in units[side]:
                    units[side].update(_around((n, n + 1), reach, answers[side]))
                    break
    ends = (
        f"the edited {unit}s that add most to the margin and that take most from it"
        if edits
        else f"the {unit}s with the lowest and the highest rewards"
    )
    return Selection(units, f"{ends}, {count} each{_reaching(reach, unit)}")


def _reaching(reach: int, unit: Unit) -> str:
    return f", with {reach} {unit}{'s' * (reach > 1)} around" if reach else ""


def _around(stretch: tuple[int, int], reach: int, answer: Sequence[Segment]) -> range:
    start, stop = stretch
    return range(max(0, start - reach), min(len(answer), stop + reach))


def _drawn(units: Sequence[set[int]], answers: Answers) -> int:
    """The tokens of these units, of the answer that has more of them."""
    return max(_tokens(answer[n] for n in own) for own, answer in zip(units, answers, strict=True))


def _tokens(units: Iterable[Segment]) -> int:
    return sum(unit.stop - unit.start for unit in units)


def _lines(text: str) -> int:
    return text.rstrip("\n").count("\n") + 1


def _units(columns: Iterable[Column], answers: Answers) -> set[tuple[int, int]]:
    """The units in these columns, as numbers of answers and in them; where one's text is, not the breaks before it."""
    return {
        (row, piece.unit)
        for column in columns
        for row, pieces in enumerate(column.rows)
        for piece in pieces
        if not (piece.ends_line and answers[row][piece.unit].text.strip())
    }


def _folded(units: set[tuple[int, int]], answers: Answers, edits: Iterable[int]) -> Fold:
    own = tuple(tuple(n for n in range(len(answer)) if (row, n) in units) for row, answer in enumerate(answers))
    tokens = (_tokens(answer[n] for n in side) for side, answer in zip(own, answers, strict=True))
    return Fold(own, tuple(tokens), tuple(sorted(edits)))
