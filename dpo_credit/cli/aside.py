"""Bad rows, where a command takes many: set aside and counted at its end, or the first one stops it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dpo_credit.cli.flags import flag
from dpo_credit.cli.talk import Talk

if TYPE_CHECKING:
    from dpo_credit.rows.aside import SetAside

SOME_FAILED = 3  # the exit code where rows were set aside


@dataclass(frozen=True)
class BadRows:
    """What is done about them."""

    strict: Annotated[bool, flag("--strict", help="Stop at the first bad row.")] = False

    def aside(self) -> SetAside:
        """Where they go."""
        from dpo_credit.rows.aside import SetAside

        return SetAside(strict=self.strict)


def end(aside: SetAside, talk: Talk, code: int | None = None) -> None:
    """End a command: say which rows were set aside, if any, and exit with 3 then; or with a `code` that says more."""
    for line in aside.lines:
        talk.say(line)
    if code is None and aside.rows:
        code = SOME_FAILED
    if code is not None:
        raise typer.Exit(code)
