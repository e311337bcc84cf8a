"""A LoRA on a reference's denoiser: diffusers' and PEFT's files, every weight of which has to fit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import nn

from dpo_credit.credit import CreditError
from dpo_credit.image.pipelines import PEFT, Given
from dpo_credit.models.locations import cannot_load, mending

_NAME = "default"  # what PEFT calls an adapter that has no other
_PEFT_WEIGHTS = "adapter_model.safetensors"


def with_lora(module: Any, given: Given) -> nn.Module:
    """The module with its LoRA on, in place.

    Raises:
        CreditError: it cannot be read, does not fit, or changes more than the denoiser.
    """
    if given.weights is None:
        raise CreditError(
            f"policy {given.name} is an adapter without adapter_model.safetensors. Save it as safetensors: other files "
            "can run code when loaded."
        )
    try:
        weights = load_file(given.weights)
    except Exception as error:  # see cannot_load
        raise cannot_load("policy", given.name, error, mending(given.weights)) from error
    config = given.place.file(PEFT, "policy") if given.weights.name == _PEFT_WEIGHTS else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what does not fit: it is counted
            put_on = _of_diffusers if config is None else _of_peft
            held, placed = put_on(module, given, given.weights, weights)
    except CreditError:
        raise
    except Exception as error:  # see cannot_load
        raise cannot_load(
            "the LoRA of policy", given.name, error, "Is the reference what it was trained on?"
        ) from error
    if held != placed:
        raise CreditError(
            f"policy {given.name} is a LoRA of {held} weights, of which {placed} fit the reference and are in its "
            "file: it was trained on another model, or its file is not whole."
        )
    return module.eval().requires_grad_(False)


def _of_peft(module: Any, given: Given, file: Path, weights: dict[str, Any]) -> tuple[int, int]:
    """Put a PEFT adapter's weights on: how many it has, and how many of them are both in its file and in the module."""
    config = PeftConfig.from_pretrained(str(file.parent))
    whole, bias = getattr(config, "modules_to_save", None), getattr(config, "bias", "none")
    if not isinstance(config, LoraConfig) or whole or bias != "none":
        what = f"modules_to_save {whole}" if whole else f"bias {bias!r}" if bias != "none" else str(config.peft_type)
        raise CreditError(
            f"policy {given.name} is an adapter with {what}, which stays when it is off. Merge it into a model."
        )
    placed = get_peft_model_state_dict(PeftModel.from_pretrained(module, str(file.parent)), adapter_name=_NAME)
    return len(weights.keys() | placed.keys()), len(weights.keys() & placed.keys())


def _of_diffusers(module: Any, given: Given, file: Path, weights: dict[str, Any]) -> tuple[int, int]:
    """Likewise the weights of a file of diffusers', or of those that it converts; only what is in it gets a place."""
    from diffusers.loaders import StableDiffusionXLLoraLoaderMixin

    if any("dora_scale" in name for name in weights):
        raise CreditError(f"policy {given.name} is a DoRA, which diffusers does not read. Merge it into a model.")
    state, alphas, metadata = StableDiffusionXLLoraLoaderMixin.lora_state_dict(
        str(file.parent),  # not the weights by themselves: their scale may stand in the file's head
        weight_name=file.name,
        unet_config=module.config,
        use_safetensors=True,
        local_files_only=True,
        return_lora_metadata=True,
    )
    others = sorted({name.partition(".")[0] for name in state} - {"unet", "transformer"})
    if others:
        raise CreditError(
            f"policy {given.name} changes {', '.join(others)} too, which both sides share here: Diffusion-DPO trains "
            "the denoiser alone. Leave those weights out."
        )
    prefix = next(iter(state), "unet").partition(".")[0]
    module.load_lora_adapter(dict(state), prefix=prefix, network_alphas=alphas, metadata=metadata, adapter_name=_NAME)
    return len(state), len(get_peft_model_state_dict(module, adapter_name=_NAME))
