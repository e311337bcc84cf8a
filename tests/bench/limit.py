"""The time that the unavoidable matrix products take at this machine's float32 `torch.mm` rate.

Unavoidable, for each model: every linear layer once for each distinct token that must be read (a prompt once, answers
as a trie, last tokens never); in the last layer only keys and values for all of them, the rest for the tokens that
predict an answer token; the LM head for these; and attention's two products over the distinct (query, key) pairs.
Softmax, norms, rotary embeddings, logsumexp and tokenisation count as nothing, so no scorer reaches 1.00.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D
from workload import Encoded

ROWS, COLUMNS = 2048, 8192  # the largest tile that is timed: rates are flat from about 1,000 rows on
REPEATS = 3
KEYS_AND_VALUES = ("k_proj", "v_proj", "query_key_value", "qkv_proj", "c_attn")  # one product makes all three in some


@dataclass(frozen=True, slots=True)
class Counts:
    """Distinct tokens read, tokens that predict, and (query, key) pairs in all layers but the last, and in the last."""

    tokens: int
    predicting: int
    attended: int
    attended_last: int


@dataclass(frozen=True, slots=True)
class Product:
    """(rows, inner) x (inner, columns)."""

    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        return 2 * self.rows * self.inner * self.columns


def count(groups: Sequence[Encoded]) -> Counts:
    """What must be read when prompts and the answers' common beginnings are shared within a group."""
    tokens = predicting = attended = attended_last = 0
    for group in groups:
        prompt = len(group.prompt)
        nodes = {answer[:end] for answer in group.answers for end in range(len(answer))}  # () is the prompt's end
        tokens += prompt + len(nodes) - 1
        predicting += len(nodes)
        reach = sum(prompt + len(node) for node in nodes)
        attended += prompt * (prompt - 1) // 2 + reach
        attended_last += reach
    return Counts(tokens, predicting, attended, attended_last)


def products(model: nn.Module, counts: Counts) -> list[Product]:
    """The linear layers of one dense causal LM.

    Raises:
        SystemExit: the model's layers hold matrices that are no linear layer, as mixtures of experts do.
    """
    layers = next(
        child
        for child in model.base_model.modules()
        if isinstance(child, nn.ModuleList) and len(child) == model.config.num_hidden_layers
    )
    found = []
    for number, layer in enumerate(layers):
        for name, module in layer.named_modules():
            matrices = [weight for weight in module.parameters(recurse=False) if weight.dim() > 1]
            if matrices and not isinstance(module, nn.Linear | Conv1D):
                raise SystemExit(f"{type(module).__name__} is no linear layer: use --no-limit for this model.")
            for weight in matrices:
                inner, columns = weight.shape if isinstance(module, Conv1D) else reversed(weight.shape)
                last = number == len(layers) - 1 and not name.endswith(KEYS_AND_VALUES)
                found.append(Product(counts.predicting if last else counts.tokens, inner, columns))
    vocabulary, width = model.get_output_embeddings().weight.shape
    return [*found, Product(counts.predicting, width, vocabulary)]


def attention_flops(model: nn.Module, counts: Counts) -> int:
    """Queries times keys, and weights times values, in all layers."""
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    pairs = counts.attended * (config.num_hidden_layers - 1) + counts.attended_last
    return 4 * pairs * width * config.num_attention_heads


class Limit:
    """`seconds()` measures the rates anew: call it in every round."""

    def __init__(self, models: Sequence[nn.Module], groups: Sequence[Encoded]) -> None:
        counts = count(groups)
        self.products = [product for model in models for product in products(model, counts)]
        self.attention = sum(attention_flops(model, counts) for model in models)
        self.flops = sum(product.flops for product in self.products) + self.attention

    def seconds(self) -> float:
        """All products at the rates of their shapes; attention's at the average of these."""
        rates: dict[tuple[int, int, int], float] = {}
        total = 0.0
        for product in self.products:
            shape = (min(product.rows, ROWS), product.inner, min(product.columns, COLUMNS))
            if shape not in rates:
                rates[shape] = _rate(*shape)
            total += product.flops / rates[shape]
        average = (self.flops - self.attention) / total
        return total + self.attention / average


def _rate(rows: int, inner: int, columns: int) -> float:
    """Floating-point operations per second of `torch.mm`, the best of a few."""
    left, weight, out = torch.randn(rows, inner), torch.randn(columns, inner), torch.empty(rows, columns)
    best = float("inf")
    for _ in range(REPEATS + 1):  # the first one warms up
        start = time.perf_counter()
        torch.mm(left, weight.t(), out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * rows * inner * columns / best
