"""How to train: the settings of a recipe file, typed, and TRL's arguments for them (Rafailov et al. 2024, App. G)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from dpo_credit.credit import CreditError
from dpo_credit.models.objective import averages

# What a recipe has names of its own for; everything else of TRL's arguments goes through `trl`.
OWN_NAMES = {
    "output_dir": "output",
    "learning_rate": "learning_rate",
    "per_device_train_batch_size": "batch_size and per_device_batch_size",
    "gradient_accumulation_steps": "batch_size and per_device_batch_size",
    "num_train_epochs": "epochs",
    "max_steps": "max_steps",
    "warmup_steps": "warmup_steps",
    "lr_scheduler_type": "schedule",
    "optim": "optimizer",
    "max_grad_norm": "max_grad_norm",
    "max_length": "max_length",
    "beta": "beta",
    "loss_type": "loss",
    "seed": "seed",
    "bf16": "precision",
    "fp16": "precision",
    "save_steps": "save_steps",
    "logging_steps": "log_steps",
}

# TRL finds a wrong name only at the first step.
LOSSES = (
    *("sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot", "aot_unpaired"),
    *("apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training.

    Args:
        method: SFT on answers, or DPO on preferences.
        model: what is trained: a directory, a hub's name, "embedded" for the embedded reference, or "smollm2" for the
            base of that pair. DPO's reference is a frozen copy of it; of an adapter, which is trained on, the copy is
            one named "ref", beside it on the same base. An adapter that has a "ref" already keeps that.
        gguf: the GGUF file in it that holds its weights.
        output: the directory for weights, checkpoints and the record `dpo_credit.json`.
        data: files of rows as `score` takes them; SFT learns each answer, of a preference the chosen one.
        dataset: or a Hugging Face dataset, with its `split`.
        limit: the first so many rows only.
        learning_rate: at its peak.
        batch_size: answers (SFT) or preferences (DPO) an update, over all processes.
        per_device_batch_size: how many of them at once on each device; the rest is accumulated.
        epochs: over the rows; `max_steps` updates end it sooner.
        warmup_steps: over which the learning rate rises linearly.
        schedule: what the learning rate does then, by transformers' name.
        optimizer: by transformers' name.
        max_grad_norm: gradients are clipped to it.
        max_length: the most tokens of prompt and answer. `too_long`: what happens to rows above it: "error", "drop", or
            "truncate", which is TRL's own way (`truncation_mode` under `trl`, "keep_start" by default).
        beta: DPO's.
        loss: DPO's, by TRL's name; several with a comma are added up (their weights: `loss_weights` under `trl`).
        adapter: the settings of a `peft.LoraConfig`, to train an adapter and not the weights themselves.
        chat_template: a Jinja file, where the tokenizer brings none.
        precision: of the forward pass; "auto" is bfloat16 where a GPU has it. Weights are float32 always.
        seed: of the order of the rows and of dropout.
        save_steps: updates between two checkpoints; None: each epoch.
        log_steps: updates between two lines of the log.
        follow: a file of preferences that DPO is followed on: they are scored every `follow_steps` updates, for
            trackers, which get the tokens of the one with the id `watch` (the first), and for `OUTPUT/credit.jsonl`.
        trl: any other argument of TRL's `SFTConfig` or `DPOConfig`.
    """

    method: Literal["sft", "dpo"]
    model: str
    output: str
    data: tuple[str, ...] = ()
    dataset: str | None = None
    split: str | None = None
    limit: int | None = None
    learning_rate: float
    batch_size: int
    per_device_batch_size: int | None = None
    epochs: float = 1.0
    max_steps: int | None = None
    warmup_steps: int = 0
    schedule: str = "linear"
    optimizer: str = "adamw_torch"
    max_grad_norm: float = 1.0
    max_length: int = 1024
    too_long: Literal["error", "drop", "truncate"] = "error"
    beta: float = 0.1
    loss: str = "sigmoid"
    gguf: str | None = None
    adapter: dict[str, Any] | None = None
    chat_template: str | None = None
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    seed: int = 0
    save_steps: int | None = None
    log_steps: int = 10
    follow: str | None = None
    follow_steps: int = 50
    watch: str | None = None
    trl: dict[str, Any] = field(default_factory=dict)

    @property
    def losses(self) -> list[str]:
        """The names of the losses that are added up."""
        return [name.strip() for name in self.loss.split(",")]

    @property
    def length_normalised(self) -> bool:
        """Whether rewards are divided by the answer's length, as the losses "sigmoid_norm" and "ipo" do."""
        return averages(self.losses)

    def as_yaml(self) -> str:
        """The recipe as a file would hold it: what was given, and every default."""
        import yaml

        values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        given = {key: value for key, value in values.items() if value not in (None, [], {})}
        return yaml.safe_dump(given, sort_keys=False)

    def accumulation(self, processes: int) -> tuple[int, int]:
        """Rows at once on each device, and over how many such steps an update accumulates them.

        Raises:
            CreditError: the batch does not divide so.
        """
        each = self.per_device_batch_size or max(1, self.batch_size // processes)
        if self.batch_size % (each * processes):
            raise CreditError(
                f"batch_size {self.batch_size} is no multiple of {each} rows on each of {processes} processes. "
                "Set batch_size or per_device_batch_size so that it is."
            )
        return each, self.batch_size // (each * processes)


def arguments(recipe: Recipe, *, processes: int = 1, bf16_gpu: bool = False) -> dict[str, Any]:
    """The arguments of TRL's `SFTConfig` or `DPOConfig`.

    Raises:
        CreditError: the batch does not divide among the processes, or `trl` sets what has a name of its own.
    """
    if taken := sorted(recipe.trl.keys() & OWN_NAMES.keys()):
        raise CreditError(f"trl: {taken[0]} is set by {OWN_NAMES[taken[0]]}. Set it there.")
    each, steps = recipe.accumulation(processes)
    precision = ("bfloat16" if bf16_gpu else "float32") if recipe.precision == "auto" else recipe.precision
    saving: dict[str, Any] = (
        {"save_strategy": "epoch"} if recipe.save_steps is None else {"save_steps": recipe.save_steps}
    )
    own: dict[str, Any] = {
        "output_dir": recipe.output,
        "learning_rate": recipe.learning_rate,
        "per_device_train_batch_size": each,
        "gradient_accumulation_steps": steps,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "warmup_steps": recipe.warmup_steps,
        "lr_scheduler_type": recipe.schedule,
        "optim": recipe.optimizer,
        "max_grad_norm": recipe.max_grad_norm,
        "max_length": recipe.max_length,
        "seed": recipe.seed,
        "bf16": precision == "bfloat16",
        "fp16": precision == "float16",
        "logging_steps": recipe.log_steps,
        "logging_nan_inf_filter": False,  # or a loss that is NaN is logged as the others' mean
        "report_to": "none",
        "disable_tqdm": True,
        **saving,
    }
    if recipe.method == "sft":
        return {**own, "completion_only_loss": True, **recipe.trl}
    return {**own, "beta": recipe.beta, "loss_type": recipe.losses, **recipe.trl}
