"""A side that is a torch module here: packs, budgets, adapters and what transformers can do beyond scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dpo_credit.credit import Logps, Tokens
from dpo_credit.forward.budget import Budget, budget_for
from dpo_credit.forward.logprobs import LanguageModel, Reduce, causal_lm, in_float32, per_token, score_tokens
from dpo_credit.forward.sharing import NotSharedError, SharedPrompts, share_prompts, split
from dpo_credit.models.side import Distributions
from dpo_credit.models.weights import fingerprint

HALF = ("bfloat16", "float16")
# What a GPU computes in the ten seconds or so that compiling takes: from then on it has paid.
COMPILE_FLOPS = 3e15
OPERATIONS_A_TOKEN = 2  # for each parameter


@dataclass(frozen=True, slots=True)
class TorchSide:
    """A torch module as one side of a pair.

    Args:
        name: what outputs call it.
        module: a transformers causal LM, or PEFT's wrapper of one.
        logits: what computes its logits, its adapters as this side has them.
        device: where it takes its ids.
        dtype: what its body computes in, or how its weights are quantised.
        budget: tokens in one forward pass.
        active: entered around each use of the module: it switches an adapter off, or to another.
        inactive: names of its adapters that this side does not use.
        shared: scores answers to one prompt together, where that is sound.
    """

    name: str
    module: nn.Module = field(repr=False)
    logits: LanguageModel
    device: torch.device = torch.device("cpu")
    dtype: str = "float32"
    budget: Budget = field(default_factory=Budget, repr=False)
    active: Callable[[], AbstractContextManager[object]] = nullcontext
    inactive: tuple[str, ...] = ()
    shared: SharedPrompts | None = field(default=None, repr=False)

    @property
    def parameters(self) -> int:
        """How many numbers the module holds."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    def fingerprint(self) -> str:
        """See `weights.fingerprint`."""
        return fingerprint(self.module, self.inactive)

    def logps(self, batch: Sequence[Tokens]) -> list[Logps]:
        """See `Side.logps`; every prompt is computed once where that is sound."""
        return self.begin(batch)()

    def begin(self, batch: Sequence[Tokens]) -> Callable[[], list[Logps]]:
        """See `Ahead`."""
        shared = self.shared
        if shared is None:
            scored = score_tokens(self.logits, batch, self.device, budget=self.budget)
            return lambda: scored
        begun = self.budget.run(lambda tokens: list(self._packed(shared, batch, tokens)))

        def finish() -> list[Logps]:
            known = {index: logps for answers, ended in begun for index, logps in zip(answers, ended(), strict=True)}
            return [known[index] for index in range(len(batch))]

        return finish

    def _packed(
        self, shared: SharedPrompts, batch: Sequence[Tokens], tokens: int
    ) -> Iterator[tuple[tuple[int, ...], Callable[[], list[Logps]]]]:
        """Answers, and what brings their numbers to Python: pack by pack."""
        for pack, kind in shared.pieces(batch, tokens, compiled=self._compiles(shared, tokens)):
            try:
                yield pack.answers, partial(split, pack, shared.logps(pack, kind))
            except NotSharedError:
                answers = [batch[index] for index in pack.answers]
                scored = score_tokens(self.logits, answers, self.device, budget=self.budget)
                yield pack.answers, partial(list, scored)

    def _compiles(self, shared: SharedPrompts, tokens: int) -> bool:
        """Whether it is time for a compiled kernel: once as much was computed as compiling it is worth."""
        if self.device.type != "cuda" or OPERATIONS_A_TOKEN * self.parameters * self.budget.done < COMPILE_FLOPS:
            return False
        return shared.compiles(tokens, self.budget.announce)

    def top_logps(self, batch: Sequence[Tokens], count: int) -> list[Logps]:
        """See `TopK`; prompts are not shared."""
        return score_tokens(self.logits, batch, self.device, count, self.budget)

    def exact_logps(self, batch: Sequence[Tokens]) -> list[Logps] | None:
        """See `Exact`: a half-precision body runs once more in float32."""
        if self.dtype not in HALF:
            return None
        with self.in_float32():
            return score_tokens(self.logits, batch, self.device, budget=self.budget)

    def per_token(self, batch: Sequence[Tokens], reduce: Reduce) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        """See `Distributions`."""
        return per_token(self.logits, batch, self.device, reduce, self.budget)

    def in_float32(self) -> AbstractContextManager[None]:
        """While this is open, `logits` runs in float32: what a half-precision model's error is measured against."""
        return in_float32(self.module)


def side_of(module: nn.Module, name: str, *, quantize: str | None = None, budget: Budget | None = None) -> TorchSide:
    """A transformers model that is loaded already, as a side.

    Args:
        module: the causal LM, or PEFT's wrapper of one; in evaluation mode.
        name: what outputs call it.
        quantize: how its weights are quantised, if they are.
        budget: tokens in one forward pass; the device's own, if not given.
    """
    device = next(module.parameters()).device
    dtype = quantize or str(module.dtype).removeprefix("torch.")
    logits = causal_lm(module)
    wrapped: Any = module
    causal = wrapped.get_base_model() if hasattr(module, "get_base_model") else wrapped
    shared = share_prompts(causal, module, logits)
    return TorchSide(name, module, logits, device, dtype, budget or budget_for(device), shared=shared)


def answer_logits(side: Distributions, batch: Sequence[Tokens]) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """For every answer its tokens' logits (T,) and their normalisers (T,), nats, float32.

    `logit - normaliser` is the token's log-probability, as `Side.logps` gives it.
    """
    numbers: list[tuple[tuple[float, ...], tuple[float, ...]]] = [((), ())] * len(batch)
    for index, (own, normalisers) in side.per_token(batch, _own_and_normaliser):
        numbers[index] = tuple(own.tolist()), tuple(normalisers.tolist())
    return numbers


def _own_and_normaliser(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
    return logits.gather(-1, labels[:, None]).squeeze(-1), logits.logsumexp(-1)
