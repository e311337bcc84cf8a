"""Which weights a policy moved away from its reference, and how far: the training's footprint, layer by layer.

An adapter counts as the change that it makes to the weights it sits on. One pair of tensors is compared at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor, nn

from dpo_credit.models.torch_side import TorchSide
from dpo_credit.models.weights import plain_name


@dataclass(frozen=True, slots=True)
class WeightChange:
    """How far a tensor, or all of a layer's together, moved: ||policy - reference|| / ||reference|| (Frobenius).

    `relative` is infinite where the reference is zero and the policy is not. `matrix`: the tensor has two axes or more.
    """

    name: str
    relative: float
    matrix: bool = True


@dataclass(frozen=True, slots=True)
class Footprint:
    """Two models' weights compared: by tensor and by layer, in the model's order.

    `layers` hold the blocks of a model, and each tensor outside them by itself. `unlike` names tensors whose shapes
    differ, `only` those that one model has alone, `skipped` those that are not numbers to compare (quantised).
    """

    tensors: tuple[WeightChange, ...]
    layers: tuple[WeightChange, ...]
    unlike: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def changed(self) -> int:
        """How many tensors differ at all."""
        return sum(change.relative > 0 for change in self.tensors)

    @property
    def median(self) -> float:
        """The median relative change of the matrices: what most of the model did. 0 if there are none."""
        return median([change.relative for change in self.tensors if change.matrix] or [0.0])

    @property
    def most_moved(self) -> tuple[WeightChange, ...]:
        """The tensors that differ, the furthest first."""
        moved = [change for change in self.tensors if change.relative]
        return tuple(sorted(moved, key=lambda change: -change.relative))


@torch.no_grad()
def footprint(policy: TorchSide, reference: TorchSide) -> Footprint | None:
    """Compare the weights of two loaded models; None if an adapter changes more than weights.

    The rows that both have of an embedding or a head are compared, where one is padded.
    """
    ours, theirs = _weights(policy), _weights(reference)
    if ours is None or theirs is None:
        return None
    tensors: list[WeightChange] = []
    sums: dict[str, list[float]] = {}
    unlike, skipped = [], []
    for name in (name for name in ours if name in theirs):
        weight, other = ours[name](), theirs[name]()
        if not (weight.is_floating_point() and other.is_floating_point()):
            skipped.append(name)
            continue
        if weight.shape != other.shape:
            if weight.shape[1:] != other.shape[1:] or not re.search("embed|head|wte", name):
                unlike.append(name)
                continue
            rows = min(len(weight), len(other))
            weight, other = weight[:rows], other[:rows]
        other = other.to(weight.device, torch.float32)
        moved, size = float((weight.float() - other).norm()) ** 2, float(other.norm()) ** 2
        tensors.append(WeightChange(name, _relative(moved, size), weight.dim() > 1))
        layer = sums.setdefault(_layer(name), [0.0, 0.0])
        layer[0] += moved
        layer[1] += size
    layers = tuple(WeightChange(name, _relative(*squares)) for name, squares in sums.items())
    only = tuple(sorted(ours.keys() ^ theirs.keys()))
    return Footprint(tuple(tensors), layers, tuple(unlike), only, tuple(skipped))


def without_adapters(model: TorchSide) -> TorchSide:
    """The same model with every adapter off, for `footprint`: what the adapter sits on."""
    return replace(model, inactive=tuple(_adapters(model)))


def _relative(moved: float, size: float) -> float:
    """From squared norms."""
    return (moved / size) ** 0.5 if size else (float("inf") if moved else 0.0)


def _layer(name: str) -> str:
    match = re.match(r"(.*?\.(\d+))\.", name)
    return f"layer {match[2]}" if match else name.rpartition(".")[0] or name


def _adapters(model: TorchSide) -> list[str]:
    return list(getattr(model.module, "peft_config", {}))


def _weights(model: TorchSide) -> dict[str, Callable[[], Tensor]] | None:
    """The weights that a side computes with, adapters applied, each made when it is asked for."""
    active = [name for name in _adapters(model) if name not in model.inactive]
    if not _adapters(model):
        return {name: _as_it_is(weight) for name, weight in model.module.named_parameters()}
    if any(not _is_additive(model.module, name) for name in active):
        return None
    return dict(_adapted(model.module, active))


def _is_additive(module: nn.Module, adapter: str) -> bool:
    """Whether an adapter is a sum on top of weights (LoRA and its kin, but not DoRA), or whole modules beside it."""
    layers = [part for part in module.modules() if hasattr(part, "base_layer")]
    return bool(layers) and all(
        hasattr(part, "get_delta_weight") and not getattr(part, "use_dora", {}).get(adapter) for part in layers
    )


def _as_it_is(weight: nn.Parameter) -> Callable[[], Tensor]:
    return lambda: weight.data


def _adapted(module: nn.Module, active: list[str]) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    adapted = {name: part for name, part in module.named_modules() if hasattr(part, "base_layer")}
    saved = {name: part for name, part in module.named_modules() if hasattr(part, "original_module")}
    for name, weight in module.named_parameters():
        owner, _, leaf = name.rpartition(".")
        inside = next((at for at in saved if name.startswith(f"{at}.")), None)
        if inside is not None:  # a module trained whole: original_module, and modules_to_save.<adapter>
            rest = name[len(inside) + 1 :]
            used = next((f"modules_to_save.{a}." for a in active if a in saved[inside].modules_to_save), "")  # type: ignore[operator]
            prefix = used or "original_module."
            if rest.startswith(prefix):
                yield plain_name(f"{inside}.{rest.removeprefix(prefix)}"), _as_it_is(weight)
            continue
        at = owner.removesuffix(".base_layer")
        if at != owner and at in adapted:
            yield plain_name(name), _with_deltas(adapted[at], weight, active if leaf == "weight" else [])
        elif not any(owner.startswith(f"{layer}.") for layer in adapted):
            yield plain_name(name), _as_it_is(weight)


def _with_deltas(layer: nn.Module, weight: nn.Parameter, active: list[str]) -> Callable[[], Tensor]:
    def effective() -> Tensor:
        total = weight.data
        for adapter in active:
            if adapter in getattr(layer, "scaling", {}):
                total = total + layer.get_delta_weight(adapter).to(total.dtype)  # type: ignore[operator]
        return total

    return effective
