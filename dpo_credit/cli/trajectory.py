"""`dpo-credit trajectory`: how rewards grew over a training's checkpoints, answer by answer and token by token."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.files import read, records
from dpo_credit.cli.flags import MOST_DRAWN, option, seed_option, with_shared_options
from dpo_credit.cli.keeping import KeepOptions
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Outputs
from dpo_credit.cli.stopping import stopping
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.rows.aside import SetAside
    from dpo_credit.rows.kept import Kept
    from dpo_credit.trajectory.models import Following
    from dpo_credit.trajectory.trajectory import Trajectory

EXAMPLE = "Example: dpo-credit trajectory tldr/dpo pairs.jsonl --png fig3.png --html out.html -o kept.jsonl"


@dataclass(frozen=True)
class FollowOptions:
    """Which rows and checkpoints are followed, and what is drawn for Eq. 16."""

    limit: Annotated[int | None, option("--limit", min=1, help="Read this many rows.", show_default="all")] = None
    every: Annotated[int, option("--every", min=1, help="Take each so-many-th checkpoint, and the last.")] = 1
    samples: Annotated[
        int,
        option("--samples", min=0, max=MOST_DRAWN, help="Answers drawn from the reference for Eq. 16; 0 for none."),
    ] = 64
    max_new_tokens: Annotated[int, option("--max-new-tokens", min=1, help="The longest of them.")] = 128
    seed: Annotated[int, seed_option("Of their draw.")] = 0


@with_shared_options
def trajectory(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN ROWS",
            help="A trainer's folder (or models with commas, or NAME@REVISION,...) and preferences; or kept files.",
        ),
    ],
    *,
    asked: FollowOptions,
    bad: BadRows,
    keeping: KeepOptions,
    outputs: Outputs,
    options: PairOptions,
) -> None:
    """Follow the implicit reward of chosen and rejected answers over a training (Rafailov et al. 2024, Sec. 5.4).

    One model is in memory at a time. Eq. 16, the expected reward under the reference, is -beta KL(pi_ref || pi),
    estimated from answers drawn from the reference. Files that -o kept are drawn again without a model, side by side:
    dpo-credit trajectory with_sft.jsonl without_sft.jsonl --png figure3.png
    """
    keeping.check()
    outputs.check()
    kept = [Path(source).is_file() for source in sources]
    if all(kept):
        from dpo_credit.trajectory.trajectory_file import parse

        if keeping.output is not None:
            raise CreditError("-o keeps what is followed; kept files are only drawn again. Leave it out.")
        names = keeping.names_of(sources)
        write_trajectories([parse(read(source), source)[1] for source in sources], names, outputs)
    elif len(sources) == 2 and not kept[0]:
        talk, aside = Talk(outputs.quiet), bad.aside()
        with keeping.kept() or nullcontext() as file:
            following = _begin((sources[0], sources[1]), file, asked, options, talk, aside)
            _follow(following, keeping, talk)
        write_trajectories([replace(following.trajectory(), set_aside=tuple(aside.rows))], ("",), outputs)
        end(aside, talk)
    else:
        raise CreditError("give a run and its rows: dpo-credit trajectory RUN rows.jsonl; or only files that -o kept.")


def _begin(
    sources: tuple[str, str],
    kept: Kept | None,
    asked: FollowOptions,
    options: PairOptions,
    talk: Talk,
    aside: SetAside,
) -> Following:
    """The run, once the reference was asked and what was kept is read and compared."""
    from dpo_credit.rows.pairs import preferences
    from dpo_credit.rows.reader import read_rows
    from dpo_credit.trajectory.follow import Draw
    from dpo_credit.trajectory.models import Following, ask_reference, find_models
    from dpo_credit.trajectory.runs import checkpoints

    run, rows = sources
    if options.policy is not None:
        raise CreditError("--policy has no place here: RUN names the policies.")
    at = checkpoints(run, asked.every)
    pairs = preferences(talk.noted(read_rows(records([rows]), limit=asked.limit, aside=aside)), aside)
    with talk.working("Asking the reference"):
        models = find_models(at, options.reference, options.loading())
        follower, made_by, notes = ask_reference(
            models,
            pairs,
            beta=options.beta,
            length_normalised=options.length_normalised,
            conventions=options.conventions(KeepOptions.today(kept)),
            draw=Draw(asked.samples, asked.max_new_tokens, asked.seed),
            aside=aside,
        )
    talk.notes([*models.notes, *notes])
    talk.notes_of(follower.start.pairs)
    with talk.working("Comparing the checkpoints with what is kept"):
        return Following(run, at, models, follower, made_by, kept)


def _follow(following: Following, keeping: KeepOptions, talk: Talk) -> None:
    """Go through the checkpoints that are left; Ctrl-C or another signal ends it after one."""
    from dpo_credit.trajectory.trajectory import Diverged

    steps = following.steps()
    with stopping(talk, "after this checkpoint") as stopped:
        for number, (at, _) in enumerate(following.left, 1):
            with talk.working(f"Step {at.step}, checkpoint {number} of {len(following.left)}"):
                moment = next(steps)
            if isinstance(moment, Diverged):
                talk.notes([f"{moment.name} diverged: {moment.reason}"])
            if stopped():
                talk.notes([keeping.interrupted(f"{len(following.moments) - 1} checkpoints")])
                raise typer.Exit(stopped.code)


def write_trajectories(trajectories: Sequence[Trajectory], names: tuple[str, ...], outputs: Outputs) -> None:
    """Trainings on all outputs, by the names that they are to have there; "" for their own."""
    from dpo_credit.rows.output import json_line
    from dpo_credit.trajectory.trajectory import record
    from dpo_credit.views.figure import trajectory as figure
    from dpo_credit.views.page import trajectory as page
    from dpo_credit.views.terminal import trajectory as terminal

    named = list(zip(trajectories, names, strict=True))
    outputs.write(
        lambda look: Group(*(terminal.render(trajectory, look, name) for trajectory, name in named)),
        json=lambda: "".join(json_line(record(trajectory, name)) + "\n" for trajectory, name in named),
        page=lambda: page.render(trajectories, names),
        figure=lambda: figure.render(trajectories, names),
    )
