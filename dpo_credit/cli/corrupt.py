"""`dpo-credit corrupt`: right answers made wrong, with the wrong spans labelled, as JSONL."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.flags import seed_option, with_shared_options
from dpo_credit.cli.reading import ReadingOptions

EXAMPLE = "Example: dpo-credit corrupt examples/summaries.jsonl --errors 1-2 --seed 0"


@with_shared_options
def corrupt(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSONL (also .gz, .zst) or Parquet; - is stdin.")],
    output: Annotated[str, typer.Option("--output", "-o", help="The JSONL file to write; - is stdout.")] = "-",
    errors: Annotated[str, typer.Option("--errors", help="How many wrong spans an answer gets: 2, or 1-2.")] = "1-2",
    kinds: Annotated[
        str, typer.Option("--kinds", help="Which kinds of error, with commas between them.")
    ] = "number,entity,negation,relation,role",
    seed: Annotated[int, seed_option("Another seed makes other errors; the same one, the same.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr.", show_default=False)] = False,
    *,
    reading: ReadingOptions,
    bad: BadRows,
) -> None:
    """Make right answers minimally wrong: rows with prompt, chosen, rejected, and labels that say which characters are.

    A row's chosen answer is the right one, or its only answer. An answer that offers too little to change is left out
    and counted. English only; how often the errors are wrong and fluent has been read and counted: see the README.
    """
    from dpo_credit.cli.files import check_writable, writing
    from dpo_credit.cli.talk import Talk
    from dpo_credit.corrupt.corrupt import Tally, corrupted_rows, plan, summary
    from dpo_credit.rows.output import json_line

    talk, tally, wanted, aside = Talk(quiet), Tally(), plan(errors, kinds, seed), bad.aside()
    check_writable(output)
    rows = talk.noted(reading.rows([file], aside))
    with talk.working("making errors"), writing(output) as out:
        for fields in corrupted_rows(rows, wanted, tally, aside):
            out.write(json_line(fields).encode() + b"\n")
        aside.require(range(tally.answers))
    talk.notes(summary(tally))
    end(aside, talk)
