"""Train with TRL on what `dpo-credit export` writes: on the tokens that matter alone, or without a reference model.

    dpo-credit batch examples/posts.jsonl --pair embedded -o scored.jsonl
    dpo-credit export scored.jsonl --to token-weights --keep top:0.3 -o weights/
    dpo-credit export scored.jsonl --to trl-reference -o reference/
    python examples/selective_training.py weights/ reference/

The model is the reference of the embedded pair; a few steps, on a CPU. Written for TRL 1.16.
"""

import sys
import tempfile
from typing import Any

import datasets
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from dpo_credit import Loading, load_pair

ANSWERS = ("chosen", "rejected")
STEPS = 6


class KeptReference(DPOTrainer):
    """DPO with the reference's sums that the rows of `--to trl-reference` bring; no reference model is loaded.

    With `precompute_ref_log_probs=True` TRL 1.16 computes them anew even where a row brings them: this keeps them.
    """

    def _precompute_ref_logps(self, dataset: datasets.Dataset, name: str, batch_size: int) -> datasets.Dataset:
        return dataset


class WeightCollator(DataCollatorForPreference):
    """TRL's batch, and `weights` (2B, L): of chosen, then rejected, 0 over prompts and padding."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        weights = torch.zeros(batch["input_ids"].shape)
        for row, (name, example) in enumerate((name, example) for name in ANSWERS for example in examples):
            if example[f"{name}_token_ids"] != example[f"{name}_ids"]:
                raise ValueError(f"{example[f'{name}_token_ids']} was scored, and TRL reads {example[f'{name}_ids']}")
            both = torch.tensor([0.0] * len(example["prompt_ids"]) + example[f"{name}_weights"])[: weights.shape[1]]
            weights[row, : len(both)] = both
        return {**batch, "weights": weights}


def selective_loss(logps: Tensor, weights: Tensor, gamma: float) -> Tensor:
    """SePO's contrast of key tokens (Yang et al. 2024, arXiv 2408.13518): without a reference, length-normalised.

    Args:
        logps: (2B, L), nats, of the tokens of chosen answers, then of rejected ones.
        weights: (2B, L), of the same tokens.
        gamma: how steep it is.

    Returns:
        (B,) -log sigmoid(gamma * (mean logp of the chosen answer's kept tokens - of the rejected one's)).
    """
    chosen, rejected = ((logps * weights).sum(1) / weights.sum(1).clamp(min=1)).chunk(2)
    return -logsigmoid(gamma * (chosen - rejected))


class KeyTokens(KeptReference):
    """Trains on the tokens that the rows of `--to token-weights` give a weight; beta is the loss's gamma."""

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            super()._set_signature_columns_if_needed()
            self._signature_columns += [f"{name}_{what}" for name in ANSWERS for what in ("token_ids", "weights")]

    def _compute_loss(self, model: Any, inputs: dict[str, Tensor], return_outputs: bool) -> Any:
        labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
        given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        # the log-probability at t is of the token at t + 1
        logps = model(**given, labels=labels, use_cache=False, fused_lm_head=True).log_probs
        return selective_loss(logps, inputs["weights"][:, 1:], self.beta).mean()


def arguments(folder: str, beta: float) -> DPOConfig:
    """A short training on a CPU."""
    return DPOConfig(
        folder,
        beta=beta,
        precompute_ref_log_probs=True,
        max_steps=STEPS,
        per_device_train_batch_size=2,
        learning_rate=3e-4,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )


def losses(trainer: DPOTrainer) -> list[float]:
    """Train; the loss of each step."""
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def main(weights: str, reference: str) -> None:
    """Train twice, from the same model, and print the losses."""
    datasets.disable_progress_bars()
    for rows, kind, beta in ((weights, KeyTokens, 2.0), (reference, KeptReference, 0.1)):
        pair = load_pair("embedded", "embedded", loading=Loading(device="cpu"))
        model, tokenizer = pair.reference.module.requires_grad_(True), pair.tokenizer
        collator = WeightCollator(tokenizer.pad_token_id) if kind is KeyTokens else None
        with tempfile.TemporaryDirectory() as folder:
            trainer = kind(
                model,
                args=arguments(folder, beta),
                train_dataset=datasets.load_from_disk(rows),
                processing_class=tokenizer,
                data_collator=collator,
            )
            print(kind.__name__, *(f"{loss:.3f}" for loss in losses(trainer)))


if __name__ == "__main__":
    main(*sys.argv[1:3])
