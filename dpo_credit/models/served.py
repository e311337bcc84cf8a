"""Pairs of which one side, or both, is a model of a server. The tokenizer is the other side's, or named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dpo_credit.credit import CreditError
from dpo_credit.endpoint import bare, is_address
from dpo_credit.models.adapters import fitted
from dpo_credit.models.checkpoints import Checkpoint, find, load_tokenizer, max_length
from dpo_credit.models.devices import devices
from dpo_credit.models.fit import heads_left_out
from dpo_credit.models.loading import load_side
from dpo_credit.models.locations import locate
from dpo_credit.models.pair import Loading, ModelPair
from dpo_credit.models.server import connect
from dpo_credit.models.side import Side
from dpo_credit.models.training import training_of, training_unknown

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Role = Literal["policy", "reference"]


def load_served(
    policy: str | Path | None,
    reference: str | Path | None,
    *,
    beta: float | None,
    length_normalised: bool | None,
    loading: Loading,
) -> ModelPair:
    """`load_pair`, where a side is a model of a server; a server says neither its beta nor its dtype.

    Raises:
        CreditError: see `load_pair` and `connect`; or the two sides, or the tokenizer, are not named.
    """
    if policy is None:
        raise CreditError(
            f"reference {bare(str(reference))} without a policy. Name the DPO-trained model with --policy."
        )
    if reference is None:
        raise CreditError(
            f"policy {bare(str(policy))} is a model of a server, so its reference is another: name it with --reference."
        )
    names: dict[Role, str | Path] = {"policy": policy, "reference": reference}
    roles: list[Role] = [role for role, name in names.items() if not is_address(name)]
    notes: tuple[str, ...] = ()
    local: dict[Role, Checkpoint] = {}
    if roles:
        checkpoint, tokenizer, notes = _found(names[roles[0]], roles[0], loading)
        local[roles[0]] = checkpoint
    elif loading.tokenizer is None:
        raise CreditError(
            "policy and reference are models of servers, which take token ids: name the tokenizer that they share with "
            "--tokenizer, a directory or a hub name."
        )
    else:
        place = locate(loading.tokenizer, "--tokenizer")
        tokenizer = load_tokenizer(Checkpoint(loading.tokenizer, "--tokenizer", place), loading)
    keys = dict(zip(names, loading.keys, strict=True))
    served = {role: connect(str(names[role]), role, tokenizer, keys[role]) for role in names if role not in local}
    if "policy" in local:
        training = training_of(local["policy"], beta, length_normalised)
    else:
        training = training_unknown(served["policy"].name, beta, length_normalised)
    each = dict(zip(names, devices(loading.device), strict=True))
    sides: dict[Role, Side] = {**served}
    for role, checkpoint in local.items():
        sides[role] = load_side(checkpoint, each[role], loading)
    limits = [side.model.limit - 1 for side in served.values() if side.model.limit]  # a token more is always written
    limits += [limit for checkpoint in local.values() if (limit := max_length(checkpoint, loading))]
    whose = " and ".join(f"{role}'s" for role in served)
    where = " and ".join(dict.fromkeys(side.server.url for side in served.values()))
    said = f"the {whose} log-probabilities come from a server ({where}), whose weights and dtype are not known here"
    assumed = "; ".join(filter(None, (training.assumed, said)))
    if loading.sequential:
        notes += ("--sequential frees nothing here: no two models run here",)
    return ModelPair(
        sides["policy"],
        sides["reference"],
        tokenizer,
        beta=training.beta,
        max_length=min(limits, default=None),
        notes=(*(note for note in training.notes if note != training.assumed), *notes, assumed),
        length_normalised=training.length_normalised,
        assumed=assumed,
        cut=training.cut,
    )


def _found(
    name: str | Path, role: Role, loading: Loading
) -> tuple[Checkpoint, PreTrainedTokenizerBase, tuple[str, ...]]:
    """The side that runs here, with its tokenizer."""
    if loading.tokenizer is not None:
        raise CreditError(f"--tokenizer is for two servers; here it is that of {role} {name}. Leave it out.")
    checkpoint = find(name, role, loading)
    if loading.base is not None and checkpoint.adapter is None:
        raise CreditError(f"--base {loading.base} is for adapters, but {role} {name} is a whole model. Leave it out.")
    tokenizer = load_tokenizer(checkpoint, loading)
    checkpoint, _, notes = fitted(checkpoint, replace(checkpoint, own=True), (tokenizer, tokenizer), loading)
    return checkpoint, tokenizer, (*notes, *heads_left_out(checkpoint))
