"""Rows of a data set become a prompt and its pictures, which are files beside it or stand in the row itself."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_credit.credit import CreditError
from dpo_credit.image.pictures import Picture, read_picture
from dpo_credit.rows.reader import Record
from dpo_credit.rows.records import id_of
from dpo_credit.rows.values import TableRow

PAIR, SINGLE = ("chosen", "rejected"), "image"
PICKED, PICKED_PROMPT, LABEL = ("jpg_0", "jpg_1"), "caption", "label_0"  # Pick-a-Pic's (Kirstain et al. 2023)
_DATA = "data:"


@dataclass(frozen=True, eq=False)
class PictureRow:
    """A row: its id, its prompt and its pictures, and its own fields without those that hold a picture themselves."""

    id: str
    prompt: str
    pictures: tuple[Picture, ...]
    fields: dict[str, Any]


def picture_row(record: Record, prompt_key: str = "prompt") -> PictureRow:
    """A record with a prompt, and chosen and rejected pictures or a single image.

    Rows of Pick-a-Pic are read as they are: `caption`, `jpg_0` and `jpg_1`, and `label_0`, which is 1 where the first
    was preferred and 0 where the second was.

    A picture is the path of a file, from the row's own file on; a data URI; or, as `datasets` keeps it, an object with
    bytes (base64 in JSON) or a path.

    Raises:
        CreditError: it is no such row, or a picture cannot be read.
    """
    fields = record.fields()
    picked = not any(fields.get(key) is not None for key in (*PAIR, SINGLE)) and all(key in fields for key in PICKED)
    if picked and prompt_key not in fields:
        prompt_key = PICKED_PROMPT
    prompt = fields.get(prompt_key)
    if not isinstance(prompt, str):
        raise CreditError(
            f"its {prompt_key} is {'missing' if prompt is None else 'no text'}. Give what the pictures show."
        )
    keys = _picked(fields) if picked else PAIR if all(fields.get(key) is not None for key in PAIR) else (SINGLE,)
    if fields.get(keys[0]) is None:
        raise CreditError(f"it has no pictures: {' and '.join(PAIR)}, or {SINGLE}.")
    folder = Path(record.source).parent
    made_text = record.content.made_text if isinstance(record.content, TableRow) else {}
    pictures, kept = [], dict(fields)
    for key in keys:
        value = fields[key]
        picture, is_file = picture_at(value, key, folder, is_bytes=made_text.get((key, key)) == "bytes")
        if not is_file:
            del kept[key]
        pictures.append(picture)
    return PictureRow(id_of(fields, record.default_id), prompt, tuple(pictures), kept)


def _picked(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """The field of the preferred picture, then that of the other."""
    label = fields.get(LABEL)
    if label not in (0, 1):
        raise CreditError(
            f"its {LABEL} is {'missing' if label is None else label}. It is 1 where {PICKED[0]} was preferred and 0 "
            f"where {PICKED[1]} was; of a tie there is no preference."
        )
    return PICKED if label == 1 else PICKED[::-1]


def picture_at(value: Any, key: str, folder: Path, *, is_bytes: bool = False) -> tuple[Picture, bool]:
    """The picture that a field holds, and whether it is a file.

    Args:
        value: the field's; see `picture_row`.
        key: what it is called, for messages.
        folder: what a path is relative to.
        is_bytes: whether the field was bytes, and is base64 now.

    Raises:
        CreditError: it is no picture, or cannot be read.
    """
    data, name = _data(value, key, folder, is_bytes=is_bytes)
    return read_picture(_file(name) if data is None else data, name), data is None


def _data(value: Any, key: str, folder: Path, *, is_bytes: bool) -> tuple[bytes | None, str]:
    """A picture's bytes where the row holds them, and its name; else the name is a file's."""
    if is_bytes:
        return _decoded(value, key), key
    if isinstance(value, Mapping):
        path = value.get("path")
        if value.get("bytes") is not None:
            return _decoded(value["bytes"], key), str(path or key)
        value = path
    if not isinstance(value, str) or not value:
        raise CreditError(f"its {key} is no picture: give a path, a data URI, or an object with bytes or a path.")
    if value.startswith(_DATA):
        head, comma, text = value.partition(",")
        if not comma or not head.endswith(";base64"):
            raise CreditError(f"its {key} is a data URI without base64: data:image/png;base64,... is read.")
        return _decoded(text, key), key
    return None, str(folder / value)


def _decoded(text: Any, key: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise CreditError(f"its {key} is no base64: {error}. Write the file's bytes in base64.") from error


def _file(name: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except FileNotFoundError as error:
        raise CreditError(f"{name} does not exist. Paths are from the rows' own file on.") from error
    except OSError as error:
        raise CreditError(f"cannot read {name}: {error.strerror}.") from error
    except ValueError as error:
        raise CreditError(f"{name!r} is no name of a file: {error}.") from error
