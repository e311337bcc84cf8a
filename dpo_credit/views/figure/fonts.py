"""Which fonts draw a text, how wide it is in them, and what none of them can draw.

matplotlib takes outlines only: a system's colour emoji, being bitmaps, count as missing. Its text engine shapes and
orders right-to-left scripts within one string.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, NamedTuple

from dpo_credit.segments import is_boundary

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

MIN_SIZE_PT = 6.0
# widths agree among the first three, so that text in an SVG fits its cells on systems that have another one of them
SANS = ("Arial", "Liberation Sans", "Helvetica", "DejaVu Sans")
_BUNDLED = "DejaVu Sans"  # comes with matplotlib
_NOT_FOR_TEXT = re.compile(r"Last Resort|^cm[a-z]+\d|^STIX(Non|Size)|Display$")
_REGIONS = (("KR", "\uac00", "\ud7af"), ("JP", "\u3040", "\u30ff"))  # whose forms of shared ideographs to take
_JOINERS = re.compile("[\u200d\ufe00-\ufe0f]")
BOX_PAD_PT = 1.2
_REGULAR = 400  # matplotlib says so on stderr where it has to take another weight


class Run(NamedTuple):
    """A stretch of a text at `x` from its left edge: drawn as it is, or as a box that holds its code points."""

    text: str
    x: float
    size: float
    boxed: bool = False


@dataclass(frozen=True, slots=True)
class Fonts:
    """Font families, the first that has a character draws it; `missing` are the characters that none draws."""

    families: tuple[str, ...]
    missing: frozenset[str] = frozenset()

    def properties(self, size: float, *, bold: bool = False) -> FontProperties:
        from matplotlib.font_manager import FontProperties

        return FontProperties(family=list(self.families), size=size, weight="bold" if bold else "normal")

    def width(self, text: str, size: float, *, bold: bool = False) -> float:
        """The unhinted width in points."""
        return _em_width(text, self.families, bold and self.draw_bold(text)) * size if text else 0.0

    def draw_bold(self, text: str) -> bool:
        """Whether the families' bold faces have all of the text; some lack what their regular ones have."""
        return all(_bold_has(char, self.families) for char in text)

    def runs(self, text: str, size: float) -> tuple[tuple[Run, ...], float]:
        """The text in parts that can be drawn, and their width together, in points."""
        runs: list[Run] = []
        x = 0.0
        for part, boxed in self._parts(text):
            shown = " ".join(f"{ord(char):04X}" for char in _JOINERS.sub("", part)) if boxed else part
            run = Run(shown, x, MIN_SIZE_PT if boxed else size, boxed)
            runs.append(run)
            x += self.width(run.text, run.size) + (2 * BOX_PAD_PT + 1 if boxed else 0)
        return tuple(runs), x

    def plain(self, text: str) -> str:
        """The text with what cannot be drawn written as code points."""
        return "".join(
            "".join(f"<U+{ord(char):04X}>" for char in _JOINERS.sub("", part)) if boxed else part
            for part, boxed in self._parts(text)
        )

    def _parts(self, text: str) -> Iterator[tuple[str, bool]]:
        """The text in parts, and whether each is boxed: of what readers see as one character, all is or nothing."""
        if self.missing.isdisjoint(text):
            yield from [(text, False)] if text else []
            return
        characters = (text[a:b] for a, b in pairwise(at for at in range(len(text) + 1) if is_boundary(text, at)))
        for boxed, run in groupby(characters, lambda character: not self.missing.isdisjoint(character)):
            for part in run if boxed else ["".join(run)]:
                if _JOINERS.sub("", part):
                    yield part, boxed


def fonts_for(texts: Iterable[str]) -> Fonts:
    """Fonts for all of these texts: a sans serif, what comes with matplotlib, and what else the system needs."""
    from matplotlib import font_manager

    installed = sorted(
        {font.name for font in font_manager.fontManager.ttflist if (font.style, font.weight) == ("normal", _REGULAR)}
    )
    first = next(name for name in SANS if name in installed)
    families = list(dict.fromkeys((first, _BUNDLED)))
    missing = {char for text in texts for char in text if char == " " or not char.isspace()}  # the others are not drawn
    others = sorted((name for name in installed if not _NOT_FOR_TEXT.search(name)), key=_preference(missing))
    for name in (*families, *others):
        if not missing:
            break
        drawn = _drawn_by(name, missing)
        missing -= drawn
        if drawn and name not in families:
            families.append(name)
    return Fonts(
        (*families, "sans-serif"), frozenset(missing)
    )  # the last for viewers of an SVG that have none of these


def _preference(chars: set[str]) -> Callable[[str], tuple[bool, bool, bool, str]]:
    """Sort plain sans serifs first, and of a family with regional forms the region that the text speaks of."""
    region = next((code for code, low, high in _REGIONS if any(low <= char <= high for char in chars)), "SC")
    return lambda name: ("Sans" not in name, "Mono" in name, not name.endswith(region), name)


def _drawn_by(family: str, chars: set[str]) -> set[str]:
    from matplotlib import font_manager

    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=[family])))
    drawn = set()
    for char in chars:
        # a lone surrogate is no character
        if "\ud800" <= char <= "\udfff" or not (index := font.get_char_index(ord(char))):
            continue
        if family != _BUNDLED and unicodedata.category(char)[0] in "LNPS":  # else an empty outline is right
            font.load_glyph(index)
            if not len(font.get_path()[0]):
                continue  # a colour font keeps its drawing elsewhere
        drawn.add(char)
    return drawn


@lru_cache(maxsize=20_000)
def _bold_has(char: str, families: tuple[str, ...]) -> bool:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    faces = (findfont(FontProperties(family=[name], weight="bold")) for name in families[:-1])
    return any(get_font(face).get_char_index(ord(char)) for face in faces)


@lru_cache(maxsize=20_000)
def _em_width(text: str, families: tuple[str, ...], bold: bool) -> float:
    from matplotlib.textpath import TextToPath

    properties = Fonts(families).properties(1, bold=bold)
    return TextToPath().get_text_width_height_descent(text, properties, False)[0]
