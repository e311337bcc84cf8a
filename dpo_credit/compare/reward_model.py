"""An explicit reward model: one number for a whole answer, from a head on its last token. It credits no tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from dpo_credit.credit import CreditError, Example
from dpo_credit.forward.budget import is_memory_error
from dpo_credit.models.checkpoints import Checkpoint, load_config, load_tokenizer, max_length
from dpo_credit.models.devices import devices
from dpo_credit.models.fit import require_fit
from dpo_credit.models.loading import load_weights
from dpo_credit.models.locations import locate
from dpo_credit.models.pair import Loading
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_answers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROLE = "reward model"


@dataclass(frozen=True, slots=True)
class RewardModel:
    """A sequence classifier with one output, as TRL's RewardTrainer saves it, and its own tokenizer."""

    name: str
    module: nn.Module
    tokenizer: PreTrainedTokenizerBase
    limit: int | None = None

    def rewards(self, answers: Sequence[Example], conventions: Conventions = Conventions()) -> list[float]:
        """The reward of each of several answers to one prompt: the head's output, which has no unit.

        Args:
            answers: the whole of each counts.
            conventions: how text becomes tokens, but for a chat's template, which is the model's own, as is
                `max_length` where none is given.

        Raises:
            CreditError: an answer cannot be encoded, is too long, or its reward is no number.
        """
        own = replace(conventions, chat_template="auto", turns="all", max_length=conventions.max_length or self.limit)
        batch = encode_answers(self.tokenizer, answers, own)
        found = []
        for example, tokens in zip(answers, batch, strict=True):
            device = next(self.module.parameters()).device
            ids = torch.tensor([[*tokens.prompt_ids, *tokens.answer_ids]], device=device)
            try:
                with torch.inference_mode():
                    reward = float(self.module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, 0])
            except Exception as error:
                if is_memory_error(error):
                    raise CreditError(
                        f"{ROLE} {self.name} has no memory for the {ids.numel():,} tokens of {example.id}."
                    ) from error
                raise
            if not math.isfinite(reward):
                raise CreditError(f"{example.id}: {ROLE} {self.name} gives {reward}. Try another --dtype.")
            found.append(reward)
        return found


def load_reward_model(name: str, loading: Loading = Loading()) -> RewardModel:
    """Load a reward model from a directory or the hub.

    Raises:
        CreditError: it cannot be loaded safely, or is none: it has no head, or one with several outputs.
    """
    place = locate(name, ROLE)
    if place.has("adapter_config.json", ROLE):
        raise CreditError(
            f"{ROLE} {name} is an adapter. Merge it into its base (PEFT's merge_and_unload), and name that."
        )
    if not place.has("config.json", ROLE):
        raise CreditError(f"{ROLE} {name} holds no config.json: it is not a saved model. Give its directory.")
    checkpoint = Checkpoint(name, ROLE, place)
    config = load_config(checkpoint, loading)
    module, info = load_weights(AutoModelForSequenceClassification, checkpoint, devices(loading.device)[0], loading)
    if heads := sorted(key for key in info["missing_keys"] if key.startswith(("score.", "classifier."))):
        raise CreditError(f"{ROLE} {name} has no weights for its head ({heads[0]}): is it a language model?")
    require_fit(checkpoint, info)
    if config.num_labels != 1:
        raise CreditError(f"{ROLE} {name} gives {config.num_labels} numbers an answer, where a reward is one.")
    tokenizer = load_tokenizer(checkpoint, loading)
    return RewardModel(name, module.eval().requires_grad_(False), tokenizer, max_length(checkpoint, loading))
