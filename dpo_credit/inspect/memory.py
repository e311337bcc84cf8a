"""How large two models are and what scoring with them needs, before any weight is loaded.

The peak above the weights is an estimate: the largest of what one layer holds of a batch and, for a half-precision
body, the parts that stand in float32 while its error is measured (see `logprobs.in_float32`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForCausalLM

from dpo_credit.credit import Tokens
from dpo_credit.forward.budget import BATCH_TOKENS, CUDA_BATCH_TOKENS
from dpo_credit.forward.lm_head import BLOCK_ROWS, BLOCK_WORDS, CUDA_LOGITS
from dpo_credit.forward.noise import NOISE_TOKENS
from dpo_credit.models.adapters import resize
from dpo_credit.models.checkpoints import Checkpoint, cannot_load_model, load_config
from dpo_credit.models.devices import dtype_for
from dpo_credit.models.pair import Loading

_BITS = {"4bit": 4, "8bit": 8}
_FLOAT32 = 4  # bytes


@dataclass(frozen=True, slots=True)
class Size:
    """One model on its device: `parameters` in all and of its `adapter`, `weights` in bytes as it will be loaded.

    `above` is the estimated peak above the weights while it scores, in bytes.
    """

    architecture: str
    parameters: int
    adapter: int
    dtype: str
    device: str
    vocabulary: int
    weights: int
    above: int


@dataclass(frozen=True, slots=True)
class Need:
    """What a device must hold to score, in bytes: both models at once, and one at a time; `free` of it now."""

    device: str
    both: int
    sequential: int
    free: int | None

    @property
    def fits(self) -> bool | None:
        """Whether both models fit; None where nothing tells how much is free."""
        return None if self.free is None else self.both <= self.free

    @property
    def fits_sequentially(self) -> bool | None:
        """Whether they fit one at a time."""
        return None if self.free is None else self.sequential <= self.free


def size_of(checkpoint: Checkpoint, device: torch.device, loading: Loading, batch: Sequence[Tokens] = ()) -> Size:
    """A model's size from its config alone, scoring `batch` (full batches where there is none).

    Raises:
        CreditError: transformers cannot make a model of the config.
    """
    config = load_config(checkpoint, loading)
    try:
        with torch.device("meta"):
            module: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=loading.trust_remote_code)
    except Exception as error:  # see cannot_load
        raise cannot_load_model(checkpoint, error) from error
    if checkpoint.rows is not None:
        resize(module, checkpoint.rows)
    dtype = dtype_for(loading.dtype, device)
    adapter = _adapter_parameters(checkpoint)
    return Size(
        architecture=type(module).__name__,
        parameters=_count(module) + adapter,
        adapter=adapter,
        dtype=loading.quantize or str(dtype).removeprefix("torch."),
        device=str(device),
        vocabulary=len(module.get_input_embeddings().weight),
        weights=_weights(module, dtype, loading) + adapter * dtype.itemsize,
        above=_above(module, dtype, device, batch),
    )


def needs(policy: Size, reference: Size, *, shared: bool) -> tuple[Need, ...]:
    """What each device must hold; `shared` where the reference is the policy's own base."""
    devices = []
    for device in dict.fromkeys((policy.device, reference.device)):
        here = [size for size in (policy, reference) if size.device == device]
        weights = [size.weights for size in here][: 1 if shared else 2]
        above = max(size.above for size in here)
        devices.append(Need(device, sum(weights) + above, max(weights) + above, free_bytes(torch.device(device))))
    return tuple(devices)


def free_bytes(device: torch.device) -> int | None:
    """What a device has free now; None for one that does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return psutil.virtual_memory().available if device.type == "cpu" else None


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _layers(module: nn.Module) -> list[int]:
    """Parameters of each layer of the model's lists of layers, whatever lists these hold in turn."""
    if isinstance(module, nn.ModuleList):
        return [_count(layer) for layer in module]
    return [count for child in module.children() for count in _layers(child)]


def _weights(module: Any, dtype: torch.dtype, loading: Loading) -> int:
    bits = _BITS.get(loading.quantize or "", 0)
    if not bits:
        return _count(module) * dtype.itemsize
    head = module.get_output_embeddings()
    linear = {id(part.weight): part for part in module.modules() if isinstance(part, nn.Linear) and part is not head}
    small = sum(part.weight.numel() for part in linear.values())
    return small * bits // 8 + (_count(module) - small) * dtype.itemsize


def _above(module: Any, dtype: torch.dtype, device: torch.device, batch: Sequence[Tokens]) -> int:
    config = module.config.get_text_config()
    width = config.hidden_size
    inner = getattr(config, "intermediate_size", None) or 4 * width
    vocabulary = len(module.get_input_embeddings().weight)
    budget = CUDA_BATCH_TOKENS if device.type == "cuda" else BATCH_TOKENS
    lengths = [len(tokens.prompt_ids) + len(tokens.answer_ids) for tokens in batch]
    tokens = max(min(budget, sum(lengths)), max(lengths)) if lengths else budget
    # residual, its norm, queries, keys, values and what attention gives; gate, up and their product
    layer = tokens * (6 * width + 3 * inner) * dtype.itemsize
    words = min(vocabulary, BLOCK_WORDS)
    logits = min(tokens * vocabulary, CUDA_LOGITS) if device.type == "cuda" else min(BLOCK_ROWS, tokens) * words
    head = _FLOAT32 * (logits + width * words)  # logits at a time, and the head's rows for them
    if dtype == torch.float32:
        return layer + head
    layers = _layers(module)
    outside = _count(module) - sum(layers)
    rows = min(sum(len(tokens.answer_ids) for tokens in batch) or NOISE_TOKENS, 2 * NOISE_TOKENS)
    exact = _FLOAT32 * (outside + max(layers, default=0) + 2 * rows * vocabulary + tokens * (6 * width + 3 * inner))
    return max(layer + head, exact)


def _adapter_parameters(checkpoint: Checkpoint) -> int:
    """Numbers in an adapter's file; 0 without one that safetensors reads."""
    if checkpoint.adapter is None:
        return 0
    path = checkpoint.adapter.file("adapter_model.safetensors", checkpoint.role)
    if path is None:
        return 0
    with safe_open(path, framework="pt") as file:
        return sum(torch.Size(file.get_slice(key).get_shape()).numel() for key in file.keys())  # noqa: SIM118
