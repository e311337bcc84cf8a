"""`dpo-credit filter`: rows of a scored data set that meet conditions, or one end of it, as they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.flags import flag, option, with_shared_options
from dpo_credit.cli.outputs import Outputs
from dpo_credit.credit import CreditError
from dpo_credit.filter.quantities import Quantity, Side

if TYPE_CHECKING:
    from dpo_credit.cli.scored import ScoredFiles
    from dpo_credit.filter.conditions import Condition, End
    from dpo_credit.filter.filter import Filter
    from dpo_credit.rows.aside import SetAside
    from dpo_credit.rows.journal import Format
    from dpo_credit.rows.reader import Record
    from dpo_credit.rows.sources import Input

EXAMPLE = "Example: dpo-credit filter scored.jsonl --smallest 10% -o hard.jsonl"
_FILES = "What score --json or batch wrote: JSONL, also .gz or .zst, or Parquet; - is stdin."
CONDITIONS, END = "Conditions (a row meets all of them)", "One end of the rows that meet them"


@dataclass(frozen=True)
class FilterOptions:
    """What a row has to be to stay."""

    margin: Annotated[
        list[str] | None,
        option("--margin", panel=CONDITIONS, metavar="'< 0'", help="DPO's logit of a preference.", show_default=False),
    ] = None
    reward: Annotated[
        list[str] | None,
        option("--reward", panel=CONDITIONS, metavar="'> 0'", help="Each answer's reward.", show_default=False),
    ] = None
    length: Annotated[
        list[str] | None,
        option(
            *("--length",),
            panel=CONDITIONS,
            metavar="'<= 512'",
            help="Each answer's tokens, the end among them.",
            show_default=False,
        ),
    ] = None
    disagreement: Annotated[
        list[str] | None,
        option(
            "--disagreement",
            panel=CONDITIONS,
            metavar="'> 0.5'",
            help="The share of a preference's credit that speaks against it, 0 to 1: the |rewards| of chosen tokens "
            "below zero and of rejected ones above, over all. Above 0.5 the reward orders the answers the other way.",
            show_default=False,
        ),
    ] = None
    token_class: Annotated[
        list[str] | None,
        option(
            "--token-class",
            panel=CONDITIONS,
            metavar="'digits < 0'",
            help="What a class of tokens adds to the margin, or earned in a row without one; without a sign, that an "
            "answer has such tokens.",
            show_default=False,
        ),
    ] = None
    answer: Annotated[
        Side | None,
        option(
            "--answer",
            panel=CONDITIONS,
            help="Whose reward, length and classes count in a preference; of all, each has to meet a condition.",
            show_default="all",
        ),
    ] = None
    smallest: Annotated[
        str | None,
        option("--smallest", panel=END, metavar="10%", help="Such a share of them, or so many.", show_default=False),
    ] = None
    largest: Annotated[
        str | None, option("--largest", panel=END, metavar="10%", help="Likewise.", show_default=False)
    ] = None
    of: Annotated[
        Quantity | None,
        option(
            "--of",
            panel=END,
            metavar="QUANTITY",
            help="By what: margin, abs-margin, reward, length or disagreement; of several answers it is their mean.",
            show_default="margin",
        ),
    ] = None
    invert: Annotated[bool, flag("--invert", help="Keep the other rows instead.")] = False

    def filter(self) -> Filter:
        """The filter.

        Raises:
            CreditError: nothing is asked for, or something that is none of it.
        """
        from dpo_credit.filter.filter import Filter

        end = self._end()
        if self.of is not None and end is None:
            raise CreditError(f"--of {self.of} is of an end. Give --smallest 10% or --largest 10% too.")
        of_answers = (self.reward, self.length, self.token_class, self.of in ("reward", "length"))
        if self.answer is not None and not any(of_answers):
            raise CreditError(
                f"--answer {self.answer} is of rewards, lengths and classes of tokens. Give --reward, --length, "
                "--token-class, or --of reward or length."
            )
        return Filter(self._conditions(), end, invert=self.invert)

    def _conditions(self) -> list[Condition]:
        from dpo_credit.filter.conditions import class_condition, comparison

        side = self.answer or "all"

        asked: dict[Quantity, Sequence[str] | None] = {
            "margin": self.margin,
            "reward": self.reward,
            "length": self.length,
            "disagreement": self.disagreement,
        }
        return [
            *(comparison(f"--{name}", text, name, side) for name, texts in asked.items() for text in texts or ()),
            *(class_condition("--token-class", text, side) for text in self.token_class or ()),
        ]

    def _end(self) -> End | None:
        from dpo_credit.filter.conditions import end_of

        if self.smallest is not None and self.largest is not None:
            raise CreditError("--smallest and --largest exclude each other. Give one, or filter what the other keeps.")
        of, side = self.of or "margin", self.answer or "all"
        if self.smallest is not None:
            return end_of("smallest", self.smallest, of, side)
        return None if self.largest is None else end_of("largest", self.largest, of, side)


@with_shared_options
def filter(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=_FILES)],
    output: Annotated[
        str, typer.Option("--output", "-o", help=".jsonl, .jsonl.gz, .jsonl.zst or .parquet; - is stdout.")
    ] = "-",
    *,
    asked: FilterOptions,
    bad: BadRows,
    outputs: Annotated[Outputs, "quiet"],
) -> None:
    """Keep rows of a scored data set by margin, reward, length, disagreement or class of token; no model is needed.

    Rows come out as they stand and in their order: of JSON Lines byte by byte, of a table with its columns' types. How
    many there were goes to stderr. A condition may be given several times; one end of the rows takes reading twice.
    """
    from dpo_credit.cli.files import check_writable
    from dpo_credit.cli.scored import ScoredFiles
    from dpo_credit.cli.talk import Talk
    from dpo_credit.cli.written import written

    chosen = asked.filter()
    check_writable(output, rows=True)
    talk, aside = Talk(outputs.quiet), bad.aside()
    with (
        ScoredFiles(files, aside, quiet=outputs.quiet, again=chosen.end is not None) as scored,
        written(output, _format(output, scored.inputs), talk.notes) as write,
    ):
        for record in _kept(scored, chosen, aside):
            write(record.as_line)
        aside.require(range(chosen.counts.rows))
    for line in chosen.summary():
        talk.say(line)
    end(aside, talk)


def _format(output: str, inputs: Sequence[Input]) -> Format:
    """How lines become the output; a table's columns keep their types."""
    from dpo_credit.rows.formats import format_of
    from dpo_credit.rows.journal import Format

    return Format() if output == "-" else format_of(Path(output), inputs, scored=True)


def _kept(scored: ScoredFiles, chosen: Filter, aside: SetAside) -> Iterator[Record]:
    """The records that stay, in their order."""
    from dpo_credit.cli.scored import usable

    if chosen.end is None:
        for record in scored.records():
            if any(chosen.stays(row) for row in usable([record], aside)):
                yield record
        return
    stay = chosen.those_that_stay(next(usable([record], aside), None) for record in scored.records())
    yield from (record for record, stays in zip(scored.records("Writing", again=True), stay, strict=False) if stays)
