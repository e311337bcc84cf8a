"""A grid with two walls and a goal, small enough to be solved: its optimal advantage is known at every step.

An action moves one cell, or nowhere into a wall or the edge; each costs `STEP`, and the goal ends an episode. With an
entropy bonus of `ALPHA` a step, the optimal policy and its advantage are A*(s, a) = ALPHA log pi*(a|s) (Hejna et al.
2024, Eq. 3), which soft value iteration finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dpo_credit.mdp.segments import Floats, Segment

MAP = (
    "......G",
    ".......",
    "#####..",
    ".......",
    "..#####",
    ".......",
    ".......",
)
ACTIONS = ("up", "right", "down", "left")
ALPHA, STEP = 0.1, -0.25
LENGTH = 12  # steps of a segment, or fewer to the goal
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))
Cell = tuple[int, int]  # row and column


@dataclass(frozen=True)
class Solved:
    """Advantages of each cell's four actions, with the entropy bonus (`soft`) and without (`hard`).

    `steps` are how many it takes to the goal at least.
    """

    soft: dict[Cell, Floats]
    hard: dict[Cell, Floats]
    steps: dict[Cell, int]


def free(cell: Cell) -> bool:
    """Whether one can stand there."""
    row, column = cell
    return 0 <= row < len(MAP) and 0 <= column < len(MAP[0]) and MAP[row][column] != "#"


CELLS = tuple((row, column) for row in range(len(MAP)) for column in range(len(MAP[0])) if free((row, column)))
GOAL = next(cell for cell in CELLS if MAP[cell[0]][cell[1]] == "G")
CORNER = CELLS[-len(MAP[-1])]  # where half of the walks that policies learn from head
STARTS = tuple(cell for cell in CELLS if cell != GOAL)


def move(cell: Cell, action: int) -> Cell:
    """Where an action leads."""
    there = cell[0] + _MOVES[action][0], cell[1] + _MOVES[action][1]
    return there if free(there) else cell


def observation(cell: Cell) -> list[float]:
    """What a policy sees: row and column from -1 to 1, and whether each action would bump (1) or not (0)."""
    place = [2 * at / (size - 1) - 1 for at, size in zip(cell, (len(MAP), len(MAP[0])), strict=True)]
    return [round(at, 3) for at in place] + [float(move(cell, action) == cell) for action in range(len(ACTIONS))]


@cache
def solved(goal: Cell = GOAL) -> Solved:
    """The grid's solution, with a goal."""
    soft, _ = _fixed_point(lambda q: ALPHA * float(np.logaddexp.reduce(q / ALPHA)), goal)
    hard, values = _fixed_point(lambda q: float(q.max()), goal)
    return Solved(soft, hard, {cell: round(value / STEP) for cell, value in values.items()})


def _fixed_point(value_of: Callable[[Floats], float], goal: Cell) -> tuple[dict[Cell, Floats], dict[Cell, float]]:
    """Advantages and values of V(s) = value_of(Q(s, .)), Q(s, a) = STEP + V(s'), where the goal is worth 0."""
    starts = [cell for cell in CELLS if cell != goal]
    values = dict.fromkeys(CELLS, 0.0)
    while True:
        q = {cell: np.array([STEP + values[move(cell, action)] for action in range(len(ACTIONS))]) for cell in starts}
        new = {cell: value_of(q[cell]) for cell in starts} | {goal: 0.0}
        if max(abs(new[cell] - values[cell]) for cell in CELLS) < 1e-12:
            return {cell: q[cell] - new[cell] for cell in starts}, new
        values = new


@dataclass(frozen=True)
class Walk:
    """The cells that a segment's steps begin in, and their actions."""

    cells: tuple[Cell, ...]
    actions: tuple[int, ...]

    def advantages(self, of: dict[Cell, Floats]) -> Floats:
        """(L,) of its steps."""
        return np.array([of[cell][action] for cell, action in zip(self.cells, self.actions, strict=True)])

    def segment(self, frames: bool = False) -> Segment:
        """What a policy sees of it; `frames` are named after the cells."""
        return Segment(
            np.array([observation(cell) for cell in self.cells]),
            np.array(self.actions),
            np.full(len(self.actions), STEP),
            tuple(f"grid/{row}-{column}.png" for row, column in self.cells) if frames else (),
        )


def walk(start: Cell, choose: Callable[[Cell, int], int], length: int = LENGTH) -> Walk:
    """From a cell on, with the action that `choose` gives for a cell and a step, until the goal or so many steps."""
    cells = [start]
    actions: list[int] = []
    while len(actions) < length and cells[-1] != GOAL:
        actions.append(choose(cells[-1], len(actions)))
        cells.append(move(cells[-1], actions[-1]))
    return Walk(tuple(cells[: len(actions)]), tuple(actions))


def noisy(random: np.random.Generator, start: Cell) -> Walk:
    """A walk to the goal or, as often, to another corner, which now and then does anything: how often is drawn, too."""
    noise, target = random.uniform(0.1, 0.9), (GOAL, CORNER)[_any(random) % 2]

    def choose(cell: Cell, _: int) -> int:
        if cell == target or random.random() < noise:
            return _any(random)
        return _optimal(cell, random, target)

    return walk(start, choose)


def detour(random: np.random.Generator) -> tuple[Walk, Walk, int]:
    """An optimal walk of at least 6 steps, another that is optimal but for one step, and that step."""
    start = _drawn(random, [cell for cell in STARTS if solved().steps[cell] >= 6])
    wrong = int(random.integers(6))

    def choose(cell: Cell, step: int) -> int:
        return _optimal(cell, random) if step != wrong else int(random.choice(np.flatnonzero(~_is_optimal(cell))))

    return walk(start, lambda cell, _: _optimal(cell, random)), walk(start, choose), wrong


def _any(random: np.random.Generator) -> int:
    return int(random.integers(len(ACTIONS)))


def _is_optimal(cell: Cell, goal: Cell = GOAL) -> NDArray[np.bool_]:
    return solved(goal).hard[cell] > -1e-9


def _optimal(cell: Cell, random: np.random.Generator, goal: Cell = GOAL) -> int:
    return int(random.choice(np.flatnonzero(_is_optimal(cell, goal))))


def _drawn(random: np.random.Generator, cells: Sequence[Cell]) -> Cell:
    return cells[int(random.integers(len(cells)))]


def preferences(count: int, seed: int) -> list[tuple[Walk, Walk]]:
    """Pairs of noisy walks, the preferred one first: drawn by regret, P = sigmoid of the difference of their soft
    advantages' sums (Hejna et al. 2024, Eq. 1)."""
    random = np.random.default_rng(seed)
    pairs = []
    for _ in range(count):
        one, other = (noisy(random, _drawn(random, STARTS)) for _ in range(2))
        logit = regret(other) - regret(one)
        pairs.append((one, other) if random.random() < 1 / (1 + np.exp(-logit)) else (other, one))
    return pairs


def regret(segment: Walk) -> float:
    """What its steps fall short of the optimal policy's, with the entropy bonus."""
    return -float(segment.advantages(solved().soft).sum())
