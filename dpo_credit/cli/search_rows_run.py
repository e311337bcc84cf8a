"""Running `search` on a data set: answers, verdicts and what was kept, or kept searches drawn again."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dpo_credit.cli.files import check_writable, read, records, write
from dpo_credit.cli.judging import judge_of
from dpo_credit.cli.keeping import labels_of
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.present import ViewOptions, look_of
from dpo_credit.cli.run import load
from dpo_credit.cli.search import SearchOptions
from dpo_credit.cli.stopping import INTERRUPTED, stopping
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError
from dpo_credit.search.beams import SCHEMA, Judged, Search, answer_of, header, known, line, parse


def is_kept(file: str) -> bool:
    """Whether a file is a search that -o kept."""
    path = Path(file)
    if not path.is_file():
        return False
    with path.open("rb") as opened:
        return SCHEMA.encode() in opened.readline(10_000)


def run_kept(files: Sequence[str], asked: SearchOptions, view: ViewOptions) -> None:
    """Draw kept searches again.

    Raises:
        CreditError: a file is broken, or the labels are not as many.
    """
    _check(asked, view)
    if asked.output is not None:
        raise CreditError("-o keeps what is searched; kept searches are only drawn again. Leave it out.")
    _show([parse(read(file), file) for file in files], labels_of(files, asked.labels), asked, view)


def run_rows(files: Sequence[str], asked: SearchOptions, options: PairOptions, view: ViewOptions) -> None:
    """Search for an answer to each row, judge it against the chosen one, and show the figures.

    Raises:
        CreditError: a row, a model or the judge is at fault, or something cannot be written.
        typer.Exit: the search was interrupted.
    """
    from dpo_credit.rows.kept import Kept
    from dpo_credit.rows.reader import read_rows
    from dpo_credit.rows.records import prompt_text
    from dpo_credit.search.judges import Case
    from dpo_credit.search.rows import search_rows

    _check(asked, view)
    if options.sequential:
        raise CreditError("--sequential holds one model at a time; search asks both after each width. Leave it out.")
    beams, talk = asked.search(), Talk(view.quiet)
    rows = list(read_rows(records(files), limit=asked.limit))
    if not rows:
        raise CreditError("there are no rows. Give JSONL with prompt, chosen and rejected.")
    name, judge, endpoint = judge_of(asked, prompt_text(rows[0].prompt))
    output = None if asked.output is None else Kept(Path(asked.output), asked.mode)
    if output is not None:
        output.check()
    pair = load(options, talk)
    settings = {
        **{"beams": list(beams.widths), "length_penalty": beams.length_penalty, "drawn": beams.draw},
        **{"seed": beams.seed, "max_new_tokens": beams.max_new_tokens, "judge": name, "beta": pair.beta},
        **{"policy": pair.policy.name, "reference": pair.reference.name, "rows": len(rows)},  # type: ignore[union-attr]
    }
    done: list[Judged] = []
    with output or nullcontext():
        if output is not None:
            done = output.begin(header(settings), lambda data: known(data, str(output.path), settings), [])
        if [row.id for row in done] != [row.id for row in rows[: len(done)]]:
            raise CreditError(
                f"cannot resume {asked.output}: it holds other rows. Search them, or anew with --overwrite."
            )
        found = search_rows(pair, rows, beams, options.conventions(), skip=len(done))
        with stopping(talk, "after this chunk of rows") as stopped, _bar(talk, len(done), len(rows)) as bar:
            for one in found:
                chosen = one.own.credits[0] if one.own.kind == "preference" else None
                verdicts = [judge(Case(one.own.id, one.own.prompt, credit, chosen)) for credit in one.answers]
                judged = Judged(
                    one.own.id,
                    tuple(answer_of(credit, verdict) for credit, verdict in zip(one.answers, verdicts, strict=True)),
                    None if chosen is None else answer_of(chosen),
                )
                done.append(judged)
                if output is not None:
                    output.add(line(judged))
                bar.update(bar.task_ids[0], completed=len(done))
                if stopped():
                    where = "; go on with --resume" if output is not None else "; -o FILE would keep them"
                    talk.notes([f"interrupted after {len(done)} rows{where}"])
                    raise typer.Exit(INTERRUPTED)
    if endpoint is not None:
        talk.say(f"the judge's cost: {endpoint.cost}")
    _show([Search(settings, tuple(done))], ("",), asked, view)


def _check(asked: SearchOptions, view: ViewOptions) -> None:
    from dpo_credit.views.figure.beams import format_of

    view.check()
    for target in (asked.output, asked.png):
        if target is not None:
            check_writable(target)
    if asked.png is not None:
        format_of(Path(asked.png))
    if view.heatmap is not None or view.svg is not None:
        raise CreditError("--heatmap and --svg draw one post. Of a data set, --png draws the figure.")


@contextmanager
def _bar(talk: Talk, done: int, total: int) -> Iterator[Progress]:
    columns = (TextColumn("Searching"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk.stderr, transient=True, disable=not talk.stderr.is_terminal) as bar:
        bar.add_task("", total=total, completed=done)
        yield bar


def _show(found: Sequence[Search], labels: tuple[str, ...], asked: SearchOptions, view: ViewOptions) -> None:
    from dpo_credit.rows.output import json_line
    from dpo_credit.search.beams import record
    from dpo_credit.views.figure import beams as figure_beams
    from dpo_credit.views.page import beams as html_beams
    from dpo_credit.views.terminal import beams as terminal_beams

    if view.json is not None:
        write(view.json, "".join(json_line(record(*one)) + "\n" for one in zip(found, labels, strict=True)))
    if asked.png is not None:
        picture = io.BytesIO()
        figure_beams.save(figure_beams.render(found, labels), picture, figure_beams.format_of(Path(asked.png)))
        write(asked.png, picture.getvalue())
    if view.html is not None:
        write(view.html, html_beams.render(found, labels))
    if view.json != "-":
        console = Console(highlight=False, markup=False, emoji=False)
        look = look_of(console, view.theme)
        for one, label in zip(found, labels, strict=True):
            console.print(terminal_beams.render(one, look, label))
