"""`dpo-credit pairs`: public policies with their references, betas and sources, for `--pair`."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.flags import option

EXAMPLE = "Example: dpo-credit pairs tulu-3-8b"


def pairs(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One pair.", show_default=False)] = None,
    json: Annotated[
        str | None, option("--json", metavar="FILE", help="Write JSON; - is stdout, without the view.")
    ] = None,
) -> None:
    """List public policy/reference pairs with the beta each was trained with, for --pair NAME.

    Every scoring command takes --pair; other flags win over it. The listing says which pairs we have run ourselves.
    """
    from dataclasses import asdict

    from rich.console import Console

    from dpo_credit.cli.files import write
    from dpo_credit.cli.present import look_of
    from dpo_credit.models.published import named, published
    from dpo_credit.rows.output import json_line
    from dpo_credit.views.terminal import pairs as terminal_pairs

    shown = published() if name is None else (named(name),)
    if json is not None:
        write(json, json_line({"schema": "dpo-credit/pairs@1", "pairs": [asdict(pair) for pair in shown]}) + "\n")
    if json != "-":
        console = Console(highlight=False, markup=False, emoji=False)
        view = terminal_pairs.one(*shown) if name else terminal_pairs.table(shown, look_of(console, "auto"))
        console.print(view, soft_wrap=name is not None)  # a link that is folded is no link
