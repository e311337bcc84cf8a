"""`dpo-credit render`: saved JSON or JSONL drawn again, without a model."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.present import ViewOptions

EXAMPLE = "Example: dpo-credit render scored.json --html out.html --beta 0.05"


@with_shared_options
def render(
    file: Annotated[str, typer.Argument(metavar="FILE", help="What --json wrote, one object a line; - is stdin.")],
    beta: Annotated[
        float | None, typer.Option("--beta", help="Another beta than the saved one.", show_default=False)
    ] = None,
    *,
    view: ViewOptions,
) -> None:
    """Draw saved scores again: another page, figure, palette or beta. Several rows make one page with an index."""
    from dpo_credit.align import diff
    from dpo_credit.cli.files import read
    from dpo_credit.cli.present import Scored
    from dpo_credit.credit import CreditError
    from dpo_credit.rows.output import diff_record, row_record
    from dpo_credit.rows.saved import read_saved

    view.check()
    rows = read_saved(read(file), file, beta)
    if len(rows) > 1:
        if view.html is None or view.heatmap or view.json or view.svg:
            raise CreditError(
                f"{file} holds {len(rows)} rows, which make one page: give --html out.html and nothing else."
            )
        view.write_page([Scored(row.id, credits, row.labels) for row, credits in rows], title=file)
        return
    ((row, credits),) = rows
    scored = Scored(row.id, credits, row.labels, compare=row.kind == "preference")
    record = diff_record(diff(*credits), row.id) if scored.compare else row_record(row, credits)
    view.show(scored, record)
