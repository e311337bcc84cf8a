"""Token ids and a model -> log-probabilities. The one place where numbers leave torch.

The LM head's product and the log-softmax are float32 whatever dtype the body ran in: a reward is the difference of
two nearly equal numbers, and bf16 values near -5 lie 1/32 apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpo_credit.credit import CreditError, Tokens

# (ids (B, L) int64, mask (B, L) bool, rows (B, L) bool) -> (N, V) logits of the N positions that `rows` picks, in
# row-major order. Any callable will do; `causal_lm` makes one of a transformers model.
LanguageModel = Callable[[Tensor, Tensor, Tensor], Tensor]

BATCH_TOKENS = 2048  # padded tokens in one forward pass: on CPUs throughput is flat from about 1,000 on
BATCH_LOGITS = 1 << 26  # float32 logits in one forward pass (256 MiB)
NOISE_TOKENS = 512  # answer tokens measured for the noise floor
NOISE_QUANTILE = 0.95


@dataclass(frozen=True, slots=True)
class Scored:
    """One answer under one model: `logps` (T,) in nats; `top_ids` and `top_logps` (T, k), the likeliest first."""

    logps: tuple[float, ...]
    top_ids: tuple[tuple[int, ...], ...] = ()
    top_logps: tuple[tuple[float, ...], ...] = ()


def answer_logps(logits: Tensor, ids: Tensor, start: int) -> Tensor:
    """Log-probability of each answer token given its prefix.

    Args:
        logits: (L, V), any float dtype; row t predicts ids[t + 1].
        ids: (L,) prompt then answer.
        start: index of the first answer token; at least 1.

    Returns:
        (L - start,) nats, float32 (float64 for float64 logits).

    Raises:
        CreditError: start leaves no answer token, or no prefix.
    """
    if not 1 <= start < len(ids):
        raise CreditError(
            f"the answer starts at token {start} of {len(ids)}; it needs a prefix and at least one token."
        )
    return _picked(logits[start - 1 : -1], ids[start:])


def score_tokens(
    model: LanguageModel,
    batch: Sequence[Tokens],
    device: torch.device,
    top_k: int = 0,
    budget: int | None = None,
) -> list[Scored]:
    """Log-probabilities of every answer under one model, in the batch's order.

    Equals `answer_logps(model(prompt + answer), ...)` answer by answer; sequences of similar length share a forward
    pass, padded on the right, where no causal model looks.

    Args:
        model: see `LanguageModel`.
        batch: encoded answers.
        device: where the model takes its ids.
        top_k: how many of the likeliest tokens to keep at each position.
        budget: padded tokens in one forward pass.

    Raises:
        CreditError: a token lies outside the model's vocabulary.
    """
    scored: list[Scored | None] = [None] * len(batch)
    for picked in passes(batch, budget or BATCH_TOKENS):
        for index, result in zip(picked, _forward(model, [batch[i] for i in picked], device, top_k), strict=True):
            scored[index] = result
    return [result for result in scored if result is not None]


def passes(batch: Sequence[Tokens], budget: int) -> Iterator[list[int]]:
    """Indices of the answers that share a forward pass of `budget` padded tokens, longest first."""
    lengths = [len(tokens.prompt_ids) + len(tokens.answer_ids) for tokens in batch]
    current: list[int] = []
    for index in sorted(range(len(batch)), key=lambda i: (-lengths[i], i)):
        if current and (len(current) + 1) * lengths[current[0]] > budget:
            yield current
            current = []
        current.append(index)
    if current:
        yield current


def inputs(batch: Sequence[Tokens]) -> tuple[Tensor, Tensor, Tensor]:
    """Answers after their prompts as what a `LanguageModel` takes: ids, mask and rows, each (B, L)."""
    # ids     p0 p1 p2 a0 a1 a2        the prompt, the answer (and padding)
    # rows     .  .  x  x  x  .        row t predicts ids[t + 1]: one before the first answer token onwards
    starts = torch.tensor([len(tokens.prompt_ids) for tokens in batch])[:, None]
    ends = starts + torch.tensor([len(tokens.answer_ids) for tokens in batch])[:, None]
    positions = torch.arange(int(ends.max()))
    mask = positions < ends
    rows = (starts - 1 <= positions) & (positions < ends - 1)
    ids = torch.zeros(mask.shape, dtype=torch.long)
    ids[mask] = torch.tensor([i for tokens in batch for i in (*tokens.prompt_ids, *tokens.answer_ids)])
    return ids, mask, rows


@torch.no_grad()
def _forward(model: LanguageModel, batch: Sequence[Tokens], device: torch.device, top_k: int) -> list[Scored]:
    ids, mask, rows = inputs(batch)
    logits = model(ids.to(device), mask.to(device), rows.to(device))
    labels = torch.tensor([token_id for tokens in batch for token_id in tokens.answer_ids], device=logits.device)
    picked, top = [], []
    step = max(1, BATCH_LOGITS // logits.shape[-1])
    for part, label in zip(logits.split(step), labels.split(step), strict=True):
        picked.append(_picked(part, label))
        if top_k:
            top.append(part.float().log_softmax(-1).topk(min(top_k, part.shape[-1])))
    logps = torch.cat(picked).tolist()
    top_logps = [row for values, _ in top for row in values.tolist()]
    top_ids = [row for _, indices in top for row in indices.tolist()]
    stops = rows.sum(1).cumsum(0).tolist()
    return [
        Scored(
            logps=tuple(logps[start:end]),
            top_ids=tuple(map(tuple, top_ids[start:end])),
            top_logps=tuple(map(tuple, top_logps[start:end])),
        )
        for start, end in zip([0, *stops], stops, strict=False)
    ]


def _picked(logits: Tensor, labels: Tensor) -> Tensor:
    """(N, V), (N,) -> (N,): log_softmax(logits)[labels], in float32 or better."""
    if logits.dtype != torch.float64:
        logits = logits.float()
    return logits.gather(-1, labels[:, None]).squeeze(-1) - logits.logsumexp(-1)


def causal_lm(model: nn.Module) -> LanguageModel:
    """A transformers causal LM as a `LanguageModel`: its LM head runs in float32, at the wanted rows only.

    Equals `model(ids, mask).logits.float()[rows]` but for the head's rounding. What a model does to its logits after
    the head (soft-capping, scaling) happens as the model does it.
    """

    def logits(ids: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        check_vocabulary(model, ids)
        head = model.get_output_embeddings()  # type: ignore[operator]
        with _float32_head(head, rows) if isinstance(head, nn.Module) else ExitStack():
            output = model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
        return _wanted(output, rows)[0]

    return logits


def embeddings(model: nn.Module) -> Tensor:
    """(V, d): the input embeddings of a transformers model."""
    return model.get_input_embeddings().weight  # type: ignore[operator]


def check_vocabulary(model: nn.Module, ids: Tensor) -> None:
    """Refuse ids that the model has no embedding for.

    Raises:
        CreditError: there is one.
    """
    vocabulary = len(embeddings(model))
    if vocabulary <= int(ids.max()):
        raise CreditError(
            f"token {int(ids.max())} lies outside the model's vocabulary of {vocabulary}: the tokenizer belongs to "
            "another model. Load the SFT checkpoint that the policy was trained from."
        )


@contextmanager
def _float32_head(head: nn.Module, rows: Tensor) -> Iterator[None]:
    """Let the head see only the wanted rows, and compute in float32, for one forward pass."""
    # accelerate puts its own forward before the module's, to move weights in: go behind it
    name = "_old_forward" if hasattr(head, "_old_forward") else "forward"
    forward = getattr(head, name)

    original = head.__dict__.get(name)

    def float32_forward(hidden: Tensor) -> Tensor:
        with as_float32(head.modules()):
            return forward(_wanted(hidden, rows).to(_dtype(head)))

    setattr(head, name, float32_forward)
    try:
        yield
    finally:
        if original is None:
            delattr(head, name)
        else:
            setattr(head, name, original)


def _dtype(module: nn.Module) -> torch.dtype:
    """The dtype a module computes in: that of its first parameter that is not quantised."""
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def _wanted(values: Tensor, rows: Tensor) -> Tensor:
    """(B, L or more, d), (B, L) -> (1, N, d); what already is (1, N, d) stays."""
    # N < L, so (1, N, d) is never taken for (B, L, d); prompt tuning puts rows of its own before the L
    if len(values) == len(rows) and values.shape[1] >= rows.shape[1]:
        return values[:, -rows.shape[1] :][rows.to(values.device)][None]
    return values


@contextmanager
def as_float32(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Hold half-precision parameters of these modules in float32; the stored ones come back, bit for bit."""
    stored = [
        (module, name, parameter.data)
        for module in modules
        for name, parameter in module.named_parameters(recurse=False)
        if parameter.dtype in (torch.bfloat16, torch.float16)
    ]
    for module, name, data in stored:
        getattr(module, name).data = data.float()
    try:
        yield
    finally:
        for module, name, data in stored:  # by name: accelerate swaps the Parameter objects of offloaded modules
            getattr(module, name).data = data


@contextmanager
def in_float32(model: nn.Module) -> Iterator[None]:
    """Run a half-precision model in float32, one layer's weights at a time: memory grows by a layer and the embeddings.

    A layer is held whole, since it may read the weights of its parts directly (Mamba's does); so is what lies outside
    the layers, since a model may cast to its head's dtype on the way there.
    """
    with ExitStack() as stack:
        for module in _outside_layers(model):
            if not isinstance(module, nn.ModuleList):
                stack.enter_context(as_float32([module]))
                continue
            for layer in module:
                running: list[ExitStack] = []

                def before(layer: nn.Module, inputs: tuple, running: list[ExitStack] = running) -> None:
                    running.append(ExitStack())
                    running[-1].enter_context(as_float32(layer.modules()))

                def after(layer: nn.Module, inputs: tuple, output: object, running: list[ExitStack] = running) -> None:
                    running.pop().close()

                stack.callback(layer.register_forward_pre_hook(before).remove)
                stack.callback(layer.register_forward_hook(after, always_call=True).remove)
        yield


def _outside_layers(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of a model down to its lists of layers, without what is in these."""
    yield module
    if not isinstance(module, nn.ModuleList):
        for child in module.children():
            yield from _outside_layers(child)


def noise_floor(ratios: Sequence[float], exact: Sequence[float]) -> float:
    """The measured error of a token's log-ratio: the 95th percentile of |as computed - recomputed in float32|, nats."""
    errors = (torch.tensor(ratios, dtype=torch.float64) - torch.tensor(exact, dtype=torch.float64)).abs()
    return float(errors.quantile(NOISE_QUANTILE)) if len(errors) else 0.0
