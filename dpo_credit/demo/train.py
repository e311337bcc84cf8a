"""Train the embedded pair from scratch with TRL: tokenizer, reference (SFT on noisy summaries), policy (DPO on it).

    python -m dpo_credit.demo.train --out pair

The paper's recipe (Rafailov et al. 2024, Sec. 4 and 5) at small scale. Needs the `train` extra.
"""

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedTokenizerFast,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from trl import SFTTrainer

from dpo_credit.train.recipe import Recipe
from dpo_credit.train.trainers import trainer

from .corpus import draw_pairs, sft_rows
from .errors import Pair
from .optim import muon_adamw
from .quality import copying
from .rows import grouped, preference_row
from .sampled import sample_errors
from .tokenizer import train_tokenizer
from .wording import load

LAYERS, WIDTH, HEADS, CONTEXT = 4, 192, 6, 1024
SFT_BATCH, MUON_LR, ADAMW_LR = 24, 0.02, 2e-3
# Once copying has formed: fresh posts, smaller steps.
LATER_SEED, LATER_RATE = 7, 0.5
DPO_PAIRS, DPO_LR, BETA = 16, 3e-4, 0.1
# Beside DPO's loss, the mean NLL of the chosen answers: it keeps asides as likely as they were.
NLL_WEIGHT = 1.5
# The post's pieces count a tenth, estimated on every fourth of them: most of the head's product is then saved.
POST_WEIGHT, POST_SHARE = 0.1, 0.25
# Pieces that values are made of count three times: copying facts is what is slow to learn.
VALUE_WEIGHT = 3.0
TOKENIZER_ROWS = 10_000
VALIDATION_SEED = 1
# Share of the DPO pairs whose wrong values the reference itself is asked for.
SAMPLED_SHARE = 0.3


class WeightedSFTTrainer(SFTTrainer):
    """SFT whose loss is the mean over answer tokens (values at VALUE_WEIGHT) plus the post's tokens at POST_WEIGHT."""

    def __init__(self, *, values: torch.Tensor, **given: Any) -> None:
        super().__init__(**given)
        self.values = values  # (V,) bool: pieces that values are made of

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        hidden = model.gpt_neox(ids, attention_mask=mask, use_cache=False).last_hidden_state
        # Row t predicts token t + 1.
        hidden, target = hidden[:, :-1], ids[:, 1:]
        answer = inputs["labels"][:, 1:] != -100
        post = (mask[:, 1:] == 1) & ~answer & (torch.rand(answer.shape) < POST_SHARE)
        weight = answer * (1 + (VALUE_WEIGHT - 1) * self.values[target]) + post * (POST_WEIGHT / POST_SHARE)
        keep = answer | post
        losses = torch.nn.functional.cross_entropy(model.lm_head(hidden[keep]), target[keep], reduction="none")
        loss = (losses * weight[keep]).sum() / weight.sum()
        self._total_train_tokens += int(mask.sum())
        self._metrics["train"]["answer_loss"].append(losses[answer[keep]].mean().item())
        self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return (loss, None) if return_outputs else loss


class LossCurve(TrainerCallback):
    """Keeps what the trainer logs, with the copying measured on validation pairs at every log."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, pairs: list[Pair], path: Path) -> None:
        self.tokenizer, self.pairs, self.path = tokenizer, pairs, path
        self.rows: list[dict[str, float]] = []

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        logs, model = kwargs["logs"], kwargs["model"]
        if "loss" in logs:
            row = {"step": state.global_step, **logs, **copying(model, self.tokenizer, self.pairs)}
            self.rows.append(row)
            self.path.write_text(json.dumps(self.rows, indent=1))
            print({key: round(value, 3) for key, value in row.items()}, flush=True)


def new_model(tokenizer: PreTrainedTokenizerFast) -> GPTNeoXForCausalLM:
    """A randomly initialised GPT-NeoX with tied embeddings and half-rotary attention."""
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        initializer_range=0.05,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5},
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GPTNeoXForCausalLM(config)


def value_pieces(tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> torch.Tensor:
    """(V,) bool: the pieces of `words` after a space, and all with a digit."""
    pieces = {tokenizer.tokenize(f" {word}")[0] for word in words}
    marked = [
        piece in pieces or any(map(str.isdigit, piece))
        for piece in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    ]
    return torch.tensor(marked)


def vocabulary() -> list[str]:
    """The words that values are made of."""
    return [word for values in load("values").values() for value in values for word in value.split()]


def train_reference(
    seed: int, early_steps: int, steps: int, *, validation: list[Pair], work: Path
) -> tuple[GPTNeoXForCausalLM, PreTrainedTokenizerFast]:
    """SFT on fresh posts, early ones and then all; curves and checkpoints go under `work`."""
    early = list(sft_rows(seed, early_steps * SFT_BATCH, early=True))
    words = vocabulary()
    texts = [row["prompt"] + row["completion"] for row in early[:TOKENIZER_ROWS]]
    tokenizer = train_tokenizer(texts, words)
    model = new_model(tokenizer)
    later = list(sft_rows(seed + LATER_SEED, steps * SFT_BATCH))
    for name, rows, rate in (("early", early, 1.0), ("sft", later, LATER_RATE)):
        made = trainer(
            _recipe("sft", work / name, len(rows) // SFT_BATCH, seed),
            model,
            tokenizer,
            grouped(rows, SFT_BATCH, Random(seed)),
            callbacks=[LossCurve(tokenizer, validation, work / f"{name}_curve.json")],
            optimizers=(muon_adamw(model, MUON_LR * rate, ADAMW_LR * rate), None),
            sft=partial(WeightedSFTTrainer, values=value_pieces(tokenizer, words)),
        )
        made.train()
        model = model.half().float()  # what follows starts from the weights that are shipped
    return model, tokenizer


def train_policy(
    reference: GPTNeoXForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    steps: int,
    validation: list[Pair],
    work: Path,
) -> GPTNeoXForCausalLM:
    """DPO from the reference on `steps` batches of fresh preferences; curve and checkpoints go under `work`."""
    # Another seed than SFT's: the posts are fresh, too.
    pairs = list(draw_pairs(seed + 1000, steps * DPO_PAIRS, "train"))
    asked = int(len(pairs) * SAMPLED_SHARE)
    pairs = sample_errors(reference, tokenizer, pairs[:asked]) + pairs[asked:]
    Random(seed).shuffle(pairs)
    rows = [preference_row(pair) for pair in pairs]
    policy = GPTNeoXForCausalLM(reference.config)
    policy.load_state_dict(reference.state_dict())
    # Adam steps as far on the rows of rare pieces, whose gradients are tiny, as on others: asides would earn credit.
    policy.get_input_embeddings().requires_grad_(False)
    moving = [weight for weight in policy.parameters() if weight.requires_grad]
    made = trainer(
        _recipe("dpo", work / "dpo", steps, seed),
        policy,
        tokenizer,
        grouped(rows, DPO_PAIRS, Random(seed)),
        reference=reference,
        callbacks=[LossCurve(tokenizer, validation, work / "dpo_curve.json")],
        optimizers=(torch.optim.AdamW(moving, lr=DPO_LR, weight_decay=0.0), None),
    )
    made.train()
    return policy


def publish(model: GPTNeoXForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path, dtype: torch.dtype) -> None:
    """Write weights in `dtype`, configuration and tokenizer; the directory appears whole or stays as it was."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        copy = GPTNeoXForCausalLM(model.config)
        copy.load_state_dict(model.state_dict())
        copy.config.use_cache = True
        copy.to(dtype).save_pretrained(partial)  # type: ignore[arg-type]
        tokenizer.save_pretrained(partial)
        partial.chmod(0o755)
        for file in partial.iterdir():
            file.chmod(0o644)
        if directory.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
            os.replace(directory, old)
            os.replace(partial, directory)
            shutil.rmtree(old)
        else:
            os.replace(partial, directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _recipe(method: Literal["sft", "dpo"], directory: Path, steps: int, seed: int) -> Recipe:
    """How the embedded pair is trained, as far as a recipe can say it."""
    sft = method == "sft"
    return Recipe(
        method=method,
        model="in memory",
        output=str(directory),
        learning_rate=ADAMW_LR if sft else DPO_LR,
        batch_size=SFT_BATCH if sft else DPO_PAIRS,
        max_steps=steps,
        warmup_steps=50 if sft else 20,
        max_length=CONTEXT,
        beta=BETA,
        loss="sigmoid, sft",
        precision="float32",
        seed=seed,
        save_steps=500,
        log_steps=max(1, steps // 20),
        trl={
            "train_sampling_strategy": "sequential",
            "save_total_limit": 2,
            "save_only_model": True,
            "gradient_checkpointing": False,
            "use_cpu": True,
            **({} if sft else {"loss_weights": [1.0, NLL_WEIGHT]}),
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a pair and write OUT/reference, OUT/policy and the curves."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory for reference/ and policy/")
    parser.add_argument("--work", type=Path, help="directory for curves and checkpoints (default: OUT/work)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--early-steps", type=int, default=5000, help=f"batches of {SFT_BATCH} posts in few phrasings")
    parser.add_argument("--sft-steps", type=int, default=1200, help="more of them, in all phrasings")
    parser.add_argument("--dpo-steps", type=int, default=700, help=f"batches of {DPO_PAIRS} preferences")
    parser.add_argument("--validation", type=int, default=200, help="pairs that the curves are measured on")
    parser.add_argument("--reference", type=Path, help="an existing reference: only DPO is run")
    options = parser.parse_args(arguments)
    work = options.work or options.out / "work"
    work.mkdir(parents=True, exist_ok=True)
    set_seed(options.seed)
    validation = list(draw_pairs(VALIDATION_SEED, options.validation, "validation"))
    if options.reference:
        reference = GPTNeoXForCausalLM.from_pretrained(options.reference, dtype=torch.float32)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(options.reference)
    else:
        reference, tokenizer = train_reference(
            options.seed, options.early_steps, options.sft_steps, validation=validation, work=work
        )
        publish(reference, tokenizer, options.out / "reference", torch.float16)
    policy = train_policy(
        reference, tokenizer, seed=options.seed, steps=options.dpo_steps, validation=validation, work=work
    )
    publish(policy, tokenizer, options.out / "policy", torch.float32)


if __name__ == "__main__":
    main()
