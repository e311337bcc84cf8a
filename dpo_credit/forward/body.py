"""A model's body over a pack: attention as the pack has it, and its last layer where that is needed.

Whatever else a model's attention would do is recognised, and an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, PreTrainedModel

from dpo_credit.forward.attention import Kind, attend_masked, attend_trees, mask_of
from dpo_credit.forward.logprobs import embeddings
from dpo_credit.forward.packing import Pack

ATTENTION = "dpo_credit_trees"
# What models hand to their attention that does not change what a token sees.
_HARMLESS = {
    *("is_causal", "output_attentions", "output_router_logits", "position_ids", "use_cache"),
    "sliding_window",  # no pack is longer than the configuration's
}


class NotSharedError(Exception):
    """The model does something that sharing prompts would change."""


@dataclass
class _Run:
    """One forward pass over a pack: what its attention needs, and how many layers have asked."""

    pack: Pack
    mask: object
    last: int
    asked: int = 0


_run: ContextVar[_Run] = ContextVar("run")


def hidden_states(model: PreTrainedModel, pack: Pack, kind: Kind) -> Tensor:
    """(N, d): what the body gives for each token of a pack; of the last layer, where `Pack.needed` says.

    Raises:
        NotSharedError: the model's attention does something that sharing prompts would change.
    """
    layers = model.config.get_text_config().num_hidden_layers
    device = embeddings(model).device
    placed = pack.on(device)
    run = _Run(pack, mask_of(pack, kind, device, model.dtype), last=layers - 1)
    token = _run.set(run)
    try:
        with _tree_attention(model), _last_mlp_at(model, pack):
            hidden = model.base_model(
                input_ids=placed.ids, position_ids=placed.positions, attention_mask=run.mask, use_cache=False
            ).last_hidden_state[0]
        if kind != "flex" and run.asked != layers:
            raise NotSharedError(f"{run.asked} of {layers} layers asked for attention")
        return hidden
    finally:
        _run.reset(token)


@contextmanager
def _tree_attention(model: PreTrainedModel) -> Iterator[None]:
    config = model.config.get_text_config()
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer over a pack: query (1, H, N, D), key and value (1, G, N, D) -> (1, N, H, D)."""
    unknown = [name for name, given in options.items() if given is not None and name not in _HARMLESS]
    if isinstance(attention_mask, BlockMask):  # perhaps while a layer is compiled: nothing but its arguments counts
        if unknown:
            raise NotSharedError(f"its attention takes {', '.join(unknown)}")
        return attend_masked(query, key, value, attention_mask, scaling), None
    run = _run.get()
    run.asked += 1
    if unknown or not _is_ours(attention_mask, run.mask) or not getattr(module, "is_causal", True):
        raise NotSharedError(f"its attention takes {', '.join(unknown) or 'a mask of its own'}")
    if isinstance(attention_mask, Tensor):
        return attend_masked(query, key, value, attention_mask, scaling), None
    last = getattr(module, "layer_idx", None) == run.last
    return attend_trees(run.pack, query, key, value, scaling, last=last), None


def _is_ours(mask: Tensor | None, made: object) -> bool:
    """Whether an attention got the mask that was made for the pack, or a copy on another device."""
    if mask is made:
        return True
    return isinstance(mask, Tensor) and isinstance(made, Tensor) and mask.device != made.device


AttentionInterface.register(ATTENTION, _attend)


@contextmanager
def _last_mlp_at(model: PreTrainedModel, pack: Pack) -> Iterator[None]:
    """Run the last layer's MLP where a pack needs it only; elsewhere nobody reads what it would give."""
    layers = getattr(model.base_model, "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if layers is not None else None
    if not isinstance(mlp, nn.Module):
        yield
        return

    def before(mlp: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][:, pack.on(inputs[0].device).needed], *inputs[1:])

    def after(mlp: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        whole = output.new_zeros(1, len(pack), output.shape[-1])
        whole[:, pack.on(output.device).needed] = output
        return whole

    hooks = mlp.register_forward_pre_hook(before), mlp.register_forward_hook(after)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
