"""Token ids and a model -> log-probabilities. The one place where numbers leave torch.

The LM head's product and the log-softmax are float32 whatever dtype the body ran in: a reward is the difference of
two nearly equal numbers, and bf16 values near -5 lie 1/32 apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from dpo_credit.credit import CreditError, Logps, Tokens
from dpo_credit.forward.budget import Budget

# (ids (B, L) int64, mask (B, L) bool, rows (B, L) bool) -> (N, V) logits of the N positions that `rows` picks, in
# row-major order. Any callable will do; `causal_lm` makes one of a transformers model.
LanguageModel = Callable[[Tensor, Tensor, Tensor], Tensor]

BATCH_LOGITS = 1 << 26  # float32 logits reduced at a time (256 MiB)

# (n, V) logits in float32 or better and (n,) answer tokens -> tensors whose first axis is n
Reduce = Callable[[Tensor, Tensor], tuple[Tensor, ...]]


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
    budget: Budget | None = None,
) -> list[Logps]:
    """Log-probabilities of every answer under one model, in the batch's order.

    Equals `answer_logps(model(prompt + answer), ...)` answer by answer.

    Args:
        model: see `LanguageModel`.
        batch: encoded answers.
        device: where the model takes its ids.
        top_k: how many of the likeliest tokens to keep at each position.
        budget: padded tokens in one forward pass.

    Raises:
        CreditError: a token lies outside the model's vocabulary.
    """

    def reduce(logits: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        logps = _picked(logits, labels)
        if not top_k:
            return (logps,)
        top = logits.log_softmax(-1).topk(min(top_k, logits.shape[-1]))
        return logps, top.indices, top.values

    scored: list[Logps | None] = [None] * len(batch)
    for index, (logps, *top) in per_token(model, batch, device, reduce, budget):
        top_ids, top_logps = (tuple(map(tuple, values.tolist())) for values in top) if top else ((), ())
        scored[index] = Logps(tuple(logps.tolist()), top_ids, top_logps)
    return [logps for logps in scored if logps is not None]


def per_token(
    model: LanguageModel,
    batch: Sequence[Tokens],
    device: torch.device,
    reduce: Reduce,
    budget: Budget | None = None,
) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """What `reduce` makes of the logits that predict each answer token: the one loop over a model's logits.

    Sequences of similar length share a forward pass, padded on the right, where no causal model looks.

    Args:
        model: see `LanguageModel`.
        batch: encoded answers.
        device: where the model takes its ids.
        reduce: see `Reduce`; it gets some of a pass's tokens at a time.
        budget: padded tokens in one forward pass.

    Yields:
        (index of an answer, its tensors with T first, on the CPU), the longest sequences first.

    Raises:
        CreditError: a token lies outside the model's vocabulary.
    """
    budget = budget or Budget()
    lengths = [len(tokens.prompt_ids) + len(tokens.answer_ids) for tokens in batch]
    left = sorted(range(len(batch)), key=lambda index: (-lengths[index], index))

    def forward(waiting: list[int], tokens: int) -> tuple[list[int], list[Tensor]]:
        picked = waiting[: max(1, tokens // lengths[waiting[0]])]
        return picked, _forward(model, [batch[index] for index in picked], device, reduce)

    while left:
        picked, tensors = budget.run(partial(forward, left))
        counts = [len(batch[index].answer_ids) for index in picked]
        yield from zip(picked, zip(*(values.split(counts) for values in tensors), strict=True), strict=True)
        left = left[len(picked) :]


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
def _forward(model: LanguageModel, batch: Sequence[Tokens], device: torch.device, reduce: Reduce) -> list[Tensor]:
    ids, mask, rows = inputs(batch)
    logits = model(ids.to(device), mask.to(device), rows.to(device))
    labels = torch.tensor([token_id for tokens in batch for token_id in tokens.answer_ids], device=logits.device)
    step = max(1, BATCH_LOGITS // logits.shape[-1])
    parts = [
        reduce(part if part.dtype == torch.float64 else part.float(), label)
        for part, label in zip(logits.split(step), labels.split(step), strict=True)
    ]
    return [torch.cat(values).cpu() for values in zip(*parts, strict=True)]


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
