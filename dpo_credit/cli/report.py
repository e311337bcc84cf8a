"""`dpo-credit report`: a scored data set in figures, without a model."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.outputs import Outputs

EXAMPLE = "Example: dpo-credit report scored.jsonl --html report.html"
_FILES = "What score --json or batch wrote: JSONL, also .gz or .zst, or Parquet; - is stdin."


@with_shared_options
def report(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=_FILES)],
    words: Annotated[int, typer.Option("--words", min=0, help="How many words to list at either end.")] = 20,
    min_rows: Annotated[int, typer.Option("--min-rows", min=2, help="In how many rows a listed word occurs.")] = 5,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many rows to list at either end.")] = 10,
    *,
    bad: BadRows,
    outputs: Annotated[Outputs, "json", "html", "svg", "theme", "quiet"],
) -> None:
    """Report on a scored data set: accuracy, margins, rewards by place and kind of token, length, and words.

    FILE holds one scored row a line and may be of any size. The page also draws the rows with the lowest and the
    highest margins, and one for each word listed, and has a table of all rows to search, filter and sort. No model is
    needed.
    """
    from dpo_credit.cli.scored import ScoredFiles
    from dpo_credit.cli.talk import Talk
    from dpo_credit.report.figures import to_json
    from dpo_credit.report.report import report as report_on
    from dpo_credit.views.terminal import report as terminal

    outputs.check()
    aside = bad.aside()

    def page() -> str:
        from dpo_credit.views.page import report as view

        return view.render(figures, scored.once_more())

    with ScoredFiles(files, aside, quiet=outputs.quiet, again=outputs.html is not None) as scored:
        figures = report_on(scored.rows(), words=words, min_rows=min_rows, shown=rows, aside=aside)
        outputs.write(
            lambda look: terminal.render(figures, look),
            json=lambda: to_json(figures) + "\n",
            page=page,
        )
    end(aside, Talk(outputs.quiet))
