"""The embedded refiner's world: requests for drawings of shapes, the captions that refine them, and what can go wrong.

    python -m dpo_credit.demo.refiner --out requests --count 20   # rows.jsonl and pictures for dpo-credit refine

An answer goes wrong in one of two ways: the refiner writes a caption that is not what was asked for, and it is drawn as
written ("words"); or the caption is right, and one shape of the picture is not as it says ("pixels"). A clip is a shape
that moves through three frames, each with a caption of its own; of a wrong one, one frame is.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal

from dpo_credit.demo.shapes import COLOURS, KINDS, Change, Claim, Drawing, Shape, Split, caption, draw, variants

Fault = Literal["words", "pixels"]
FAULTS: tuple[Fault, ...] = ("words", "pixels")
CLIPS = 0.3  # their share
_OPENINGS = ("", "", "draw ", "I want ")
_SAID_OF_CLIPS: tuple[tuple[Change, ...], ...] = (("colour",), ("kind",), ("colour", "kind"))
_MOVES = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}


@dataclass(frozen=True)
class Ask:
    """What a request says of a shape; what it leaves open is the refiner's to fill in."""

    shape: Shape
    said: tuple[Change, ...]

    def holds(self, shape: Shape) -> bool:
        return all(getattr(shape, name) == getattr(self.shape, name) for name in self.said)

    @property
    def text(self) -> str:
        colour = self.shape.colour if "colour" in self.said else ""
        noun = f"a {colour} {self.shape.kind}" if "kind" in self.said else f"something {colour}"
        where = ""
        if "place" in self.said:
            where = " in the centre" if self.shape.place == "centre" else f" on the {self.shape.place}"
        return " ".join(noun.split()) + where


@dataclass(frozen=True)
class Answer:
    """What a refiner wrote and what was drawn: a caption and a drawing for each frame."""

    captions: tuple[str, ...]
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True)
class Case:
    """A request, a right answer and a wrong one, whose `frame` is at fault."""

    request: str
    chosen: Answer
    rejected: Answer
    fault: Fault
    frame: int = 0

    @property
    def is_clip(self) -> bool:
        return len(self.chosen.captions) > 1


def cases(seed: int, count: int, split: Split, *, clips: float = CLIPS) -> Iterator[Case]:
    """Requests with a right and a wrong answer; either fault is as likely. A clip is of its first frame's split."""
    rng = Random(f"refiner {split} {seed}")
    for _ in range(count):
        make = _clip if rng.random() < clips else _still
        case = make(rng, split)
        while case is None:
            case = make(rng, split)
        yield case


def _still(rng: Random, split: Split) -> Case | None:
    drawing = draw(rng)
    if drawing.split != split:
        return None
    asked = [
        Ask(drawing.shapes[index], _some(rng))
        for index in rng.sample(range(len(drawing.shapes)), rng.randint(1, min(2, len(drawing.shapes))))
    ]
    request = rng.choice(_OPENINGS) + " and ".join(ask.text for ask in asked)
    order = rng.sample(range(len(drawing.shapes)), len(drawing.shapes))
    spoilt = rng.choice(asked)
    wrong = _spoilt(rng, drawing, spoilt)
    if wrong is None:
        return None
    wording = rng.random()
    right = Answer((_caption(wording, drawing, order),), (drawing,))
    fault = rng.choice(FAULTS)
    said = _caption(wording, wrong, order) if fault == "words" else _caption(rng.random(), drawing, order)
    return Case(request, right, Answer((said,), (wrong,)), fault)


def _clip(rng: Random, split: Split) -> Case | None:
    way = rng.choice(list(_MOVES))
    across, down = _MOVES[way]
    line = rng.randrange(3)  # the row of a shape that moves across, the column of one that moves up or down
    steps = [1 + step * (across or down) for step in (-1, 0, 1)]
    first = Shape(rng.choice(KINDS), rng.choice(list(COLOURS)), rng.choice(("small", "large")), 1, 1, 0.0, 0.0)
    light = rng.randint(222, 250)
    drawings = tuple(
        Drawing((replace(first, column=step if across else line, row=line if across else step),), (light,) * 3)
        for step in steps
    )
    if drawings[0].split != split:
        return None
    said = rng.choice(_SAID_OF_CLIPS)
    request = f"{rng.choice(_OPENINGS)}{Ask(first, said).text} that moves {way}"
    wording, frame = rng.random(), rng.randrange(3)
    spoilt = _spoilt(rng, drawings[frame], Ask(drawings[frame].shapes[0], (*said, "place")))
    if spoilt is None:
        return None
    wrong = tuple(spoilt if n == frame else drawing for n, drawing in enumerate(drawings))
    right = Answer(tuple(_caption(wording, drawing, [0]) for drawing in drawings), drawings)
    fault = rng.choice(FAULTS)
    captions = tuple(_caption(wording, drawing, [0]) for drawing in wrong) if fault == "words" else right.captions
    return Case(request, right, Answer(captions, wrong), fault, frame)


def _some(rng: Random) -> tuple[Change, ...]:
    """What a request says of a shape: one or two of the three."""
    names: list[Change] = ["colour", "kind", "place"]
    return tuple(rng.sample(names, rng.randint(1, 2)))


def _spoilt(rng: Random, drawing: Drawing, ask: Ask) -> Drawing | None:
    """The drawing with one thing changed that was asked for, so that no shape of it is what was; None if none fits."""
    made = variants(drawing, drawing.shapes.index(ask.shape))[rng.choice(ask.said)]
    made = [
        shapes
        for shapes in made
        if len({shape.name for shape in shapes}) == len(shapes) and not any(map(ask.holds, shapes))
    ]
    return replace(drawing, shapes=rng.choice(made)) if made else None


def _caption(wording: float, drawing: Drawing, order: Sequence[int]) -> str:
    """What the drawing shows, its shapes in this order, each with its place; equal wordings differ in no other word."""
    return caption(Random(wording), drawing.shapes, [Claim(index, "place") for index in order])


def write_rows(cases: Sequence[Case], folder: Path) -> None:
    """Write `rows.jsonl` for `dpo-credit refine` and the pictures it names, as PNG."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)

    def answer(answer: Answer, name: str) -> dict[str, Any]:
        files = [f"{name}-{n}.png" if len(answer.drawings) > 1 else f"{name}.png" for n in range(len(answer.drawings))]
        for file, drawing in zip(files, answer.drawings, strict=True):
            Image.fromarray(drawing.picture()).save(folder / file)
        if len(files) > 1:
            return {"prompt": list(answer.captions), "pictures": files}
        return {"prompt": answer.captions[0], "picture": files[0]}

    with (folder / "rows.jsonl").open("w", encoding="utf-8") as rows:
        for number, case in enumerate(cases, 1):
            row = {
                "id": f"{'clip' if case.is_clip else 'still'}-{number}",
                "request": case.request,
                "chosen": answer(case.chosen, f"{number}-chosen"),
                "rejected": answer(case.rejected, f"{number}-rejected"),
                "fault": case.fault,
            }
            rows.write(json.dumps(row) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write held-out rows with their pictures."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clips", type=float, default=CLIPS, help="their share")
    options = parser.parse_args(arguments)
    write_rows(list(cases(options.seed, options.count, "held_out", clips=options.clips)), options.out)


if __name__ == "__main__":
    main()
