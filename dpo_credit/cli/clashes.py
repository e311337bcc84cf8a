"""An output that is an input, or another output: refused before anything is opened, whatever the files are called."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo_credit.credit import CreditError

# names of parameters; those of `PLACES` name directories, files (or FILE:NAME), or what is elsewhere
READ = (
    "file",
    "files",
    "other",
    "sources",
    "rows",
    "run",
    "prompt",
    "trainer_log",
    "chat_template",
    "config",
    "weights",
    "reference_weights",
)
WRITTEN = ("output", "json", "html", "png", "svg", "table")
PLACES = ("policy", "reference", "base", "cache", "dataset")
_BESIDE = ("journal", "errors.jsonl", "rows.jsonl", "unfinished")  # what a run keeps next to its output
_SHOWN = 60  # characters of a name that is too long
Place = tuple[int, int] | str


def refuse_clashes(arguments: Mapping[str, Any]) -> None:
    """Make sure that nothing that a command writes, or keeps beside what it writes, is what it reads or writes already.

    Files are compared by what they are: through links, hard links and other spellings of their names.

    Raises:
        CreditError: it is, or a name can be no file's; nothing was opened.
    """
    if "" in [name for key in (*READ, *WRITTEN) for name in _given(arguments.get(key))]:
        raise CreditError("'' is no name of a file. Name one, or leave it out.")
    for key in (*READ, *WRITTEN, *PLACES):
        for name in _names(arguments.get(key)):
            _check(name)
    inputs = [name for key in READ for name in _names(arguments.get(key))]
    read = {place: file for name in inputs for file in _expanded(name) for place in _places(Path(file))}
    models = [file for key in PLACES for name in _names(arguments.get(key)) for file in (name, name.rpartition(":")[0])]
    read |= {place: file for file in models if os.path.isfile(file) for place in _places(Path(file))}
    written: dict[Place, str] = {}
    for key in WRITTEN:
        for output in _names(arguments.get(key)):
            paths = _kept(output, inputs) if key == "output" else [Path(output)]
            own = {place for path in paths for place in _places(path)}
            for place in own:
                if place in read:
                    raise CreditError(
                        f"{output} would be written over {read[place]}, which is read. Nothing was written: name "
                        "another output."
                    )
                if place in written:
                    raise CreditError(
                        f"{written[place]} and {output} would be one file. Nothing was written: name another output."
                    )
            written |= dict.fromkeys(own, output)


def _check(name: str) -> None:
    try:
        os.lstat(name)
    except ValueError as error:
        raise CreditError(f"{name!r} is no name of a file: {error}.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise CreditError(f"{name[:_SHOWN]}… is no name of a file: {error.strerror}.") from error


def _given(value: Any) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [str(name) for name in values if isinstance(name, str | Path)]


def _names(value: Any) -> list[str]:
    return [name for name in _given(value) if name not in ("", "-")]


def _expanded(name: str) -> list[str]:
    return [name] if Path(name).exists() else glob.glob(name, recursive=True)


def _kept(output: str, inputs: Iterable[str]) -> Iterator[Path]:
    """What is written under the name of an output: a file of each input in a folder, and what is kept beside each."""
    from dpo_credit.rows.sources import Input, output_name

    path = Path(output)
    files = [path]
    if output.endswith("/") or path.is_dir():
        files = [path / output_name(Input(file)) for name in inputs for file in _expanded(name)]
    for file in files:
        yield file
        yield from (file.with_name(f"{file.name}.{end}") for end in _BESIDE)


def _places(path: Path) -> list[Place]:
    """What tells a file from every other; nothing tells devices and pipes apart, which may be written twice."""
    try:
        if path.exists() and not path.is_file():
            return []
        status = os.stat(path)
        return [(status.st_dev, status.st_ino)]
    except OSError:  # it is not there yet
        return [os.path.normcase(os.path.realpath(path))]
