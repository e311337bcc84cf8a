"""How many tokens go through a model at a time: the one rule for a device that runs out of memory."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from dpo_credit.credit import CreditError

BATCH_TOKENS = 2048  # tokens in one forward pass: on CPUs throughput is flat from about 1,000 on
CUDA_BATCH_TOKENS = 1 << 14  # likewise on a GPU
LEAST_TOKENS = 64  # no device that holds a model lacks the memory for so few tokens

T = TypeVar("T")


class Budget:
    """Tokens in one forward pass, halved whenever the device has no memory for them; both sides of a pair share one.

    `notes` tell of each time. `done` says how many tokens lie behind. `tell` hears of what takes long, before it does.
    """

    def __init__(self, tokens: int = BATCH_TOKENS) -> None:
        self.tokens = tokens
        self.done = 0
        self.notes: list[str] = []
        self.tell: Callable[[str], None] = lambda line: None
        self._told: set[str] = set()

    def announce(self, line: str) -> None:
        """`tell`, once for both sides."""
        if line not in self._told:
            self._told.add(line)
            self.tell(line)

    def run(self, work: Callable[[int], T]) -> T:
        """What `work` gives with so many tokens at a time; it is done again with fewer where memory is short.

        Raises:
            CreditError: there is no memory for the fewest.
        """
        while True:
            try:
                return work(self.tokens)
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                self._halve(error)

    def _halve(self, error: Exception) -> None:
        if not is_memory_error(error):
            raise error
        free()
        if self.tokens <= LEAST_TOKENS:
            raise CreditError(
                f"out of memory even with {self.tokens} tokens at a time. Cut long prompts with --max-length "
                "and --truncate prompt-start, or use a smaller --dtype or another --device."
            ) from error
        self.tokens //= 2
        self.notes.append(f"out of memory: now {self.tokens} tokens at a time")


def budget_for(device: torch.device, tokens: int | None = None) -> Budget:
    """The budget that was asked for, else the device's own."""
    return Budget(tokens or (CUDA_BATCH_TOKENS if device.type == "cuda" else BATCH_TOKENS))


def is_memory_error(error: Exception) -> bool:
    """Whether it says that a device has no memory left; compilers wrap it in errors of their own."""
    texts = "can't allocate memory", "out of memory"
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in texts)
    )


def free() -> None:
    """Give the memory of models that were dropped back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
