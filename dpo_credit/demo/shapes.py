"""A world of drawings: one to three shapes on a light ground, captions of them, and the same with one shape changed.

    right, wrong = drawn.right.picture(), drawn.wrong.picture()    # (32, 32, 3) uint8, alike but for one shape
    drawn.caption                                                  # true of the first, not of the second
    drawn.wrong.mask(drawn.changed)                                # where the changed shape is drawn now

Which split a drawing belongs to is decided by what is in it, so that no two splits share a combination of shapes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "validation", "held_out"]
Change = Literal["colour", "kind", "place"]

SIZE = 32  # pixels, both ways
COLOURS = {
    "red": (214, 40, 40),
    "yellow": (240, 190, 20),
    "green": (45, 150, 60),
    "blue": (40, 90, 205),
    "purple": (140, 60, 165),
    "black": (35, 35, 40),
}
KINDS = ("circle", "square", "triangle", "cross", "ring")
RADII = {"small": 3.3, "large": 4.4}  # pixels
COLUMNS, ROWS = ("left", "", "right"), ("top", "", "bottom")
MIDDLES = (5.5, 16.0, 26.5)  # pixels from the left or the top: of three columns, of three rows
JITTER = 0.8  # pixels: two large shapes side by side never touch
CHANGES: tuple[Change, ...] = ("colour", "kind", "place")
SPLITS: tuple[Split, ...] = ("validation", "held_out", "train")
SEEDS: dict[Split, int] = {"train": 1, "validation": 2, "held_out": 3}
HELD_OUT_SHARES = (0.1, 0.1)  # of all combinations: for validation, held out

_X, _Y = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)


@dataclass(frozen=True)
class Shape:
    """A shape in one of nine places: `column` and `row` are 0, 1 or 2; `dx`, `dy`: pixels off the place's middle."""

    kind: str
    colour: str
    size: str
    column: int
    row: int
    dx: float
    dy: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.kind}"

    @property
    def place(self) -> str:
        """As "top left", "bottom" or "centre"."""
        return f"{ROWS[self.row]} {COLUMNS[self.column]}".strip() or "centre"

    def coverage(self) -> NDArray[np.float64]:
        """(32, 32) the share of each pixel that the shape covers, from the signed distance to its outline in pixels."""
        x, y = _X - MIDDLES[self.column] - self.dx, _Y - MIDDLES[self.row] - self.dy
        return np.clip(0.5 - _outside(self.kind, x, y, RADII[self.size]), 0, 1)


def _outside(kind: str, x: NDArray[np.float64], y: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """How far outside a shape about (0, 0) each point is, in pixels; below zero inside."""
    x, across = np.abs(x), np.abs(y)
    if kind == "circle":
        return np.hypot(x, across) - radius
    if kind == "ring":
        return np.abs(np.hypot(x, across) - 0.75 * radius) - 0.25 * radius
    if kind == "square":
        return np.maximum(x, across) - radius
    if kind == "cross":
        arm = 0.3 * radius
        return np.minimum(np.maximum(x - radius, across - arm), np.maximum(x - arm, across - radius))
    # a triangle on its base: its sides rise by 2 for 1 to the middle
    return np.maximum((2 * x - y - radius) / 5**0.5, y - radius)


@dataclass(frozen=True)
class Drawing:
    """One to three shapes of different names in different places on a plain ground, whose colour is (r, g, b)."""

    shapes: tuple[Shape, ...]
    ground: tuple[int, int, int]

    def picture(self) -> NDArray[np.uint8]:
        """(32, 32, 3) sRGB."""
        image = np.broadcast_to(np.array(self.ground, dtype=float), (SIZE, SIZE, 3))
        for shape in self.shapes:
            covered = shape.coverage()[:, :, None]
            image = image * (1 - covered) + np.array(COLOURS[shape.colour]) * covered
        return image.round().astype(np.uint8)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """(32, 32) the pixels that a shape covers at least half of."""
        return self.shapes[index].coverage() >= 0.5

    def inked(self) -> NDArray[np.bool_]:
        """(32, 32) the pixels of all shapes."""
        return np.any([self.mask(index) for index in range(len(self.shapes))], axis=0)

    @property
    def split(self) -> Split:
        """By the shapes' colours and kinds, of a single shape by its place too."""
        combination = sorted(shape.name for shape in self.shapes)
        if len(self.shapes) == 1:
            combination.append(self.shapes[0].place)
        share = zlib.crc32("; ".join(combination).encode()) / 2**32
        validation, held_out = HELD_OUT_SHARES
        return "validation" if share < validation else "held_out" if share < validation + held_out else "train"


@dataclass(frozen=True)
class Claim:
    """What a caption says of a shape: that it is in its `place`, or `left of` or `above` another one."""

    subject: int
    relation: Literal["place", "left of", "above"]
    other: int = -1

    def holds(self, shapes: tuple[Shape, ...], right: tuple[Shape, ...]) -> bool:
        """Whether it is true of these shapes, where the caption was written for the right ones."""
        shape, other = shapes[self.subject], shapes[self.other]
        if self.relation == "left of":
            return shape.column < other.column
        if self.relation == "above":
            return shape.row < other.row
        return shape.place == right[self.subject].place


@dataclass(frozen=True)
class Drawn:
    """A drawing, a caption that is true of it, and the same drawing with one shape changed, of which it is not."""

    right: Drawing
    wrong: Drawing
    caption: str
    change: Change
    changed: int  # the index of the changed shape

    def mask(self) -> NDArray[np.bool_]:
        """(32, 32) the changed shape's pixels in the wrong drawing; of a moved one, where it is drawn now."""
        return self.wrong.mask(self.changed)


def draw(rng: Random) -> Drawing:
    """A drawing of any split."""
    names = rng.sample([(kind, colour) for kind in KINDS for colour in COLOURS], rng.choices((1, 2, 3), (4, 4, 2))[0])
    places = rng.sample(range(9), len(names))
    shapes = tuple(
        Shape(kind, colour, rng.choice(list(RADII)), *divmod(place, 3), *(rng.uniform(-JITTER, JITTER) for _ in "xy"))
        for (kind, colour), place in zip(names, places, strict=True)
    )
    light = rng.randint(222, 250)
    return Drawing(shapes, tuple(light + rng.randint(-5, 5) for _ in "rgb"))  # type: ignore[arg-type]


def claims(rng: Random, shapes: tuple[Shape, ...]) -> list[Claim]:
    """What a caption says, about the shapes in the order in which it names them: every shape at least once."""
    order = rng.sample(range(len(shapes)), len(shapes))
    said: list[Claim] = []
    if len(shapes) > 1 and rng.random() < 0.5:
        first, second, *order = order
        across = shapes[first].column - shapes[second].column
        down = shapes[first].row - shapes[second].row
        relation: Literal["left of", "above"] = rng.choice(
            [*["left of"] * bool(across), *["above"] * bool(down)]  # type: ignore[list-item]
        )
        if (across if relation == "left of" else down) > 0:
            first, second = second, first
        said.append(Claim(first, relation, second))
    return said + [Claim(index, "place") for index in order]


def caption(rng: Random, shapes: tuple[Shape, ...], said: list[Claim]) -> str:
    """What is claimed, in one of several wordings."""
    sized = rng.random() < 0.5

    def noun(index: int) -> str:
        shape = shapes[index]
        return f"a {shape.size} {shape.name}" if sized else f"a {shape.name}"

    parts = []
    for claim in said:
        shape = shapes[claim.subject]
        if claim.relation == "place":
            parts.append(f"{noun(claim.subject)} {rng.choice(_where(shape))}")
            continue
        straight, turned = _RELATIONS[claim.relation]
        words, first, second = rng.choice(
            [(straight, claim.subject, claim.other), (turned, claim.other, claim.subject)]
        )
        parts.append(f"{noun(first)} {rng.choice(words)} {noun(second)}")
    return ", ".join(parts[:-1]) + " and " * (len(parts) > 1) + parts[-1]


_RELATIONS = {
    "left of": (("left of", "to the left of"), ("right of", "to the right of")),
    "above": (("above",), ("below",)),
}


def _where(shape: Shape) -> list[str]:
    """How a caption may say the place of a shape."""
    if shape.place == "centre":
        return ["in the centre", "in the middle"]
    preposition = "on" if shape.row == 1 else "at"
    wordings = [f"{preposition} the {shape.place}"]
    return [*wordings, f"in the {shape.place} corner"] if " " in shape.place else wordings


def variants(drawing: Drawing, index: int) -> dict[Change, list[tuple[Shape, ...]]]:
    """The drawing's shapes with another colour, kind or free place of one of them; by colour and kind its own too."""
    shape = drawing.shapes[index]
    taken = {(other.column, other.row) for other in drawing.shapes}
    values: dict[Change, list[Shape]] = {
        "colour": [replace(shape, colour=colour) for colour in COLOURS],
        "kind": [replace(shape, kind=kind) for kind in KINDS],
        "place": [replace(shape, column=x, row=y) for x in range(3) for y in range(3) if (x, y) not in taken],
    }
    return {
        change: [(*drawing.shapes[:index], new, *drawing.shapes[index + 1 :]) for new in shapes]
        for change, shapes in values.items()
    }


def changed(rng: Random, drawing: Drawing, said: list[Claim], change: Change, index: int) -> Drawing:
    """The drawing with another colour, kind or place of one shape, of which what is said is not true."""
    others = {other.name for other in drawing.shapes}
    shapes = variants(drawing, index)[change]
    if change == "place":
        fitting = [new for new in shapes if not all(claim.holds(new, drawing.shapes) for claim in said)]
    else:
        fitting = [new for new in shapes if new[index].name not in others]
    return replace(drawing, shapes=rng.choice(fitting))


def draw_pairs(seed: int, count: int, split: Split) -> Iterator[Drawn]:
    """Drawings of a split with captions, and with one shape of each changed.

    Colour, kind and place are changed equally often. The same seed gives other drawings in another split.
    """
    rng = Random(f"{split} {seed}")
    for _ in range(count):
        right = draw(rng)
        while right.split != split:
            right = draw(rng)
        said = claims(rng, right.shapes)
        text = caption(rng, right.shapes, said)
        change, index = rng.choice(CHANGES), rng.randrange(len(right.shapes))
        yield Drawn(right, changed(rng, right, said, change, index), text, change, index)
