"""The models of a run: its policies and what they started from, found and checked first, loaded one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dpo_credit.credit import CreditError
from dpo_credit.forward.budget import free
from dpo_credit.models.checkpoints import (
    Checkpoint,
    compare_tokenizers,
    find,
    find_reference,
    load_tokenizer,
    max_length,
    require_safe_weights,
)
from dpo_credit.models.devices import devices
from dpo_credit.models.loading import load_side, trained_with
from dpo_credit.models.pair import Loading
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.kept import Kept
from dpo_credit.rows.records import Row
from dpo_credit.text.encode import Conventions
from dpo_credit.trajectory.follow import Draw, Follower, Setup
from dpo_credit.trajectory.runs import At
from dpo_credit.trajectory.trajectory import Moment, Trajectory
from dpo_credit.trajectory.trajectory_file import header, known, line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class RunModels:
    """The policies of a run in the order of its checkpoints, their reference, and the tokenizer of all."""

    policies: tuple[Checkpoint, ...]
    reference: Checkpoint
    tokenizer: PreTrainedTokenizerBase
    loading: Loading
    notes: tuple[str, ...] = ()


def find_models(run: Sequence[At], reference: str | None, loading: Loading) -> RunModels:
    """Find the models of a run's checkpoints and what they were trained from; nothing is loaded.

    Args:
        run: see `checkpoints`.
        reference: the SFT model; None is what the first policy brings (see `find_reference`).
        loading: see `Loading`.

    Raises:
        CreditError: one is not there or not safe to load, or its tokenizer differs.
    """
    policies = tuple(find(at.model, "policy", replace(loading, revision=at.revision)) for at in run)
    start = find_reference(policies[0], reference, loading)
    for policy in policies:  # what is wrong with the last is said before the first is scored
        require_safe_weights(policy.adapter or policy.model, policy, loading)
    try:
        tokenizer = load_tokenizer(policies[0], loading)
    except CreditError:  # checkpoints of a trainer that was given no tokenizer bring none
        tokenizer = load_tokenizer(start, loading)
    theirs = load_tokenizer(start, loading, default=tokenizer)
    notes = [
        note
        for policy in policies
        for note in compare_tokenizers(load_tokenizer(policy, loading, default=tokenizer), theirs)
    ]
    return RunModels(policies, start, tokenizer, loading, tuple(notes))


def ask_reference(
    models: RunModels,
    rows: Sequence[Row],
    *,
    beta: float | None,
    length_normalised: bool | None,
    conventions: Conventions,
    draw: Draw,
    aside: SetAside = STRICT,
) -> tuple[Follower, tuple[str, ...]]:
    """Score the rows under the reference, which is freed then; and what the user should be told.

    Args:
        models: see `find_models`.
        rows: preferences.
        beta: see `load_pair`.
        length_normalised: likewise.
        conventions: how text becomes tokens; without a `max_length`, the model's own limit holds.
        draw: see `Draw`.
        aside: takes the rows that cannot be scored.

    Raises:
        CreditError: the model cannot be loaded, or a row not be scored and is not set aside.
    """
    beta, normalised, notes = trained_with(models.policies[0], beta, length_normalised)
    if normalised and draw.samples:
        notes += ("length-normalised rewards have no KL as their mean: without Eq. 16",)
    side = load_side(models.reference, devices(models.loading.device)[-1], models.loading)
    if conventions.max_length is None:
        conventions = replace(conventions, max_length=max_length(models.reference, models.loading))
    follower = Follower(side, rows, Setup(models.tokenizer, beta, normalised, conventions), draw, aside)
    del side
    free()
    return follower, notes + follower.notes


class Following:
    """A run that is followed: what is known of it, and each checkpoint that is left, kept as soon as it is scored.

    `moments` are the reference as a policy, what the kept file holds, and what was scored since; `left` is to come.

    Args:
        name: what the run is called.
        run: its checkpoints.
        models: see `find_models`.
        follower: see `ask_reference`.
        kept: the file that grows, if any; it is closed by whoever opened it.

    Raises:
        CreditError: the kept file was begun under other settings, or cannot be written.
    """

    def __init__(
        self, name: str, run: Sequence[At], models: RunModels, follower: Follower, kept: Kept | None = None
    ) -> None:
        self.name, self.models, self.follower, self.kept = name, models, follower, kept
        self.moments = [follower.start]
        if kept is not None:
            head = header(name, follower.start)
            nothing: list[Moment] = []
            self.moments += kept.begin(head, lambda data: known(data, kept.path, head), nothing)
        done = {(moment.step, moment.name) for moment in self.moments}
        self.left = [
            (at, policy) for at, policy in zip(run, models.policies, strict=True) if (at.step, at.name) not in done
        ]

    def steps(self) -> Iterator[Moment]:
        """Each checkpoint that is left, its policy loaded, scored, kept and freed.

        Raises:
            CreditError: a model cannot be loaded, its numbers are not finite, or they cannot be written.
        """
        device = devices(self.models.loading.device)[0]
        for at, policy in self.left:
            side = load_side(policy, device, self.models.loading)
            moment = self.follower.at(at.step, at.name, side)
            del side
            free()
            self.moments.append(moment)
            if self.kept is not None:
                self.kept.add(line(moment))
            yield moment

    def trajectory(self) -> Trajectory:
        """All moments so far, in the order of training."""
        moments = sorted(self.moments, key=lambda moment: moment.step)
        ids = tuple(chosen.id for chosen, _ in self.follower.start.pairs)
        return Trajectory(self.name, ids, tuple(moments))
