"""What a training starts from: a model, or an adapter on its base, loaded so that it can learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dpo_credit.credit import CreditError
from dpo_credit.models.adapters import with_adapter
from dpo_credit.models.bases import fetched
from dpo_credit.models.checkpoints import Checkpoint, find
from dpo_credit.models.loading import load_module
from dpo_credit.models.pair import Loading
from dpo_credit.models.published import EMBEDDED, published
from dpo_credit.models.safety import require_safe_weights
from dpo_credit.train.recipe import Recipe

LOADING = Loading(device="cpu", dtype="float32")  # the trainer places the weights, and keeps them in float32


def start_of(recipe: Recipe) -> Checkpoint:
    """What a recipe's `model` names.

    Raises:
        CreditError: there is no such model, its weights are not safe, or it is an adapter and another is asked for.
    """
    start = find(_place(recipe.model), "policy", replace(LOADING, gguf=recipe.gguf))
    if start.adapter is not None and recipe.adapter is not None:
        raise CreditError(
            f"model {recipe.model} is an adapter, and the recipe asks for another on it. Leave adapter out, and "
            "training goes on with that one; or merge it into its base, then train that."
        )
    for place in filter(None, (start.model, start.adapter, start.ref_adapter)):
        require_safe_weights(place, start, LOADING)
    return start


def _place(model: str) -> str | Path:
    """Where a recipe's model is: the embedded reference and the fetched bases have names."""
    if model == "embedded":
        return EMBEDDED / "reference"
    pair = next((pair for pair in published() if pair.base and pair.name == model and not Path(model).exists()), None)
    return fetched(pair).path if pair else model


def trainable(start: Checkpoint) -> Any:
    """The model, all of whose weights learn, or with its adapter on, whose alone do.

    Raises:
        CreditError: it cannot be loaded.
    """
    module = load_module(start, torch.device("cpu"), LOADING)
    if start.adapter is None:
        return module.requires_grad_(True).train()
    adapted: Any = with_adapter(module, start, start.adapter).train()
    adapted.set_adapter("default")
    return adapted
