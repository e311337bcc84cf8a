"""Hidden states -> log-probabilities of given tokens, without ever holding the logits of all positions.

The product with the head's weights has float32 sums and the log-softmax is float32, whatever dtype the model's body
ran in: on a CPU the factors are cast, on a GPU the product of half-precision factors is asked for in float32 as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dpo_credit.forward.logprobs import as_float32, embeddings

# (R, d) hidden states after the model's last norm, (T,) which of them predicts each token, (T,) the tokens -> (T,) nats
Head = Callable[[Tensor, Tensor, Tensor], Tensor]

BLOCK_ROWS, BLOCK_WORDS = 512, 4096  # logits of a block: 8 MiB, which stays in a CPU's cache
CUDA_LOGITS = 1 << 28  # logits at a time on a GPU (1 GiB)
CUDA_PICKED = 1 << 13  # tokens at a time whose own logits are taken there
TAIL_LOGITS = 1 << 23  # logits at a time where the model computes them itself (32 MiB)
PROBE_SCALES = (1.0, 300.0)


def head_of(model: PreTrainedModel, call: nn.Module) -> Head:
    """The head of a causal LM: its weights alone where that is all there is to it, else by the model's own code.

    Args:
        model: the causal LM.
        call: what is called to run it: the model, or what wraps it (PEFT).
    """
    layer = model.get_output_embeddings()
    if type(layer) is nn.Linear and _is_all(model, call, layer):
        return lambda hidden, at, labels: streamed_logps(hidden, layer.weight, layer.bias, at, labels)
    return lambda hidden, at, labels: _tail_logps(model, call, hidden, at, labels)


def streamed_logps(hidden: Tensor, weight: Tensor, bias: Tensor | None, at: Tensor, labels: Tensor) -> Tensor:
    """Equals `(hidden.float() @ weight.float().T + bias).log_softmax(-1)[at, labels]`, block by block.

    Args:
        hidden: (R, d); weight: (V, d); bias: (V,) or None; any float dtype.
        at: (T,) rows of `hidden`; labels: (T,) token ids.

    Returns:
        (T,) nats, float32 (float64 for float64 weights).
    """
    hidden = hidden.to(weight.device)
    if hidden.is_cuda:
        normaliser = _normaliser_by_rows(hidden, weight, bias, CUDA_LOGITS)
        picked = [
            _picked(hidden, weight, bias, *part)
            for part in zip(at.split(CUDA_PICKED), labels.split(CUDA_PICKED), strict=True)
        ]
        return torch.cat(picked) - normaliser[at]
    hidden = hidden.to(_float(weight))
    normaliser = _normaliser_by_blocks(hidden, weight, bias)
    if torch.isinf(normaliser).any():  # a later logit is far above the first block's
        normaliser = _normaliser_by_rows(hidden, weight, bias, TAIL_LOGITS)
    return _picked(hidden, weight, bias, at, labels) - normaliser[at]


def _float(weight: Tensor) -> torch.dtype:
    return torch.float64 if weight.dtype == torch.float64 else torch.float32


def _picked(hidden: Tensor, weight: Tensor, bias: Tensor | None, at: Tensor, labels: Tensor) -> Tensor:
    """(T,): the logits of the tokens themselves."""
    dtype = _float(weight)
    picked = (hidden[at].to(dtype) * weight[labels].to(dtype)).sum(1)
    return picked if bias is None else picked + bias[labels].to(dtype)


def _normaliser_by_blocks(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(R,): logsumexp of each row's logits, a block of rows and words at a time; inf where their range is too wide."""
    dtype = hidden.dtype
    shift, total = hidden.new_zeros(len(hidden)), hidden.new_zeros(len(hidden))
    block = hidden.new_empty(min(BLOCK_ROWS, len(hidden)) * min(BLOCK_WORDS, len(weight)))
    for first in range(0, len(weight), BLOCK_WORDS):
        part = weight[first : first + BLOCK_WORDS].to(dtype)
        for row in range(0, len(hidden), BLOCK_ROWS):
            rows = slice(row, row + BLOCK_ROWS)
            logits = block[: len(hidden[rows]) * len(part)].view(len(hidden[rows]), len(part))
            torch.mm(hidden[rows], part.T, out=logits)
            if bias is not None:
                logits += bias[first : first + BLOCK_WORDS].to(dtype)
            if first == 0:  # any shift near the largest logit does
                shift[rows] = logits.amax(1)
            total[rows] += logits.sub_(shift[rows, None]).exp_().sum(1)
    return shift + total.log()


def _normaliser_by_rows(hidden: Tensor, weight: Tensor, bias: Tensor | None, logits_at_a_time: int) -> Tensor:
    """`_normaliser_by_blocks` a few rows at a time, each over the whole vocabulary, whatever its logits' range."""
    normaliser = torch.empty(len(hidden), dtype=_float(weight), device=hidden.device)
    step = max(1, logits_at_a_time // len(weight))
    for row in range(0, len(hidden), step):
        logits = _product(hidden[row : row + step], weight)
        if bias is not None:
            logits += bias.to(logits.dtype)
        peak = logits.amax(1, keepdim=True)
        normaliser[row : row + step] = peak[:, 0] + logits.sub_(peak).exp_().sum(1).log()
    return normaliser


def _product(hidden: Tensor, weight: Tensor) -> Tensor:
    """(R, d), (V, d) -> (R, V) in float32 or better, from the factors as they are."""
    if hidden.is_cuda and hidden.dtype == weight.dtype and hidden.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(hidden, weight.T, out_dtype=torch.float32)  # products are exact, sums float32: tensor cores
    dtype = _float(weight)
    return hidden.to(dtype) @ weight.T.to(dtype)


def _tail_logps(model: PreTrainedModel, call: nn.Module, hidden: Tensor, at: Tensor, labels: Tensor) -> Tensor:
    logps = hidden.new_empty(len(at), dtype=torch.float32)
    step = max(1, TAIL_LOGITS // len(embeddings(model)))
    for row in range(0, len(hidden), step):
        here = (at >= row) & (at < row + step)
        logits = _tail(model, call, hidden[row : row + step])
        logps[here] = logits.log_softmax(1)[at[here] - row, labels[here]]
    return logps


def _tail(model: PreTrainedModel, call: nn.Module, hidden: Tensor) -> Tensor:
    """(n, d) -> (n, V) float32 logits: what the model does after its body, head, scales and caps, by its own code."""
    head = model.get_output_embeddings()
    ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
    with as_float32(head.modules()), _body_gives(model, hidden[None].float()):
        return call(input_ids=ids, use_cache=False).logits[0].float()


class _BodyOutput:
    """What a body gives its head: hidden states first, and nothing else."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, index: int) -> Tensor | None:
        return self.last_hidden_state if index == 0 else None

    def __getattr__(self, name: str) -> None:
        return None


@contextmanager
def _body_gives(model: PreTrainedModel, hidden: Tensor) -> Iterator[None]:
    body = model.base_model
    original = body.__dict__.get("forward")
    body.forward = lambda *_, **__: _BodyOutput(hidden)
    try:
        yield
    finally:
        del body.forward
        if original is not None:
            body.forward = original


def _is_all(model: PreTrainedModel, call: nn.Module, layer: nn.Linear) -> bool:
    """Whether logits are the head's product and nothing else: no cap, no scale, whatever their size."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(4, layer.weight.shape[1], generator=generator).to(layer.weight.device)
    for scale in PROBE_SCALES:
        bias = None if layer.bias is None else layer.bias.float()
        expected = nn.functional.linear(hidden * scale, layer.weight.float(), bias)
        if not torch.allclose(_tail(model, call, hidden * scale), expected, rtol=1e-4, atol=1e-4 * scale):
            return False
    return True
