"""Loading, comparing and writing for `dpo-credit verify`."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import chain

from rich.console import Console

from dpo_credit.cli.files import check_writable, read, records, write
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.present import look_of
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError


def verify(
    file: str,
    trainer_log: str | None,
    limit: int,
    trl: bool,
    json: str | None,
    quiet: bool,
    options: PairOptions,
) -> bool:
    """Whether all numbers agree under the options given; the report goes where it was asked for."""
    talk = Talk(quiet)  # before the libraries are imported, which it keeps quiet
    from dpo_credit.rows.output import json_line
    from dpo_credit.rows.pairs import preferences
    from dpo_credit.rows.reader import read_rows
    from dpo_credit.verify import references, verdict
    from dpo_credit.verify.conventions import Way
    from dpo_credit.verify.rewards import Rewards
    from dpo_credit.verify.sides import is_adapter, torch_sides
    from dpo_credit.verify.verify import verify
    from dpo_credit.views.terminal.verify import render

    if options.sequential:
        raise CreditError("--sequential holds one model at a time, but TRL's evaluation needs both. Leave it out.")
    if json is not None:
        check_writable(json)
    log = None if trainer_log is None else (read(trainer_log, "--trainer-log ", "a trainer_state.json"), trainer_log)
    rest = records([file])
    rows = preferences(read_rows(rest, limit=limit))
    if next(rest, None) is not None:
        talk.notes([f"the first {limit} rows only (--limit)"])
    with talk.working("Loading the models"):
        pair = options.load_pair()
    talk.notes(pair.notes)
    own = None
    if options.reference is not None and is_adapter(torch_sides(pair)[0]):
        own = cache(replace(options, reference=None).load_pair)
    given = options.conventions()
    base = Way(given.eos, template=given.chat_template, cut=given.truncate, max_length=given.max_length, beta=pair.beta)
    rewards = Rewards(pair, rows, base, own)
    with talk.working("Running TRL's evaluation"):
        targets, notes = references.gather(rewards, log, trl=trl)
    with talk.working("Comparing") as status:
        report = verify(rewards, targets, lambda tried: status.update(f"Comparing: {tried}"))  # type: ignore[attr-defined]
    talk.notes(chain(notes, report.notes, *(one.notes for one in report.comparisons)))
    record = verdict.record(report, rewards)
    if json is not None:
        write(json, json_line(record) + "\n")
    if json != "-":
        console = Console(highlight=False, markup=False, emoji=False)
        console.print(render(record, look_of(console, "auto")))
    return report.agrees
