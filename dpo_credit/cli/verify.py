"""`dpo-credit verify`: are these a trainer's numbers, and under which convention are they?"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Outputs
from dpo_credit.credit import CreditError

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
    *,
    bad: BadRows,
    outputs: Annotated[Outputs, "json", "svg", "theme", "quiet"],
    options: PairOptions,
) -> None:
    """Compare rewards with those of TRL's own evaluation, of a training's log, and of other people's code.

    Where they differ, the known conventions are tried (EOS, BOS, template, encoding, truncation, adapter, dtype,
    average, beta), alone and in pairs, and the one that makes the numbers meet is named. TRL comes with the extra
    train. Columns ref_chosen_logps and ref_rejected_logps are compared too. Ends with 0 if all agree under the options
    given, with 4 if not.
    """
    from dpo_credit.cli.files import read, records
    from dpo_credit.cli.talk import Talk

    talk, aside = Talk(outputs.quiet), bad.aside()  # before the libraries are imported, which it keeps quiet
    from dpo_credit.rows.output import json_line
    from dpo_credit.rows.pairs import preferences
    from dpo_credit.rows.reader import read_rows
    from dpo_credit.verify.verification import rewards_of, verify_rows
    from dpo_credit.views.terminal.verify import render

    if options.sequential:
        raise CreditError("--sequential holds one model at a time, but TRL's evaluation needs both. Leave it out.")
    outputs.check()
    log = None if trainer_log is None else (read(trainer_log, "--trainer-log ", "a trainer_state.json"), trainer_log)
    rest = records([file])
    rows = preferences(talk.noted(read_rows(rest, limit=limit, aside=aside)), aside)
    talk.notes([f"the first {limit} rows only (--limit)"] if next(rest, None) is not None else ())
    with talk.working("Loading the models"):
        pair = options.load_pair()
    talk.notes(pair.notes)
    own = None if options.reference is None else replace(options, reference=None).load_pair
    with talk.working("Verifying") as status:
        rewards = rewards_of(pair, rows, options.conventions(), own)
        verified = verify_rows(rewards, log, trl=not no_trl, say=status.update)
    talk.notes(verified.notes)
    record = {**verified.record, "set_aside": [asdict(row) for row in aside.rows]}
    outputs.write(lambda look: render(record, look), json=lambda: json_line(record) + "\n")
    end(aside, talk, None if verified.agrees else DIFFER)
