"""Hidden states -> log-probabilities of given tokens, without ever holding the logits of all positions.

The product with the head's weights and the log-softmax are float32, whatever dtype the model's body ran in.
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
CUDA_BLOCK_WORDS = 1 << 16
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
    dtype = torch.float64 if weight.dtype == torch.float64 else torch.float32
    hidden = hidden.to(weight.device, dtype)
    shift, total = hidden.new_zeros(len(hidden)), hidden.new_zeros(len(hidden))
    running = _is_ahead(hidden)
    words = CUDA_BLOCK_WORDS if hidden.is_cuda else BLOCK_WORDS
    block = hidden.new_empty(min(BLOCK_ROWS, len(hidden)) * min(words, len(weight)))
    for first in range(0, len(weight), words):
        part = weight[first : first + words].to(dtype)
        for row in range(0, len(hidden), BLOCK_ROWS):
            rows = slice(row, row + BLOCK_ROWS)
            logits = block[: len(hidden[rows]) * len(part)].view(len(hidden[rows]), len(part))
            torch.mm(hidden[rows], part.T, out=logits)
            if bias is not None:
                logits += bias[first : first + words].to(dtype)
            if first == 0:  # on a CPU any shift near the largest logit does
                shift[rows] = logits.amax(1)
            elif running:
                peak = torch.maximum(shift[rows], logits.amax(1))
                total[rows] *= (shift[rows] - peak).exp()
                shift[rows] = peak
            total[rows] += logits.sub_(shift[rows, None]).exp_().sum(1)
    if not running and torch.isinf(total).any():  # a later logit is far above the first block's
        return _whole_logps(hidden, weight, bias, at, labels)
    normaliser = shift + total.log()
    picked = (hidden[at] * weight[labels].to(dtype)).sum(1)
    if bias is not None:
        picked += bias[labels].to(dtype)
    return picked - normaliser[at]


def _is_ahead(hidden: Tensor) -> bool:
    """Whether the device runs ahead of Python, which must not wait to ask whether a sum overflowed."""
    return hidden.is_cuda


def _whole_logps(hidden: Tensor, weight: Tensor, bias: Tensor | None, at: Tensor, labels: Tensor) -> Tensor:
    """`streamed_logps` a few rows at a time, each over the whole vocabulary."""
    normaliser = hidden.new_empty(len(hidden))
    step = max(1, TAIL_LOGITS // len(weight))
    for row in range(0, len(hidden), step):
        logits = nn.functional.linear(
            hidden[row : row + step], weight.to(hidden.dtype), None if bias is None else bias.to(hidden.dtype)
        )
        normaliser[row : row + step] = logits.logsumexp(1)
    picked = (hidden[at] * weight[labels].to(hidden.dtype)).sum(1)
    if bias is not None:
        picked += bias[labels].to(hidden.dtype)
    return picked - normaliser[at]


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
