"""Where files are: a directory or a repository on the hub, or a folder in one; and what is said when they do not load.

No network unless a name is no directory here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_credit.credit import CreditError
from dpo_credit.models.pair import Loading


@dataclass(frozen=True, slots=True)
class Location:
    """Where files are: a directory, or a repository on the hub at a revision, or a folder in it."""

    path: str
    local: bool
    revision: str | None = None
    subfolder: str | None = None

    def file(self, name: str, role: str) -> Path | None:
        """The file of that name, from the hub if need be; None where there is none.

        Raises:
            CreditError: the hub has no such repository, or cannot be reached.
        """
        if self.local:
            path = Path(self.path) / name
            return path if path.is_file() else None
        from transformers.utils import cached_file

        try:
            file = cached_file(self.path, name, **self.place)
        except OSError as error:
            if "does not appear to have" in str(error):  # what transformers says of a file that a repository lacks
                return None
            if self._downloaded:  # without the network: what is not here is not in it
                return None
            raise cannot_load(role, self.path, error) from error
        return None if file is None else Path(file)

    @property
    def _downloaded(self) -> bool:
        """Whether a repository's files at this revision are in the hub's cache."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return bool(snapshot_download(self.path, revision=self.revision, local_files_only=True))
        except LocalEntryNotFoundError:
            return False

    def has(self, name: str, role: str) -> bool:
        """Whether the place holds a file of that name.

        Raises:
            CreditError: the hub has no such repository, or cannot be reached.
        """
        return self.file(name, role) is not None

    def inside(self, folder: str) -> Location:
        """A folder in it."""
        if self.local:
            return Location(str(Path(self.path) / folder), local=True)
        return Location(self.path, False, self.revision, "/".join(filter(None, (self.subfolder, folder))))

    @property
    def place(self) -> dict[str, Any]:
        """Revision and folder in the repository, as every `from_pretrained` takes them."""
        given = {"revision": self.revision, "subfolder": self.subfolder}
        return {name: value for name, value in given.items() if value is not None}

    def options(self, loading: Loading) -> dict[str, Any]:
        """What transformers' `from_pretrained` gets: a directory is read without asking the hub anything."""
        return {"trust_remote_code": loading.trust_remote_code, "local_files_only": self.local, **self.place}


def locate(name: str, role: str, revision: str | None = None, subfolder: str | None = None) -> Location:
    """What a name stands for: a directory, a name on the hub, or NAME:FOLDER for a folder in either.

    Args:
        name: as the user gave it.
        role: whose it is, for messages.
        revision: of a repository on the hub.
        subfolder: the folder in it, where the name does not say.

    Raises:
        CreditError: there is no such directory, it lacks the folder, or the name is none of the hub's.
    """
    path = Path(name).expanduser()
    repository, colon, folder = name.rpartition(":")
    if colon and not path.exists():
        if subfolder is not None:
            raise CreditError(
                f"{role} {name} names its folder, and --subfolder names {subfolder}. Leave one of them out."
            )
        return locate(repository, role, revision, folder.strip("/"))
    if path.is_dir():
        place = Location(str(path), local=True)
        if subfolder is None:
            return place
        if not (path / subfolder).is_dir():
            raise CreditError(f"{role} {name} has no folder {subfolder}. Name one that holds a model.")
        return place.inside(subfolder)
    if path.exists():
        raise CreditError(f"{role} {name} is a file. Give the directory that holds the model's config.json.")
    if name.startswith(("/", ".", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise CreditError(f"{role} {name} does not exist. Give a model's directory or its name on the hub.")
    return Location(name, False, revision, subfolder)


def cannot_load(role: str, name: str, error: Exception, advice: str = "") -> CreditError:
    """Whatever a library raises on a user's model files is about those files, and worth one line.

    Args:
        role: what does not load.
        name: its name.
        error: what the library raised.
        advice: what to do, where that is known.

    Raises:
        KeyboardInterrupt, SystemExit: the library hid what ends the program, as one within a lock ends in an error
            about the lock.
    """
    before: BaseException | None = error
    while before is not None:
        if isinstance(before, KeyboardInterrupt | SystemExit):
            raise before
        before = before.__cause__ or before.__context__
    if isinstance(error, ImportError) and "bitsandbytes" in str(error):
        return CreditError(f"{role} {name} is quantised, which needs bitsandbytes: pip install 'dpo-credit[quant]'.")
    reason = _reason(error)
    return CreditError(
        f"cannot load {role} {name}: {reason.rstrip('.')}. {advice}"
        if advice
        else f"cannot load {role} {name}: {reason}"
    )


def mending(file: Path) -> str:
    """What to do about a file that cannot be read."""
    with file.open("rb") as data:
        if data.read(12) == b"version http":  # how the text begins that Git LFS puts in a file's place
            return f"{file} is a Git LFS pointer, not the file itself: run git lfs pull."
    return f"{file} is broken or not whole: copy or download it again."


def _reason(error: Exception) -> str:
    """The first line of what a library says, with the next where it only announces that."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines or isinstance(error, KeyError):  # a key alone says nothing
        return ": ".join([type(error).__name__, *lines[:1]])
    if lines[0].endswith(":") and len(lines) > 1:
        more = f" ({len(lines) - 1} in all)" if len(lines) > 2 else ""
        return f"{lines[1]}{more}"
    return lines[0]
