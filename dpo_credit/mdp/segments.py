"""Segments of trajectories of any MDP, and which of two was preferred: from JSON rows, or from arrays in an npz."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpo_credit.credit import CreditError
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.documents import SHAPES
from dpo_credit.rows.reader import Record
from dpo_credit.rows.records import id_of

SIDES = ("chosen", "rejected")
SHAPE = (
    "chosen and rejected (or segments, a list of two, with preferred, 0 or 1), each with observations, a list of "
    "lists of numbers, and actions, a list of whole numbers or of lists of numbers"
)
Floats = NDArray[np.float64]
Numbers = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Segment:
    """L steps of a trajectory.

    `observations` (L, d), or (L, ...) for a policy that takes them so; `actions` (L,) whole numbers from 0 on, or
    (L, k) real ones; `rewards` (L,) of the MDP, where they are known; `frames` (L,) names of pictures, likewise.

    Raises:
        CreditError: lengths differ, there is no step, or a number is not finite.
    """

    observations: Floats
    actions: Numbers
    rewards: Floats | None = None
    frames: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.observations.ndim < 2:
            raise CreditError(
                f"observations have shape {self.observations.shape}; they must be L steps of d numbers: (L, d)."
            )
        length = len(self.observations)
        if not length or not self.observations.size:
            raise CreditError(f"observations have shape {self.observations.shape}, which is no step.")
        _check_actions(self.actions)
        others = {"actions": self.actions, "rewards": self.rewards, "frames": self.frames or None}
        for name, values in others.items():
            if values is not None and len(values) != length:
                raise CreditError(f"{length} observations and {len(values)} {name}; a step has one of each.")
        for name, numbers in {"observations": self.observations, **others}.items():
            if isinstance(numbers, np.ndarray) and not np.isfinite(numbers).all():
                at = np.argwhere(~np.isfinite(numbers))[0]
                raise CreditError(f"{name}[{']['.join(map(str, at))}] is {numbers[tuple(at)]}, which is no number.")
        if self.rewards is not None and self.rewards.ndim != 1:
            raise CreditError(f"rewards have shape {self.rewards.shape}; they must be one number a step: (L,).")

    @property
    def discrete(self) -> bool:
        """Whether actions are whole numbers and not real ones."""
        return self.actions.ndim == 1


@dataclass(frozen=True, eq=False)
class SegmentPair:
    """Two segments, of which the first was preferred; `source` is the file that they stood in, "" where there was none.

    Raises:
        CreditError: their observations or actions are of different kinds.
    """

    id: str
    chosen: Segment
    rejected: Segment
    source: str = ""

    def __post_init__(self) -> None:
        if self.chosen.discrete != self.rejected.discrete:
            whole, real = SIDES if self.chosen.discrete else SIDES[::-1]
            raise CreditError(f"{whole} has whole numbers as actions, {real} real ones. One MDP has one kind.")
        for name in ("observations", "actions"):
            ours, theirs = (getattr(segment, name).shape[1:] for segment in (self.chosen, self.rejected))
            if ours != theirs:
                raise CreditError(f"{name} of chosen have shape (L, *{ours}), of rejected (L, *{theirs}).")


def read_segments(records: Iterable[Record], aside: SetAside = STRICT) -> Iterator[SegmentPair]:
    """The pairs of JSON rows; see `parse_pair`.

    Raises:
        CreditError: a row holds none, and is not set aside.
    """
    for record in records:
        try:
            yield pair_of(record)
        except CreditError as error:
            aside.add(record.id, record.place, error)


def pair_of(record: Record) -> SegmentPair:
    """A record's pair; see `parse_pair`.

    Raises:
        CreditError: it holds none.
    """
    try:
        fields = record.fields()
    except CreditError as error:  # which says what a row of text would be
        raise CreditError(str(error).replace(SHAPES, SHAPE)) from error
    return parse_pair(fields, record.id, record.source)


def parse_pair(fields: Mapping[str, Any], default_id: str, source: str = "") -> SegmentPair:
    """A JSON object as a pair.

    Args:
        fields: `chosen` and `rejected`, or `segments` with `preferred`; see `SHAPE`. Others are not looked at.
        default_id: its id where it brings none.
        source: see `SegmentPair`.

    Raises:
        CreditError: a field is missing or of a wrong shape; the message names it.
    """
    row_id = id_of(fields, default_id)
    try:
        chosen, rejected = (_segment(value, name) for name, value in _sides(fields))
        return SegmentPair(row_id, chosen, rejected, source)
    except CreditError as error:
        raise CreditError(f"{row_id}: {error}") from error


def _sides(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The preferred segment and the other, each with what its row calls it."""
    if "segments" in fields:
        segments, preferred = fields["segments"], fields.get("preferred")
        if not isinstance(segments, list) or len(segments) != 2:
            raise CreditError("segments must be a list of two.")
        if preferred not in (0, 1) or isinstance(preferred, bool):
            raise CreditError(f"preferred is {_shown(preferred)}; it must be 0 or 1, which of the segments was.")
        named = [(f"segments[{n}]", segment) for n, segment in enumerate(segments)]
        return [named[preferred], named[1 - preferred]]
    missing = [side for side in SIDES if side not in fields]
    if missing:
        raise CreditError(f"no {' and no '.join(missing)}. A row has {SHAPE}.")
    return [(side, fields[side]) for side in SIDES]


def _segment(value: Any, name: str) -> Segment:
    if not isinstance(value, Mapping):
        raise CreditError(f"{name} is {_shown(value)}; it must be an object with observations and actions.")
    for field in ("observations", "actions"):
        if value.get(field) is None:
            raise CreditError(f"{name} has no {field}. A row has {SHAPE}.")
    frames = value.get("frames") or []
    if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
        raise CreditError(f"{name}.frames must be a list of names of pictures, one a step.")
    rewards = value.get("rewards")
    try:
        return Segment(
            _numbers(value["observations"], "observations").astype(np.float64),
            _actions(_numbers(value["actions"], "actions")),
            None if rewards is None else _numbers(rewards, "rewards").astype(np.float64),
            tuple(frames),
        )
    except CreditError as error:
        raise CreditError(f"{name}: {error}") from error


def _numbers(value: Any, name: str) -> Numbers:
    if not isinstance(value, list):
        raise CreditError(f"{name} is {_shown(value)}; it must be a list.")
    try:
        numbers = np.asarray(value)
    except (ValueError, OverflowError) as error:  # ragged
        raise CreditError(f"{name} is ragged: its lists are not all as long as the others.") from error
    if numbers.size and numbers.dtype.kind not in "iuf":
        raise CreditError(f"{name} holds something else than numbers that fit 64 bits.")
    return numbers


def _actions(numbers: Numbers) -> Numbers:
    """Whole numbers stay so where they are one a step; lists of numbers are real ones."""
    return numbers.astype(np.float64) if numbers.ndim > 1 else numbers


def _check_actions(actions: Numbers) -> None:
    if actions.ndim == 1 and actions.dtype.kind == "f" and actions.size:
        raise CreditError(
            "actions are real numbers, one a step: write each as a list, [[0.1], [-0.2]], or whole numbers for "
            "discrete ones."
        )
    if actions.ndim not in (1, 2) or (actions.ndim == 2 and (actions.dtype.kind != "f" or not actions.shape[1])):
        raise CreditError(
            f"actions have shape {actions.shape} and type {actions.dtype}; they must be (L,) whole numbers or (L, k) "
            "real ones."
        )
    if actions.ndim == 1 and (actions < 0).any():
        raise CreditError(f"action {actions.min()} at step {actions.argmin()}: they are numbered from 0 on.")


def _shown(value: Any) -> str:
    if isinstance(value, list | Mapping):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return "missing" if value is None else text if len(text) <= 40 else f"{text[:40]}…"
