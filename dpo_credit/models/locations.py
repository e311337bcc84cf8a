"""Where files are: a directory or a repository on the hub, or a folder in one; and what is said when they do not load.

No network unless a name is no directory here.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError
from dpo_credit.endpoint import bare, is_address
from dpo_credit.models.pair import Loading

_SHOWN = 40  # characters of what a file holds that is no object
_SETTINGS = (
    *("config.json", "generation_config.json", "adapter_config.json", "model.safetensors.index.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "tokenizer.json"),
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where files are: a directory, a GGUF file, or a repository on the hub at a revision, or a folder in it.

    `origin`: the file that a directory was converted from.
    """

    path: str
    local: bool
    revision: str | None = None
    subfolder: str | None = None
    origin: str | None = None

    @property
    def name(self) -> str:
        """What a user knows it by."""
        return self.origin or self.path

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
    """What a name stands for: a directory, a GGUF file, a name on the hub, or NAME:FOLDER for a folder in either.

    Args:
        name: as the user gave it.
        role: whose it is, for messages.
        revision: of a repository on the hub.
        subfolder: the folder in it, where the name does not say.

    Raises:
        CreditError: there is no such directory, it lacks the folder, or the name is none of the hub's.
    """
    refuse_server(name, role)
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
    if path.suffix == ".gguf" and path.is_file() and subfolder is None:
        return Location(str(path), local=True)
    if path.exists():
        raise CreditError(f"{role} {name} is a file. Give the directory that holds the model's config.json.")
    if name.startswith(("/", ".", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise CreditError(f"{role} {name} does not exist. Give a model's directory or its name on the hub.")
    return Location(name, False, revision, subfolder)


def refuse_server(name: str, role: str) -> None:
    """Make sure that a name is no address: what is wanted of it, or of its role, no server can do.

    Raises:
        CreditError: it is one.
    """
    if is_address(name):
        raise CreditError(
            f"{role} {bare(name)} is a server, which gives log-probabilities of answers and nothing else: name a model "
            "that runs here."
        )
    if "://" in name:
        raise CreditError(f"{role} {bare(name)} is no server's address, which begins with http:// or https://.")


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
    reason = f"cannot load {role} {name}: {reason_of(error)}"
    return CreditError(f"{reason.rstrip('.')}. {advice}" if advice else reason)


def mending(file: Path) -> str:
    """What to do about a file that cannot be read."""
    if not file.is_file():
        return f"{file} is missing: copy or download it."
    if _is_pointer(file):
        return f"{file} is a Git LFS pointer, not the file itself: run git lfs pull."
    return f"{file} is broken or not whole: copy or download it again."


def _is_pointer(file: Path) -> bool:
    """Whether a file is the text that Git LFS puts in its place."""
    with file.open("rb") as data:
        return data.read(12) == b"version http"


def json_object(file: Path) -> dict[str, Any]:
    """The JSON object that a file of a model's holds.

    Raises:
        ValueError: it holds something else, or cannot be read; the message says what is wrong.
    """
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError("it holds a list" if isinstance(content, list) else f"it holds {json.dumps(content)[:_SHOWN]}")
    return content


def broken(place: Location) -> str:
    """Which of a directory's settings are no JSON object, as what to do about it; "" where all are."""
    for name in _SETTINGS if place.local else ():
        file = Path(place.path) / name
        try:
            if file.is_file():
                json_object(file)
        except ValueError as error:
            if _is_pointer(file):
                return mending(file)
            return f"{file} is no JSON object ({error}): save it again, or copy or download it anew."
    return ""
