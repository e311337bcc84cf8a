"""`dpo-credit pairs`: public policies with their references, betas and sources, for `--pair`."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.flags import published_names, with_shared_options
from dpo_credit.cli.outputs import Outputs

EXAMPLE = "Example: dpo-credit pairs tulu-3-8b"


@with_shared_options
def pairs(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="One pair.", show_default=False, autocompletion=published_names),
    ] = None,
    *,
    outputs: Annotated[Outputs, "json", "svg", "theme", "quiet"],
) -> None:
    """List public policy/reference pairs with the beta each was trained with, for --pair NAME.

    Every scoring command takes --pair; other flags win over it. The listing says which pairs we have run ourselves.
    """
    from dataclasses import asdict

    from dpo_credit.models.published import named, published
    from dpo_credit.rows.output import json_line
    from dpo_credit.views.terminal import pairs as terminal

    outputs.check()
    shown = published() if name is None else (named(name),)
    outputs.write(
        lambda look: terminal.table(shown, look) if name is None else terminal.details(*shown),
        json=lambda: json_line({"schema": "dpo-credit/pairs@1", "pairs": [asdict(pair) for pair in shown]}) + "\n",
        fold=name is None,
    )
