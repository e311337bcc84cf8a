"""`dpo-credit inspect`: what exactly would be scored, and whether the two models belong together."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Outputs
from dpo_credit.cli.reading import PickOptions, ReadingOptions

EXAMPLE = "Example: dpo-credit inspect examples/vet.json"


@with_shared_options
def inspect(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="As for score; - is stdin. Without one, only the models are compared."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Show long prompts and answers whole.")] = False,
    *,
    picking: PickOptions,
    reading: ReadingOptions,
    outputs: Annotated[Outputs, "json", "svg", "theme", "quiet"],
    options: PairOptions,
) -> None:
    """Show what exactly is scored, and compare the two models: nothing is credited.

    The prompt's end and the tokens that count, template and tokenizer, sizes and memory, which weights moved by layer;
    and what may be wrong: the base model in the SFT model's place, an unrelated policy, a doubled BOS, a missing EOS.
    """
    from dpo_credit.cli.run import notes_on_choice
    from dpo_credit.cli.talk import Talk
    from dpo_credit.views.terminal import inspect as terminal

    outputs.check()
    row = None if file is None else picking.row(file, reading)
    talk = Talk(outputs.quiet)
    talk.notes(row.notes if row else ())
    talk.notes(notes_on_choice(options) if options.policy else ())
    with talk.working("Comparing the models"):
        from dpo_credit.inspect.audit import audit, to_json

        audited = audit(
            options.policy,
            options.reference,
            examples=row.examples if row else (),
            conventions=options.conventions(),
            loading=options.loading(),
            given=(options.beta, options.length_normalised),
        )
    outputs.write(lambda look: terminal.render(audited, look, full=full), json=lambda: to_json(audited) + "\n")
