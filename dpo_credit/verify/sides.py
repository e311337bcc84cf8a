"""One side of a pair in another state: its adapter off or merged, and its arithmetic in another dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dpo_credit.credit import Logps, Tokens
from dpo_credit.forward.logprobs import score_tokens
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.side import require
from dpo_credit.models.torch_side import TorchSide
from dpo_credit.verify.conventions import Adapter, Numerics

Side = Literal["policy", "reference"]


def torch_sides(pair: ModelPair) -> tuple[TorchSide, TorchSide]:
    """Both sides, whose weights and arithmetic are changed while numbers are compared.

    Raises:
        CreditError: one of them is no torch module.
    """
    policy, reference = (require(side, TorchSide, "verify") for side in (pair.policy, pair.reference))
    return policy, reference


def is_adapter(side: TorchSide) -> bool:
    """Whether a model is a PEFT adapter on its base."""
    return hasattr(side.module, "peft_config")


def token_logps(
    pair: ModelPair,
    side: Side,
    batch: Sequence[Tokens],
    adapter: Adapter = "as loaded",
    own: Callable[[], ModelPair] | None = None,
) -> list[tuple[float, ...]]:
    """log p of each answer's tokens (T,) under one side of the pair, in nats, as `batch` computes them.

    Args:
        own: loads the policy's adapter with its own reference.
    """
    with _in_state(pair, side, adapter, own) as model:
        return [answer.logps for answer in model.logps(batch)]


def log_likelihoods(
    pair: ModelPair,
    side: Side,
    batch: Sequence[Tokens],
    numerics: Numerics,
    adapter: Adapter = "as loaded",
    own: Callable[[], ModelPair] | None = None,
) -> list[float]:
    """log p(answer | prompt) of each answer in another arithmetic, or with the adapter merged, in nats.

    Args:
        own: see `token_logps`.
    """
    with _in_state(pair, side, adapter, own) as model:
        if numerics == "ours":  # merged, which is told by rounding alone: as scripts do, a sequence at a time
            answers = [score_tokens(model.logits, [tokens], model.device)[0] for tokens in batch]
            return list(map(_sum, answers, batch))
        if numerics == "float32":
            with model.in_float32():
                return list(map(_sum, score_tokens(model.logits, batch, model.device), batch))
        with _arithmetic(model, numerics), model.active():
            return [_naive(model, tokens, softmax_in_body=numerics == "body softmax") for tokens in batch]


def _sum(answer: Logps, tokens: Tokens) -> float:
    """Over the tokens that count."""
    return sum(compress(answer.logps, tokens.counted))


@contextmanager
def _in_state(
    pair: ModelPair, side: Side, adapter: Adapter, own: Callable[[], ModelPair] | None
) -> Iterator[TorchSide]:
    policy, reference = torch_sides(pair)
    module: Any = policy.module
    if side == "policy" and adapter == "merged":
        with _merged(module):
            yield policy
    elif (side, adapter) in (("policy", "policy off"), ("reference", "reference off")):
        with module.disable_adapter():
            yield policy
    elif side == "reference" and adapter == "own reference" and own is not None:
        yield torch_sides(own())[1]
    else:
        yield policy if side == "policy" else reference


@contextmanager
def _merged(module: Any) -> Iterator[None]:
    """The adapter merged into its base's weights; these come back bit for bit, which unmerging alone does not give."""
    kept = {name: p.detach().clone() for name, p in module.named_parameters() if ".base_layer." in name}
    module.merge_adapter()
    try:
        yield
    finally:
        module.unmerge_adapter()
        for name, parameter in module.named_parameters():
            if name in kept:
                parameter.data.copy_(kept[name])


@contextmanager
def _arithmetic(model: TorchSide, numerics: Numerics) -> Iterator[None]:
    if numerics == "bfloat16 autocast":
        with torch.autocast(model.device.type, dtype=torch.bfloat16):
            yield
    elif numerics == "bfloat16 weights":
        with _as_bfloat16(model.module):
            yield
    else:
        yield


@contextmanager
def _as_bfloat16(module: nn.Module) -> Iterator[None]:
    stored = {name: p.data for name, p in module.named_parameters() if p.dtype == torch.float32}
    for name, parameter in module.named_parameters():
        if name in stored:
            parameter.data = parameter.data.bfloat16()
    try:
        yield
    finally:
        for name, parameter in module.named_parameters():
            if name in stored:
                parameter.data = stored[name]


@torch.no_grad()
def _naive(model: TorchSide, tokens: Tokens, *, softmax_in_body: bool) -> float:
    """As a script would: all logits as the model gives them, one sequence at a time."""
    module: Any = model.module
    ids = torch.tensor([[*tokens.prompt_ids, *tokens.answer_ids]], device=model.device)
    logits: Tensor = module(input_ids=ids, use_cache=False).logits[0, -ids.shape[1] :]
    # logits  l0 l1 l2 l3 l4        row t predicts ids[t + 1]
    # ids     p0 p1 a0 a1 a2        so the answer's rows begin one before it
    logits = logits[len(tokens.prompt_ids) - 1 : -1]
    labels = torch.tensor(tokens.answer_ids, device=logits.device)[:, None]
    logps = (logits if softmax_in_body else logits.float()).log_softmax(-1).gather(-1, labels)
    return float(logps[torch.tensor(tokens.counted, device=logps.device)].sum())
