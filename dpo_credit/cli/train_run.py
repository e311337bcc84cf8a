"""Running `train`: the recipe, who talks among several processes, progress, Ctrl-C."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dpo_credit.cli.files import read
from dpo_credit.cli.keeping import mode_of
from dpo_credit.cli.stopping import INTERRUPTED, stopping
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError
from dpo_credit.extras import INSTALL, trl_installed

if TYPE_CHECKING:
    from dpo_credit.train.recipe import Recipe
    from dpo_credit.train.run import Prepared

_LOGGED = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "mean_token_accuracy": "tokens right",
}


def run(
    method: Literal["sft", "dpo"],
    config: str,
    settings: Sequence[str],
    *,
    dry_run: bool,
    resume: bool,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train, and print the output directory; the first of several processes alone writes and talks.

    Raises:
        CreditError: the recipe, its models or rows are at fault, or the output holds something else.
        typer.Exit: the training was interrupted.
    """
    if not trl_installed():
        raise CreditError(f"training is TRL's, which is not installed: {INSTALL.format('train')}")
    mode = mode_of(config, resume=resume, overwrite=overwrite)
    first = os.environ.get("RANK", "0") == "0"
    talk = Talk(quiet or not first)
    recipe, template = _recipe(method, config, settings)
    with talk.working("Reading the rows"):
        from dpo_credit.train.run import claim, prepare, train

        prepared = prepare(recipe, template)
    talk.notes(prepared.rows.notes)
    talk.notes([_size(prepared)])
    if dry_run:
        if first:
            typer.echo(_as_yaml(recipe), nl=False)
        return
    checkpoint = claim(prepared, mode, first=first)
    if resume:
        talk.notes([f"going on from {checkpoint}" if checkpoint else "no checkpoint yet: training from the start"])
    with stopping(talk, "with a checkpoint after this step") as stopped, _bar(talk) as show:
        done = train(prepared, checkpoint, show=show, stop=stopped)
    if not done:
        talk.notes([f"interrupted: {recipe.output} holds a checkpoint; go on with --resume"])
        raise typer.Exit(INTERRUPTED)
    if first:
        talk.say(
            "trained; next: dpo-credit score post.json --policy " + recipe.output if method == "dpo" else "trained"
        )
        typer.echo(recipe.output)


def _recipe(method: Literal["sft", "dpo"], config: str, settings: Sequence[str]) -> tuple[Recipe, str | None]:
    from dpo_credit.train.config import read_recipe

    recipe = read_recipe(_text(config, "--config "), config, method, settings)
    return recipe, None if recipe.chat_template is None else _text(recipe.chat_template, "chat_template ")


def _text(name: str, what: str) -> str:
    try:
        return read(name, what, "a YAML or TOML file" if what.startswith("--") else "a Jinja file").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CreditError(f"{what}{name} is not UTF-8.") from error


def _size(prepared: Prepared) -> str:
    lengths = prepared.rows.lengths
    what = "preferences" if prepared.recipe.method == "dpo" else "answers"
    return (
        f"{len(prepared.rows.rows):,} {what}, {sum(lengths):,} tokens, the longest {max(lengths):,}; "
        f"{prepared.recipe.batch_size} an update"
    )


def _as_yaml(recipe: Recipe) -> str:
    import yaml

    values = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()}
    return yaml.safe_dump({key: value for key, value in values.items() if value not in (None, [], {})}, sort_keys=False)


@contextmanager
def _bar(talk: Talk) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """A progress bar on stderr where that is a terminal, else a line for each line of TRL's log."""
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}")),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=talk.stderr, disable=not talk.stderr.is_terminal) as bar:
        task = bar.add_task("Training", total=None, said="")

        def show(step: int, steps: int, logs: Mapping[str, float]) -> None:
            said = ", ".join(f"{name} {logs[key]:.3f}" for key, name in _LOGGED.items() if key in logs)
            bar.update(task, completed=step, total=steps)
            if said:
                bar.update(task, said=said)
            if said and not talk.stderr.is_terminal:
                talk.say(f"step {step} of {steps}: {said}")

        yield show
