"""TRL's trainers, built from a recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import is_bf16_available
from datasets import Dataset, disable_progress_bars
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainerCallback
from transformers.integrations import get_reporting_integration_callbacks
from transformers.utils import logging
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from dpo_credit.credit import CreditError
from dpo_credit.train.recipe import Recipe, arguments

Optimizers = tuple[torch.optim.Optimizer | None, torch.optim.lr_scheduler.LambdaLR | None]


def configuration(recipe: Recipe) -> SFTConfig | DPOConfig:
    """TRL's configuration.

    Raises:
        CreditError: TRL has no such argument or refuses a value, or a tracker is unknown or not installed.
    """
    kind = SFTConfig if recipe.method == "sft" else DPOConfig
    if unknown := sorted(recipe.trl.keys() - {argument.name for argument in fields(kind)}):
        raise CreditError(
            f"trl: {kind.__name__} has no argument {unknown[0]}. Its arguments are in TRL's documentation."
        )
    given = arguments(
        recipe,
        processes=PartialState().num_processes,
        bf16_gpu=torch.cuda.is_available() and is_bf16_available(),
    )
    try:
        made = kind(**given)
        for tracker in get_reporting_integration_callbacks(made.report_to):
            tracker()  # which raises where its package is missing; the trainer would after all else is read
    except Exception as error:  # whatever it raises is about a value of the recipe
        raise CreditError(f"{kind.__name__} refuses the recipe: {' '.join(str(error).split())}") from error
    return made


def trainer(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[dict[str, Any]],
    *,
    reference: PreTrainedModel | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    optimizers: Optimizers = (None, None),
    sft: Callable[..., SFTTrainer] = SFTTrainer,
) -> Trainer:
    """The trainer of a recipe, ready to train.

    Args:
        recipe: how to train.
        model: what is trained, on the CPU; the trainer places it.
        tokenizer: the model's.
        rows: as TRL takes them, in the order given if `train_sampling_strategy` is "sequential".
        reference: DPO's; None for an adapter, whose base it is.
        callbacks: further ones.
        optimizers: others than the recipe names.
        sft: another trainer class for SFT.

    Raises:
        CreditError: TRL has no such argument, or refuses a value.
    """
    given: dict[str, Any] = {
        "model": model,
        "args": configuration(recipe),
        "train_dataset": Dataset.from_list(list(rows)),
        "processing_class": tokenizer,
        "callbacks": list(callbacks),
        "optimizers": optimizers,
    }
    if recipe.adapter is not None:
        given["peft_config"] = adapter(recipe.adapter)
    disable_progress_bars()
    logging.disable_progress_bar()
    made: Any = sft(**given) if recipe.method == "sft" else DPOTrainer(ref_model=reference, **given)
    made.remove_callback(PrinterCallback)
    made.hub_model_id = made.hub_model_id or recipe.output  # what the model card's example loads
    return made


def adapter(settings: dict[str, Any]) -> Any:
    """The configuration of a LoRA adapter.

    Raises:
        CreditError: peft does not take it.
    """
    from peft import LoraConfig

    try:
        return LoraConfig(**{"task_type": "CAUSAL_LM", **settings})
    except (TypeError, ValueError) as error:
        raise CreditError(f"adapter: {error}. It holds the settings of a peft.LoraConfig, such as r: 16.") from error
