"""Where a model runs and in which numbers: what --device and --dtype name."""

from __future__ import annotations

import torch

from dpo_credit.credit import CreditError


def dtype_for(dtype: str, device: torch.device) -> torch.dtype:
    """bfloat16 on CUDA and float32 elsewhere for "auto", else the dtype of that name."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return getattr(torch, dtype)


def devices(asked: str) -> tuple[torch.device, torch.device]:
    """The policy's device and the reference's, of `Loading.device`.

    Raises:
        CreditError: it names none, or one that torch does not see here.
    """
    names = asked.split(",")
    if len(names) > 2:
        raise CreditError(
            f"--device {asked} names {len(names)} devices; give one, or the policy's and the reference's."
        )
    places = [_device(name.strip()) for name in names]
    return places[0], places[-1]


def _device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise CreditError(f"--device {name} is no device; use auto, cpu, cuda, cuda:N or mps.") from error
    if device.type not in ("cpu", "cuda", "mps"):
        raise CreditError(f"--device {name} is not supported; use auto, cpu, cuda, cuda:N or mps.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise CreditError(
            f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices here. Use --device cpu."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise CreditError("--device mps: torch sees no Apple GPU here. Use --device cpu.")
    return device
