"""What every contender has in common, and the two that need nothing installed: dpo-credit and plain transformers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from workload import Group

from dpo_credit import Example, Loading, load_pair, score

OURS = "dpo-credit"


class Missing(Exception):
    """A peer is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A way to score answers.

    run: (answers, size) -> log pi(answer) - log pi_ref(answer), nats, of the first `answers` answers of the workload,
        taken in batches of `size` answers.
    step: answers in the smallest batch it takes: 1, 2 for a pair, all those of a prompt.
    start: text that it puts before every prompt by itself.
    """

    name: str
    run: Callable[[int, int], list[float]]
    step: int
    start: str = ""


@dataclass(frozen=True)
class Setting:
    """The pair and the workload that contenders are made for; models are loaded when first asked for, in float32."""

    policy: Path
    reference: Path
    groups: tuple[Group, ...]
    dpo_repo: Path | None = None

    @property
    def answers_each(self) -> int:
        return len(self.groups[0].answers)

    @property
    def examples(self) -> list[Example]:
        return [Example(group.prompt, answer) for group in self.groups for answer in group.answers]

    @property
    def pairs(self) -> list[tuple[str, str, str]]:
        """(prompt, chosen, rejected): two answers at a time, for peers that know only pairs."""
        if self.answers_each % 2:
            raise SystemExit(f"{self.answers_each} answers a prompt: most peers score pairs. Give an even number.")
        return [
            (group.prompt, *group.answers[n : n + 2]) for group in self.groups for n in range(0, self.answers_each, 2)
        ]

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        tokenizer = AutoTokenizer.from_pretrained(self.policy)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    @cached_property
    def models(self) -> tuple[nn.Module, nn.Module]:
        """(policy, reference), shared by all peers."""
        return tuple(
            AutoModelForCausalLM.from_pretrained(side, dtype=torch.float32).eval()
            for side in (self.policy, self.reference)
        )

    def twins(self) -> list[nn.Module]:
        """The models again on the same weights, for a peer that patches its modules."""
        return [
            copy.deepcopy(model, {id(weight): weight for weight in (*model.parameters(), *model.buffers())})
            for model in self.models
        ]


def batches(items: list, size: int) -> list[list]:
    """`items` in runs of `size`."""
    return [items[n : n + size] for n in range(0, len(items), size)]


def ours(setting: Setting) -> Contender:
    """`dpo_credit.score`, called once a batch."""
    pair = load_pair(setting.policy, setting.reference, loading=Loading(device="cpu", dtype="float32"))
    examples = setting.examples

    def run(answers: int, size: int) -> list[float]:
        return [
            sum(credit.policy_logps) - sum(credit.reference_logps)
            for batch in batches(examples[:answers], size)
            for credit in score(pair, batch)
        ]

    return Contender(OURS, run, setting.answers_each)


def plain(setting: Setting) -> Contender:
    """transformers as most scripts use it: padding on the right, all logits, log-softmax of the answers' rows."""
    tokenizer, models, examples = setting.tokenizer, setting.models, setting.examples

    @torch.no_grad()
    def run(answers: int, size: int) -> list[float]:
        sums: list[float] = []
        for batch in batches(examples[:answers], size):
            starts = [len(tokenizer(example.prompt).input_ids) for example in batch]
            texts = [example.prompt + example.answer + tokenizer.eos_token for example in batch]
            inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right")
            ids, mask = inputs.input_ids, inputs.attention_mask
            columns = torch.arange(ids.shape[1])[None, 1:]
            wanted = (columns >= torch.tensor(starts)[:, None]) & mask[:, 1:].bool()
            first = min(starts) - 1  # row t predicts ids[t + 1]
            ratios = torch.zeros(len(batch))
            for model, sign in zip(models, (1, -1), strict=True):
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, first:-1]
                logps = logits.log_softmax(-1).gather(-1, ids[:, first + 1 :, None])[..., 0]
                ratios += sign * (logps * wanted[:, first:]).sum(1)
            sums += ratios.tolist()
        return sums

    return Contender("plain transformers", run, 1)
