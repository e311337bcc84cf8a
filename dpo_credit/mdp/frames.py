"""The pictures of a segment's steps as thumbnails: PNG and JPEG files that lie with the rows, and no others."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError

HEIGHT_PX = 96
MOST_PIXELS = 50_000_000
MOST_BYTES = 64 << 20


def thumbnails(names: Sequence[str], folder: Path) -> list[bytes]:
    """Each frame as a PNG at most `HEIGHT_PX` high.

    Args:
        names: files relative to the folder, within it.
        folder: where the rows' file lies.

    Raises:
        CreditError: one is elsewhere, is too large, or is no picture.
    """
    made: dict[str, bytes] = {}
    for name in names:
        if name not in made:
            made[name] = _thumbnail(name, folder)
    return [made[name] for name in names]


def _thumbnail(name: str, folder: Path) -> bytes:
    from PIL import Image

    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise CreditError(f"frame {name} lies outside of {folder}, where the rows are. Move it there.")
        if not path.is_file():
            raise CreditError(f"frame {name} does not exist in {folder}.")
        if path.stat().st_size > MOST_BYTES:
            raise CreditError(f"frame {name} has {path.stat().st_size >> 20} MiB; {MOST_BYTES >> 20} at most.")
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise CreditError(f"frame {name} has {picture.width} x {picture.height} pixels, which is too many.")
            small = picture.convert("RGB")
    except CreditError:
        raise
    except Exception as error:  # Pillow raises what it likes about a file
        raise CreditError(f"frame {name} is no PNG or JPEG that can be read: {reason_of(error)}") from error
    small.thumbnail((4 * HEIGHT_PX, HEIGHT_PX))
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    return buffer.getvalue()
