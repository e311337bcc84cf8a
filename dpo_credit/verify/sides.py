"""One side of a pair in another state: its adapter off or merged, and its arithmetic in another dtype."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dpo_credit.credit import CreditError, Tokens
from dpo_credit.forward.logprobs import BATCH_TOKENS, score_tokens
from dpo_credit.forward.packing import packs
from dpo_credit.models.pair import Model, ModelPair
from dpo_credit.verify.conventions import Adapter, Numerics

Side = Literal["policy", "reference"]


def is_adapter(model: Model) -> bool:
    """Whether a model is a PEFT adapter on its base."""
    return hasattr(model.module, "peft_config")


def log_likelihoods(
    pair: ModelPair,
    side: Side,
    batch: Sequence[Tokens],
    numerics: Numerics = "ours",
    adapter: Adapter = "as loaded",
    own: Callable[[], ModelPair] | None = None,
) -> list[float]:
    """log p(answer | prompt) of each answer under one side of the pair, in nats.

    Args:
        own: loads the policy's adapter with its own reference.
    """
    with _in_state(pair, side, adapter, own) as model:
        if adapter == "merged" and numerics == "ours":  # told by rounding alone: as scripts do, a sequence at a time
            return [sum(score_tokens(model.logits, [tokens], model.device)[0].logps) for tokens in batch]
        if numerics == "ours":
            scored = model.score(batch, list(packs(batch, BATCH_TOKENS)), BATCH_TOKENS)
            return [sum(one.logps) for one in scored]
        if numerics == "float32":
            with model.in_float32():
                return [sum(one.logps) for one in score_tokens(model.logits, batch, model.device)]
        with _arithmetic(model, numerics), _its_adapter(model):
            return [_naive(model, tokens, softmax_in_body=numerics == "body softmax") for tokens in batch]


@contextmanager
def _in_state(pair: ModelPair, side: Side, adapter: Adapter, own: Callable[[], ModelPair] | None) -> Iterator[Model]:
    assert isinstance(pair.policy, Model) and isinstance(pair.reference, Model), "a pair loaded one at a time"
    module: Any = pair.policy.module
    if side == "policy" and adapter == "merged":
        with _merged(module):
            yield pair.policy
    elif (side, adapter) in (("policy", "policy off"), ("reference", "reference off")):
        with module.disable_adapter():
            yield pair.policy
    elif side == "reference" and adapter == "own reference" and own is not None:
        reference = own().reference
        assert isinstance(reference, Model)
        yield reference
    else:
        yield pair.policy if side == "policy" else pair.reference


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


def _its_adapter(model: Model) -> AbstractContextManager[object]:
    """What `Model.logits` does about its adapter: off, or the one named "ref"."""
    module: Any = model.module
    if not is_adapter(model) or "default" not in model.inactive:
        return nullcontext()
    return module.disable_adapter() if "ref" in model.inactive else _ref_active(module)


@contextmanager
def _ref_active(module: Any) -> Iterator[None]:
    module.set_adapter("ref")
    try:
        yield
    finally:
        module.set_adapter("default")


@contextmanager
def _arithmetic(model: Model, numerics: Numerics) -> Iterator[None]:
    if model.module is None:
        raise CreditError(f"{model.name} is no torch module: it runs in its own dtype only.")
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
def _naive(model: Model, tokens: Tokens, *, softmax_in_body: bool) -> float:
    """As a script would: all logits as the model gives them, one sequence at a time."""
    module: Any = model.module
    ids = torch.tensor([[*tokens.prompt_ids, *tokens.answer_ids]], device=model.device)
    logits: Tensor = module(input_ids=ids, use_cache=False).logits[0, -ids.shape[1] :]
    # logits  l0 l1 l2 l3 l4        row t predicts ids[t + 1]
    # ids     p0 p1 a0 a1 a2        so the answer's rows begin one before it
    logits = logits[len(tokens.prompt_ids) - 1 : -1]
    labels = torch.tensor(tokens.answer_ids, device=logits.device)[:, None]
    logps = (logits if softmax_in_body else logits.float()).log_softmax(-1).gather(-1, labels)
    return float(logps.sum())
