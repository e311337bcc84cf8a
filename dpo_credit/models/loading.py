"""Loading a policy and its reference: two models, or one base with its adapter on and off.

The only place that loads weights. Only safetensors load, and no code from a model's repository runs, unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from dpo_credit.credit import CreditError
from dpo_credit.endpoint import is_address
from dpo_credit.forward.budget import Budget, budget_for, is_memory_error
from dpo_credit.forward.sharing import share_prompts
from dpo_credit.models.adapters import adapter_off, adapter_ref, fitted, resize, with_adapter
from dpo_credit.models.bases import note_on_default
from dpo_credit.models.checkpoints import (
    Checkpoint,
    cannot_load_model,
    compare_tokenizers,
    find_pair,
    load_config,
    load_tokenizer,
    max_length,
)
from dpo_credit.models.devices import devices, dtype_for
from dpo_credit.models.fit import heads_left_out, require_fit
from dpo_credit.models.in_turn import Memory, OnDemand
from dpo_credit.models.locations import cannot_load
from dpo_credit.models.pair import Loading, ModelPair
from dpo_credit.models.safety import require_safe_weights
from dpo_credit.models.silence import no_progress_bar
from dpo_credit.models.torch_side import TorchSide, side_of
from dpo_credit.models.training import training_of
from dpo_credit.models.weights import notes_if_equal


def load_pair(
    policy: str | Path | None = None,
    reference: str | Path | None = None,
    *,
    beta: float | None = None,
    length_normalised: bool | None = None,
    loading: Loading = Loading(),
) -> ModelPair:
    """Load a policy and its reference; the default pair where neither is named, which is noted (see `bases.default`).

    Args:
        policy: a directory or a hub id of a causal LM, or of a PEFT adapter; or the address of a server's API, such as
            http://localhost:8000/v1, where it has several models with one's name after a # (see `models.server`).
        reference: likewise. With an adapter as the policy it defaults to the adapter named "ref" that TRL saves beside
            it, else to the same base with the adapter off; either way there is one base in memory. With a policy of
            `dpo-credit train` it defaults to what its record names.
        beta: the one the policy was trained with; None is what its training left beside it, else 0.1, which is noted.
        length_normalised: whether it was trained with length-normalised DPO (see `Credit`); None likewise, else no.
        loading: see `Loading`.

    Raises:
        CreditError: a model cannot be loaded safely, the two tokenizers differ, or the policy was trained for rewards
            that are no sum of its tokens' log-ratios (and `length_normalised` is None).
    """
    if is_address(policy) or is_address(reference):
        from dpo_credit.models.served import load_served

        return load_served(policy, reference, beta=beta, length_normalised=length_normalised, loading=loading)
    if loading.tokenizer is not None:
        raise CreditError("--tokenizer is for two servers; models that run here bring theirs. Leave it out.")
    each = devices(loading.device)
    chosen, other = find_pair(policy, reference, loading)
    training = training_of(chosen, beta, length_normalised)
    notes = training.notes + ((note_on_default(),) if policy is None else ())
    tokenizer = load_tokenizer(chosen, loading)
    tokenizers = tokenizer, tokenizer if other.own else load_tokenizer(other, loading, default=tokenizer)
    notes += compare_tokenizers(*tokenizers)
    chosen, other, resized = fitted(chosen, other, tokenizers, loading)
    notes += resized
    limit = min((n for n in (max_length(chosen, loading), max_length(other, loading)) if n), default=None)
    notes += heads_left_out(chosen) + (() if other.own else heads_left_out(other))
    budget = budget_for(each[0], loading.tokens_per_batch)
    pair = partial(
        ModelPair,
        tokenizer=tokenizer,
        beta=training.beta,
        max_length=limit,
        length_normalised=training.length_normalised,
        assumed=training.assumed,
        cut=training.cut,
    )
    if loading.sequential and not other.own:
        memory = Memory()
        ours, theirs = (
            OnDemand(
                checkpoint.name,
                _dtype(device, loading),
                device=device,
                budget=budget,
                memory=memory,
                load=partial(load_side, checkpoint, device, loading, budget),
            )
            for checkpoint, device in zip((chosen, other), each, strict=True)
        )
        return pair(ours, theirs, notes=notes, in_turn=True)
    if loading.sequential:
        notes += ("--sequential frees nothing here: policy and reference share one base",)
    sides = (
        _load_adapter_pair(chosen, other, each[0], loading, budget)
        if other.own
        else (load_side(chosen, each[0], loading, budget), load_side(other, each[1], loading, budget))
    )
    notes += notes_if_equal(sides[0].module, sides[1].module)
    return pair(*sides, notes=notes)


def load_side(
    checkpoint: Checkpoint, device: torch.device, loading: Loading = Loading(), budget: Budget | None = None
) -> TorchSide:
    """One model by itself, with its adapter on if it has one.

    Raises:
        CreditError: it cannot be loaded, or not safely.
    """
    module = load_module(checkpoint, device, loading)
    if checkpoint.adapter:
        module = with_adapter(module, checkpoint, checkpoint.adapter)
    with _first_pass(checkpoint):
        return side_of(
            module,
            checkpoint.name,
            quantize=loading.quantize,
            budget=budget or budget_for(device, loading.tokens_per_batch),
        )


@contextmanager
def _first_pass(checkpoint: Checkpoint) -> Iterator[None]:
    """While a model runs for the first time: what its code cannot compute is a fault of its settings.

    Raises:
        CreditError: it cannot run.
    """
    try:
        yield
    except Exception as error:  # see cannot_load
        if isinstance(error, CreditError) or is_memory_error(error):
            raise
        advice = f"It loads and cannot run: compare the config.json in {checkpoint.model.path} with the model's own."
        raise cannot_load(checkpoint.role, checkpoint.name, error, advice) from error


def load_reference(
    policy: Checkpoint, reference: Checkpoint, device: torch.device, loading: Loading = Loading()
) -> TorchSide:
    """A policy's reference by itself, as it would be beside the policy.

    Raises:
        CreditError: it cannot be loaded, or not safely.
    """
    if reference.own and reference.rows is not None:  # an adapter may bring its base's embeddings of added tokens
        budget = budget_for(device, loading.tokens_per_batch)
        return _load_adapter_pair(policy, reference, device, loading, budget)[1]
    return load_side(reference, device, loading)


def load_module(checkpoint: Checkpoint, device: torch.device, loading: Loading) -> nn.Module:
    """A checkpoint's causal LM, without its adapter, on a device, frozen and in evaluation mode.

    Raises:
        CreditError: it cannot be loaded, or not safely.
    """
    if load_config(checkpoint, loading).is_encoder_decoder:
        raise CreditError(
            f"{checkpoint.role} {checkpoint.name} is an encoder-decoder; DPO credit needs a causal language model."
        )
    module, info = load_weights(AutoModelForCausalLM, checkpoint, device, loading)
    require_fit(checkpoint, info)
    if checkpoint.rows is not None:
        resize(module, checkpoint.rows)
    return module.eval().requires_grad_(False)


def load_weights(
    kind: Any, checkpoint: Checkpoint, device: torch.device, loading: Loading
) -> tuple[nn.Module, dict[str, Any]]:
    """A checkpoint's model as an auto class of transformers makes it, on a device, and what `require_fit` asks for.

    Raises:
        CreditError: it cannot be loaded, or not safely.
    """
    for place in filter(None, (checkpoint.model, checkpoint.adapter)):
        require_safe_weights(place, checkpoint, loading)
    options: dict[str, Any] = {
        **checkpoint.model.options(loading),
        "dtype": dtype_for(loading.dtype, device),
        "use_safetensors": None if loading.allow_pickle else True,
        "attn_implementation": loading.attn_implementation,
        "device_map": loading.device_map,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that we hear of them: transformers would only log them
    }
    if loading.quantize:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(**{f"load_in_{loading.quantize}": True})
        options["device_map"] = loading.device_map or {"": device}
    try:
        with no_progress_bar():
            module, info = kind.from_pretrained(checkpoint.model.path, **options)
        if options["device_map"] is None:
            module.to(device)
    except Exception as error:  # see cannot_load
        raise cannot_load_model(checkpoint, error) from error
    return module, info


def _dtype(device: torch.device, loading: Loading) -> str:
    """What a model's dtype will be called once it is loaded."""
    return loading.quantize or str(dtype_for(loading.dtype, device)).removeprefix("torch.")


def _load_adapter_pair(
    policy: Checkpoint, reference: Checkpoint, device: torch.device, loading: Loading, budget: Budget
) -> tuple[TorchSide, TorchSide]:
    """One base in memory: the policy's adapter on it, and the reference's in its place, or none."""
    assert policy.adapter is not None
    if reference.adapter is not None:
        require_safe_weights(reference.adapter, policy, loading)
    module: Any = with_adapter(load_module(policy, device, loading), policy, policy.adapter, reference.adapter)
    bias = getattr(module.peft_config["default"], "bias", "none")
    if bias != "none":
        raise CreditError(
            f"{policy.role} {policy.name} is an adapter that trained biases of its base too (bias={bias!r}), which "
            f"stay when it is off. Name its base as the reference: --reference {policy.model.path}"
        )
    with _first_pass(policy):
        side = side_of(module, policy.name, quantize=loading.quantize, budget=budget)
    active = adapter_off(module) if reference.adapter is None else adapter_ref(module)

    def reference_logits(ids: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        with active():
            return side.logits(ids, mask, rows)

    return replace(side, inactive=("ref",)), replace(
        side,
        name=reference.name,
        logits=reference_logits,
        active=active,
        inactive=("default", "ref") if reference.adapter is None else ("default",),
        shared=share_prompts(module.get_base_model(), module, reference_logits, active),
    )
