"""`dpo-credit score`: one row in, its answers coloured token by token, or as JSON."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from dpo_credit.cli.flags import MOST_ALTERNATIVES, with_shared_options
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Colours, Outputs
from dpo_credit.cli.reading import PickOptions, ReadingOptions

EXAMPLE = "Example: dpo-credit score examples/offer.json --top-k 3"


@with_shared_options
def score(
    file: Annotated[str, typer.Argument(metavar="FILE", help="JSON, or text with TL;DR: in it; - is stdin.")],
    top_k: Annotated[
        int,
        typer.Option("--top-k", min=0, max=MOST_ALTERNATIVES, help="Show what each model would rather have said."),
    ] = 0,
    show: Annotated[
        str | None,
        typer.Option(
            "--show",
            metavar="q,v,advantage,kl,entropy,rank",
            help="For every token: Q*, V*, Q* - V* (Eqs. 5-7); KL of the two models, entropies, the token's rank.",
        ),
    ] = None,
    *,
    picking: PickOptions,
    reading: ReadingOptions,
    outputs: Outputs,
    colours: Colours,
    options: PairOptions,
) -> None:
    """Score an answer token by token: beta * (log pi - log pi_ref), coloured (Rafailov et al. 2024, Eq. 11).

    FILE holds a prompt and one or more answers: prompt with completion, chosen and rejected, or completions; messages;
    a TL;DR post with its summaries; or text in which the prompt ends with "TL;DR:".
    """
    from dpo_credit.cli import showing
    from dpo_credit.cli.run import score_row
    from dpo_credit.rows.output import credit_record
    from dpo_credit.views.terminal import values

    outputs.check()
    _ = colours.shading, colours.shown
    columns = values.shown(show) if show is not None else ()
    row = picking.row(file, reading)
    colours.check(len(row.examples))
    scored = score_row(
        row, options, quiet=outputs.quiet, top_k=top_k, values=values.of_policy(columns), shifts=values.of_both(columns)
    )
    below = partial(values.render, scored, columns=columns) if columns else None
    showing.show(scored, credit_record(scored), outputs, colours, below=below)
