"""A training from its recipe: weights, checkpoints and the record that later commands read, in one directory."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from dpo_credit.credit import CreditError, NotFiniteError
from dpo_credit.models.adapters import restore
from dpo_credit.models.checkpoints import Checkpoint, find, load_tokenizer
from dpo_credit.models.loading import load_module
from dpo_credit.models.objective import objective
from dpo_credit.models.trained import NAME, UNFINISHED, Trained, read
from dpo_credit.rows.journal import Mode
from dpo_credit.rows.records import Row
from dpo_credit.rows.settings import refuse_changes
from dpo_credit.rows.sources import expand
from dpo_credit.train.recipe import Recipe
from dpo_credit.train.rows import Rows, compare, followed, rows_of
from dpo_credit.train.start import LOADING, start_of, trainable
from dpo_credit.train.trainers import adapter, configuration, trainer


@dataclass(frozen=True, slots=True)
class Prepared:
    """A recipe that was found good: its model, tokenizer and rows are there."""

    recipe: Recipe
    start: Checkpoint
    tokenizer: PreTrainedTokenizerBase
    rows: Rows
    followed: tuple[Row, ...] = ()

    @property
    def is_adapter(self) -> bool:
        """Whether an adapter is trained, a new one or the model itself, on a base that stays."""
        return self.recipe.adapter is not None or self.start.adapter is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should be told before training."""
        trained = objective({**self.recipe.trl, "loss_type": self.recipe.losses})
        if self.recipe.method == "sft" or not trained.refusal:
            return self.rows.notes
        return (*self.rows.notes, f"scoring will ask for a formula, since this trains with {trained.refusal}")

    @property
    def size(self) -> str:
        """How much there is to train on, in words."""
        lengths = self.rows.lengths
        what = "preferences" if self.recipe.method == "dpo" else "answers"
        return (
            f"{len(self.rows.rows):,} {what}, {sum(lengths):,} tokens, the longest {max(lengths):,}; "
            f"{self.recipe.batch_size} an update"
        )


def prepare(recipe: Recipe, template: str | None = None) -> Prepared:
    """Read what a recipe names, short of the weights.

    Args:
        recipe: how to train.
        template: the text of its `chat_template`.

    Raises:
        CreditError: the recipe, its model, tokenizer or rows are at fault.
    """
    _check_output(recipe.output)
    configuration(recipe)
    if recipe.adapter is not None:
        adapter(recipe.adapter)
    start = start_of(recipe)
    tokenizer = load_tokenizer(start, LOADING)
    if template is not None:
        tokenizer.chat_template = template
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return Prepared(recipe, start, tokenizer, rows_of(recipe, tokenizer), followed(recipe))


def _check_output(name: str) -> None:
    """Refuse an output that can be no directory, before anything is read."""
    for folder in (Path(name), *Path(name).parents):
        try:
            if not stat.S_ISDIR(os.stat(folder).st_mode):
                raise CreditError(f"output {name} cannot be a directory: {folder} is a file. Name another.")
        except (FileNotFoundError, NotADirectoryError):  # a folder that holds it comes next, or the file
            continue
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CreditError(f"output {name!r} cannot be a directory: {reason}. Name another.") from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise CreditError(f"output {name} cannot be written: Permission denied in {folder}. Name another.")
        return


def record(prepared: Prepared) -> Trained:
    """What is written beside the weights."""
    recipe, dpo = prepared.recipe, prepared.recipe.method == "dpo"
    model = recipe.model
    if model != "embedded" and prepared.start.model.local:
        model = os.path.relpath(prepared.start.model.path, recipe.output)
    return Trained(
        method=recipe.method,
        model=model,
        reference=model if dpo and not prepared.is_adapter else None,
        beta=recipe.beta if dpo else None,
        length_normalised=dpo and recipe.length_normalised,
        chat_template=prepared.tokenizer.chat_template,
        rows=len(prepared.rows.rows),
        rows_sha256=prepared.rows.sha256,
        seed=recipe.seed,
        versions={name: version(name) for name in ("dpo-credit", "trl", "transformers", "torch")},
        recipe={name: list(value) if isinstance(value, tuple) else value for name, value in asdict(recipe).items()},
    )


def claim(prepared: Prepared, mode: Mode, *, first: bool = True) -> str | None:
    """Make the output directory this training's; the checkpoint to go on from, if there is one.

    Args:
        prepared: see `prepare`.
        mode: what to do with what is there.
        first: of several processes the first alone checks and writes.

    Raises:
        CreditError: it holds something else, another training, or what this one reads and would delete.
    """
    if not first:
        return last_checkpoint(prepared.recipe.output) if mode == "resume" else None
    output, now = Path(prepared.recipe.output), record(prepared)
    if mode == "overwrite":
        _keep_what_is_read(prepared, output)
    filled = output.exists() and (not output.is_dir() or any(path.name != UNFINISHED for path in output.iterdir()))
    was = read(output) if filled and output.is_dir() else None
    if filled and mode == "new":
        raise CreditError(f"{output} is not empty. Go on with --resume, replace it with --overwrite, or name another.")
    if filled and was is None:
        raise CreditError(f"{output} holds no {NAME}, so it is no training of ours. Name another output.")
    if was is not None and mode == "resume":
        decides = ("recipe", "rows_sha256", "chat_template", "method")
        before, after = ({name: getattr(record, name) for name in decides} for record in (was, now))
        refuse_changes(output, before, after)
        return last_checkpoint(output)
    try:
        if filled:
            for path in output.iterdir():  # the record stays to the end: without it nothing says that this is ours
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != NAME:
                    path.unlink()
        output.mkdir(parents=True, exist_ok=True)
        now.write(output)
    except OSError as error:
        raise CreditError(f"cannot write {output}: {error.strerror}.") from error
    return None


def _keep_what_is_read(prepared: Prepared, output: Path) -> None:
    """Refuse to empty a directory that the training itself starts from."""
    recipe, place = prepared.recipe, prepared.start.model
    names = [given.name for given in expand(recipe.data) if not given.is_stdin]
    names += [place.name] if place.local else []
    names += [name for name in (recipe.dataset, recipe.chat_template, recipe.follow) if name]
    for name in names:
        if Path(name).resolve().is_relative_to(output.resolve()):
            raise CreditError(f"{name} is read, and --overwrite would delete it with {output}. Name another output.")


def last_checkpoint(output: str | Path) -> str | None:
    """The last checkpoint that is whole: the trainer writes its state last, so one without it was cut off by a kill."""
    found = {
        int(path.name.rpartition("-")[2]): path
        for path in Path(output).glob("checkpoint-*")
        if re.fullmatch(r"checkpoint-\d+", path.name) and _has_state(path)
    }
    return str(found[max(found)]) if found else None


def _has_state(checkpoint: Path) -> bool:
    try:
        return "global_step" in json.loads((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, ValueError):
        return False


class _Watch(TrainerCallback):
    """Tells how far training is, and ends it with a checkpoint when asked to stop."""

    def __init__(self, show: Callable[[int, int, Mapping[str, float]], None], stop: Callable[[], bool]) -> None:
        self.show, self.stop, self.stopped = show, stop, False
        self.accelerator: Any = None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.stop():
            self.accelerator.set_trigger()
        # Every process has to ask, or those that a Ctrl-C did not reach would wait for the others.
        if self.accelerator.check_trigger():
            self.stopped = control.should_save = control.should_training_stop = True
        self.show(state.global_step, state.max_steps, {})

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        logs = kwargs.get("logs") or {}
        for name, value in logs.items():
            # not the gradient's norm, which float16's loss scaling makes infinite now and then
            if ("loss" in name or "rewards/" in name) and not math.isfinite(value):
                raise NotFiniteError(
                    f"the training diverged: at step {state.global_step} TRL logs {name} {value}. Lower the learning "
                    f"rate, or look at the model with inspect; {args.output_dir} holds the checkpoints before."
                )
        self.show(state.global_step, state.max_steps, logs)


def train(
    prepared: Prepared,
    checkpoint: str | None,
    *,
    show: Callable[[int, int, Mapping[str, float]], None] = lambda step, steps, logs: None,
    stop: Callable[[], bool] = lambda: False,
    follow: Callable[[Trainer], TrainerCallback] | None = None,
) -> bool:
    """Train, and write weights and tokenizer into the output directory; False if `stop` ended it before.

    Args:
        prepared: see `prepare`; its output is claimed.
        checkpoint: where to go on from.
        show: hears of the step, of how many, and what TRL logs.
        stop: asked after each step; a checkpoint is then written.
        follow: makes a callback of the trainer's own.

    Raises:
        CreditError: a model cannot be loaded, TRL encodes the rows otherwise than `score` does, or the training
            diverges.
    """
    recipe = prepared.recipe
    # The trainer's own way back from a checkpoint leaves out weights that transformers saves by an older name, such as
    # GPT-NeoX's LM head: they come with the model.
    full = checkpoint is not None and not prepared.is_adapter
    start = find(str(checkpoint), "policy", LOADING) if full else prepared.start
    model = trainable(start)
    needs_reference = recipe.method == "dpo" and not prepared.is_adapter
    watch = _Watch(show, stop)
    made = trainer(
        recipe,
        model,
        prepared.tokenizer,
        prepared.rows.rows,
        reference=load_module(prepared.start, torch.device("cpu"), LOADING) if needs_reference else None,  # type: ignore[arg-type]
        callbacks=[watch],
    )
    if recipe.method == "dpo" and start.ref_adapter is not None:
        restore(model, start.ref_adapter, "ref", start)  # for which TRL has copied the policy
    watch.accelerator = made.accelerator
    if follow is not None:
        made.add_callback(follow(made))
    if not {"packing", "shuffle_dataset"} & {name for name, value in recipe.trl.items() if value}:
        compare(prepared.rows, made.train_dataset)
    made.train(resume_from_checkpoint=checkpoint)
    if watch.stopped and made.state.global_step < made.state.max_steps:
        return False
    made.save_model(recipe.output)
    if made.is_world_process_zero():
        _name_base(Path(recipe.output) / "README.md", recipe.model)
    return True


def _name_base(card: Path, model: str) -> None:
    """Name in TRL's model card what was trained, where it is a directory: TRL names models of the hub alone."""
    if card.is_file():
        text = card.read_text(encoding="utf-8")
        card.write_text(text.replace("[None](https://huggingface.co/None)", f"`{model}`"), encoding="utf-8")
