"""What scoring a picture needs of a model, and of a policy and its reference together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError
from dpo_credit.forward.budget import is_memory_error
from dpo_credit.image.pictures import Pixels
from dpo_credit.models.weights import fingerprint

DEFAULT_BETA = 5000.0  # of Diffusion-DPO's published models
Condition = Mapping[str, Any]  # a prompt as a denoiser's arguments: tensors (1, ...), or mappings of such
Prediction = Literal["epsilon", "v_prediction"]


class Denoiser(Protocol):
    """One side of a pair."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def dtype(self) -> str:
        """What it computes in, such as "float32"."""

    def fingerprint(self) -> str:
        """What tells it from every other model."""

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """The noise in noisy pictures, or their velocity.

        Args:
            noisy: (B, C, h, w), on any device.
            timesteps: (B,), of the training steps.
            condition: the prompt of all of them.

        Returns:
            (B, C, h, w) float32, on the CPU.

        Raises:
            CreditError: the model cannot compute it.
        """


@dataclass(frozen=True, slots=True)
class Space:
    """What both sides of a pair denoise, and how pictures and prompts get there.

    `encode`: (H, W, 3) -> (channels, h, w) float32 on the CPU. `condition`: of a prompt, for a picture of that width
    and height. `multiple`: of how many pixels width and height are; `native`: the width and height that the models
    were trained on. `latent`: whether a VAE is between pixels and cells. `unknown`: what of a prompt has no token.
    `fingerprint`: of VAE and text encoders.
    """

    encode: Callable[[Pixels], Tensor]
    condition: Callable[[str, int, int], Condition]
    channels: int
    multiple: int
    native: int
    latent: bool
    unknown: Callable[[str], tuple[str, ...]]
    fingerprint: Callable[[], str]


@dataclass(frozen=True, slots=True)
class DenoiserPair:
    """A Diffusion-DPO policy and the reference that it was trained from.

    `scheduler`: diffusers' DDPMScheduler with the noise of their training, whatever their pipeline samples with.
    """

    policy: Denoiser
    reference: Denoiser
    space: Space
    scheduler: Any
    beta: float = DEFAULT_BETA
    notes: tuple[str, ...] = ()

    @property
    def prediction(self) -> Prediction:
        """What the models predict."""
        return self.scheduler.config["prediction_type"]


@dataclass(frozen=True, slots=True)
class TorchDenoiser:
    """A diffusers UNet or transformer. `adapter`: whether its adapter is on, for a module that two sides share.

    `channels`: of what it predicts, the noise comes first; a learned variance may follow.
    """

    name: str
    role: str
    module: nn.Module
    channels: int
    adapter: bool = True

    @property
    def dtype(self) -> str:
        """What it computes in."""
        return str(self._weight.dtype).removeprefix("torch.")

    def fingerprint(self) -> str:
        """See `models.weights`; a side with its adapter off has the fingerprint of its base."""
        return fingerprint(self.module, () if self.adapter else adapters_of(self.module))

    def predict(self, noisy: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """See `Denoiser`."""
        device, dtype = self._weight.device, self._weight.dtype
        arguments = _expanded(condition, len(noisy), device, dtype)
        try:
            with torch.inference_mode(), _exact(), _adapter(self.module, self.adapter):
                predicted = self.module(noisy.to(device, dtype), timestep=timesteps.to(device), **arguments).sample
                return predicted[:, : self.channels].float().cpu()
        except Exception as error:  # what its code cannot compute is a fault of its settings
            if is_memory_error(error):
                raise
            raise CreditError(
                f"{self.role} {self.name} loads and cannot run: {reason_of(error).rstrip('.')}. Compare its "
                "config.json with the model's own."
            ) from error

    @property
    def _weight(self) -> Tensor:
        return next(self.module.parameters())


def _expanded(condition: Condition, count: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The same prompt for so many pictures; whole numbers, such as masks, stay what they are."""
    arguments: dict[str, Any] = {}
    for name, value in condition.items():
        if isinstance(value, Tensor):
            typed = value.to(device, dtype) if value.is_floating_point() else value.to(device)
            arguments[name] = typed.expand(count, *value.shape[1:])
        else:
            arguments[name] = value if value is None else _expanded(value, count, device, dtype)
    return arguments


@contextmanager
def _exact() -> Iterator[None]:
    """Convolutions in the numbers they are given: a GPU would round float32 to 10 bits, as coarse as the rewards."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def adapters_of(module: nn.Module) -> list[str]:
    """The names of the adapters in a module."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = (layer for layer in module.modules() if isinstance(layer, BaseTunerLayer))
    return sorted({name for layer in layers for name in layer.active_adapters})


@contextmanager
def _adapter(module: nn.Module, on: bool) -> Iterator[None]:
    """A module without its adapters while the block runs, unless they are `on`."""
    if on:
        yield
        return
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
