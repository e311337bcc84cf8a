"""GGUF files as models: each is converted once into a directory of safetensors, which is loaded as any other.

The directory lies in the hub's cache and is named after the file's hash, so it is of that file whatever its name.
Weights are dequantised, to float16 where their values fit: that llama.cpp quantises activations too is not repeated.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError
from dpo_credit.models.locations import Location, cannot_load, mending

MAGIC = b"GGUF"
FORMAT = 1  # of what a converted directory holds
_CONTENTS = "files.json"  # the sizes of a converted directory's files
_OF_THE_FILE = ("quantization_config", "dtype", "_name_or_path", "_model_name_or_path")  # no settings of the model's
_log = logging.getLogger(__name__)


def converted(place: Location, name: str, role: str) -> Location:
    """The directory that a GGUF file of a place was converted into, now or before.

    Args:
        place: a directory, or a repository on the hub.
        name: of the file in it.
        role: whose it is, for messages.

    Raises:
        CreditError: there is no such file, it is none of GGUF's or not whole, lacks a tokenizer, is of an architecture
            that transformers does not convert, or there is no room for what it is converted into.
    """
    file = place.file(name, role)
    if file is None:
        others = gguf_files(place)
        has = f" It holds {', '.join(others)}." if others else ""
        raise CreditError(f"{role} {place.path} holds no file {name}.{has} Name a GGUF file in it with --gguf.")
    return Location(str(convert(file, checksum(file), role)), local=True, origin=str(Path(place.path) / name))


def gguf_files(place: Location) -> list[str]:
    """The names of a directory's GGUF files."""
    return sorted(path.name for path in Path(place.path).glob("*.gguf") if path.is_file()) if place.local else []


def convert(file: Path, sha256: str, role: str) -> Path:
    """The directory of a file with that hash: what is there already, else converted from it.

    Raises:
        CreditError: see `converted`.
    """
    folder = directory_of(sha256)
    if is_whole(folder):
        return folder
    with workspace(folder.name) as partial:
        if not is_whole(folder):  # another process may have been at it
            _log.info("converting %s, once", file.name)
            _convert(file, sha256, partial, role)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
    return folder


def directory_of(sha256: str) -> Path:
    """Where the file with that hash is kept once it is converted."""
    return cache() / f"{sha256}-{FORMAT}"


def is_whole(folder: Path) -> bool:
    """Whether a converted directory is there, with every file as long as it was when it was written."""
    try:
        sizes = json.loads((folder / _CONTENTS).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def cache() -> Path:
    """Where converted files are kept: beside what the hub's own library keeps."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "dpo-credit"


def checksum(file: Path) -> str:
    """A file's SHA-256, in hexadecimal digits.

    Raises:
        CreditError: it cannot be read.
    """
    try:
        with file.open("rb") as data:
            return hashlib.file_digest(data, "sha256").hexdigest()
    except OSError as error:
        raise CreditError(f"{file} cannot be read: {error.strerror}.") from error


@contextmanager
def workspace(name: str) -> Iterator[Path]:
    """An empty directory in the cache that one process has at a time; it goes afterwards.

    What a killed process left goes when the next one comes.

    Raises:
        CreditError: it cannot be made, or the disk is full.
    """
    from huggingface_hub.utils import WeakFileLock

    folder = cache() / f"{name}.unfinished"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(cache() / f"{name}.lock"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise CreditError(
            f"cannot write {cache()}: {error.strerror or error}. Make room there, or move the hub's cache with HF_HOME."
        ) from error


def _convert(file: Path, sha256: str, folder: Path, role: str) -> None:
    """Write what a file holds into a folder."""
    from dpo_credit.models.silence import no_progress_bar

    with file.open("rb") as data:
        if data.read(len(MAGIC)) != MAGIC:
            raise CreditError(f"{role} {file} is no GGUF file. {mending(file)}")
    try:
        model, tokenizer = _read(file, _check(file))
    except CreditError:
        raise
    except Exception as error:  # see cannot_load
        raise cannot_load(role, str(file), error, "Is it a causal language model's?") from error
    if checksum(file) != sha256:
        raise CreditError(f"{role} {file} changed while it was read. Try again once it is whole.")
    try:
        with no_progress_bar():
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        (folder / _CONTENTS).write_text(json.dumps(sizes), encoding="utf-8")
    except OSError:
        raise
    except Exception as error:  # what safetensors raises is no OSError
        raise OSError(reason_of(error)) from error


def _check(file: Path) -> int:
    """How many numbers a file's weights are; refuses one that ends before what it announces, or has no tokenizer."""
    from gguf import GGUFReader

    length = file.stat().st_size

    class Reader(GGUFReader):
        """Numpy would give it fewer bytes than it asks for, and it would go on with them."""

        def _get(self, offset: int, dtype: Any, count: int = 1, *more: Any, **order: Any) -> Any:
            if int(offset) + int(count) * _size(dtype) > length:
                raise CreditError(f"{file} ends before what it announces. {mending(file)}")
            return super()._get(offset, dtype, count, *more, **order)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's of numbers that no file holds
        reader = Reader(file)
    fields = reader.fields
    if "general.architecture" not in fields:
        raise ValueError("it names no architecture")
    if "tokenizer.ggml.tokens" not in fields:
        raise CreditError(
            f"{file} holds no tokenizer (tokenizer.ggml.tokens). Convert its model anew with llama.cpp, or give the "
            "model that it was made from."
        )
    blocks = {tensor.name.split(".")[1] for tensor in reader.tensors if tensor.name.startswith("blk.")}
    counts = [int(field.parts[-1][0]) for name, field in fields.items() if name.endswith(".block_count")]
    if counts and counts[0] != len(blocks):
        raise ValueError(f"it announces {counts[0]} blocks and holds {len(blocks)}")
    return sum(tensor.n_elements for tensor in reader.tensors)


def _size(dtype: Any) -> int:
    import numpy

    return int(numpy.dtype(dtype).itemsize)


def _read(file: Path, numbers: int) -> tuple[Any, Any]:
    """The model, no longer of GGUF's, and its tokenizer; the model is to be saved, not run.

    `numbers`: how many the file's weights are.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from dpo_credit.models.silence import no_progress_bar

    given: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    with warnings.catch_warnings(), no_progress_bar():
        warnings.simplefilter("ignore")
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **given)
        announced = AutoConfig.from_pretrained(file.parent, **given)
        settings = {name: value for name, value in announced.to_dict().items() if name not in _OF_THE_FILE}
        config = AutoConfig.for_model(settings.pop("model_type"), **settings)
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(config)
        parameters = sum(weight.numel() for weight in model.parameters())
        if parameters > 2 * numbers:  # before memory is taken for them; what lacks a few is told their names
            raise ValueError(f"it announces {parameters:,} parameters and holds {numbers:,}")
        read: Any
        info: dict[str, Any]
        read, info = AutoModelForCausalLM.from_pretrained(  # type: ignore[misc]
            file.parent, config=announced, dtype=torch.float32, output_loading_info=True, **given
        )
    missing = sorted(set(info["missing_keys"]) - _tied(read))
    if missing:
        raise ValueError(f"it lacks {len(missing)} weights, the first being {missing[0]}")
    largest = max(float(weight.detach().abs().max()) for weight in read.parameters())
    dtype = torch.float16 if largest <= torch.finfo(torch.float16).max else torch.float32
    model.load_state_dict(read.to(dtype).state_dict(), assign=True)
    model.tie_weights()
    model.config.dtype = dtype
    return model, tokenizer


def _tied(model: Any) -> set[str]:
    """The names of the head's weights where they are the embeddings', and so in the file once."""
    if not model.config.get_text_config().tie_word_embeddings:
        return set()
    head = model.get_output_embeddings().weight
    return {name for name, weight in model.named_parameters(remove_duplicate=False) if weight is head}
