"""`dpo-credit mdp`: what each step of a segment earns under a policy of any MDP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.files import check_writable, records, write
from dpo_credit.cli.flags import option, with_shared_options
from dpo_credit.cli.outputs import Outputs
from dpo_credit.cli.policies import PolicyOptions
from dpo_credit.cli.reading import PickOptions
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError, NotFiniteError

if TYPE_CHECKING:
    from dpo_credit.mdp.credit import PairCredit
    from dpo_credit.mdp.policies import Policy
    from dpo_credit.mdp.segments import SegmentPair
    from dpo_credit.rows.aside import SetAside
    from dpo_credit.views.steps import Drawn

EXAMPLE = "Example: dpo-credit mdp examples/grid.jsonl --row 1 --html out.html"


@with_shared_options
def mdp(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Pairs of segments: JSONL, ..., or npz; - is stdin.")
    ],
    output: Annotated[
        str | None,
        option(
            *("--output", "-o"), metavar="FILE", help="Write a scored pair a line; - is stdout.", show_default=False
        ),
    ] = None,
    limit: Annotated[int | None, option("--limit", min=1, help="Read this many pairs.", show_default="all")] = None,
    rows: Annotated[int, option("--rows", panel="Views", min=0, help="Rows of the tables of steps.")] = 5,
    *,
    picking: PickOptions,
    asked: PolicyOptions,
    bad: BadRows,
    outputs: Outputs,
) -> None:
    """What each step of a trajectory earns under a policy: credit in any MDP (Hejna et al. 2024, CPL).

    A row holds chosen and rejected, each with observations, actions and maybe rewards and frames. A step's credit is
    alpha log pi(a|s), less the reference's where there is one.

    --policy FILE.py:NAME runs that file: name your own.
    """
    outputs.check()
    if output is not None:
        check_writable(output)
        if output == "-" and "-" in outputs.targets:
            raise CreditError("-o - and another output would both be stdout. Name a file for one of them.")
    talk, aside = Talk(outputs.quiet), bad.aside()
    _ = asked.of_loss
    policy = asked.at() if asked.checkpoints is None else None
    reference = asked.loaded_reference()
    pairs = list(_pairs(files, picking, limit, aside))
    aside.require(pairs)
    if not pairs:
        raise CreditError(f"{', '.join(files)} holds no pair of segments.")
    if policy is None:
        _follow(pairs, asked, reference, output, outputs, talk, aside)
    else:
        if asked.policy is None:
            talk.notes(["no --policy: the embedded grid's scores"])
        scored = list(_scored(pairs, policy, reference, asked, talk, aside))
        aside.require(scored)
        _write(scored, output, outputs, talk, aside, rows)
    end(aside, talk)


def _pairs(files: Sequence[str], picking: PickOptions, limit: int | None, aside: SetAside) -> Iterator[SegmentPair]:
    """The pairs of all files in their order, the first `limit` of them; or the one that is picked of a file."""
    from dpo_credit.mdp.arrays import is_npz, read_npz
    from dpo_credit.mdp.segments import pair_of, read_segments
    from dpo_credit.rows.sources import expand

    inputs = expand(files)
    if picking.picks:
        if len(inputs) > 1:
            raise CreditError("--row and --id pick a pair of one file. Name one.")
        if is_npz(files[0]):
            yield _of_arrays(read_npz(files[0]), picking, files[0])
        else:
            yield pair_of(picking.record(files[0]))
        return
    each = (
        read_npz(given.name, aside) if is_npz(given.name) else read_segments(records([given.name]), aside)
        for given in inputs
    )
    yield from islice(chain.from_iterable(each), limit)


def _of_arrays(pairs: Iterator[SegmentPair], picking: PickOptions, file: str) -> SegmentPair:
    if picking.number is not None and picking.row_id is not None:
        raise CreditError("--row and --id exclude each other.")
    for n, pair in enumerate(pairs, 1):
        if picking.number == n or picking.row_id == pair.id:
            return pair
    wanted = f"--row {picking.number}" if picking.number is not None else f"--id {picking.row_id}"
    raise CreditError(f"{file} has no pair {wanted}.")


def _scored(
    pairs: Sequence[SegmentPair],
    policy: Policy,
    reference: Policy | None,
    asked: PolicyOptions,
    talk: Talk,
    aside: SetAside,
) -> Iterator[PairCredit]:
    """What each pair earned, with a bar on stderr."""
    from rich.progress import MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

    from dpo_credit.cli.bars import bar
    from dpo_credit.mdp.credit import score

    names = None if asked.actions is None else tuple(name.strip() for name in asked.actions.split(","))
    with bar(talk.stderr, "Scoring", MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()) as shown:
        for n, pair in enumerate(pairs, 1):
            try:
                scored = score(pair, policy, reference, asked.of_loss)
            except CreditError as error:
                aside.add(pair.id, f"{pair.source}, row {n}", error)
            else:
                yield scored if names is None else replace(scored, action_names=names)
            shown.show(n, len(pairs))


def _write(
    scored: Sequence[PairCredit], output: str | None, outputs: Outputs, talk: Talk, aside: SetAside, rows: int
) -> None:
    from dpo_credit.mdp.saved import to_json
    from dpo_credit.mdp.summary import record, summary_of
    from dpo_credit.rows.output import json_line
    from dpo_credit.views.figure import mdp as figure
    from dpo_credit.views.page import mdp as page
    from dpo_credit.views.terminal import mdp as terminal

    if (uneven := summary_of(scored).lengths) and not scored[0].weights.length_normalised:
        talk.notes([f"{uneven:,} of {len(scored):,} pairs have segments of different lengths: credit is a sum over "
                    "steps; --length-normalised divides it by their number"])  # fmt: skip
    if outputs.png is not None and len(scored) > 1:
        talk.notes([f"the figure is of {scored[0].id}, the first pair; --row or --id picks another"])
    if output is not None:
        write(output, "".join(to_json(pair) + "\n" for pair in scored))
    outputs.write(
        lambda look: terminal.render(scored, look, rows),
        json=lambda: json_line(record(scored, aside.rows)) + "\n",
        page=lambda: page.render([_drawn(pair, talk) for pair in scored[: page.PAIRS]], scored),
        figure=lambda: figure.render(_drawn(scored[0], talk)),
        shown=output != "-",
    )


def _drawn(pair: PairCredit, talk: Talk) -> Drawn:
    """A pair with the pictures of its steps; without them, which is said, where one cannot be drawn."""
    from dpo_credit.mdp.frames import thumbnails
    from dpo_credit.views.steps import Drawn

    folder = Path(pair.source).parent
    try:
        chosen, rejected = (thumbnails(segment.frames, folder) for segment in (pair.chosen, pair.rejected))
        return Drawn(pair, tuple(chosen), tuple(rejected))
    except CreditError as error:
        talk.notes([f"{pair.id} is drawn without pictures: {error}"])
        return Drawn(pair)


def _follow(
    pairs: Sequence[SegmentPair],
    asked: PolicyOptions,
    reference: Policy | None,
    output: str | None,
    outputs: Outputs,
    talk: Talk,
    aside: SetAside,
) -> None:
    """A training's checkpoints, each on all pairs, on the outputs of `dpo-credit trajectory`."""
    from rich.progress import MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

    from dpo_credit.cli.bars import bar
    from dpo_credit.cli.trajectory import write_trajectories
    from dpo_credit.mdp.credit import score
    from dpo_credit.mdp.training import as_credits, checkpoints
    from dpo_credit.rows.output import json_line
    from dpo_credit.trajectory.trajectory import Diverged, Moment, in_order
    from dpo_credit.trajectory.trajectory_file import header, line

    assert asked.checkpoints is not None
    if output is not None and reference is None:
        raise CreditError("a training is kept from its reference on. Give --reference, such as its first checkpoint.")
    name, moments = asked.checkpoints, list[Moment | Diverged]()

    def at(step: int, policy: Policy) -> Moment:
        credits = [as_credits(score(pair, policy, reference, asked.of_loss)) for pair in pairs]
        return Moment(step, policy.name, tuple(credits))

    files = checkpoints(name)
    with bar(talk.stderr, "Following", MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()) as shown:
        for n, file in enumerate(files, 1):
            try:
                moments.append(at(file.step, asked.at(file.path)))
            except NotFiniteError as error:
                moments.append(Diverged(file.step, file.path, str(error)))
                talk.notes([f"{file.path} diverged: {error}"])
            shown.show(n, len(files))
    if not any(isinstance(moment, Moment) for moment in moments):
        raise CreditError(f"no checkpoint of {name} has finite numbers.")
    if output is not None and reference is not None:
        head = json_line(header(name, at(0, reference)))
        write(output, head + "\n" + "".join(map(line, moments)))
    followed = in_order(name, tuple(pair.id for pair in pairs), moments)
    write_trajectories([replace(followed, set_aside=tuple(aside.rows))], ("",), outputs)
