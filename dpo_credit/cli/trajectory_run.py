"""Running `trajectory`: the reference once, one checkpoint after the other, and what to show of it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
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
    from transformers import PreTrainedTokenizerBase

    from dpo_credit.models.checkpoints import Checkpoint, Loading
    from dpo_credit.models.pair import ModelPair
    from dpo_credit.rows.records import Row
    from dpo_credit.trajectory.follow import Follower
    from dpo_credit.trajectory.runs import At
    from dpo_credit.trajectory.trajectory import Moment, Trajectory


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
    from dpo_credit.models.pair import free
    from dpo_credit.rows.kept import Kept
    from dpo_credit.rows.pairs import preferences as pairs_of
    from dpo_credit.rows.reader import read_rows
    from dpo_credit.trajectory.runs import checkpoints
    from dpo_credit.trajectory.trajectory import Trajectory
    from dpo_credit.trajectory.trajectory_file import header, known, line

    if options.policy is not None:
        raise CreditError("--policy has no place here: RUN names the policies.")
    found = checkpoints(run, asked.every)
    preferences = pairs_of(read_rows(records([rows]), limit=asked.limit))
    output = None if asked.output is None else Kept(Path(asked.output), asked.mode)
    talk = Talk(asked.quiet)
    with talk.working("Asking the reference"):
        follower = _follower(found, preferences, asked, options, talk)
        free()
    talk.notes(follower.notes)
    start = follower.start
    moments = [start]
    if output is not None:
        head = header(run, start)
        moments += output.begin(head, lambda data: known(data, output.path, head), [])
    done = {(one.step, one.name) for one in moments}
    left = [at for at in found if (at.step, at.name) not in done]
    with stopping(talk, "after this checkpoint") as stopped:
        for moment in _moments(follower, left, options, talk):
            moments.append(moment)
            if output is not None:
                output.add(line(moment))
            if stopped():
                where = "; go on with --resume" if output is not None else "; -o FILE would keep them"
                talk.notes([f"interrupted after {len(moments) - 1} checkpoints{where}"])
                raise typer.Exit(INTERRUPTED)
    moments.sort(key=lambda moment: moment.step)
    return Trajectory(run, tuple(row.id for row in preferences), tuple(moments))


def _follower(
    found: Sequence[At],
    rows: Sequence[Row],
    asked: FollowOptions,
    options: PairOptions,
    talk: Talk,
) -> Follower:
    from dpo_credit.models.checkpoints import max_length, require_safe_weights
    from dpo_credit.models.devices import devices
    from dpo_credit.models.pair import ModelPair, load_model, trained_with
    from dpo_credit.trajectory.follow import Follower

    loading = options.loading()
    policies = [_policy(at, options) for at in found]
    policy = policies[0]
    place = _reference(policy, options)
    for one in policies:  # what is wrong with the last is said before the first is scored
        require_safe_weights(one.adapter or one.model, one, loading)
    tokenizer = _tokenizer(policies, place, loading, talk)
    reference = load_model(place, devices(loading.device)[-1], loading)
    beta, normalised, notes = trained_with(policy, options.beta, options.length_normalised)
    talk.notes(notes)
    if normalised and asked.samples:
        talk.notes(["length-normalised rewards have no KL as their mean: without Eq. 16"])
    pair: ModelPair = ModelPair(reference, reference, tokenizer, beta, max_length(place, loading), (), normalised)
    return Follower(
        pair,
        rows,
        conventions=options.conventions(),
        samples=asked.samples,
        max_new_tokens=asked.max_new_tokens,
        seed=asked.seed,
    )


def _tokenizer(
    policies: Sequence[Checkpoint], place: Checkpoint, loading: Loading, talk: Talk
) -> PreTrainedTokenizerBase:
    """The first policy's, as for `score`; every other model's must agree with it."""
    from dpo_credit.models.checkpoints import compare_tokenizers, load_tokenizer

    try:
        tokenizer = load_tokenizer(policies[0], loading)
    except CreditError:  # checkpoints of a trainer that was given no tokenizer bring none
        tokenizer = load_tokenizer(place, loading)
    reference = load_tokenizer(place, loading, default=tokenizer)
    for policy in policies:
        talk.notes(compare_tokenizers(load_tokenizer(policy, loading, default=tokenizer), reference))
    return tokenizer


def _policy(at: At, options: PairOptions) -> Checkpoint:
    from dpo_credit.models.checkpoints import find

    return find(at.model, "policy", replace(options.loading(), revision=at.revision))


def _reference(policy: Checkpoint, options: PairOptions) -> Checkpoint:
    from dpo_credit.models.checkpoints import find, read_record

    loading = options.loading()
    if options.reference is not None:
        return find(options.reference, "reference", loading)
    record = read_record(policy)
    if record is not None and record.reference is not None:
        return find(record.reference, "reference", replace(loading, revision=None))
    if policy.ref_adapter is not None:  # as TRL trains where the adapter was there before
        return find(policy.ref_adapter, "reference", replace(loading, revision=None))
    if policy.adapter is not None:
        return replace(policy, name=f"{policy.model.path} (adapter off)", role="reference", adapter=None)
    raise CreditError(f"{policy.name} does not say what it was trained from: name the SFT model with --reference.")


def _moments(follower: Follower, found: Sequence[At], options: PairOptions, talk: Talk) -> Iterator[Moment]:
    from dpo_credit.models.devices import devices
    from dpo_credit.models.pair import free, load_model

    loading = options.loading()
    for n, at in enumerate(found, 1):
        with talk.working(f"Step {at.step}, checkpoint {n} of {len(found)}"):
            model = load_model(_policy(at, options), devices(loading.device)[0], loading)
            moment = follower.at(at.step, at.name, model)
            del model
            free()
        yield moment


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
