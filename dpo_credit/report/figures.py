"""What a report on a scored data set holds: the types are its JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from dpo_credit.estimates.intervals import Mean, Share
from dpo_credit.report.length import LengthFigures
from dpo_credit.report.words import Place, WordFigures
from dpo_credit.rows.aside import BadRow
from dpo_credit.rows.output import json_line
from dpo_credit.text.token_class import TokenClass

Side = Literal["chosen", "rejected", "answer"]


@dataclass(frozen=True, slots=True)
class SourceFigures:
    """A pair of models that scored `rows` of the rows, with beta (over an answer's length, if normalised) and dtype."""

    policy: str
    reference: str
    beta: float
    dtype: str
    length_normalised: bool
    rows: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts` between neighbouring `edges`, and how many lie `below` and `above` all of them."""

    edges: list[float]
    counts: list[int]
    below: int
    above: int


@dataclass(frozen=True, slots=True)
class PairFigures:
    """Preferences: `accuracy` is the share with a margin above zero; `quantiles` are at 5, 25, 50, 75 and 95 %.

    `quantiles` and `histogram` are computed from `sampled` pairs: all of them, up to 100,000.
    """

    count: int
    accuracy: Share
    margin: Mean
    quantiles: list[float]
    histogram: Histogram
    sampled: int


@dataclass(frozen=True, slots=True)
class SideFigures:
    """The answers of one side: what one earns, how many tokens it has, and what its tokens earn, by place.

    `relative` has ten parts of the answer; `absolute` tokens 1, 2, 3 to 4, 5 to 8 and so on. An end token has no place
    in either: it is a class of its own. None where there are no tokens.
    """

    side: Side
    reward: Mean
    tokens: Mean
    relative: list[Mean | None]
    absolute: list[Mean | None]


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """One class of token: the mean reward of a token of it on each side, and its part of the mean margin.

    `margin`, for preferences, is the mean over pairs of what the class earned in the chosen answer less what it
    earned in the rejected one; the classes' parts add up to the mean margin.
    """

    name: TokenClass
    tokens: int
    sides: dict[Side, Mean]
    margin: Mean | None


@dataclass(frozen=True, slots=True)
class Carrier:
    """What of a row's answers carries most of its value: a sentence, or a token where each answer is one sentence.

    `answer` and `token`, its first one, are counted from 0. `share` is its part of the margin, where what both answers
    have in common counts with the chosen one by the difference that it makes; of what is no preference, its reward.
    """

    unit: Literal["token", "sentence"]
    answer: int
    token: int
    text: str
    share: float


@dataclass(frozen=True, slots=True)
class RowFigures:
    """One row: its margin, or where it is no preference the mean reward of its answers; and why.

    `tokens` are how many each answer has, `prompt` how the prompt begins, in one line, and `carrier` what counts most:
    against the margin of a row among the lowest, for that of one among the highest.
    """

    place: Place
    value: float
    tokens: list[int]
    prompt: str
    carrier: Carrier


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a scored data set, unrounded.

    The `rows` stand on so many `prompts`, by which intervals are; a row whose prompt is empty or not known has its own.
    `lowest` holds preferences by margin, wrongly ordered ones first, and `highest` the others; rows by reward where
    there are no preferences. `set_aside`: what is no scored row, and in no figure.
    """

    schema: Literal["dpo-credit/report@1"]
    files: list[str]
    rows: int
    prompts: int
    answers: int
    tokens: int
    sources: list[SourceFigures]
    pairs: PairFigures | None
    sides: list[SideFigures]
    classes: list[ClassFigures]
    length: LengthFigures
    words: WordFigures
    lowest: list[RowFigures]
    highest: list[RowFigures]
    set_aside: list[BadRow]


def to_json(report: Report) -> str:
    """All figures as one line of JSON."""
    return json_line(asdict(report))
