"""`dpo-credit pairs`: public policies with their references, betas and sources, for `--pair`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.outputs import Outputs

if TYPE_CHECKING:
    from rich.console import RenderableType

    from dpo_credit.views.look import Look

EXAMPLE = "Example: dpo-credit pairs tulu-3-8b"


@with_shared_options
def pairs(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One pair.", show_default=False)] = None,
    *,
    outputs: Annotated[Outputs, "json", "svg", "theme"],
) -> None:
    """List public policy/reference pairs with the beta each was trained with, for --pair NAME.

    Every scoring command takes --pair; other flags win over it. The listing says which pairs we have run ourselves.
    """
    from dpo_credit.models.published import as_json, named, published
    from dpo_credit.views.terminal import pairs as terminal

    outputs.check()
    shown = published() if name is None else (named(name),)

    def view(look: Look) -> RenderableType:
        return terminal.table(shown, look) if name is None else terminal.one(*shown)

    outputs.write(view, json=lambda: as_json(shown) + "\n", soft_wrap=name is not None)
