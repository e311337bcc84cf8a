"""What a policy's rewards are computed with: what is given, else what its training had, else a default, which is said.

The record that `dpo-credit train` left beside the policy comes before the arguments that TRL's trainer left there.
"""

from __future__ import annotations

from dataclasses import dataclass

from dpo_credit.credit import CreditError
from dpo_credit.models import training_args
from dpo_credit.models.checkpoints import Checkpoint, left_beside, read_record
from dpo_credit.models.objective import Objective, objective
from dpo_credit.models.pair import DEFAULT_BETA, Cut
from dpo_credit.models.published import named
from dpo_credit.models.trained import NAME, Trained

_NOTHING = Objective(losses=(), beta=None, length_normalised=False)


@dataclass(frozen=True, slots=True)
class Training:
    """What rewards are computed with, and what to say of it. `assumed` and `cut`: see `ModelPair`."""

    beta: float
    length_normalised: bool
    notes: tuple[str, ...] = ()
    assumed: str = ""
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    """What lies beside a policy: the objective in it and, for a sentence, in which file, or why there is no beta."""

    objective: Objective = _NOTHING
    where: str = ""
    without: str = ""


def training_of(policy: Checkpoint, beta: float | None = None, length_normalised: bool | None = None) -> Training:
    """What a policy's rewards are computed with.

    Args:
        policy: see `find`.
        beta: as given.
        length_normalised: as given: then by this formula, whatever the policy was trained for.

    Raises:
        CreditError: the record cannot be read, or the policy was trained for rewards of another formula.
    """
    known = _Known(objective({"beta": named(policy.pair).beta})) if policy.pair else _known(policy)
    return _training(policy.name, known, beta, length_normalised, comes_with_us=policy.pair is not None)


def training_unknown(name: str, beta: float | None = None, length_normalised: bool | None = None) -> Training:
    """`training_of` a policy that is elsewhere, so that nothing can lie beside it."""
    known = _Known(without=f"{name} is on a server, which does not say otherwise")
    return _training(name, known, beta, length_normalised)


def _training(
    name: str, known: _Known, beta: float | None, length_normalised: bool | None, *, comes_with_us: bool = False
) -> Training:
    own, trained = known.objective, f"{name} was trained with"
    notes, assumed = [], ""
    if beta is None and own.beta is None:
        assumed = f"beta {DEFAULT_BETA:g} assumed: {known.without}"
        notes.append(assumed)
    elif beta is None and not comes_with_us:
        notes.append(f"beta {own.beta:g}, as {trained}{known.where}")
    elif beta is not None and own.beta is not None and beta != own.beta:
        notes.append(f"beta {beta:g} as given; {trained} {own.beta:g}{known.where}")
    normalised = own.length_normalised if length_normalised is None else length_normalised
    formula = "beta / T × log-ratio, T the answer's tokens" if normalised else "beta × log-ratio"
    if own.refusal and length_normalised is None:
        raise CreditError(
            f"policy {trained} {own.refusal}{known.where}. To score it all the same, name a formula: "
            "--no-length-normalised is beta × log-ratio, --length-normalised divides that by the answer's tokens."
        )
    if own.refusal or (normalised != own.length_normalised and own.losses):
        what = own.refusal or f"loss {', '.join(own.losses)}"
        notes.append(f"rewards are {formula}, as given; {trained} {what}{known.where}")
    else:
        notes += [f"{trained} {word}" for word in own.words]
    if beta is None:
        beta = DEFAULT_BETA if own.beta is None else own.beta
    return Training(beta, normalised, tuple(notes), assumed, own.cut)


def _known(policy: Checkpoint) -> _Known:
    """What lies beside a policy that does not come with the package."""
    record = read_record(policy)
    if record is not None and record.beta is None:
        return _Known(without=f"{NAME} beside {policy.name} is of {record.method.upper()}, which has none")
    if record is not None:
        return _Known(_of_record(record))
    path = left_beside(policy, training_args.NAME)
    if path is None:
        return _Known(without=f"nothing beside {policy.name} says otherwise")
    try:
        kind, arguments = training_args.read(path)
    except CreditError as error:
        return _Known(without=str(error))
    which = f"the {training_args.NAME} beside {policy.name}"
    if kind == "OnlineDPOConfig" or not kind.endswith(("DPOConfig", "KTOConfig")):
        return _Known(without=f"{which} is of {kind}, which is not DPO's")
    read = objective(arguments)
    return _Known(read, f" ({training_args.NAME})", f"{which} holds no beta above zero")


def _of_record(record: Trained) -> Objective:
    """The objective of our own training: its recipe, which older records may lack."""
    recipe = record.recipe
    losses = str(recipe.get("loss", "sigmoid_norm" if record.length_normalised else "sigmoid"))
    cut = {"max_length": recipe.get("max_length")} if recipe.get("too_long") == "truncate" else {}
    return objective(
        {**recipe.get("trl", {}), **cut, "loss_type": [loss.strip() for loss in losses.split(",")], "beta": record.beta}
    )
