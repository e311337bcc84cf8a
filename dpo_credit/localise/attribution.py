"""Gradient attribution of an answer's reward to its own tokens, by Captum: a baseline for the per-token reward.

Input x gradient (Shrikumar et al. 2016, arXiv:1605.01713) on the input embeddings, of policy minus reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dpo_credit.credit import CreditError, Tokens
from dpo_credit.forward.logprobs import inputs
from dpo_credit.models.side import Module


def attribute(policy: Module, reference: Module, batch: Sequence[Tokens], beta: float) -> list[tuple[float, ...]]:
    """How much each answer token, read as an input, moves beta * (log pi - log pi_ref) of its answer.

    Token t is credited with embedding . gradient of the sum over the answer, under the policy minus under the
    reference. A token that is never read, as the last one is, gets 0; what it costs where it is predicted is no
    gradient of an input and does not count.

    Args:
        policy: the DPO-trained side.
        reference: the other.
        batch: encoded answers, taken one at a time.
        beta: see `Credit`.

    Returns:
        (T,) an answer; high where a token raises the answer's reward.

    Raises:
        CreditError: Captum is not installed.
    """
    sides = [_side(model) for model in (policy, reference)]
    attributions = []
    for tokens in batch:
        ids, mask, rows = inputs([tokens])
        ours, theirs = (side(ids, mask, rows, tokens.answer_ids) for side in sides)
        answer = (beta * (ours - theirs))[len(tokens.prompt_ids) :]
        attributions.append(tuple(answer.tolist()))
    return attributions


def _side(model: Module) -> Any:
    """(ids, mask, rows, answer ids) -> (L,) attributions of log p(answer) under one model, float64."""
    try:
        from captum.attr import LayerGradientXActivation
    except ImportError as error:
        raise CreditError(
            "--compare captum needs the package captum, which is not installed: pip install 'dpo-credit[compare]'"
        ) from error
    embedding = model.module.get_input_embeddings()  # type: ignore[operator]

    def log_probability(ids: Tensor, mask: Tensor, rows: Tensor, answer: Tensor) -> Tensor:
        logits = model.logits(ids, mask, rows).float()
        return logits.log_softmax(-1).gather(-1, answer[:, None].to(logits.device)).sum()[None]

    method = LayerGradientXActivation(log_probability, embedding)

    def side(ids: Tensor, mask: Tensor, rows: Tensor, answer_ids: Sequence[int]) -> Tensor:
        more = (mask.to(model.device), rows.to(model.device), torch.tensor(answer_ids))
        with _differentiable(embedding):
            attributed = method.attribute(ids.to(model.device), additional_forward_args=more)
        return attributed[0].double().sum(-1).cpu()

    return side


@contextmanager
def _differentiable(embedding: nn.Module) -> Iterator[None]:
    """Let gradients reach what an embedding puts out, whose weights are frozen."""
    hook = embedding.register_forward_hook(lambda module, given, output: output.requires_grad_())
    try:
        yield
    finally:
        hook.remove()
