"""`dpo-credit train`: SFT or DPO with TRL from a recipe, leaving what scoring needs beside the weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dpo_credit.cli.files import read, write
from dpo_credit.cli.keeping import mode_of
from dpo_credit.cli.stopping import stopping
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError
from dpo_credit.extras import INSTALL, trl_installed
from dpo_credit.rows.encodings import decoded

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

    from dpo_credit.train.recipe import Recipe
    from dpo_credit.train.run import Prepared

_LOGGED = {
    "sft": {"loss": "loss", "mean_token_accuracy": "tokens right"},
    "dpo": {
        "loss": "loss",
        "rewards/chosen": "chosen",
        "rewards/rejected": "rejected",
        "rewards/margins": "margin",
        "rewards/accuracies": "accuracy",
    },
}
_WIDE, _IN_MARGIN = 120, ("chosen", "rejected")  # columns from which on a bar has room for what the margin sums up
EXAMPLE = "Example: dpo-credit train dpo --config examples/tldr/dpo.yaml --set beta=0.05 --dry-run"


def train(
    method: Annotated[Literal["sft", "dpo"], typer.Argument(help="sft on answers, or dpo on preferences.")],
    *,
    config: Annotated[str, typer.Option("--config", "-c", metavar="FILE", help="The recipe: YAML or TOML.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set one of it otherwise; trl.NAME=VALUE for one of TRL's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check recipe, rows and tokens, print the recipe, and train nothing.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the training that is there.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes or progress on stderr.")] = False,
) -> None:
    """Train with TRL from a recipe (Rafailov et al. 2024, App. G), for one process or many (accelerate launch).

    Rows are what `score` takes; before the first step their tokens are compared with those that `score` would score.
    The output holds weights, checkpoints and dpo_credit.json (beta, reference, recipe, the rows' hash), which `score`
    and the other commands read. Ctrl-C writes a checkpoint; --resume goes on from it, to the same weights.
    """
    if not trl_installed():
        raise CreditError(f"training is TRL's, which is not installed: {INSTALL.format('train')}")
    mode = mode_of(config, resume=resume, overwrite=overwrite)
    first = os.environ.get("RANK", "0") == "0"  # of several processes the first alone writes and talks
    talk = Talk(quiet or not first)
    recipe, template = _recipe(method, config, settings or [])
    with talk.working("Reading the rows"):
        from dpo_credit.train import run

        prepared = run.prepare(recipe, template)
    talk.notes([*prepared.notes, prepared.size])
    if dry_run:
        if first:
            typer.echo(recipe.as_yaml(), nl=False)
        return
    checkpoint = run.claim(prepared, mode, first=first)
    if resume:
        talk.notes([f"going on from {checkpoint}" if checkpoint else "no checkpoint yet: training from the start"])
    with stopping(talk, "with a checkpoint after this step") as stopped, _bar(talk, method) as show:
        done = run.train(prepared, checkpoint, show=show, stop=stopped, follow=_follow(prepared))
    if not done:
        talk.notes([f"interrupted: {recipe.output} holds a checkpoint; go on with --resume"])
        raise typer.Exit(stopped.code)
    talk.say("trained; next: dpo-credit score post.json --policy " + recipe.output if method == "dpo" else "trained")
    if first:
        write("-", os.fsencode(recipe.output) + b"\n")


def _follow(prepared: Prepared) -> Callable[[Trainer], TrainerCallback] | None:
    """What scores the rows of `follow` while a policy is trained."""
    if not prepared.followed:
        return None
    from dpo_credit.trajectory.callback import CreditCallback

    recipe, kept = prepared.recipe, os.path.join(prepared.recipe.output, "credit.jsonl")
    return lambda trainer: CreditCallback(
        trainer, prepared.followed, kept, every=recipe.follow_steps, watch=recipe.watch
    )


def _recipe(method: Literal["sft", "dpo"], config: str, settings: Sequence[str]) -> tuple[Recipe, str | None]:
    """The recipe, and the chat template that it names."""
    from dpo_credit.train.config import read_recipe

    recipe = read_recipe(_text(config, "--config "), config, method, settings)
    return recipe, None if recipe.chat_template is None else _text(recipe.chat_template, "chat_template ")


def _text(name: str, what: str) -> str:
    wanted = "a YAML or TOML file" if what.startswith("--") else "a Jinja file"
    return decoded(read(name, what, wanted), name, what=what)


@contextmanager
def _bar(talk: Talk, method: Literal["sft", "dpo"]) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """A bar on stderr where that is a terminal, else a line for each of TRL's log, and one every 30 s."""
    from rich.progress import MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

    from dpo_credit.cli.bars import TEXT, bar

    columns = (MofNCompleteColumn(), TEXT, TimeElapsedColumn(), TimeRemainingColumn())
    with bar(talk.stderr, "Training", *columns, stays=True) as training:

        def show(step: int, steps: int, logs: Mapping[str, float]) -> None:
            figures = {name: f"{name} {logs[key]:.4g}" for key, name in _LOGGED[method].items() if key in logs}
            if figures and not talk.stderr.is_terminal:
                talk.say(f"step {step} of {steps}: {', '.join(figures.values())}")
            shown = [text for name, text in figures.items() if talk.stderr.width >= _WIDE or name not in _IN_MARGIN]
            training.show(step, steps, text=", ".join(shown) or None)

        yield show
