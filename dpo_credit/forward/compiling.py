"""A model's layers compiled one by one, for the time of a pass over a pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

_PLAIN = ("torch.nn.", "transformers.")  # packages whose modules are what their code says, and nothing beside it


@contextmanager
def compiled_layers(model: nn.Module, compiled: dict[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Run each layer but the last, which has hooks of ours, as one compiled function, if its parts are plain modules.

    Layers that are alike are compiled once, when the first is run, for inputs of its shape. Outside of this they run as
    they did. `compiled` keeps the functions from pass to pass.
    """
    layers = [layer for layer in _layers(model)[:-1] if _is_plain(layer)]
    for layer in layers:
        if layer not in compiled:
            compiled[layer] = torch.compile(layer._call_impl, dynamic=False)
        layer._compiled_call_impl = compiled[layer]
    try:
        yield
    finally:
        for layer in layers:
            layer._compiled_call_impl = None


def _layers(model: nn.Module) -> list[nn.Module]:
    """The modules of a model's list of layers; empty where there is none."""
    count = model.config.get_text_config().num_hidden_layers  # type: ignore[union-attr,operator]
    for module in model.base_model.modules():  # type: ignore[union-attr,operator]
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return list(module)
    return []


def _is_plain(layer: nn.Module) -> bool:
    """Whether nothing stands between a layer and its code: no adapter, no quantised weights, no offloading, no hook."""
    return all(
        type(module).__module__.startswith(_PLAIN)
        and not hasattr(module, "_hf_hook")
        and not module._forward_hooks
        and not module._forward_pre_hooks
        for module in layer.modules()
    )
