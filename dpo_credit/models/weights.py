"""What a model is: whether two have the same weights, and a fingerprint to know one by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

_NO_NUMBERS = (  # of configurations: where a model comes from, and how it is used
    *("_name_or_path", "transformers_version", "peft_version", "base_model_name_or_path", "revision", "auto_mapping"),
    *("inference_mode", "use_cache", "architectures", "id2label", "label2id"),
)
_WRAPPERS = ("base_model.model.", ".base_layer")  # what PEFT puts into the names of the weights it wraps


def fingerprint(module: nn.Module, inactive: Sequence[str] = ()) -> str:
    """32 hex digits that stand for all that decides a model's numbers: adapters that are `inactive` do not count.

    That is its weights, bit for bit, and what is made of them: its configuration as loaded (norms, rotary angles,
    activations, quantisation, attention's implementation) and that of its adapters. A base with its adapter off has the
    fingerprint of the base alone.
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps(_configurations(module, inactive), sort_keys=True, default=_listed).encode())
    weights = {
        plain_name(name): weight
        for name, weight in module.state_dict().items()
        if isinstance(weight, torch.Tensor) and not set(name.split(".")) & set(inactive)
    }
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _configurations(module: nn.Module, inactive: Sequence[str]) -> list[dict[str, Any]]:
    """A model's configuration and those of its active adapters, without names, places and versions."""
    config: Any = getattr(module, "config", None)
    if not hasattr(config, "to_dict"):
        return []  # no model of transformers'
    attention = getattr(config, "_attn_implementation", None)
    adapters = getattr(module, "peft_config", {})
    found = [{**config.to_dict(), "attention": attention}]
    found += [adapter.to_dict() for name, adapter in sorted(adapters.items()) if name not in inactive]
    return [{name: value for name, value in fields.items() if name not in _NO_NUMBERS} for fields in found]


def _listed(value: Any) -> Any:
    return sorted(value, key=str) if isinstance(value, set | frozenset) else str(value)


def plain_name(name: str) -> str:
    """A weight's name without what PEFT puts into it: that of the model it wraps."""
    for wrapper in _WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def notes_if_equal(policy: nn.Module, reference: nn.Module) -> tuple[str, ...]:
    """A note if the two models are the same: every reward is then zero. One module twice is an adapter on its base."""
    if policy is reference:
        ups = [weight for name, weight in policy.named_parameters() if "lora_B" in name]
        return (
            ("the adapter is untrained: policy and reference are equal, so every reward is zero",)
            if ups and not any(bool(weight.any()) for weight in ups)
            else ()
        )
    ours, theirs = policy.state_dict(), reference.state_dict()
    if ours.keys() != theirs.keys():
        return ()
    for name, weight in ours.items():  # trained models part at the first tensor or two
        other = theirs[name].to(weight.device)
        if weight.shape != other.shape or not torch.equal(weight, other):
            return ()
    return ("policy and reference have equal weights, so every reward is zero: is one of the two names wrong?",)
