"""Answers under one model with every prompt computed once: attention over packs of trees, in place of padded batches.

Sound where a token's state depends on the tokens it sees and their positions alone. Sliding windows, caps, sinks,
recurrent states and whatever else says otherwise are recognised, and then there is no sharing: see `share_prompts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from dpo_credit.credit import Logps, Tokens
from dpo_credit.forward.lm_head import Head, head_of
from dpo_credit.forward.logprobs import LanguageModel, check_vocabulary, embeddings, score_tokens
from dpo_credit.forward.packing import Pack, Tree, packs

ATTENTION = "dpo_credit_trees"
# What models hand to their attention that does not change what a token sees.
_HARMLESS = {
    *("is_causal", "output_attentions", "output_router_logits", "position_ids", "use_cache"),
    "sliding_window",  # no pack is longer than the configuration's
}
# Rotary embeddings whose frequencies depend on the longest position of a batch.
_LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
# How far a first trial may be from the plain computation, nats: float32, and half precision's noise.
_TRIAL_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_HALF_TOLERANCE = 0.25


class NotSharedError(Exception):
    """The model does something that sharing prompts would change."""


@dataclass
class _Run:
    """One forward pass over a pack: what its attention needs, and how many layers have asked."""

    pack: Pack
    last: int
    asked: int = 0


_run: ContextVar[_Run] = ContextVar("run")


@dataclass(frozen=True)
class SharedPrompts:
    """Scores packs under one model; made by `share_prompts`.

    `active` is entered around each forward pass: it switches an adapter off, or to another. `window` is how many tokens
    a token sees at most; None is no limit.
    """

    model: PreTrainedModel
    head: Head
    active: Callable[[], AbstractContextManager[object]] = nullcontext
    window: int | None = None

    def score(self, pack: Pack) -> list[Logps]:
        """Log-probabilities of every answer of a pack, in the order of its `answers`: `logps`, brought to Python."""
        return split(pack, self.logps(pack))

    @torch.inference_mode()
    def logps(self, pack: Pack) -> Tensor:
        """(T,) nats, for all answer tokens of a pack; still on the device, which need not be done computing them.

        Equals `score_tokens` but for float32's rounding.

        Raises:
            CreditError: a token lies outside the model's vocabulary.
            NotSharedError: the pack's sequences are longer than the window, or the model does not share after all.
        """
        if self.window is not None and int(pack.positions.max()) >= self.window:
            raise NotSharedError(f"a sequence is longer than the window of {self.window}")
        layers = self.model.config.get_text_config().num_hidden_layers
        device = embeddings(self.model).device
        check_vocabulary(self.model, pack.ids)
        check_vocabulary(self.model, pack.labels)
        run = _Run(pack, last=layers - 1)
        token = _run.set(run)
        try:
            with self.active(), _tree_attention(self.model), _last_mlp_at(self.model, _needed(pack)):
                hidden = self.model.base_model(
                    input_ids=pack.ids.to(device), position_ids=pack.positions.to(device), use_cache=False
                ).last_hidden_state[0]
                if run.asked != layers:
                    raise NotSharedError(f"{run.asked} of {layers} layers asked for attention")
                rows = hidden[pack.rows.to(hidden.device)]
                return self.head(rows, pack.at.to(rows.device), pack.labels.to(rows.device))
        finally:
            _run.reset(token)


def split(pack: Pack, logps: Tensor) -> list[Logps]:
    """(T,) nats of a pack, answer by answer."""
    values, ends = logps.tolist(), list(accumulate(pack.lengths))
    return [Logps(tuple(values[end - length : end])) for end, length in zip(ends, pack.lengths, strict=True)]


def share_prompts(
    model: PreTrainedModel,
    call: nn.Module,
    plain: LanguageModel,
    active: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> SharedPrompts | None:
    """A scorer that computes each prompt once, or None for a model in which that is not sound.

    A trial on a few tokens is compared with the plain computation: custom code may do what no configuration says.

    Args:
        model: the causal LM.
        call: what is called to run it: the model, or what wraps it (PEFT).
        plain: the same model as a `LanguageModel`.
        active: see `SharedPrompts`.
    """
    if not _sees_all_before(model):
        return None
    try:
        shared = SharedPrompts(model, head_of(model, call), active, _window(model))
        trial = _trial_batch(model)
        (pack,) = packs(trial, len(trial) * max(len(tokens.prompt_ids) + len(tokens.answer_ids) for tokens in trial))
        ours = dict(zip(pack.answers, shared.score(pack), strict=True))
    except Exception:  # whatever custom code makes of an input it never saw, the plain computation remains
        return None
    theirs = score_tokens(plain, trial, embeddings(model).device)
    tolerance = _TRIAL_TOLERANCE.get(model.dtype, _HALF_TOLERANCE)
    apart = max(
        abs(a - b) for n, plainly in enumerate(theirs) for a, b in zip(ours[n].logps, plainly.logps, strict=True)
    )
    return shared if apart < tolerance else None


def _sees_all_before(model: PreTrainedModel) -> bool:
    """Whether its configuration has nothing but causal attention over all that came before, or a window of it."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        model.base_model is not model
        and kinds <= {"full_attention", "sliding_attention"}
        and getattr(config, "is_causal", True)
        and getattr(config, "attention_chunk_size", None) is None
        and rope.get("rope_type", "default") not in _LENGTH_DEPENDENT_ROPE
    )


def _window(model: PreTrainedModel) -> int | None:
    return getattr(model.config.get_text_config(), "sliding_window", None)


def _trial_batch(model: PreTrainedModel) -> list[Tokens]:
    """Two answers that share a prefix after one prompt, and one after another."""
    words = len(embeddings(model))
    ids = [(7 * n + 3) % words for n in range(24)]
    prompts = tuple(ids[:6]), tuple(ids[6:9])
    answers = (prompts[0], ids[9:14]), (prompts[0], [*ids[9:11], *ids[14:18]]), (prompts[1], ids[18:22])
    return [
        Tokens(prompt, tuple(answer), ("",) * len(answer), ((0, 0),) * len(answer), "") for prompt, answer in answers
    ]


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
    run = _run.get()
    run.asked += 1
    unknown = [name for name, given in options.items() if given is not None and name not in _HARMLESS]
    if unknown or attention_mask is not None or not getattr(module, "is_causal", True):
        raise NotSharedError(f"its attention takes {', '.join(unknown) or 'a mask of its own'}")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    last = getattr(module, "layer_idx", None) == run.last
    out = (query.new_zeros if last else query.new_empty)(1, query.shape[2], query.shape[1], value.shape[3])
    start = 0
    for tree in run.pack.trees:
        whole = slice(start, start + len(tree))
        _attend_tree(tree, query[:, :, whole], key[:, :, whole], value[:, :, whole], scaling, out[:, whole], last)
        start += len(tree)
    return out, None


def _attend_tree(
    tree: Tree, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, out: Tensor, last: bool
) -> None:
    """One tree's attention, written to `out` (1, P + S, H, D); of the last layer, from the prompt's last token on."""
    prompt = len(tree.prompt_ids)
    attend = nn.functional.scaled_dot_product_attention
    if tree.is_chain and not last:
        out[:] = attend(query, key, value, is_causal=True, scale=scaling).transpose(1, 2)
        return
    bias = tree.bias.to(query.device, query.dtype)
    if last:
        out[:, prompt - 1 :] = attend(query[:, :, prompt - 1 :], key, value, bias, scale=scaling).transpose(1, 2)
        return
    before = slice(prompt)
    first = attend(query[:, :, before], key[:, :, before], value[:, :, before], is_causal=True, scale=scaling)
    out[:, before] = first.transpose(1, 2)
    out[:, prompt:] = attend(query[:, :, prompt:], key, value, bias[1:], scale=scaling).transpose(1, 2)


AttentionInterface.register(ATTENTION, _attend)


def _needed(pack: Pack) -> Tensor:
    """Places of the stream whose last layer counts: each prompt's last token and all after it."""
    places: list[int] = []
    start = 0
    for tree in pack.trees:
        places += range(start + len(tree.prompt_ids) - 1, start + len(tree))
        start += len(tree)
    return torch.tensor(places)


@contextmanager
def _last_mlp_at(model: PreTrainedModel, places: Tensor) -> Iterator[None]:
    """Run the last layer's MLP at some places of the stream only; elsewhere nobody reads what it would give."""
    layers = getattr(model.base_model, "layers", None)
    mlp = getattr(layers[-1], "mlp", None) if layers is not None else None
    if not isinstance(mlp, nn.Module):
        yield
        return

    def before(mlp: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0][:, places.to(inputs[0].device)], *inputs[1:])

    def after(mlp: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        whole = output.new_zeros(1, run.pack.ids.shape[1], output.shape[-1])
        whole[:, places.to(output.device)] = output
        return whole

    run = _run.get()
    hooks = mlp.register_forward_pre_hook(before), mlp.register_forward_hook(after)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
