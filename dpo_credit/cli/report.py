"""`dpo-credit report`: a scored data set in figures, without a model."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

EXAMPLE = "Example: dpo-credit report scored.jsonl --html report.html"
_FILES = "What score --json or batch wrote: JSONL, also .gz or .zst, or Parquet; - is stdin."


def report(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=_FILES)],
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write all figures; - is stdout, without the view."),
    ] = None,
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help="Write a self-contained page.")] = None,
    words: Annotated[int, typer.Option("--words", min=0, help="How many words to list at either end.")] = 20,
    min_rows: Annotated[int, typer.Option("--min-rows", min=2, help="In how many rows a listed word occurs.")] = 5,
    rows: Annotated[int, typer.Option("--rows", min=0, help="How many rows to list at either end.")] = 10,
    theme: Annotated[
        Literal["auto", "dark", "light"], typer.Option("--theme", help="The terminal's background.")
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.", show_default=False)] = False,
) -> None:
    """Report on a scored data set: accuracy, margins, rewards by place and kind of token, length, and words.

    FILE holds one scored row a line and may be of any size. The page also draws the rows with the lowest and the
    highest margins, and one for each word listed. No model is needed.
    """
    from rich.console import Console

    from dpo_credit.cli.files import check_writable, write
    from dpo_credit.cli.present import look_of
    from dpo_credit.cli.scored import ScoredFiles
    from dpo_credit.report.figures import to_json
    from dpo_credit.report.report import report as report_on
    from dpo_credit.views.page import report as html_report
    from dpo_credit.views.terminal import report as terminal_report

    for target in filter(None, (json, html)):
        check_writable(target)
    with ScoredFiles(files, quiet=quiet, again=html is not None) as scored:
        figures = report_on(scored.rows(), words=words, min_rows=min_rows, shown=rows)
        if html is not None:
            write(html, html_report.render(figures, scored.find(html_report.drawn(figures))))
    if json is not None:
        write(json, to_json(figures) + "\n")
    if "-" not in (json, html):
        console = Console(highlight=False, markup=False, emoji=False)
        console.print(terminal_report.render(figures, look_of(console, theme)))
