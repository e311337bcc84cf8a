"""`dpo-credit inspect`: what exactly would be scored, and whether the two models belong together."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.flags import option, with_shared_options
from dpo_credit.cli.options import PairOptions

EXAMPLE = "Example: dpo-credit inspect examples/vet.json"


@with_shared_options
def inspect(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="As for score; - is stdin. Without one, only the models are compared."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long prompts and answers whole.")] = False,
    prompt_key: Annotated[str | None, typer.Option("--prompt-key", help="The field that holds the prompt.")] = None,
    answer_key: Annotated[str | None, typer.Option("--answer-key", help="The field that holds the answer.")] = None,
    json: Annotated[
        str | None, option("--json", metavar="FILE", help="Write JSON; - is stdout, without the view.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr.")] = False,
    *,
    options: PairOptions,
) -> None:
    """Show what exactly is scored, and compare the two models: nothing is credited.

    The prompt's end and the tokens that count, template and tokenizer, sizes and memory, which weights moved by layer;
    and what may be wrong: the base model in the SFT model's place, an unrelated policy, a doubled BOS, a missing EOS.
    """
    from rich.console import Console

    from dpo_credit.cli.files import check_writable, record, write
    from dpo_credit.cli.present import look_of
    from dpo_credit.cli.run import notes_on_choice
    from dpo_credit.cli.talk import Talk
    from dpo_credit.rows.records import stem
    from dpo_credit.views.terminal import inspect as terminal_inspect

    check_writable(json or "-")
    row = None
    if file is not None:
        given = record(file)
        row = given.row(prompt_key=prompt_key, answer_key=answer_key, default_id=stem(given.source))
    talk = Talk(quiet)
    talk.notes(notes_on_choice(options) if options.policy else ())
    with talk.working("Comparing the models"):
        from dpo_credit.inspect.audit import audit, to_json

        found = audit(
            options.policy,
            options.reference,
            examples=row.examples if row else (),
            conventions=options.conventions(),
            loading=options.loading(),
        )
    if json is not None:
        write(json, to_json(found) + "\n")
    if json != "-":
        console = Console(highlight=False, markup=False, emoji=False)
        console.print(terminal_inspect.render(found, look_of(console, "auto"), full=full))
