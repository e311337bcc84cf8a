"""Segments as arrays in an npz: no array is made before its header is known to be true, and nothing is unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError
from dpo_credit.mdp.segments import SIDES, Numbers, Segment, SegmentPair
from dpo_credit.rows.aside import STRICT, SetAside

MOST_BYTES = 4 << 30  # of all arrays of a file, decompressed
_ZIP = b"PK\x03\x04"
_FIELDS = ("observations", "actions", "rewards")
_WANTED = (
    "chosen_observations (n, L, d), chosen_actions (n, L) or (n, L, k), rejected_observations and rejected_actions; or "
    "observations (2, n, L, d), actions (2, n, L) or (2, n, L, k) and preferred (n,)"
)


def is_npz(name: str) -> bool:
    """Whether a file holds arrays, by its name or its first bytes."""
    if name.endswith(".npz"):
        return True
    if not Path(name).is_file():
        return False
    try:
        with open(name, "rb") as file:
            return file.read(len(_ZIP)) == _ZIP
    except OSError:  # what is wrong, reading it will say
        return False


def read_npz(path: str | Path, aside: SetAside = STRICT) -> Iterator[SegmentPair]:
    """The pairs of a file: `chosen_observations`, `chosen_actions` and so on, or both stacked, with `preferred`.

    `rewards` and `ids` are optional; others are not read. Observations and actions are as for `Segment`, with the
    pairs' axis in front.

    Raises:
        CreditError: the file is no npz, an array is missing, pickled, larger than the file says or of a wrong shape; or
            a pair is no good and is not set aside.
    """
    name = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            sides, ids = _sides(_Arrays(archive, name))
    except FileNotFoundError as error:
        raise CreditError(f"{name} does not exist. Give an npz or a JSONL file.") from error
    except OSError as error:
        raise CreditError(f"cannot read {name}: {error.strerror or error}.") from error
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, MemoryError, ValueError) as error:
        raise CreditError(
            f"{name} is no npz that can be read: {reason_of(error)}. Save it with numpy.savez."
        ) from error
    for n, row_id in enumerate(ids):
        try:
            chosen, rejected = (_segment(sides[side], n, side) for side in SIDES)
            yield SegmentPair(row_id, chosen, rejected, name)
        except CreditError as error:
            aside.add(row_id, f"{name}, row {n + 1}", CreditError(f"{row_id}: {error}"))


class _Arrays:
    """The arrays of an archive, by name."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name = archive, name
        self._members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        self._left = MOST_BYTES

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def __getitem__(self, name: str) -> Numbers:
        """An array.

        Raises:
            CreditError: there is none of that name, or it is no array of numbers or text as large as it says.
        """
        if name not in self._members:
            held = ", ".join(self._members) or "nothing"
            raise CreditError(f"{self._name} has no {name}, but {held[:200]}. It needs {_WANTED}.")
        member = self._members[name]
        with self._archive.open(member) as file:
            shape, dtype = _header(file)
            size = int(np.prod([dtype.itemsize, *map(int, shape)], dtype=object))
            if dtype.hasobject:
                raise CreditError(
                    f"{self._name}: {name} holds pickled objects, which can run code when they are loaded. Save it as "
                    "an array of numbers (of ids: of text), all rows as long as each other."
                )
            if size > member.file_size:
                raise CreditError(f"{self._name}: {name} says it has {size:,} bytes; {member.file_size:,} are there.")
            self._left -= size
            if self._left < 0:
                raise CreditError(f"{self._name} would take more than {MOST_BYTES >> 30} GiB. Split it.")
        with self._archive.open(member) as file:
            return npy.read_array(file, allow_pickle=False)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"its arrays have format {version}, which is for names of fields")
    shape, _, dtype = read(file)
    return shape, dtype


def _sides(arrays: _Arrays) -> tuple[dict[str, dict[str, Numbers]], list[str]]:
    """The arrays of the preferred segments and of the others, each with the pairs' axis first; and the pairs' ids."""
    if "observations" in arrays:
        stacked = {field: arrays[field] for field in _FIELDS if field in arrays or field != "rewards"}
        preferred = _preferred(arrays["preferred"])
        for field, values in stacked.items():
            if values.shape[:2] != (2, len(preferred)):
                raise CreditError(
                    f"{field} has shape {values.shape} and preferred {preferred.shape}: it must begin with (2, n)."
                )
        rows = np.arange(len(preferred))
        sides = {
            side: {field: values[preferred ^ n, rows] for field, values in stacked.items()}
            for n, side in enumerate(SIDES)
        }
    else:
        sides = {
            side: {
                field: arrays[f"{side}_{field}"]
                for field in _FIELDS
                if field != "rewards" or f"{side}_{field}" in arrays
            }
            for side in SIDES
        }
    shapes = {f"{side} {field}": values.shape for side, fields in sides.items() for field, values in fields.items()}
    counts = {shape[:1] for shape in shapes.values()}
    if len(counts) > 1 or () in counts:
        raise CreditError(
            "the arrays hold different numbers of pairs: "
            + ", ".join(f"{name} {shapes[name]}" for name in shapes)
            + "."
        )
    ((count,),) = counts
    for side, fields in sides.items():
        for field, values in fields.items():
            if values.dtype.kind not in "iuf":
                raise CreditError(f"{side} {field} are of type {values.dtype}; they must be numbers.")
    if "ids" not in arrays:
        return sides, [str(n) for n in range(count)]
    ids = arrays["ids"]
    if ids.shape != (count,) or ids.dtype.kind not in "iuU":
        raise CreditError(f"ids have shape {ids.shape} and type {ids.dtype}; they must be ({count},) numbers or text.")
    return sides, [str(row_id) for row_id in ids.tolist()]


def _preferred(values: Numbers) -> NDArray[np.intp]:
    if values.ndim != 1 or values.dtype.kind not in "iub" or not np.isin(values, (0, 1)).all():
        raise CreditError(
            f"preferred has shape {values.shape} and type {values.dtype}; it must be (n,), 0 or 1: which was."
        )
    return values.astype(np.intp)


def _segment(fields: dict[str, Numbers], n: int, name: str) -> Segment:
    rewards = fields.get("rewards")
    try:
        return Segment(
            fields["observations"][n].astype(np.float64),
            fields["actions"][n] if fields["actions"].dtype.kind in "iu" else fields["actions"][n].astype(np.float64),
            None if rewards is None else rewards[n].astype(np.float64),
        )
    except CreditError as error:
        raise CreditError(f"{name}: {error}") from error
