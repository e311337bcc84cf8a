"""Rewards as other people's scripts compute them: plain transformers, one sequence at a time, by hand-written ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

Ids = tuple[list[int], list[int]]  # prompt, answer
Split = Callable[[Any, Any], Ids]  # a prompt and an answer, as text or messages


def log_likelihoods(model: nn.Module, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    """log p of each answer token: log-softmax of the logits, in the dtype they come in."""
    ids = torch.tensor([[*prompt, *answer]])
    with torch.no_grad():
        rows = model(input_ids=ids).logits[0].log_softmax(-1)
    return torch.stack([rows[len(prompt) - 1 + t, token] for t, token in enumerate(answer)])


def reward(policy: nn.Module, reference: nn.Module, ids: Ids, beta: float, *, average: bool = False) -> float:
    """beta * (log pi - log pi_ref) of an answer: sums of its tokens, or means of them."""
    ours, theirs = (log_likelihoods(model, *ids) for model in (policy, reference))
    if average:
        return beta * float(ours.mean() - theirs.mean())
    return beta * (float(ours.sum()) - float(theirs.sum()))
