"""The models of a run: its policies and what they started from, found and checked first, loaded one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dpo_credit.credit import CreditError
from dpo_credit.forward.budget import free
from dpo_credit.identity import identity_of_models, identity_of_text
from dpo_credit.models.adapters import fitted
from dpo_credit.models.checkpoints import (
    Checkpoint,
    compare_tokenizers,
    find,
    find_reference,
    load_tokenizer,
    max_length,
)
from dpo_credit.models.devices import devices
from dpo_credit.models.loading import load_reference, load_side
from dpo_credit.models.pair import Loading
from dpo_credit.models.safety import require_safe_weights
from dpo_credit.models.training import training_of
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.kept import Kept
from dpo_credit.rows.records import Row
from dpo_credit.rows.settings import refuse_changes
from dpo_credit.text.conventions import Conventions
from dpo_credit.trajectory.follow import Draw, Follower, Setup
from dpo_credit.trajectory.runs import At
from dpo_credit.trajectory.trajectory import Diverged, Moment, Trajectory, in_order
from dpo_credit.trajectory.trajectory_file import header, known, line, made_by_step

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_credit.models.torch_side import TorchSide


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
    brought = [load_tokenizer(policy, loading, default=tokenizer) for policy in policies]
    notes = [note for own in brought for note in compare_tokenizers(own, theirs)]
    each = [fitted(policy, start, (own, theirs), loading) for policy, own in zip(policies, brought, strict=True)]
    _, start, resized = each[0]
    return RunModels(tuple(policy for policy, *_ in each), start, tokenizer, loading, (*notes, *resized))


def ask_reference(
    models: RunModels,
    rows: Sequence[Row],
    *,
    beta: float | None,
    length_normalised: bool | None,
    conventions: Conventions,
    draw: Draw,
    aside: SetAside = STRICT,
) -> tuple[Follower, dict[str, Any], tuple[str, ...]]:
    """Score the rows under the reference, which is freed then; what decides its numbers; what the user should be told.

    Args:
        models: see `find_models`.
        rows: preferences.
        beta: see `load_pair`.
        length_normalised: likewise.
        conventions: how text becomes tokens; without a `max_length`, the model's own limit holds.
        draw: see `Draw`.
        aside: takes the rows that cannot be scored.

    Raises:
        CreditError: the model cannot be loaded, a row not be scored and is not set aside, or the run trained for
            rewards of another formula.
    """
    training = training_of(models.policies[0], beta, length_normalised)
    notes, normalised = training.notes, training.length_normalised
    if normalised and draw.samples:
        notes += ("length-normalised rewards have no KL as their mean: without Eq. 16",)
    device = devices(models.loading.device)[-1]
    side = load_reference(models.policies[0], models.reference, device, models.loading)
    if conventions.max_length is None:
        conventions = replace(conventions, max_length=max_length(models.reference, models.loading))
    follower = Follower(side, rows, Setup(models.tokenizer, training.beta, normalised, conventions), draw, aside)
    identity = {**identity_of_models({"reference": side}), **identity_of_text(models.tokenizer, conventions)}
    del side
    free()
    if training.cut is not None:
        notes += tuple(note for tokens in follower.tokens for note in training.cut.notes_on(tokens))
    return follower, identity, notes + follower.notes


class Following:
    """A run that is followed: what is known of it, and each checkpoint that is left, kept as soon as it is scored.

    `moments` are the reference as a policy, what the kept file holds, and what was scored since, the checkpoints that
    diverged among them; `left` is to come.

    Args:
        name: what the run is called.
        run: its checkpoints.
        models: see `find_models`.
        follower: see `ask_reference`.
        made_by: what decides the reference's numbers, see there.
        kept: the file that grows, if any; it is closed by whoever opened it.

    Raises:
        CreditError: the kept file was begun under other settings or with other models, or cannot be written.
    """

    def __init__(
        self,
        name: str,
        run: Sequence[At],
        models: RunModels,
        follower: Follower,
        made_by: dict[str, Any],
        kept: Kept | None = None,
    ) -> None:
        self.name, self.models, self.follower, self.kept = name, models, follower, kept
        self.moments: list[Moment | Diverged] = [follower.start]
        policies = list(zip(run, models.policies, strict=True))
        if kept is not None:
            run_name = {} if "," in name else {"run": name.partition("@")[0]}  # a list may grow
            head = header(name, follower.start, {**run_name, **made_by})

            def read(data: bytes) -> list[Moment | Diverged]:
                moments = known(data, kept.path, head)
                self._refuse_changed(kept, made_by_step(data), policies)
                return moments

            nothing: list[Moment | Diverged] = []
            self.moments += kept.begin(head, read, nothing)
        done = {moment.step for moment in self.moments[1:]}
        self.left = [(at, policy) for at, policy in policies if at.step not in done]

    def steps(self) -> Iterator[Moment | Diverged]:
        """Each checkpoint that is left, its policy loaded, scored, kept and freed.

        Raises:
            CreditError: a model cannot be loaded, or its numbers cannot be written.
        """
        for at, policy in self.left:
            side = self._load(policy)
            moment = self.follower.at(at.step, at.name, side)
            identity = None if self.kept is None else _identity(at, side)
            del side
            free()
            self.moments.append(moment)
            if self.kept is not None:
                self.kept.add(line(moment, identity))
            yield moment

    def _load(self, policy: Checkpoint) -> TorchSide:
        return load_side(policy, devices(self.models.loading.device)[0], self.models.loading)

    def _refuse_changed(
        self, kept: Kept, was: dict[int, dict[str, Any]], policies: Sequence[tuple[At, Checkpoint]]
    ) -> None:
        """Make sure that the checkpoints whose numbers are kept are what they were, those that are still there."""
        for at, policy in policies:
            if at.step in was:
                now = _identity(at, self._load(policy))
                free()
                refuse_changes(kept.path, was[at.step], now)

    def trajectory(self) -> Trajectory:
        """All moments so far, in the order of training."""
        ids = tuple(chosen.id for chosen, _ in self.follower.start.pairs)
        return in_order(self.name, ids, self.moments)


def _identity(at: At, policy: TorchSide) -> dict[str, Any]:
    """What decides the numbers of a checkpoint."""
    return identity_of_models({f"step {at.step}": policy})
