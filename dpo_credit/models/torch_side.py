"""A side that is a torch module here: packs, budgets, adapters and what transformers can do beyond scoring."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dpo_credit.credit import Logps, Tokens
from dpo_credit.forward.budget import Budget, budget_for
from dpo_credit.forward.logprobs import LanguageModel, Reduce, causal_lm, in_float32, per_token, score_tokens
from dpo_credit.forward.packing import Pack, packs
from dpo_credit.forward.sharing import NotSharedError, SharedPrompts, share_prompts, split
from dpo_credit.models.side import Distributions
from dpo_credit.models.weights import fingerprint

HALF = ("bfloat16", "float16")


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

    def fingerprint(self) -> str:
        """See `weights.fingerprint`."""
        return fingerprint(self.module, self.inactive)

    def logps(self, batch: Sequence[Tokens]) -> list[Logps]:
        """See `Side.logps`; every prompt is computed once where that is sound."""
        shared = self.shared
        if shared is None:
            return score_tokens(self.logits, batch, self.device, budget=self.budget)
        return self.budget.run(lambda tokens: self._packed(shared, batch, tokens))

    def _packed(self, shared: SharedPrompts, batch: Sequence[Tokens], tokens: int) -> list[Logps]:
        scored: dict[int, Logps] = {}
        ahead: list[tuple[Pack, Tensor]] = []  # what a GPU computes while the next pack is on its way to it
        for pack in packs(batch, tokens):
            try:
                ahead.append((pack, shared.logps(pack)))
            except NotSharedError:
                answers = [batch[index] for index in pack.answers]
                results = score_tokens(self.logits, answers, self.device, budget=self.budget)
                scored.update(zip(pack.answers, results, strict=True))
        for pack, logps in ahead:
            scored.update(zip(pack.answers, split(pack, logps), strict=True))
        return [scored[index] for index in range(len(batch))]

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
