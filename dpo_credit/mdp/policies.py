"""Policies of any MDP: a small network in a safetensors file, without code; see `callables` for one's own Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError
from dpo_credit.mdp.segments import Floats, Numbers

FAMILIES = ("categorical-mlp", "gaussian-mlp")
_ACTIVATIONS: dict[str, Callable[[Floats], Floats]] = {"relu": lambda x: np.maximum(x, 0.0), "tanh": np.tanh}
_MEANS = ("linear", "tanh")


class Policy(Protocol):
    """What gives actions their log-probabilities."""

    @property
    def name(self) -> str:
        """What views call it."""

    @property
    def action_names(self) -> tuple[str, ...]:
        """What discrete actions are called, from 0 on; () where nobody said."""

    def log_prob(self, observations: Floats, actions: Numbers) -> Floats:
        """log pi(a|s) of each step.

        Args:
            observations: (L, d).
            actions: (L,) whole numbers, or (L, k) real ones.

        Returns:
            (L,) nats; of real actions, of their density.

        Raises:
            CreditError: these are no observations or actions of its MDP.
        """


@dataclass(frozen=True, eq=False)
class Mlp:
    """A network of linear layers, run in float64: logits of discrete actions, or the means of real ones.

    `layers`: weights (out, in) and biases (out,) from the observation on, with `activation` between them. `log_std`
    (k,) makes it Gaussian with that standard deviation in every state, and `mean` "tanh" bounds its means; without, it
    is categorical.

    Raises:
        CreditError: the shapes do not fit together, or a number is not finite.
    """

    name: str
    layers: tuple[tuple[Floats, Floats], ...]
    activation: str = "relu"
    mean: str = "linear"
    log_std: Floats | None = None
    action_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.activation not in _ACTIVATIONS or self.mean not in _MEANS:
            raise CreditError(
                f"policy {self.name}: activation {self.activation!r} and mean {self.mean!r}; they must be of "
                f"{', '.join(_ACTIVATIONS)} and of {', '.join(_MEANS)}."
            )
        width = None
        for n, (weight, bias) in enumerate(self.layers):
            if weight.ndim != 2 or bias.shape != weight.shape[:1] or width not in (None, weight.shape[1]):
                raise CreditError(
                    f"policy {self.name}: layers.{n} has a weight of shape {weight.shape} and a bias of {bias.shape}"
                    + ("" if width is None else f" behind {width} units")
                    + "; they must be (out, in) and (out,)."
                )
            width = weight.shape[0]
        if self.log_std is not None and self.log_std.shape != (width,):
            raise CreditError(f"policy {self.name}: log_std has shape {self.log_std.shape}; it must be ({width},).")
        tensors = [tensor for layer in self.layers for tensor in layer]
        tensors += [] if self.log_std is None else [self.log_std]
        if not all(np.isfinite(tensor).all() for tensor in tensors):
            raise CreditError(f"policy {self.name}: its weights are not all finite. Take an earlier checkpoint.")
        if self.action_names and len(self.action_names) != width:
            raise CreditError(f"policy {self.name}: {len(self.action_names)} names for {width} actions.")

    @property
    def discrete(self) -> bool:
        """Whether it chooses among numbered actions."""
        return self.log_std is None

    def log_prob(self, observations: Floats, actions: Numbers) -> Floats:
        """log pi(a|s) (see `Policy`): the logits' log-softmax, or log N(a; mean, exp(log_std)^2) summed over k."""
        output = self._output(observations)
        wanted = "whole numbers" if self.discrete else "real"
        if (actions.ndim == 1) != self.discrete:
            raise CreditError(f"policy {self.name} has {wanted} actions, the segment others.")
        if self.log_std is None:
            if (actions >= output.shape[1]).any():
                raise CreditError(
                    f"action {actions.max()} at step {actions.argmax()}: policy {self.name} has {output.shape[1]}, "
                    "numbered from 0."
                )
            shifted = output - output.max(axis=1, keepdims=True)
            logps = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            return logps[np.arange(len(actions)), actions.astype(np.intp)]
        if actions.shape != output.shape:
            raise CreditError(f"actions of {actions.shape[1]} numbers; those of {self.name} have {output.shape[1]}.")
        means = np.tanh(output) if self.mean == "tanh" else output
        normed = (actions - means) / np.exp(self.log_std)
        return -0.5 * (normed**2).sum(axis=1) - self.log_std.sum() - 0.5 * len(self.log_std) * math.log(2 * math.pi)

    def _output(self, observations: Floats) -> Floats:
        taken = self.layers[0][0].shape[1]
        if observations.shape[1:] != (taken,):
            raise CreditError(
                f"observations of shape (L, {', '.join(map(str, observations.shape[1:]))}); policy {self.name} takes "
                f"(L, {taken})."
            )
        values = observations
        for n, (weight, bias) in enumerate(self.layers):
            values = (_ACTIVATIONS[self.activation](values) if n else values) @ weight.T + bias
        return values


def save_mlp(path: str | Path, policy: Mlp) -> None:
    """Write a network as safetensors (float32), with its family and sizes as metadata; see `load_mlp`."""
    from safetensors.numpy import save_file

    tensors = {f"layers.{n}.{part}": tensor for n, layer in enumerate(policy.layers)
               for part, tensor in zip(("weight", "bias"), layer, strict=True)}  # fmt: skip
    metadata = {
        "family": FAMILIES[not policy.discrete],
        "sizes": ",".join(str(size) for size in _sizes(policy.layers)),
        "activation": policy.activation,
    }
    if policy.log_std is not None:
        tensors["log_std"] = policy.log_std
        metadata["mean"] = policy.mean
    if policy.action_names:
        metadata["actions"] = ",".join(policy.action_names)
    save_file({name: np.ascontiguousarray(tensor, np.float32) for name, tensor in tensors.items()}, path, metadata)


def load_mlp(path: str | Path) -> Mlp:
    """A network from a safetensors file: nothing in it runs.

    Its metadata says `family` ("categorical-mlp" or "gaussian-mlp") and `sizes` (observation, hidden layers, actions,
    with commas), and may say `activation` ("relu", "tanh"), `mean` ("linear", "tanh") and `actions`, their names with
    commas. Its tensors are `layers.0.weight`, `layers.0.bias` and so on, and `log_std` of a Gaussian one.

    Raises:
        CreditError: it is none.
    """
    name = str(path)
    metadata, tensors = _read(name)
    family = metadata.get("family")
    if family not in FAMILIES:
        raise CreditError(
            f"policy {name} says its family is {family!r}; of its own a file can be {' or '.join(FAMILIES)}. Weights "
            "of another network need its code: --policy FILE.py:NAME --weights FILE.safetensors."
        )
    try:
        sizes = [int(size) for size in metadata.get("sizes", "").split(",")]
        layers = tuple(
            (tensors.pop(f"layers.{n}.weight"), tensors.pop(f"layers.{n}.bias")) for n in range(len(sizes) - 1)
        )
        log_std = tensors.pop("log_std") if family == "gaussian-mlp" else None
    except KeyError as error:
        raise CreditError(f"policy {name} has no tensor {error.args[0]}, which its sizes ask for.") from error
    except ValueError as error:
        raise CreditError(
            f"policy {name} says its sizes are {metadata.get('sizes')!r}; they must be numbers, such as 6,32,32,4."
        ) from error
    if tensors or not layers:
        held = ", ".join(sorted(tensors)) or "no layer"
        raise CreditError(
            f"policy {name} holds {held[:200]}, which is not what a {family} of sizes {sizes} is made of."
        )
    names = tuple(filter(None, metadata.get("actions", "").split(",")))
    policy = Mlp(
        name, layers, metadata.get("activation", "relu"), metadata.get("mean", "linear"), log_std, action_names=names
    )
    if _sizes(layers) != sizes:
        raise CreditError(f"policy {name} says its sizes are {sizes}, and its tensors are of {_sizes(layers)}.")
    return policy


def _sizes(layers: Sequence[tuple[Floats, Floats]]) -> list[int]:
    return [layers[0][0].shape[1], *(len(bias) for _, bias in layers)]


def _read(name: str) -> tuple[Mapping[str, str], dict[str, Any]]:
    from safetensors import safe_open

    try:
        with safe_open(name, framework="np") as file:
            return file.metadata() or {}, {key: file.get_tensor(key).astype(np.float64) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise CreditError(f"policy {name} does not exist. Give FILE.safetensors or FILE.py:NAME.") from error
    except Exception as error:  # safetensors raises an error of its own about the file, and what numpy lacks
        raise CreditError(f"policy {name} cannot be read as safetensors: {reason_of(error)}.") from error
