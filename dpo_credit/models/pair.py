"""Loading a policy and its reference: two models, or one base with its adapter on and off.

The only place that loads weights. Only safetensors load, and no code from a model's repository runs, unless asked for.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase
from transformers.utils import logging

from dpo_credit.credit import CreditError, Tokens
from dpo_credit.forward.logprobs import LanguageModel, Scored, causal_lm, in_float32, score_tokens
from dpo_credit.forward.packing import Pack
from dpo_credit.forward.sharing import NotSharedError, SharedPrompts, share_prompts, split
from dpo_credit.models.checkpoints import (
    Checkpoint,
    Loading,
    Place,
    cannot_load,
    compare_tokenizers,
    find_pair,
    load_config,
    load_tokenizer,
    max_length,
    read_record,
    require_safe_weights,
)
from dpo_credit.models.devices import devices, dtype_for
from dpo_credit.models.weights import notes_if_equal

DEFAULT_BETA = 0.1


@dataclass(frozen=True, slots=True)
class Model:
    """One side of a pair: a name, what computes its logits, where and in which dtype.

    `module` is the torch module behind `logits`, if there is one, and `inactive` names its adapters that this side does
    not use; `shared` scores answers to one prompt together, where that is sound.
    """

    name: str
    logits: LanguageModel
    device: torch.device = torch.device("cpu")
    dtype: str = "float32"
    module: nn.Module | None = field(default=None, repr=False)
    inactive: tuple[str, ...] = ()
    shared: SharedPrompts | None = field(default=None, repr=False)
    weights: str | None = None

    def score(self, batch: Sequence[Tokens], prepared: Sequence[Pack], budget: int, top_k: int = 0) -> list[Scored]:
        """Log-probabilities of every answer of a batch, in its order.

        Args:
            batch: encoded answers.
            prepared: the same in packs of `budget` tokens.
            budget: tokens in one forward pass.
            top_k: how many of the likeliest tokens to keep at each position; with any, prompts are not shared.

        Raises:
            CreditError: a token lies outside the model's vocabulary.
        """
        if self.shared is None or top_k:
            return score_tokens(self.logits, batch, self.device, top_k, budget)
        scored: dict[int, Scored] = {}
        ahead: list[tuple[Pack, Tensor]] = []  # what a GPU computes while the next pack is on its way to it
        for pack in prepared:
            try:
                ahead.append((pack, self.shared.logps(pack)))
            except NotSharedError:
                results = score_tokens(self.logits, [batch[i] for i in pack.answers], self.device, budget=budget)
                scored.update(zip(pack.answers, results, strict=True))
        for pack, logps in ahead:
            scored.update(zip(pack.answers, split(pack, logps), strict=True))
        return [scored[index] for index in range(len(batch))]

    def in_float32(self) -> AbstractContextManager[None]:
        """While this is open, `logits` runs in float32: what a half-precision model's error is measured against."""
        return nullcontext() if self.module is None else in_float32(self.module)


@dataclass(frozen=True, slots=True)
class ModelPair:
    """A DPO policy and the reference that it was trained from, with one tokenizer.

    A side may be a function that loads its model: scoring then holds one model at a time. `max_length` is the most
    tokens both models take; `notes` hold what the user should be told about the pair.
    `length_normalised`: see `Credit`.
    """

    policy: Model | Callable[[], Model]
    reference: Model | Callable[[], Model]
    tokenizer: PreTrainedTokenizerBase
    beta: float = DEFAULT_BETA
    max_length: int | None = None
    notes: tuple[str, ...] = ()
    length_normalised: bool = False


def load_pair(
    policy: str | Path | None = None,
    reference: str | Path | None = None,
    *,
    beta: float | None = None,
    length_normalised: bool | None = None,
    loading: Loading = Loading(),
) -> ModelPair:
    """Load a policy and its reference; the embedded pair where neither is named.

    Args:
        policy: a directory or a hub id of a causal LM, or of a PEFT adapter.
        reference: likewise. With an adapter as the policy it defaults to the adapter named "ref" that TRL saves beside
            it, else to the same base with the adapter off; either way there is one base in memory. With a policy of
            `dpo-credit train` it defaults to what its record names.
        beta: the one the policy was trained with; None is what its record says, else 0.1.
        length_normalised: whether it was trained with length-normalised DPO (see `Credit`); None likewise, else no.
        loading: see `Loading`.

    Raises:
        CreditError: a model cannot be loaded safely, or the two tokenizers differ.
    """
    each = devices(loading.device)
    chosen, base = find_pair(policy, reference, loading)
    beta, length_normalised, said = trained_with(chosen, beta, length_normalised)
    tokenizer = load_tokenizer(chosen, loading)
    if base is None:
        sides = _load_adapter_pair(chosen, each[0], loading)
        notes: tuple[str, ...] = (
            ("--sequential frees nothing here: policy and reference share one base",) if loading.sequential else ()
        )
        limit, notes = max_length(chosen, loading), said + notes + notes_if_equal(*sides)
        return ModelPair(*sides, tokenizer, beta, limit, notes, length_normalised)
    notes = said + compare_tokenizers(tokenizer, load_tokenizer(base, loading, default=tokenizer))
    limit = min((n for n in (max_length(chosen, loading), max_length(base, loading)) if n), default=None)
    loaders = [partial(load_model, found, device, loading) for found, device in zip((chosen, base), each, strict=True)]
    if loading.sequential:
        return ModelPair(loaders[0], loaders[1], tokenizer, beta, limit, notes, length_normalised)
    sides = loaders[0](), loaders[1]()
    return ModelPair(*sides, tokenizer, beta, limit, notes + notes_if_equal(*sides), length_normalised)


def trained_with(
    policy: Checkpoint, beta: float | None, length_normalised: bool | None
) -> tuple[float, bool, tuple[str, ...]]:
    """Beta and whether rewards are length-normalised, as given or as the policy's record has it, and what to say.

    Raises:
        CreditError: the record cannot be read.
    """
    record = read_record(policy)
    if record is None or record.beta is None:
        return DEFAULT_BETA if beta is None else beta, bool(length_normalised), ()
    normalised = record.length_normalised if length_normalised is None else length_normalised
    if beta is not None:
        return beta, normalised, ()
    return record.beta, normalised, (f"beta {record.beta:g}, as {policy.name} was trained with",)


def free() -> None:
    """Give the memory of models that were dropped back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def load_module(found: Checkpoint, device: torch.device, loading: Loading) -> nn.Module:
    """A checkpoint's causal LM, without its adapter, on a device, frozen and in evaluation mode.

    Raises:
        CreditError: it cannot be loaded, or not safely.
    """
    if load_config(found, loading).is_encoder_decoder:
        raise CreditError(f"{found.role} {found.name} is an encoder-decoder; DPO credit needs a causal language model.")
    require_safe_weights(found.model, found, loading)
    options: dict[str, Any] = {
        **found.model.options(loading),
        "dtype": dtype_for(loading.dtype, device),
        "use_safetensors": None if loading.allow_pickle else True,
        "attn_implementation": loading.attn_implementation,
        "device_map": loading.device_map,
        "output_loading_info": True,
    }
    if loading.quantize:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(**{f"load_in_{loading.quantize}": True})
        options["device_map"] = loading.device_map or {"": device}
    try:
        module: Any
        info: dict[str, Any]
        with _no_progress_bar():
            module, info = AutoModelForCausalLM.from_pretrained(found.model.path, **options)  # type: ignore[misc]
        if options["device_map"] is None:
            module.to(device)
    except Exception as error:  # see cannot_load
        raise cannot_load(found.role, found.name, error) from error
    if info["missing_keys"]:
        missing = sorted(info["missing_keys"])
        raise CreditError(
            f"{found.role} {found.name} lacks weights that its config asks for ({len(missing)}; first: {missing[0]}). "
            "Its files are incomplete, or it is no causal language model."
        )
    return module.eval().requires_grad_(False)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """A library prints nothing; whoever calls it may show progress."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def load_model(found: Checkpoint, device: torch.device, loading: Loading) -> Model:
    """One model by itself, with its adapter on if it has one.

    Raises:
        CreditError: it cannot be loaded, or not safely.
    """
    module = load_module(found, device, loading)
    if found.adapter:
        module = _with_adapter(module, found, loading)
    return model_of(module, found.name, loading)


def _load_adapter_pair(found: Checkpoint, device: torch.device, loading: Loading) -> tuple[Model, Model]:
    module: Any = _with_adapter(load_module(found, device, loading), found, loading, with_ref=True)
    bias = getattr(module.peft_config["default"], "bias", "none")
    if bias != "none":
        raise CreditError(
            f"{found.role} {found.name} is an adapter that trained biases of its base too (bias={bias!r}), which stay "
            f"when it is off. Name its base as the reference: --reference {found.model.path}"
        )
    policy = model_of(module, found.name, loading)

    @contextmanager
    def reference_active() -> Iterator[None]:
        if not found.ref_adapter:
            with module.disable_adapter():
                yield
            return
        module.set_adapter("ref")
        try:
            yield
        finally:
            module.set_adapter("default")

    def reference_logits(ids: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        with reference_active():
            return policy.logits(ids, mask, rows)

    name = f"{found.name} (adapter ref)" if found.ref_adapter else f"{found.model.path} (adapter off)"
    shared = share_prompts(module.get_base_model(), module, reference_logits, reference_active)
    inactive = ("default",) if found.ref_adapter else ("default", "ref")
    reference = replace(policy, name=name, logits=reference_logits, inactive=inactive, shared=shared)
    return replace(policy, inactive=("ref",)), reference


def _with_adapter(module: nn.Module, found: Checkpoint, loading: Loading, *, with_ref: bool = False) -> nn.Module:
    """The module with its adapter on; with the adapter named "ref" beside it, if there is one and it is wanted."""
    from peft import PeftModel

    assert found.adapter is not None
    ref = Place(found.ref_adapter, local=True) if found.ref_adapter and with_ref else None
    for place in (found.adapter, ref) if ref else (found.adapter,):
        require_safe_weights(place, found, loading)
    try:
        with warnings.catch_warnings():  # PEFT goes on with random weights in place of missing ones
            warnings.filterwarnings("error", "Found missing adapter keys", UserWarning)
            adapted = PeftModel.from_pretrained(module, found.adapter.path, revision=found.adapter.revision)
            if ref:
                adapted.load_adapter(ref.path, adapter_name="ref")
    except Exception as error:  # see cannot_load
        raise cannot_load(f"the adapter of {found.role}", found.name, error) from error
    return adapted.eval().requires_grad_(False)


def model_of(module: nn.Module, name: str, loading: Loading = Loading()) -> Model:
    """What scores with a transformers model that is loaded already."""
    parameter = next(module.parameters())
    dtype = loading.quantize or str(module.dtype).removeprefix("torch.")
    logits = causal_lm(module)
    wrapped: Any = module
    causal = wrapped.get_base_model() if hasattr(module, "get_base_model") else wrapped
    return Model(name, logits, parameter.device, dtype, module, shared=share_prompts(causal, module, logits))
