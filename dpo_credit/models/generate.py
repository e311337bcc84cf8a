"""Many prompts through transformers' own `generate` at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerBase

from dpo_credit.credit import not_finite
from dpo_credit.models.side import Module, Side

TOKENS = 1 << 14  # prompt and answer tokens of all beams at a time


def generate(
    model: Module,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    **choice: Any,
) -> Iterator[tuple[int, list[int]]]:
    """The model's answers to prompts, similar lengths together, padded on the left.

    Args:
        model: the side that answers.
        tokenizer: the model's; names the end and the padding.
        prompts: ids (P,) of each.
        max_new_tokens: the longest answer.
        choice: how `generate` chooses, by its own names (`num_beams`, `do_sample`, ...).

    Yields:
        (index of the prompt, ids (T,) of its answer up to and with the end token), in no order.

    Raises:
        CreditError: the model's numbers are not finite, so there is nothing to choose by.
    """
    eos = tokenizer.eos_token_id
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else eos
    order = sorted(range(len(prompts)), key=lambda n: -len(prompts[n]))
    while order:
        width = len(prompts[order[0]])
        each = (width + max_new_tokens) * int(choice.get("num_beams", 1))
        picked, order = order[: max(1, TOKENS // each)], order[max(1, TOKENS // each) :]
        ids = torch.tensor([[pad] * (width - len(prompts[n])) + list(prompts[n]) for n in picked], device=model.device)
        mask = torch.tensor([[0] * (width - len(prompts[n])) + [1] * len(prompts[n]) for n in picked])
        with model.active(), without_defaults(model.module):
            written = model.module.generate(  # type: ignore[operator]
                input_ids=ids,
                attention_mask=mask.to(model.device),
                logits_processor=LogitsProcessorList([Finite(model)]),
                max_new_tokens=max_new_tokens,
                pad_token_id=pad,
                eos_token_id=eos,
                **choice,
            )
        for n, row in zip(picked, written[:, width:].tolist(), strict=True):
            yield n, row[: row.index(eos) + 1] if eos in row else row


class Finite(LogitsProcessor):
    """Leaves scores as they are, and refuses NaN, of which `generate` would make any token, or a traceback."""

    def __init__(self, model: Side) -> None:
        self.model = model

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        """(B, V) scores of what follows the ids (B, L).

        Raises:
            CreditError: one of them is NaN, or infinitely high.
        """
        refuse_not_finite(scores, f"{self.model.name} gives scores that are not finite", self.model.dtype)
        return scores


def refuse_not_finite(scores: Tensor, fault: str, dtype: str) -> None:
    """Minus infinity is fine: it rules a token out.

    Raises:
        CreditError: a score is NaN, or infinitely high; see `not_finite`.
    """
    if bool((scores.isnan() | scores.isposinf()).any()):
        raise not_finite(fault, dtype)


@contextmanager
def without_defaults(module: nn.Module) -> Iterator[None]:
    """Let `generate` do what it is told alone, and nothing that `generation_config.json` beside the weights adds to it.

    Chat models bring a repetition penalty or a `min_p` there, which would make it search or draw from another model.
    """
    wrapped = module.get_base_model() if isinstance(module, PeftModel) else module  # PEFT hands its own down
    kept = [(model, model.generation_config) for model in dict.fromkeys((module, wrapped))]
    try:
        for model, _ in kept:
            model.generation_config = GenerationConfig()  # type: ignore[assignment]
        yield
    finally:
        for model, config in kept:
            model.generation_config = config  # type: ignore[assignment]
