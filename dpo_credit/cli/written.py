"""Rows written one by one to a file of any kind of ours, which appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dpo_credit.cli.files import writing
from dpo_credit.credit import CreditError
from dpo_credit.rows.journal import Format
from dpo_credit.rows.lines import PIECE_BYTES


@contextmanager
def written(output: str, format: Format, say: Callable[[list[str]], None]) -> Iterator[Callable[[bytes], object]]:
    """What takes lines of JSON, and makes the file of them, or the folder; `-` is stdout.

    Args:
        output: the file's name.
        format: how lines become it.
        say: told what a conversion leaves to say.

    Raises:
        CreditError: it cannot be written; nothing is left behind.
    """
    if format.convert is not None:
        # next to the output, where there is room for it, and in the same file system
        try:
            with tempfile.TemporaryDirectory(dir=Path(output).parent, prefix=f".{Path(output).name}.") as folder:
                rows, whole = Path(folder) / "rows.jsonl", Path(folder) / Path(output).name
                with rows.open("wb") as lines:
                    yield lines.write
                say(format.convert(rows, whole))
                if whole.is_dir():
                    os.replace(whole, output)
                    return
                with writing(output) as target, whole.open("rb") as made:
                    shutil.copyfileobj(made, target)
        except OSError as error:
            raise CreditError(f"cannot write {output}: {error.strerror}. Nothing was written.") from error
        return
    with writing(output) as target:
        if format.pack is None:
            yield target.write
            return
        held = bytearray()

        def pack(line: bytes) -> None:
            held.extend(line)
            if len(held) >= PIECE_BYTES:
                target.write(format.pack(bytes(held)))  # type: ignore[misc]
                held.clear()

        yield pack
        if held:
            target.write(format.pack(bytes(held)))
