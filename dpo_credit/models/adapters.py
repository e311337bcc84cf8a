"""PEFT adapters: on their base or off it, and a base resized to the tokens that an adapter was trained with."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from dpo_credit.credit import CreditError
from dpo_credit.models.checkpoints import NAME_BASE, Checkpoint, load_config
from dpo_credit.models.fit import fitting, refuse_missing
from dpo_credit.models.locations import Location, cannot_load, mending
from dpo_credit.models.pair import Loading

_WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."  # what PEFT puts before the names of the weights it saves


def with_adapter(
    module: nn.Module, checkpoint: Checkpoint, adapter: Location, ref: Location | None = None
) -> nn.Module:
    """The module with its adapter on; with the adapter named "ref" beside it, if there is one.

    Raises:
        CreditError: one of them cannot be read, or does not fit the module.
    """
    from peft import PeftModel

    missing: list[str] = []
    try:
        with fitting(module, checkpoint), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(module, _directory(adapter, checkpoint.role))
            if ref:
                result = adapted.load_adapter(_directory(ref, checkpoint.role), adapter_name="ref")
                missing += result.missing_keys
    except CreditError:
        raise
    except Exception as error:  # see cannot_load
        if isinstance(error, KeyError):  # a module that was trained whole, and is not in the file
            refuse_missing(checkpoint, [name for name in error.args if str(name).startswith(_PREFIX)])
        advice = ""
        if re.search("size mismatch|Target modules", str(error)):
            advice = f"Its base here is {checkpoint.model.name}. {NAME_BASE}"
        raise cannot_load(f"the adapter of {checkpoint.role}", checkpoint.name, error, advice) from error
    for warning in said:  # PEFT goes on with random weights in place of missing ones
        if "Found missing adapter keys" in str(warning.message):
            missing += re.findall("'([^']+)'", str(warning.message))
    refuse_missing(checkpoint, missing)
    return adapted.eval().requires_grad_(False)


def restore(module: Any, adapter: Location, name: str, checkpoint: Checkpoint) -> None:
    """Give the adapter of that name other weights.

    Raises:
        CreditError: they cannot be read, or do not fit it.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    file = adapter.file(_WEIGHTS, checkpoint.role)
    if file is None:
        raise CreditError(f"{checkpoint.role} {checkpoint.name} has an adapter {name} without {_WEIGHTS}.")
    try:
        result: Any = set_peft_model_state_dict(module, load_file(file), adapter_name=name)
    except Exception as error:  # see cannot_load
        raise cannot_load(f"the adapter {name} of {checkpoint.role}", checkpoint.name, error, mending(file)) from error
    refuse_missing(checkpoint, [key for key in result.missing_keys if f".{name}." in key])


def _directory(adapter: Location, role: str) -> str:
    """Where an adapter's files are on this machine: PEFT finds none in a folder of the hub's cache by itself."""
    file = adapter.file(_WEIGHTS, role) or adapter.file("adapter_model.bin", role)
    return adapter.path if file is None else str(file.parent)


def adapter_off(module: Any) -> Callable[[], AbstractContextManager[object]]:
    """What makes a PEFT model its base, while it is open."""
    return module.disable_adapter


def adapter_ref(module: Any) -> Callable[[], AbstractContextManager[object]]:
    """What puts the adapter named "ref" in the place of a PEFT model's own, while it is open."""

    @contextmanager
    def active() -> Iterator[None]:
        module.set_adapter("ref")
        try:
            yield
        finally:
            module.set_adapter("default")

    return active


def fitted(
    policy: Checkpoint,
    reference: Checkpoint,
    tokenizers: tuple[PreTrainedTokenizerBase, PreTrainedTokenizerBase],
    loading: Loading,
) -> tuple[Checkpoint, Checkpoint, tuple[str, ...]]:
    """Both with the `rows` that adapters ask for, and what the user should be told.

    An adapter that was trained with added tokens brings the embeddings of all, or its tokenizer is longer than its base
    has embeddings. The base is resized as PEFT's own auto classes do; as a reference too, since that is what the
    trainer compared with, and a whole model named as the reference likewise if it is too short.

    Args:
        policy: see `find_pair`.
        reference: likewise.
        tokenizers: those of the two.
        loading: see `Loading`.

    Raises:
        CreditError: an adapter or a config cannot be read.
    """
    policy = _fitted(policy, tokenizers[0], loading)
    if reference.own:
        reference = replace(reference, rows=policy.rows)
    elif reference.adapter is not None:
        reference = _fitted(reference, tokenizers[1], loading)
    elif policy.rows is not None and policy.rows > _rows(reference, loading):
        reference = replace(reference, rows=policy.rows)
    resized = (policy,) if reference.own else (policy, reference)
    return policy, reference, tuple(_note(checkpoint, loading) for checkpoint in resized if checkpoint.rows is not None)


def _fitted(checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase, loading: Loading) -> Checkpoint:
    adapter = checkpoint.adapter
    if adapter is None:
        return checkpoint
    rows = _rows(checkpoint, loading)
    needed = _saved_rows(checkpoint, adapter, loading)
    if needed is None:
        brings = adapter.has("tokenizer_config.json", checkpoint.role)
        needed = max(rows, len(tokenizer)) if brings else rows
    return checkpoint if needed == rows else replace(checkpoint, rows=needed)


def _rows(checkpoint: Checkpoint, loading: Loading) -> int:
    """The embeddings that a model's files hold."""
    return int(load_config(checkpoint, loading).get_text_config().vocab_size)


def _saved_rows(checkpoint: Checkpoint, adapter: Location, loading: Loading) -> int | None:
    """The embeddings that an adapter saved whole; None where it saved none."""
    file = adapter.file(_WEIGHTS, checkpoint.role)
    if file is None:
        return None
    try:
        with safe_open(file, "pt") as weights:
            shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    except Exception as error:  # see cannot_load
        raise cannot_load(f"the adapter of {checkpoint.role}", checkpoint.name, error, mending(file)) from error
    whole = {name: shape for name, shape in shapes.items() if len(shape) == 2 and ".lora_" not in name}
    if not whole:
        return None
    config = load_config(checkpoint, loading)
    with torch.device("meta"):
        bare: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=loading.trust_remote_code)
    layers = [layer for layer in (bare.get_input_embeddings(), bare.get_output_embeddings()) if layer is not None]
    prefixes = tuple(
        f"{_PREFIX}{name}." for name, module in bare.named_modules() if any(module is layer for layer in layers)
    )
    return max(
        (shape[0] for name, shape in whole.items() if name.startswith(prefixes) and name.endswith("weight")),
        default=None,
    )


def _note(checkpoint: Checkpoint, loading: Loading) -> str:
    if checkpoint.adapter is None:
        return f"{checkpoint.role} {checkpoint.name} is resized to as many"
    return (
        f"{checkpoint.role} {checkpoint.name} was trained with {checkpoint.rows:,} embeddings, and its base has "
        f"{_rows(checkpoint, loading):,}: it is resized, and what the adapter does not bring is the mean of the others"
    )


def resize(module: Any, rows: int) -> None:
    """Give a causal LM another number of embeddings, in place; new ones are the mean of those that it had.

    Equals `resize_token_embeddings` of transformers, which draws each new one from a normal distribution about that
    mean with 1e-9 times the covariance of the others; without the draw, two runs give the same numbers.
    """
    had = [len(layer.weight) for layer in _embeddings(module)]
    module.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer, count in zip(_embeddings(module), had, strict=True):
            for weight in layer.parameters(recurse=False):  # a head may have a bias
                if count < rows:
                    weight[count:] = weight[:count].float().mean(0)


def _embeddings(module: Any) -> list[Any]:
    layers = (module.get_input_embeddings(), module.get_output_embeddings())
    return [layer for layer in layers if layer is not None]
