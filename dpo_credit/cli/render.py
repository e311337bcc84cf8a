"""`dpo-credit render`: saved JSON or JSONL drawn again, without a model."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.outputs import Colours, Outputs
from dpo_credit.cli.reading import PickOptions

EXAMPLE = "Example: dpo-credit render scored.json --html out.html --beta 0.05"


@with_shared_options
def render(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What --json wrote, one object a line; - is stdin.")],
    beta: Annotated[
        float | None, typer.Option("--beta", help="Another beta than the saved one.", show_default=False)
    ] = None,
    *,
    picking: PickOptions,
    bad: BadRows,
    outputs: Outputs,
    colours: Colours,
) -> None:
    """Draw saved scores again: another page, figure, palette or beta. Several rows make one page with an index."""
    from dpo_credit.cli.files import records, write
    from dpo_credit.cli.scored import usable
    from dpo_credit.cli.showing import page, show
    from dpo_credit.cli.talk import Talk
    from dpo_credit.credit import CreditError
    from dpo_credit.rows.output import credit_record

    outputs.check()
    _ = colours.shading
    talk, aside = Talk(outputs.quiet), bad.aside()
    given = [picking.record(file)] if picking.picks else records([file])
    rows = list(usable(given, aside, beta))
    aside.require(rows)
    if not rows:
        raise CreditError(f"{file} is empty. Give what dpo-credit score --json wrote.")
    if len(rows) > 1:
        if outputs.html is None or outputs.targets != (outputs.html,):
            raise CreditError(
                f"{file} holds {len(rows)} rows, which make one page: give --html out.html and nothing else. Or "
                "pick one with --row or --id."
            )
        write(outputs.html, page(rows, file, colours))
        end(aside, talk)
        return
    (scored,) = rows
    show(scored, credit_record(scored, edits=scored.kind == "preference"), outputs, colours)
    end(aside, talk)
