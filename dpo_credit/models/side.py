"""One model of a pair, as scoring sees it: a `Side`; and what only some sides can do, asked for by name.

Needs no torch: a table of log-probabilities, or a server that gives them, is a side like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from dpo_credit.credit import CreditError, Logps, Tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from dpo_credit.forward.budget import Budget
    from dpo_credit.forward.logprobs import LanguageModel, Reduce


class Side(Protocol):
    """What every side can do: scoring needs two of them and nothing else."""

    @property
    def name(self) -> str:
        """What outputs call it."""

    @property
    def dtype(self) -> str:
        """What its body computes in, such as "float32"."""

    def fingerprint(self) -> str:
        """What tells it from every other model: equal fingerprints give equal numbers.

        Raises:
            CreditError: nothing does.
        """

    def logps(self, batch: Sequence[Tokens]) -> list[Logps]:
        """Log-probabilities of answers, in the batch's order: nats, one an answer token.

        Raises:
            CreditError: a token lies outside the model's vocabulary.
        """


@runtime_checkable
class TopK(Protocol):
    """Knows which tokens it finds likeliest."""

    def top_logps(self, batch: Sequence[Tokens], count: int) -> list[Logps]:
        """`Side.logps`, with the `count` likeliest tokens at each position."""


@runtime_checkable
class Exact(Protocol):
    """Can say how far its arithmetic is off."""

    def exact_logps(self, batch: Sequence[Tokens]) -> list[Logps] | None:
        """`Side.logps` in float32; None where that is what it computes in anyway."""


@runtime_checkable
class Distributions(Protocol):
    """Has the logits of the whole vocabulary at every position."""

    def per_token(self, batch: Sequence[Tokens], reduce: Reduce) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """What `reduce` makes of them: see `forward.logprobs.per_token`."""


@runtime_checkable
class Module(Side, Protocol):
    """Is a torch module: it can generate text, has gradients, and weights to look at."""

    @property
    def module(self) -> nn.Module:
        """A transformers causal LM, or PEFT's wrapper of one."""

    @property
    def device(self) -> torch.device:
        """Where it takes its ids."""

    @property
    def logits(self) -> LanguageModel:
        """What computes its logits, its adapters as this side has them."""

    @property
    def active(self) -> Callable[[], AbstractContextManager[object]]:
        """Entered around each use of the module itself: its adapters are then as this side has them."""


@runtime_checkable
class OnDevice(Protocol):
    """Computes on a device, so many tokens at a time as that has the memory for."""

    @property
    def device(self) -> torch.device:
        """Where it takes its ids."""

    @property
    def budget(self) -> Budget:
        """How many; shared with the other side of the pair."""


@runtime_checkable
class Ahead(Protocol):
    """May compute while Python goes on."""

    @property
    def device(self) -> torch.device:
        """Where it computes: a GPU runs ahead of Python."""

    def begin(self, batch: Sequence[Tokens]) -> Callable[[], list[Logps]]:
        """`Side.logps` in two parts: what is returned waits for the numbers."""


@runtime_checkable
class Wrapper(Protocol):
    """Stands before another side: a cache, or a model that is loaded when it is needed."""

    def unwrapped(self) -> Side:
        """That side, in memory."""


_CANNOT = {
    TopK: "it does not tell which tokens it finds likely",
    Distributions: "it gives log-probabilities of the answers' own tokens only",
}
Capability = TypeVar("Capability")


def require(side: Side, capability: type[Capability], purpose: str) -> Capability:
    """A side that can do more than score.

    Args:
        side: whatever stands before the model is taken off.
        capability: a protocol of this module, or a class of sides.
        purpose: what it is needed for, as a sentence begins: "--top-k", say.

    Raises:
        CreditError: it cannot.
    """
    inner = unwrapped(side)
    if isinstance(inner, capability):
        return inner
    reason = _CANNOT.get(capability, "it is no torch module that runs here")
    raise CreditError(f"{purpose} asks more of {side.name} than it can do: {reason}. Name a model that runs here.")


def unwrapped(side: Side) -> Side:
    """The side behind all that stands before it, in memory."""
    while isinstance(side, Wrapper):
        side = side.unwrapped()
    return side
