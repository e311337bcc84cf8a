"""What a model's weights are: whether two models have the same, and a fingerprint to know them by."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import nn

_WRAPPERS = ("base_model.model.", ".base_layer")  # what PEFT puts into the names of the weights it wraps


def fingerprint(module: nn.Module, inactive: Sequence[str] = ()) -> str:
    """32 hex digits that stand for a model's weights, bit for bit: adapters that are `inactive` do not count.

    A base with its adapter off has the fingerprint of the base alone.
    """
    digest = hashlib.blake2b(digest_size=16)
    weights = {
        plain_name(name): weight
        for name, weight in module.state_dict().items()
        if isinstance(weight, torch.Tensor) and not set(name.split(".")) & set(inactive)
    }
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


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
