"""`dpo-credit render`: saved JSON or JSONL drawn again, without a model."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.outputs import Colours, Outputs
from dpo_credit.cli.reading import PickOptions

if TYPE_CHECKING:
    from dpo_credit.cli.scored import ScoredFiles
    from dpo_credit.rows.scored import ScoredRow
    from dpo_credit.views.scale import Shading

EXAMPLE = "Example: dpo-credit render scored.json --html out.html --beta 0.05"


@with_shared_options
def render(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What --json wrote, one object a line; - is stdin.")],
    beta: Annotated[
        float | None, typer.Option("--beta", help="Another beta than the saved one.", show_default=False)
    ] = None,
    show: Annotated[
        str | None,
        typer.Option(
            "--show",
            metavar="q,v,advantage,kl,entropy,rank",
            show_default=False,
            help="What the file has of this for every token, from score --show.",
        ),
    ] = None,
    *,
    picking: PickOptions,
    bad: BadRows,
    outputs: Outputs,
    colours: Colours,
) -> None:
    """Draw saved scores again: another page, figure, palette or beta. Several rows make one page with an index."""
    from dpo_credit.cli import showing
    from dpo_credit.cli.scored import ScoredFiles, usable
    from dpo_credit.cli.talk import Talk
    from dpo_credit.credit import CreditError
    from dpo_credit.rows.output import credit_record
    from dpo_credit.views.terminal import values

    outputs.check()
    _ = colours.shading, colours.shown
    columns = values.shown(show) if show is not None else ()
    talk, aside = Talk(outputs.quiet), bad.aside()
    with (
        ScoredFiles([file], aside, quiet=outputs.quiet, again=not picking.picks, beta=beta) as files,
        closing(usable([picking.record(file)], aside, beta) if picking.picks else files.rows()) as rows,
    ):
        first = list(islice(rows, 2))
        aside.require(first)
        if not first:
            raise CreditError(f"{file} is empty. Give what dpo-credit score --json wrote.")
        if len(first) > 1:
            if columns:
                raise CreditError("--show is about one row, and the file holds several. Pick one with --row or --id.")
            _index(file, files, chain(first, rows), outputs, colours.shading)
        else:
            (scored,) = first
            colours.check(len(scored.credits))
            values.require(scored, columns)
            below = partial(values.render, scored, columns=columns) if columns else None
            record = credit_record(scored, edits=scored.kind == "preference")
            showing.show(scored, record, outputs, colours, below=below)
    end(aside, talk)


def _index(file: str, files: ScoredFiles, rows: Iterable[ScoredRow], outputs: Outputs, shading: Shading) -> None:
    """Write a page of many rows, which are read once more for that."""
    from dpo_credit.cli.files import writing
    from dpo_credit.credit import CreditError
    from dpo_credit.views.page.overview import overview_of
    from dpo_credit.views.page.score import pieces

    if outputs.html is None or outputs.targets != (outputs.html,):
        raise CreditError(
            f"{file} holds several rows, which make one page: give --html out.html and nothing else. Or pick one with "
            "--row or --id."
        )
    overview = overview_of(rows, shading)
    with writing(outputs.html) as page:
        page.writelines(piece.encode() for piece in pieces(files.once_more(), overview, file))
