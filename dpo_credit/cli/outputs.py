"""Where results go and how they look: one group of options, of which each command offers its own, and one writer."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.console import Console, RenderableType

from dpo_credit.cli.files import check_writable, write
from dpo_credit.cli.flags import flag, option
from dpo_credit.cli.terminal import Terminal
from dpo_credit.credit import CreditError
from dpo_credit.segments import Unit
from dpo_credit.views.scale import Palette, Quantity, Shading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dpo_credit.views.figure.folding import Shown
    from dpo_credit.views.look import Look

VIEW = "Views"
_LINES = re.compile(r"(?=.)([0-9]{0,9})(:?)([0-9]{0,9})")


@dataclass(frozen=True)
class Outputs:
    """What to write where. A command without a page or a figure names the fields that it offers."""

    json: Annotated[
        str | None,
        option("--json", metavar="FILE", help="Write JSON; - is stdout, without the view.", show_default=False),
    ] = None
    html: Annotated[
        str | None, option("--html", metavar="FILE", help="Write a self-contained page.", show_default=False)
    ] = None
    png: Annotated[
        str | None,
        option("--png", "--heatmap", metavar="FILE", help="Draw a figure: .png, .svg or .pdf.", show_default=False),
    ] = None
    svg: Annotated[
        str | None, option("--svg", metavar="FILE", help="Save the terminal view as a picture.", show_default=False)
    ] = None
    theme: Annotated[
        Literal["auto", "dark", "light"], option("--theme", panel=VIEW, help="The terminal's background.")
    ] = "auto"
    quiet: Annotated[bool, flag("--quiet", "-q", panel=VIEW, help="No notes or progress on stderr.")] = False

    @property
    def targets(self) -> tuple[str, ...]:
        """Every file that was asked for."""
        return tuple(target for target in (self.json, self.html, self.png, self.svg) if target is not None)

    def check(self) -> None:
        """Refuse what cannot be written, before the models are loaded.

        Raises:
            CreditError: a target cannot be written, or the figure's name ends in no format of ours.
        """
        for target in self.targets:
            check_writable(target)
        if self.png is not None:
            from dpo_credit.views.figure.heatmap import format_of

            format_of(Path(self.png))

    def write(
        self,
        terminal: Callable[[Look], RenderableType],
        *,
        json: Callable[[], str],
        page: Callable[[], str] | None = None,
        figure: Callable[[], Figure] | None = None,
        fold: bool = True,
        shown: bool = True,
    ) -> None:
        """Write the files that were asked for, and the view to stdout unless one of them goes there.

        Args:
            terminal: draws the view as a terminal shows it.
            json: makes the JSON, whole lines.
            page: makes the page; None where the command has none.
            figure: draws the figure; likewise.
            fold: whether long lines of the view are folded on stdout; a link that is folded is no link.
            shown: whether the view goes to stdout at all.

        Raises:
            CreditError: a file cannot be written.
        """
        if self.json is not None:
            write(self.json, json())
        if self.html is not None and page is not None:
            write(self.html, page())
        if self.png is not None and figure is not None:
            from dpo_credit.views.figure.heatmap import format_of, save

            picture = io.BytesIO()
            save(figure(), picture, format_of(Path(self.png)))
            write(self.png, picture.getvalue())
        console = Terminal()
        look = look_of(console, self.theme)
        if shown and "-" not in self.targets:
            console.print(terminal(look), soft_wrap=not fold)
        if self.svg is not None:
            write(self.svg, _picture(terminal(replace(look, colours="full", encoding="utf-8")), console.width, look))


@dataclass(frozen=True)
class Colours:
    """What is summed and how it is coloured, where answers are drawn."""

    by: Annotated[
        Unit | None,
        option(
            "--by",
            panel=VIEW,
            help="Sum rewards over tokens, words, sentences, lines, steps or turns.",
            show_default="token; word for the signs in a text without colours",
        ),
    ] = None
    scale: Annotated[
        str, option("--scale", panel=VIEW, help="shared, per-answer, or the reward at which the colours end.")
    ] = "shared"
    colour: Annotated[
        Quantity,
        option("--colour", panel=VIEW, help="delta: of two answers, what each token adds to the margin."),
    ] = "reward"
    palette: Annotated[Palette, option("--palette", panel=VIEW, help="paper: one colour, darker is higher.")] = (
        "orange-blue"
    )
    rows: Annotated[
        int | None,
        option("--rows", panel=VIEW, min=0, help="Rows of the tables.", show_default="5; 0 for three answers or more"),
    ] = None
    around_edits: Annotated[
        int | None,
        option(
            "--around-edits",
            metavar="N",
            panel=VIEW,
            min=0,
            help="In the figure, only N tokens (or what --by sums over) around each edit; the rest is folded.",
            show_default=False,
        ),
    ] = None
    lines: Annotated[
        str | None,
        option(
            "--lines",
            metavar="A:B",
            panel=VIEW,
            help="In the figure, only these lines of the text, such as 3:9; of two answers, of the first.",
            show_default=False,
        ),
    ] = None
    whole: Annotated[
        bool,
        flag(
            "--whole",
            panel=VIEW,
            help="Draw long answers whole in the figure; above 300 tokens only what matters is drawn.",
        ),
    ] = False
    style: Annotated[
        Literal["default", "paper"], option("--style", panel=VIEW, help="paper: the figure in the paper's own look.")
    ] = "default"
    width_in: Annotated[
        float, option("--width-in", panel=VIEW, min=2, help="The figure's width in inches; 3.25 is one column.")
    ] = 6.75

    def check(self, answers: int) -> None:
        """Make sure that so many answers can be drawn as it was asked for.

        Raises:
            CreditError: they cannot.
        """
        if self.colour == "delta" and answers != 2:
            counted = "is one answer" if answers == 1 else f"are {answers} answers"
            raise CreditError(
                f"--colour delta compares two answers to one prompt, and here {counted}. Leave it out, or give two to "
                "dpo-credit diff."
            )
        if self.around_edits is not None and answers != 2:
            raise CreditError(
                f"--around-edits is about two answers, and here {'is one' if answers == 1 else f'are {answers}'}. "
                "Choose what to draw with --lines, or give two to dpo-credit diff."
            )

    @property
    def shown(self) -> Shown:
        """What of long answers the figure draws.

        Raises:
            CreditError: --lines names none, or several flags were given that choose.
        """
        from dpo_credit.views.figure.folding import AroundEdits, Lines

        flags = {"--around-edits": self.around_edits is not None, "--lines": self.lines is not None}
        given = [name for name, on in {**flags, "--whole": self.whole}.items() if on]
        if len(given) > 1:
            raise CreditError(f"{' and '.join(given)} choose what the figure draws, each on its own. Give one of them.")
        if self.around_edits is not None:
            return AroundEdits(self.around_edits)
        if self.lines is None:
            return "whole" if self.whole else "telling"
        match = _LINES.fullmatch(self.lines)
        first, last = (int(match[1] or 1), int(match[3]) if match[3] else None) if match else (0, 0)
        if match and not match[2]:
            last = first
        if first < 1 or (last is not None and last < first):
            raise CreditError(
                f"--lines {self.lines!r} names no lines. Give the first and the last, from 1: 3:9, 3: or :9."
            )
        return Lines(first, last)

    @property
    def shading(self) -> Shading:
        """The colours that were asked for.

        Raises:
            CreditError: --scale is no scale.
        """
        palette: Palette = "paper" if self.style == "paper" else self.palette
        units: tuple[Unit, Unit] = ("token", "word") if self.by is None else (self.by, self.by)
        if self.scale in ("shared", "per-answer"):
            return Shading(units[0], self.scale, palette, units[1], self.colour)  # type: ignore[arg-type]
        try:
            limit = float(self.scale)
        except ValueError:
            limit = 0.0
        if not 0 < limit < float("inf"):
            raise CreditError(f"--scale {self.scale} is neither shared, per-answer nor a reward such as 0.5.")
        return Shading(units[0], limit, palette, units[1], self.colour)


def look_of(console: Console, theme: Literal["auto", "dark", "light"]) -> Look:
    """What this terminal can show. COLORFGBG ends in the background's colour, where a terminal sets it."""
    from dpo_credit.views.look import Look

    if theme == "auto":
        theme = "light" if os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15") else "dark"
    system = None if console.no_color else console.color_system
    colours: Literal["full", "basic", "none"] = (
        "full" if system in ("truecolor", "256") else "none" if system is None else "basic"
    )
    return Look(theme, colours, console.width, console.encoding)


def _picture(view: RenderableType, width: int, look: Look) -> str:
    """A terminal view as SVG."""
    from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI

    paper = Console(
        record=True,
        file=io.StringIO(),
        width=width,
        color_system="truecolor",
        force_terminal=True,
        no_color=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    paper.print(view)
    return paper.export_svg(title="dpo-credit", theme=DEFAULT_TERMINAL_THEME if look.theme == "light" else MONOKAI)
