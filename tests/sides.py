"""Sides for the tests: any callable that gives logits, and a table that needs no torch model at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from dpo_credit.credit import CreditError, Logps, Tokens
from dpo_credit.forward.budget import Budget
from dpo_credit.forward.logprobs import LanguageModel, Reduce, causal_lm, per_token, score_tokens
from dpo_credit.models.in_turn import Memory, OnDemand
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.torch_side import TorchSide

CPU = torch.device("cpu")


@dataclass(frozen=True)
class FromLogits:
    """A side that is a `LanguageModel` and nothing else."""

    name: str
    logits: LanguageModel
    dtype: str = "float32"
    device: torch.device = CPU
    budget: Budget = field(default_factory=Budget)

    def fingerprint(self) -> str:
        raise CreditError(f"{self.name}: nothing tells it from another model.")

    def logps(self, batch: Sequence[Tokens]) -> list[Logps]:
        return score_tokens(self.logits, batch, self.device, budget=self.budget)

    def top_logps(self, batch: Sequence[Tokens], count: int) -> list[Logps]:
        return score_tokens(self.logits, batch, self.device, count, self.budget)

    def per_token(self, batch: Sequence[Tokens], reduce: Reduce) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
        return per_token(self.logits, batch, self.device, reduce, self.budget)


def unshared(module: nn.Module, name: str = "m", dtype: str = "float32") -> TorchSide:
    """A torch module as a side that computes every answer by itself."""
    return TorchSide(name, module, causal_lm(module), dtype=dtype)


def one_at_a_time(pair: ModelPair, policy: Callable[[], TorchSide], reference: Callable[[], TorchSide]) -> ModelPair:
    """The pair with sides that are loaded when they are asked, into the same memory."""
    memory, budget = Memory(), Budget()
    sides = [
        OnDemand(side.name, side.dtype, device=CPU, budget=budget, memory=memory, load=load)
        for side, load in ((pair.policy, policy), (pair.reference, reference))
    ]
    return replace(pair, policy=sides[0], reference=sides[1], in_turn=True)


def with_budget(pair: ModelPair, tokens: int) -> ModelPair:
    """The pair with so many tokens in one forward pass."""
    assert isinstance(pair.policy, TorchSide) and isinstance(pair.reference, TorchSide)
    budget = Budget(tokens)
    return replace(pair, policy=replace(pair.policy, budget=budget), reference=replace(pair.reference, budget=budget))
