"""A figure in the making: parts from top to bottom, in points, as tall as they turn out to be."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from dpo_credit.credit import CreditError
from dpo_credit.views.figure.fonts import MIN_SIZE_PT, SANS, Fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 72  # per inch
MARGIN_PT = 5.0
RC: dict[str, Any] = {  # matplotlib's settings under which figures are made and saved
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
    "svg.hashsalt": "dpo-credit",
    "font.sans-serif": list(SANS),
    "text.hinting": "no_hinting",
    "text.parse_math": False,
    "figure.dpi": 150,
    "path.simplify": False,
}
INK, MUTED = "#1a1a1a", "#626262"
_LONGEST = 1000  # characters of a table's cell of which some may fit
_WIDE_PT = 5 * POINTS  # from this width on, text is a size larger


class Sheet:
    """Parts are added with their height; `figure` then draws them on one axes, whose units are points from the top.

    Args:
        width_in: the figure's width, inches.
        fonts: what can write its texts.

    Raises:
        CreditError: it is too narrow or too wide.
    """

    def __init__(self, width_in: float, fonts: Fonts) -> None:
        if not 2 <= width_in <= 40:
            raise CreditError(
                f"The figure's width is {width_in} in; give 2 to 40 (a column of a paper is 3.25 to 6.75)."
            )
        self.fonts = fonts
        self.width = width_in * POINTS
        self.inner = self.width - 2 * MARGIN_PT
        self.size = 8.0 if self.width >= _WIDE_PT else 7.0
        self.small = max(MIN_SIZE_PT, self.size - 1)
        self._parts: list[tuple[float, Callable[[Axes, float], None]]] = []

    def add(self, height: float, draw: Callable[[Axes, float], None] = lambda axes, y: None) -> None:
        """A part so many points tall; `draw` gets the axes and the part's top."""
        self._parts.append((height, draw))

    def add_line(self, text: str, *, lead: str = "", colour: str = INK) -> None:
        """A paragraph in small type, after a bold `lead`; it wraps at words."""
        size, pitch = self.small, self.small * 1.35
        lead = self.fonts.plain(lead)
        indent = self.fonts.width(lead, size, bold=True) + size if lead else 0.0
        if indent > self.inner / 2:
            self.add_bold(lead)
            lead, indent = "", 0.0
        lines = self.wrapped(self.fonts.plain(text), size, indent)

        def draw(axes: Axes, y: float) -> None:
            if lead:
                write(axes, MARGIN_PT, y + size, lead, self.fonts, size, bold=True)
            for n, line in enumerate(lines):
                x = MARGIN_PT + (0 if n else indent)
                write(axes, x, y + size + n * pitch, line, self.fonts, size, colour=colour)

        self.add(pitch * len(lines) + 1, draw)

    def add_bold(self, text: str) -> None:
        """A paragraph in bold."""
        size, pitch = self.small, self.small * 1.35
        lines = self.wrapped(self.fonts.plain(text), size, bold=True)

        def draw(axes: Axes, y: float) -> None:
            for n, line in enumerate(lines):
                write(axes, MARGIN_PT, y + size + n * pitch, line, self.fonts, size, bold=True)

        self.add(pitch * len(lines) + 1, draw)

    def add_table(self, rows: Sequence[Sequence[str]], *, stretch: Sequence[int], bold: Sequence[int]) -> None:
        """Rows of cells: flush left in the columns that `stretch` and are cut where they must, else flush right."""
        size, pitch, gap = self.small, self.small * 1.35, self.small * 0.9
        rows = [[self.fonts.plain(cell[:_LONGEST]) for cell in row] for row in rows]
        widths = [max(self.fonts.width(cell, size, bold=True) for cell in column) for column in zip(*rows, strict=True)]
        fixed = sum(width + gap for n, width in enumerate(widths) if n not in stretch)
        room = (self.inner - fixed) / len(stretch) - gap
        widths = [min(width, room) if n in stretch else width for n, width in enumerate(widths)]

        def draw(axes: Axes, y: float) -> None:
            for line, row in enumerate(rows):
                x = MARGIN_PT
                for n, (cell, width) in enumerate(zip(row, widths, strict=True)):
                    heavy = line in bold
                    shown = self.cut(cell, size, width, bold=heavy)
                    indent = 0.0 if n in stretch else width - self.fonts.width(shown, size, bold=heavy)
                    write(axes, x + indent, y + size + line * pitch, shown, self.fonts, size, bold=heavy)
                    x += width + gap

        self.add(pitch * len(rows) + 1, draw)

    def cut(self, text: str, size: float, room: float, *, bold: bool = False) -> str:
        """The text, or as much of it as fits, with an ellipsis."""
        text = text[: int(8 * room / size) + 1]  # none of the rest could fit; measuring it would be slow
        if self.fonts.width(text, size, bold=bold) <= room + 0.01:
            return text
        widths = range(1, len(text))
        return text[: bisect_right(widths, room, key=lambda n: self.fonts.width(text[:n] + "…", size, bold=bold))] + "…"

    def add_axes(self, height: float, margins: tuple[float, float, float, float], draw: Callable[[Axes], None]) -> None:
        """A part with axes of its own within `margins` (left, top, right, bottom), in points."""
        left, top, right, bottom = margins

        def place(axes: Axes, y: float) -> None:
            figure = axes.get_figure(root=True)
            assert figure is not None
            total = figure.get_size_inches()[1] * POINTS
            inside = height - top - bottom
            rect = (
                (MARGIN_PT + left) / self.width,
                1 - (y + top + inside) / total,
                (self.inner - left - right) / self.width,
                inside / total,
            )
            draw(figure.add_axes(rect))  # type: ignore[union-attr]  # a Figure: we made it

        self.add(height, place)

    def wrapped(self, text: str, size: float, indent: float = 0.0, *, bold: bool = False) -> list[str]:
        """The text in lines that fit the sheet, the first one behind the indent."""
        lines, line, room = [], "", self.inner - indent
        words = text.split(" ")
        while words:
            word = words.pop(0)
            longer = f"{line} {word}" if line else word
            if self.fonts.width(longer, size, bold=bold) <= room:
                line = longer
            elif line:
                lines.append(line)
                line, room = "", self.inner
                words.insert(0, word)
            else:  # wider than a line
                fits = bisect_right(
                    range(1, len(word)), room, key=lambda n: self.fonts.width(word[:n], size, bold=bold)
                )
                line, rest = word[: fits or 1], word[fits or 1 :]
                words[:0] = [rest] if rest else []
        return [*lines, line]

    def figure(self) -> Figure:
        from matplotlib.figure import Figure

        height = sum(part for part, _ in self._parts) + 2 * MARGIN_PT
        figure = Figure(figsize=(self.width / POINTS, height / POINTS))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(0, self.width), ylim=(height, 0), label="sheet")
        axes.set_axis_off()
        y = MARGIN_PT
        for part, draw in self._parts:
            draw(axes, y)
            y += part
        return figure


def write(
    axes: Axes, x: float, y: float, text: str, fonts: Fonts, size: float, *, bold: bool = False, colour: str = INK
) -> None:  # one primitive of drawing: its arguments are the pen's state
    """Text on its baseline, drawn as it is: no formula, no markup."""
    face = fonts.properties(size, bold=bold and fonts.draw_bold(text))
    axes.text(x, y, text, fontproperties=face, color=colour, parse_math=False)


def listed(items: Sequence[str]) -> str:
    """Items in one line of a caption."""
    return " · ".join(item for item in items if item)
