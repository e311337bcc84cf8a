"""`dpo-credit localise`: does the reward find the wrong tokens of labelled answers, and better than simpler scores?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.files import check_writable, write
from dpo_credit.cli.flags import flag, option, seed_option, with_shared_options
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Outputs
from dpo_credit.cli.reading import ReadingOptions
from dpo_credit.credit import CreditError
from dpo_credit.segments import Unit

if TYPE_CHECKING:
    from dpo_credit.localise.labels import Case
    from dpo_credit.localise.paraphrase import Reworded

EXAMPLE = "Example: dpo-credit localise examples/free_prose.jsonl --by word --html report.html"


@with_shared_options
def localise(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Rows with labels; - is stdin.")],
    by: Annotated[
        Unit, option("--by", help="What is right or wrong: tokens, or larger units with summed rewards.")
    ] = "token",
    first_error: Annotated[
        bool, flag("--first-error", help="Rows have steps, and the first wrong one as label (ProcessBench).")
    ] = False,
    step_score: Annotated[
        Literal["sum", "mean", "lowest"] | None,
        option("--step-score", help="With --first-error: what of a step's tokens counts.", show_default="sum"),
    ] = None,
    tune_on: Annotated[
        float | None,
        option(
            "--tune-on",
            metavar="SHARE",
            help="With --first-error: the share of the problems that thresholds are chosen on.",
            show_default="0.2",
        ),
    ] = None,
    top_k: Annotated[int, option("--top-k", min=1, help="How many of an answer's units count as suspected.")] = 3,
    compare: Annotated[
        Literal["captum"] | None,
        option("--compare", help="Add gradient attribution by Captum (slower).", show_default=False),
    ] = None,
    group_by: Annotated[
        str | None,
        option("--group-by", metavar="FIELD", help="Also by a field of the rows, such as system.", show_default=False),
    ] = None,
    paraphrase: Annotated[
        str | None,
        option(
            "--paraphrase",
            metavar="FILE",
            help="The same answers in other words: how far do their facts' rewards move?",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int | None, option("--limit", min=1, help="Read this many rows.", show_default="all")] = None,
    seed: Annotated[int, seed_option("Of resampling and of the random baseline.")] = 0,
    table: Annotated[
        list[str] | None,
        option(
            "--table", metavar="FILE", help="Write the tables: .csv, or .tex (LaTeX, booktabs).", show_default=False
        ),
    ] = None,
    *,
    reading: ReadingOptions,
    bad: BadRows,
    outputs: Annotated[Outputs, "json", "html", "svg", "theme", "quiet"],
    options: PairOptions,
) -> None:
    """Measure on labelled answers whether the reward finds what is wrong in them, beside simpler scores.

    A row holds a prompt, rejected (and chosen) or one answer, and labels: a list of {"start", "end", "text", "kind"} in
    characters of the wrong answer. Characters that no label covers are right.

    With --first-error, a row is one of ProcessBench: problem, steps (texts), and label, the index of the first wrong
    step or -1.
    """
    from dpo_credit.cli.run import load
    from dpo_credit.cli.talk import Talk
    from dpo_credit.localise.labels import cases_of
    from dpo_credit.localise.tables import format_of
    from dpo_credit.rows.output import json_line
    from dpo_credit.views.terminal import localise as terminal

    outputs.check()
    of_steps = {"--step-score": step_score, "--tune-on": tune_on}
    of_tokens = {
        **{"--by": by != "token", "--top-k": top_k != 3, "--compare": compare, "--group-by": group_by},
        **{"--paraphrase": paraphrase, "--table": table, "--html": outputs.html, "--answer-key": reading.answer_key},
    }
    if unfit := [name for name, value in (of_tokens if first_error else of_steps).items() if value]:
        does = f"{' and '.join(unfit)} {'do' if len(unfit) > 1 else 'does'}"
        raise CreditError(f"{does} {'not go with' if first_error else 'nothing without'} --first-error.")
    if first_error:
        from dpo_credit.cli.first_error import first_error as of_solutions
        from dpo_credit.localise.first_error import Options as StepOptions

        if tune_on is not None and not 0 < tune_on < 1:
            raise CreditError(
                f"--tune-on {tune_on:g} is no share between 0 and 1. Give a share of the problems, such as 0.2."
            )
        chosen = StepOptions(step_score or "sum", tune_on or 0.2, seed)
        of_solutions(files, limit, chosen, reading=reading, bad=bad, outputs=outputs, pair_options=options)
        return
    for target in table or []:
        check_writable(target)
        format_of(target)
    talk, aside = Talk(outputs.quiet), bad.aside()
    rows = islice(talk.noted(reading.rows(files, aside)), limit)
    cases = cases_of(rows, aside, group_by=group_by)
    answers = _reworded(cases, paraphrase, reading)
    pair = load(options, talk)
    with talk.working(f"Scoring {len(cases)} answers") as stage:
        from dpo_credit.localise.localise import Options
        from dpo_credit.localise.localise import localise as measure

        wanted = Options(by, top_k, compare == "captum", seed, group_by)
        conventions = options.conventions()
        localised = measure(pair, cases, conventions=conventions, options=wanted, aside=aside, say=stage.update)
        if answers:
            from dpo_credit.localise.paraphrase import paraphrase as compare_words

            stage.update(f"Scoring {len(answers)} answers in other words")
            moved = compare_words(pair, localised, answers, conventions=conventions, seed=seed, aside=aside)
            report = replace(localised.report, paraphrased=moved, set_aside=list(aside.rows))
            localised = replace(localised, report=report)
    both = zip(localised.right, localised.wrong, strict=True)
    talk.notes_of([wrong] if right is None else [right, wrong] for right, wrong in both)
    talk.notes(localised.report.notes)

    def page() -> str:
        from dpo_credit.views.page import localise as view

        return view.render(localised)

    outputs.write(
        lambda look: terminal.render(localised.report, look),
        json=lambda: json_line(localised.report.record()) + "\n",
        page=page,
    )
    for target in table or []:
        write(target, format_of(target)(localised.report))
    end(aside, talk)


def _reworded(cases: Sequence[Case], file: str | None, reading: ReadingOptions) -> list[Reworded]:
    """The answers of a file of paraphrases, if there is one."""
    if file is None:
        return []
    from dpo_credit.localise.paraphrase import reworded
    from dpo_credit.rows.aside import STRICT

    return reworded(cases, reading.rows([file], STRICT))
