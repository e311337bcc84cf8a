"""`dpo-credit verify`: are these a trainer's numbers, and under which convention are they?"""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.options import PairOptions

EXAMPLE = "Example: dpo-credit verify examples/vet.json --eos never"
DIFFER = 4


@with_shared_options
def verify(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Rows with chosen and rejected (JSONL, ...); - is stdin.")
    ],
    trainer_log: Annotated[
        str | None,
        typer.Option("--trainer-log", help="The trainer_state.json of the training.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many rows to compare; TRL takes its time.")] = 200,
    no_trl: Annotated[bool, typer.Option("--no-trl", help="Do not run TRL.", show_default=False)] = False,
    json: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write JSON; - is stdout, without the view.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr.", show_default=False)] = False,
    *,
    options: PairOptions,
) -> None:
    """Compare rewards with those of TRL's own evaluation, of a training's log, and of other people's code.

    Where they differ, the known conventions are tried (EOS, BOS, template, encoding, truncation, adapter, dtype,
    average, beta), alone and in pairs, and the one that makes the numbers meet is named. TRL comes with the extra
    train. Columns ref_chosen_logps and ref_rejected_logps are compared too. Ends with 0 if all agree under the options
    given, with 4 if not.
    """
    from dpo_credit.cli import verify_run

    report = verify_run.verify(file, trainer_log, limit, not no_trl, json, quiet, options)
    if not report:
        raise typer.Exit(DIFFER)
