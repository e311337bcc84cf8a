"""`dpo-credit score`: one row in, its answers coloured token by token, or as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from dpo_credit.cli.options import PairOptions, with_pair_options

EXAMPLE = "Example: dpo-credit score examples/job_offer.json --top-k 3"


@with_pair_options
def score(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON, or text with TL;DR: before the answer; - is stdin.")
    ],
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write one JSON object; - is stdout, without the view.")
    ] = None,
    svg: Annotated[Path | None, typer.Option("--svg", help="Save the view as a picture.")] = None,
    rows: Annotated[
        int | None,
        typer.Option("--rows", min=0, help="Lowest and highest tokens in the tables.", show_default="5; 0 for lists"),
    ] = None,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Show what each model would rather have said.")] = 0,
    prompt_key: Annotated[str | None, typer.Option("--prompt-key", help="The field that holds the prompt.")] = None,
    answer_key: Annotated[str | None, typer.Option("--answer-key", help="The field that holds the answer.")] = None,
    theme: Annotated[
        Literal["auto", "dark", "light"], typer.Option("--theme", help="The terminal's background.")
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr.", show_default=False)] = False,
    *,
    options: PairOptions,
) -> None:
    """Score an answer token by token: beta * (log pi - log pi_ref), coloured (Rafailov et al. 2024, Eq. 11).

    FILE holds a prompt and one or more answers: prompt with completion, chosen and rejected, or completions; messages;
    a TL;DR post with its summaries; or text in which the prompt ends with "TL;DR:".
    """
    from dpo_credit.cli.files import read, write
    from dpo_credit.cli.talk import Talk
    from dpo_credit.records import read_row

    row = read_row(read(file), "stdin" if file == "-" else file, prompt_key=prompt_key, answer_key=answer_key)
    talk = Talk(quiet)
    with talk.working("Loading the models"):
        pair = options.load_pair()
    talk.notes(pair.notes)
    with talk.working("Scoring"):
        from dpo_credit.scoring import score as run

        credits = tuple(run(pair, row.examples, conventions=options.conventions(), top_k=top_k))
    talk.notes(note for credit in credits for note in credit.tokens.notes)
    if json is not None:
        from dpo_credit.output import row_record, to_json

        write(json, to_json(row_record(row, credits), row.columns) + "\n")
    if json != "-":
        talk.show(credits, row.kind, theme=theme, rows=rows, svg=svg)
