"""Sides that do not fit into memory together: whichever is asked is loaded, and the other one let go of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dpo_credit.credit import Logps, Tokens
from dpo_credit.forward.budget import Budget, free
from dpo_credit.models.torch_side import HALF, TorchSide


class Memory:
    """Room for one model."""

    def __init__(self) -> None:
        self._owner: OnDemand | None = None
        self._side: TorchSide | None = None

    def hold(self, owner: OnDemand, load: Callable[[], TorchSide]) -> TorchSide:
        """The owner's model; another's is freed before it is loaded."""
        if self._side is None or self._owner is not owner:
            self._owner = self._side = None
            free()
            self._side = load()
            self._owner = owner
        return self._side


class OnDemand:
    """A side whose model is loaded when it is asked, into memory that it shares with another.

    Args:
        name: see `Side`.
        dtype: what the model's will be.
        device: where it will be.
        budget: see `TorchSide`.
        memory: where the model is held.
        load: loads it.
    """

    def __init__(
        self,
        name: str,
        dtype: str,
        *,
        device: torch.device,
        budget: Budget,
        memory: Memory,
        load: Callable[[], TorchSide],
    ) -> None:
        self.name, self.dtype, self.device, self.budget = name, dtype, device, budget
        self._memory, self._load = memory, load
        self._fingerprint: str | None = None

    def unwrapped(self) -> TorchSide:
        """The model, in memory."""
        return self._memory.hold(self, self._load)

    def fingerprint(self) -> str:
        """See `Side`; loaded for once."""
        if self._fingerprint is None:
            self._fingerprint = self.unwrapped().fingerprint()
        return self._fingerprint

    def logps(self, batch: Sequence[Tokens]) -> list[Logps]:
        """See `Side`."""
        return self.unwrapped().logps(batch)

    def exact_logps(self, batch: Sequence[Tokens]) -> list[Logps] | None:
        """See `Exact`."""
        return self.unwrapped().exact_logps(batch) if self.dtype in HALF else None
