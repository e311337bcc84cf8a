"""`dpo-credit diff`: two answers to one prompt side by side, edit by edit."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.flags import MOST_ALTERNATIVES, with_shared_options
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Colours, Outputs
from dpo_credit.cli.reading import PickOptions

EXAMPLE = "Example: dpo-credit diff examples/good.txt examples/bad.txt --html out.html"


@with_shared_options
def diff(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The first answer, or a row with several; - is stdin.")],
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="The second answer.", show_default=False)
    ] = None,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Text or JSON with the prompt; the files then hold answers alone.")
    ] = None,
    pick: Annotated[
        str | None, typer.Option("--pick", help="Which two of several answers, such as 0,2.", show_default=False)
    ] = None,
    all_answers: Annotated[
        bool, typer.Option("--all", help="All answers, one row each, ordered by reward.", show_default=False)
    ] = False,
    top_k: Annotated[
        int,
        typer.Option("--top-k", min=0, max=MOST_ALTERNATIVES, help="Show what each model would rather have said."),
    ] = 0,
    *,
    picking: PickOptions,
    outputs: Outputs,
    colours: Colours,
    options: PairOptions,
) -> None:
    """Compare two answers to one prompt: what each edit earned, and how far the rest moved (the paper's Figure 1).

    FILE and OTHER hold a prompt with TL;DR: and an answer, or just the answer with --prompt. A single FILE holds a
    row: chosen and rejected, or completions. A figure of long answers shows their edits and folds the rest:
    dpo-credit diff examples/porto.json --png edits.svg --around-edits 8
    """
    from dpo_credit.cli.files import record
    from dpo_credit.cli.run import score_row
    from dpo_credit.cli.showing import show
    from dpo_credit.cli.talk import Talk
    from dpo_credit.credit import CreditError
    from dpo_credit.rows.output import credit_record
    from dpo_credit.rows.pairs import choose, pair_of

    outputs.check()
    _ = colours.shading, colours.shown
    if all_answers and colours.colour == "delta":
        raise CreditError(
            "--colour delta compares two answers, and --all shows each for itself. Leave one of them out."
        )
    if other is None and prompt is None:
        row = choose(picking.row(file), pick, all_answers)
    else:
        before = None
        if prompt is not None:
            given = PickOptions().row(prompt, answers="optional")
            Talk(outputs.quiet).notes(given.notes)
            before = given.prompt
        row = pair_of(picking.record(file), None if other is None else record(other), before)
    colours.check(len(row.examples))
    scored = score_row(row, options, quiet=outputs.quiet, top_k=top_k)
    shown = scored.by_reward() if all_answers else scored
    show(shown, credit_record(scored, edits=not all_answers), outputs, colours)
