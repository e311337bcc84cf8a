"""`dpo-credit localise`: does the reward find the wrong tokens of labelled answers, and better than simpler scores?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from dpo_credit.cli.flags import flag, option, with_shared_options
from dpo_credit.cli.options import PairOptions

if TYPE_CHECKING:
    from dpo_credit.localise.localise import Localised

EXAMPLE = "Example: dpo-credit localise examples/free_prose.jsonl --by word --html report.html"


@with_shared_options
def localise(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Rows with labels; - is stdin.")],
    json: Annotated[
        str | None,
        option("--json", metavar="FILE", help="Write JSON; - is stdout, without the tables.", show_default=False),
    ] = None,
    html: Annotated[
        str | None, option("--html", metavar="FILE", help="Write a self-contained page.", show_default=False)
    ] = None,
    by: Annotated[
        Literal["token", "word"], option("--by", help="What is right or wrong: tokens, or words with summed rewards.")
    ] = "token",
    top_k: Annotated[int, option("--top-k", min=1, help="How many of an answer's units count as suspected.")] = 3,
    compare: Annotated[
        Literal["captum"] | None,
        option("--compare", help="Add gradient attribution by Captum (slower).", show_default=False),
    ] = None,
    seed: Annotated[int, option("--seed", min=0, help="Of resampling and of the random baseline.")] = 0,
    prompt_key: Annotated[str | None, typer.Option("--prompt-key", help="The field that holds the prompt.")] = None,
    answer_key: Annotated[str | None, typer.Option("--answer-key", help="The field with the wrong answer.")] = None,
    theme: Annotated[Literal["auto", "dark", "light"], option("--theme", help="The terminal's background.")] = "auto",
    quiet: Annotated[bool, flag("--quiet", "-q", help="No notes on stderr.")] = False,
    *,
    options: PairOptions,
) -> None:
    """Measure on labelled answers whether the reward finds what is wrong in them, beside simpler scores.

    A row holds a prompt, rejected (and chosen) or one answer, and labels: a list of {"start", "end", "text", "kind"} in
    characters of the wrong answer. Characters that no label covers are right.
    """
    from dpo_credit.cli.files import check_writable, records
    from dpo_credit.cli.run import load
    from dpo_credit.cli.talk import Talk
    from dpo_credit.localise.labels import cases_of
    from dpo_credit.rows.reader import read_rows

    for target in (json, html):
        if target is not None:
            check_writable(target)
    cases = cases_of(read_rows(records(files), prompt_key=prompt_key, answer_key=answer_key))
    talk = Talk(quiet)
    pair = load(options, talk)
    with talk.working(f"Scoring {len(cases)} answers"):
        from dpo_credit.localise.localise import Options
        from dpo_credit.localise.localise import localise as measure

        asked = Options(by, top_k, compare == "captum", seed)
        found = measure(pair, cases, conventions=options.conventions(), options=asked)
    talk.notes(note for credit in found.wrong for note in credit.tokens.notes)
    talk.notes(found.report.notes)
    _show(found, json, html, theme)


def _show(found: Localised, json: str | None, html: str | None, theme: Literal["auto", "dark", "light"]) -> None:
    from dpo_credit.cli.files import write
    from dpo_credit.cli.present import look_of
    from dpo_credit.rows.output import json_line

    if json is not None:
        write(json, json_line(found.report.record()) + "\n")
    if html is not None:
        from dpo_credit.views.page import localise as html_localise

        write(html, html_localise.render(found))
    if json != "-":
        from dpo_credit.views.terminal import localise as terminal_localise

        console = Console(highlight=False, markup=False, emoji=False)
        console.print(terminal_localise.render(found.report, look_of(console, theme)))
