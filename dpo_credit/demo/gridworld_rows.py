"""Write pairs of held-out walks on the grid for `examples/grid.jsonl`, and pictures of the first two's steps.

python -m dpo_credit.demo.gridworld_rows --out my-examples
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dpo_credit.rows.output import json_line

from .gridworld import GOAL, MAP, Cell, Walk, detour, free, preferences, regret

SEED, DETOURS, NOISY, SHORTEST = 3_000_000, 2, 18, 6
_CELL_PX = 7


def picture(cell: Cell) -> Image.Image:
    """The grid from above: walls dark, the goal green, the walker orange."""
    colours = np.full((len(MAP), len(MAP[0]), 3), 245, np.uint8)
    for row in range(len(MAP)):
        for column in range(len(MAP[0])):
            if not free((row, column)):
                colours[row, column] = 70
    colours[GOAL] = 60, 160, 90
    colours[cell] = 230, 120, 20
    return Image.fromarray(colours.repeat(_CELL_PX, 0).repeat(_CELL_PX, 1))


def side(walk: Walk, frames: bool) -> dict[str, object]:
    """A segment as JSON."""
    segment = walk.segment(frames)
    assert segment.rewards is not None
    fields = {
        "observations": segment.observations.tolist(),
        "actions": segment.actions.tolist(),
        "rewards": segment.rewards.tolist(),
    }
    return {**fields, "frames": list(segment.frames)} if frames else fields


def main(arguments: Sequence[str] | None = None) -> None:
    """Write OUT/segments.jsonl and OUT/grid: walks with and without a detour, then noisy ones."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a directory")
    out = parser.parse_args(arguments).out
    random = np.random.default_rng(SEED)
    pairs = [detour(random)[:2] for _ in range(DETOURS)]
    pairs += [(min(pair, key=regret), max(pair, key=regret)) for pair in preferences(4 * NOISY, SEED)]
    pairs = [pair for pair in pairs if min(len(walk.actions) for walk in pair) >= SHORTEST][: DETOURS + NOISY]
    (out / "grid").mkdir(parents=True, exist_ok=True)
    with (out / "grid.jsonl").open("w", encoding="utf-8") as lines:
        for n, (chosen, rejected) in enumerate(pairs):
            frames = n < DETOURS
            row = {"id": f"detour-{n}" if frames else f"noisy-{n - DETOURS}"}
            lines.write(json_line({**row, "chosen": side(chosen, frames), "rejected": side(rejected, frames)}) + "\n")
            for cell in {*chosen.cells, *rejected.cells} if frames else ():
                picture(cell).save(out / "grid" / f"{cell[0]}-{cell[1]}.png")


if __name__ == "__main__":
    main()
