"""Which files weights are loaded from, and that these run no code: by what is loaded, not by what lies there."""

from __future__ import annotations

from pathlib import Path

from safetensors import safe_open

from dpo_credit.credit import CreditError
from dpo_credit.models.checkpoints import Checkpoint
from dpo_credit.models.locations import Location, cannot_load, json_object, mending
from dpo_credit.models.pair import Loading

_WHOLE, _ADAPTER = "model.safetensors", "adapter_model.safetensors"
_INDEX = f"{_WHOLE}.index.json"
_NO_MODEL = ("training_args", "optimizer", "scheduler", "rng_state", "scaler")  # what a trainer leaves beside it
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_OTHERS = ("*.safetensors", "*.gguf", "*.h5", "*.msgpack", "*.npz")  # weights that transformers does not load


def _weights(path: Path, checkpoint: Checkpoint, *, is_adapter: bool) -> list[Path]:
    """The safetensors files that a directory's model or adapter is loaded from: what else lies there decides nothing.

    Raises:
        CreditError: its index names something else, or cannot be read.
    """
    if is_adapter or (path / _WHOLE).is_file():
        file = path / (_ADAPTER if is_adapter else _WHOLE)
        return [file] if file.is_file() else []
    index = path / _INDEX
    return [path / name for name in _indexed(index, checkpoint)] if index.is_file() else []


def _indexed(index: Path, checkpoint: Checkpoint) -> list[str]:
    try:
        content = json_object(index)
        files = content.get("weight_map")
        if not (isinstance(files, dict) and all(isinstance(name, str) for name in files.values())):
            raise ValueError("its weight_map does not name a file for each weight")
    except ValueError as error:
        raise CreditError(
            f"{checkpoint.role} {checkpoint.name}: {index} is no index of weights ({error}). Save the model again, or "
            "copy or download the index anew."
        ) from error
    names = sorted(set(files.values()))
    others = [name for name in names if not name.endswith(".safetensors") or Path(name).name != name]
    if others:
        raise CreditError(
            f"{checkpoint.role} {checkpoint.name}: {index} names {others[0]!r}, no safetensors file beside it. Nothing "
            "else is loaded: save the model anew."
        )
    if not isinstance(content.get("metadata"), dict):
        raise CreditError(
            f"{checkpoint.role} {checkpoint.name}: {index} has no metadata, which transformers asks for. Save the "
            "model again."
        )
    return names


def require_safe_weights(place: Location, checkpoint: Checkpoint, loading: Loading) -> None:
    """Make sure that a place holds weights, whole ones, and none that run code unless that is allowed.

    Raises:
        CreditError: it does not.
    """
    if loading.allow_pickle and not place.local:
        return
    path = Path(place.path)
    if not place.local:
        if place == checkpoint.adapter and not place.has(_ADAPTER, checkpoint.role):
            raise CreditError(
                f"{checkpoint.role} {checkpoint.name} has no adapter_model.safetensors, only weights that can run code "
                "when loaded. Pass --allow-pickle if you trust whoever made it."
            )
        if place == checkpoint.model and not place.has(_WHOLE, checkpoint.role):
            index = place.file(_INDEX, checkpoint.role)
            if index is not None:
                _indexed(index, checkpoint)
        return  # without either, the loader itself refuses what is not safetensors
    if files := _weights(path, checkpoint, is_adapter=place != checkpoint.model):
        what = checkpoint.role if place == checkpoint.model else f"the adapter of {checkpoint.role}"
        held: dict[str, Path] = {}
        for file in files:
            try:
                with safe_open(file, "pt") as weights:
                    names = tuple(weights.keys())
            except Exception as error:  # see cannot_load
                raise cannot_load(what, checkpoint.name, error, mending(file)) from error
            if twice := sorted(held.keys() & set(names)):
                raise CreditError(
                    f"{checkpoint.role} {checkpoint.name}: {held[twice[0]].name} and {file.name} both hold {twice[0]}, "
                    f"in {path}. Which of them counts is nobody's to guess: save the model again."
                )
            held |= dict.fromkeys(names, file)
        return
    pickles = [file.name for pattern in _PICKLES for file in path.glob(pattern) if not file.name.startswith(_NO_MODEL)]
    if not pickles:
        wanted = _WHOLE if place == checkpoint.model else _ADAPTER
        others = sorted(file.name for pattern in _OTHERS for file in path.glob(pattern))
        instead = f", only {others[0]}" if others else ""
        raise CreditError(
            f"{checkpoint.role} {checkpoint.name} holds no weights (no {wanted} in {path}{instead}). Save the model "
            "with transformers, or copy or download the whole folder."
        )
    if not loading.allow_pickle:
        raise CreditError(
            f"{checkpoint.role} {checkpoint.name} holds only pickled weights ({pickles[0]}), which can run code when "
            "loaded. Save it as safetensors, or pass --allow-pickle if you trust whoever made it."
        )
