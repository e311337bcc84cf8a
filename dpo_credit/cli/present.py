"""Where results go and how they look: the options of every command that shows credits, and the showing itself."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.console import Console, Group, RenderableType

from dpo_credit.cli.files import check_writable, write
from dpo_credit.cli.flags import flag, option
from dpo_credit.credit import CreditError
from dpo_credit.segments import Unit
from dpo_credit.views.scale import Palette, Shading

if TYPE_CHECKING:
    from dpo_credit.rows.output import Record
    from dpo_credit.rows.scored import ScoredRow
    from dpo_credit.views.look import Look
    from dpo_credit.views.terminal.values import Shown

VIEW = "Views"


@dataclass(frozen=True)
class ViewOptions:
    """What to write where, and in which colours."""

    json: Annotated[
        str | None,
        option("--json", metavar="FILE", help="Write JSON; - is stdout, without the view.", show_default=False),
    ] = None
    html: Annotated[
        str | None, option("--html", metavar="FILE", help="Write a self-contained page.", show_default=False)
    ] = None
    heatmap: Annotated[
        str | None, option("--heatmap", metavar="FILE", help="Draw a figure: .png, .svg or .pdf.", show_default=False)
    ] = None
    svg: Annotated[
        str | None, option("--svg", metavar="FILE", help="Save the terminal view as a picture.", show_default=False)
    ] = None
    by: Annotated[Unit, option("--by", panel=VIEW, help="Sum rewards over tokens, words or sentences.")] = "token"
    scale: Annotated[
        str, option("--scale", panel=VIEW, help="shared, per-answer, or the reward at which the colours end.")
    ] = "shared"
    palette: Annotated[Palette, option("--palette", panel=VIEW, help="paper: one colour, darker is higher.")] = (
        "orange-blue"
    )
    rows: Annotated[
        int | None,
        option("--rows", panel=VIEW, min=0, help="Rows of the tables.", show_default="5; 0 for three answers or more"),
    ] = None
    style: Annotated[
        Literal["default", "paper"], option("--style", panel=VIEW, help="paper: the figure in the paper's own look.")
    ] = "default"
    width_in: Annotated[
        float, option("--width-in", panel=VIEW, min=2, help="The figure's width in inches; 3.25 is one column.")
    ] = 6.75
    theme: Annotated[
        Literal["auto", "dark", "light"], option("--theme", panel=VIEW, help="The terminal's background.")
    ] = "auto"
    quiet: Annotated[bool, flag("--quiet", "-q", panel=VIEW, help="No notes on stderr.")] = False

    @property
    def shading(self) -> Shading:
        """The colours that were asked for."""
        palette: Palette = "paper" if self.style == "paper" else self.palette
        if self.scale in ("shared", "per-answer"):
            return Shading(self.by, self.scale, palette)  # type: ignore[arg-type]
        try:
            limit = float(self.scale)
        except ValueError:
            limit = 0.0
        if not 0 < limit < float("inf"):
            raise CreditError(f"--scale {self.scale} is neither shared, per-answer nor a reward such as 0.5.")
        return Shading(self.by, limit, palette)

    def check(self) -> None:
        """Refuse what cannot be shown, before the models are loaded."""
        _ = self.shading
        for target in (self.json, self.html, self.heatmap, self.svg):
            if target is not None:
                check_writable(target)
        if self.heatmap is not None:
            from dpo_credit.views.figure.heatmap import format_of

            format_of(Path(self.heatmap))

    def show(
        self,
        scored: ScoredRow,
        record: Record,
        *,
        columns: Mapping[str, Any] | None = None,
        compare: bool = False,
        values: tuple[Shown, ...] = (),
    ) -> None:
        """Write the files that were asked for, and the view to stdout unless the JSON goes there.

        The view may `compare` two answers edit by edit, and show any of the policy's `values` as a Q-function.
        """
        if self.json is not None:
            from dpo_credit.rows.output import to_json

            write(self.json, to_json(record, columns) + "\n")
        self.write_page([scored], title=scored.id)
        if self.heatmap is not None:
            from dpo_credit.views.figure import heatmap

            figure = heatmap.render(scored, shading=self.shading, width_in=self.width_in, style=self.style)
            picture = io.BytesIO()
            heatmap.save(figure, picture, heatmap.format_of(Path(self.heatmap)))
            write(self.heatmap, picture.getvalue())
        self._print(scored, compare, values)

    def write_page(self, rows: Sequence[ScoredRow], title: str) -> None:
        """Write the page, if one was asked for."""
        if self.html is None:
            return
        from dpo_credit.views.page import score as html

        write(self.html, html.render(rows, self.shading, title))

    def _print(self, scored: ScoredRow, compare: bool, values: tuple[Shown, ...]) -> None:
        console = Console(highlight=False, markup=False, emoji=False)
        look = look_of(console, self.theme)
        if self.json != "-":
            console.print(self._terminal(scored, look, compare, values))
        if self.svg is not None:
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
            paper.print(self._terminal(scored, _full(look), compare, values))
            theme = DEFAULT_TERMINAL_THEME if look.theme == "light" else MONOKAI
            write(self.svg, paper.export_svg(title="dpo-credit", theme=theme))

    def _terminal(self, scored: ScoredRow, look: Look, compare: bool, values: tuple[Shown, ...]) -> RenderableType:
        from dpo_credit.views.terminal import diff as terminal_diff
        from dpo_credit.views.terminal import score as terminal

        if compare:
            return terminal_diff.render(scored, look, rows=self.rows, shading=self.shading)
        view = terminal.render(scored, look, rows=self.rows, shading=self.shading)
        if not values:
            return view
        from dpo_credit.views.terminal import values as terminal_values

        return Group(view, "", terminal_values.render(scored, look, values))


def look_of(console: Console, theme: Literal["auto", "dark", "light"]) -> Look:
    """What this terminal can show. COLORFGBG ends in the background's colour, where a terminal sets it."""
    from dpo_credit.views.look import Look

    if theme == "auto":
        theme = "light" if os.environ.get("COLORFGBG", "").rpartition(";")[2] in ("7", "15") else "dark"
    system = None if console.no_color else console.color_system
    colours: Literal["full", "basic", "none"] = (
        "full" if system in ("truecolor", "256") else "none" if system is None else "basic"
    )
    return Look(theme, colours, console.width, ascii_only=not (console.encoding or "").lower().startswith("utf"))


def _full(look: Look) -> Look:
    return replace(look, colours="full", ascii_only=False)
