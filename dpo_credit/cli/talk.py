"""What a command says: results on stdout, notes and progress on stderr, as far as the terminal can show them."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from rich.console import Console

from dpo_credit.cli.files import write
from dpo_credit.credit import Credit
from dpo_credit.views.terminal import Look, render


class Talk:
    """The voice of one command. `quiet` keeps notes and progress to itself."""

    def __init__(self, quiet: bool) -> None:
        self._stderr = Console(stderr=True, quiet=quiet, highlight=False, markup=False)
        self._said: set[str] = set()
        _silence_libraries()

    def working(self, task: str) -> AbstractContextManager[object]:
        """A spinner on stderr, where that is a terminal."""
        return self._stderr.status(task)

    def notes(self, notes: Iterable[str]) -> None:
        """Say each note once."""
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                self._stderr.print(f"note: {note}", soft_wrap=True)

    def show(
        self,
        credits: Sequence[Credit],
        kind: str,
        *,
        theme: Literal["auto", "dark", "light"],
        rows: int | None,
        svg: Path | None,
    ) -> None:
        """The terminal view on stdout, and as a picture if that is asked for."""
        labels = {"single": [""], "preference": ["chosen", "rejected"]}.get(kind) or [
            f"answer {n}" for n in range(len(credits))
        ]
        console = Console(highlight=False, markup=False, emoji=False)
        look = look_of(console, theme)
        console.print(render(credits, look, labels=labels, rows=rows))
        if svg is not None:
            from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI

            paper = Console(
                record=True,
                file=io.StringIO(),
                width=console.width,
                color_system="truecolor",
                force_terminal=True,
                no_color=False,
                highlight=False,
                markup=False,
                emoji=False,
            )
            paper.print(render(credits, Look(look.theme, "full", console.width), labels=labels, rows=rows))
            style = DEFAULT_TERMINAL_THEME if look.theme == "light" else MONOKAI
            write(str(svg), paper.export_svg(title="dpo-credit score", theme=style))


def look_of(console: Console, theme: Literal["auto", "dark", "light"]) -> Look:
    """What this terminal can show. COLORFGBG ends in the background's colour, where a terminal sets it."""
    if theme == "auto":
        theme = "light" if os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15") else "dark"
    system = None if console.no_color else console.color_system
    colours: Literal["full", "basic", "none"] = (
        "full" if system in ("truecolor", "256") else "none" if system is None else "basic"
    )
    return Look(theme, colours, console.width, ascii_only=not (console.encoding or "").lower().startswith("utf"))


def _silence_libraries() -> None:
    """Libraries warn and draw progress bars of their own on stderr; what matters of it, we say ourselves."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
