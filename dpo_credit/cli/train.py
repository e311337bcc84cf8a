"""`dpo-credit train`: SFT or DPO with TRL from a recipe, leaving what scoring needs beside the weights."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

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
    from dpo_credit.cli.train_run import run

    run(method, config, settings or [], dry_run=dry_run, resume=resume, overwrite=overwrite, quiet=quiet)
