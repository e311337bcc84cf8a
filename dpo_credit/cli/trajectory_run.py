"""Running `trajectory`: the reference once, one checkpoint after the other, and what to show of it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from dpo_credit.cli.files import check_writable, read, records, write
from dpo_credit.cli.keeping import labels_of
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.present import look_of
from dpo_credit.cli.stopping import INTERRUPTED, stopping
from dpo_credit.cli.talk import Talk
from dpo_credit.cli.trajectory import FollowOptions
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.trajectory.trajectory import Trajectory


def run(sources: Sequence[str], asked: FollowOptions, options: PairOptions) -> None:
    """Follow a run, or read what was kept, and show it.

    Raises:
        CreditError: a model, a row or a kept file is at fault, or something cannot be written.
        typer.Exit: the run was interrupted.
    """
    from dpo_credit.views.figure import trajectory as figure_trajectory

    _ = asked.mode
    for target in (asked.output, asked.png, asked.html, asked.json):
        if target is not None:
            check_writable(target)
    if asked.png is not None:
        figure_trajectory.format_of(Path(asked.png))
    kept = [Path(source).is_file() for source in sources]
    if all(kept):
        from dpo_credit.trajectory.trajectory_file import parse

        if asked.output is not None:
            raise CreditError("-o keeps what is followed; kept files are only drawn again. Leave it out.")
        labels = labels_of(sources, asked.labels)
        _show([parse(read(source), source)[1] for source in sources], labels, asked)
    elif len(sources) == 2 and not kept[0]:
        _show([_follow(sources[0], sources[1], asked, options)], ("",), asked)
    else:
        raise CreditError("give a run and its rows: dpo-credit trajectory RUN rows.jsonl; or only files that -o kept.")


def _follow(run: str, rows: str, asked: FollowOptions, options: PairOptions) -> Trajectory:
    from dpo_credit.rows.kept import Kept
    from dpo_credit.rows.pairs import preferences as pairs_of
    from dpo_credit.rows.reader import read_rows
    from dpo_credit.trajectory.follow import Draw
    from dpo_credit.trajectory.models import ask_reference, find_models, follow
    from dpo_credit.trajectory.runs import checkpoints
    from dpo_credit.trajectory.trajectory import Trajectory
    from dpo_credit.trajectory.trajectory_file import header, known, line

    if options.policy is not None:
        raise CreditError("--policy has no place here: RUN names the policies.")
    at = checkpoints(run, asked.every)
    preferences = pairs_of(read_rows(records([rows]), limit=asked.limit))
    output = None if asked.output is None else Kept(Path(asked.output), asked.mode)
    if output is not None:
        output.check()
    talk = Talk(asked.quiet)
    with talk.working("Asking the reference"):
        models = find_models(at, options.reference, options.loading())
        follower, notes = ask_reference(
            models,
            preferences,
            beta=options.beta,
            length_normalised=options.length_normalised,
            conventions=options.conventions(),
            draw=Draw(asked.samples, asked.max_new_tokens, asked.seed),
        )
    talk.notes([*models.notes, *notes])
    start = follower.start
    moments = [start]
    with output or nullcontext():
        if output is not None:
            head = header(run, start)
            moments += output.begin(head, lambda data: known(data, output.path, head), [])
        done = {(moment.step, moment.name) for moment in moments}
        left = [one for one in at if (one.step, one.name) not in done]
        following = follow(models, follower, at, done)
        with stopping(talk, "after this checkpoint") as stopped:
            for number, one in enumerate(left, 1):
                with talk.working(f"Step {one.step}, checkpoint {number} of {len(left)}"):
                    moment = next(following)
                moments.append(moment)
                if output is not None:
                    output.add(line(moment))
                if stopped():
                    where = "; go on with --resume" if output is not None else "; -o FILE would keep them"
                    talk.notes([f"interrupted after {len(moments) - 1} checkpoints{where}"])
                    raise typer.Exit(INTERRUPTED)
    moments.sort(key=lambda moment: moment.step)
    return Trajectory(run, tuple(row.id for row in preferences), tuple(moments))


def _show(found: Sequence[Trajectory], labels: tuple[str, ...], asked: FollowOptions) -> None:
    from dpo_credit.rows.output import json_line
    from dpo_credit.trajectory.trajectory import record
    from dpo_credit.views.figure import trajectory as figure_trajectory
    from dpo_credit.views.terminal import trajectory as terminal_trajectory

    if asked.json is not None:
        lines = [json_line(record(one, label)) + "\n" for one, label in zip(found, labels, strict=True)]
        write(asked.json, "".join(lines))
    if asked.png is not None:
        picture = io.BytesIO()
        figure_trajectory.save(
            figure_trajectory.render(found, labels), picture, figure_trajectory.format_of(Path(asked.png))
        )
        write(asked.png, picture.getvalue())
    if asked.html is not None:
        from dpo_credit.views.page import trajectory as html_trajectory

        write(asked.html, html_trajectory.render(found, labels))
    if asked.json != "-":
        console = Console(highlight=False, markup=False, emoji=False)
        look = look_of(console, asked.theme)
        for one, label in zip(found, labels, strict=True):
            console.print(terminal_trajectory.render(one, look, label))
