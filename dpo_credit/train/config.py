"""A recipe from its file and the settings that override it, each checked against its type."""

from __future__ import annotations

import dataclasses
import math
import sys
import tomllib
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from dpo_credit.credit import LARGEST, CreditError
from dpo_credit.train.recipe import LOSSES, OWN_NAMES, Recipe

_REQUIRED = [f.name for f in dataclasses.fields(Recipe) if f.default is f.default_factory is dataclasses.MISSING]
_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_POSITIVE = ("learning_rate", "batch_size", "per_device_batch_size", "epochs", "max_steps", "max_length", "beta",
             "max_grad_norm", "limit", "save_steps", "log_steps", "follow_steps")  # fmt: skip


def read_recipe(text: str, name: str, method: Literal["sft", "dpo"], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file's text.

    Args:
        text: YAML, or TOML where the name ends so.
        name: the file's name.
        method: what is to be trained; a file that names its own method must agree.
        overrides: "name=value", the value as YAML; "trl.name=value" for what stands under `trl`.

    Raises:
        CreditError: the file cannot be parsed, or a setting is unknown, missing or of another type.
    """
    settings = _parse(text, name)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise CreditError(f"--set {override} sets nothing. Write --set name=value, such as --set beta=0.05.")
        group, _, inner = key.strip().replace("-", "_").partition(".")
        if not group:
            raise CreditError(
                f"--set {override} names nothing to set. Write --set name=value, such as --set beta=0.05."
            )
        parsed = _value(value, f"--set {override}")
        settings[group] = {**(settings.get(group) or {}), inner: parsed} if inner else parsed
    settings = {str(key).replace("-", "_"): value for key, value in settings.items()}
    if settings.setdefault("method", method) != method:
        raise CreditError(f"{name} is a recipe for {settings['method']}. Run dpo-credit train {settings['method']}.")
    hints = get_type_hints(Recipe)
    if unknown := sorted(settings.keys() - hints.keys()):
        raise CreditError(
            f"{name} sets {unknown[0]}, which no recipe has. It has: {', '.join(hints)}.{_hint(unknown[0])}"
        )
    if missing := [key for key in _REQUIRED if key not in settings]:
        raise CreditError(
            f"{name} does not set {', '.join(missing)}. A recipe needs {', '.join(_REQUIRED[1:])} and data."
        )
    recipe = Recipe(**{key: _typed(value, hints[key], f"{name}: {key}") for key, value in settings.items()})
    _check(recipe, name)
    return recipe


def _check(recipe: Recipe, name: str) -> None:
    if bool(recipe.data) == bool(recipe.dataset):
        raise CreditError(f"{name} must name rows: data (files) or dataset (Hugging Face), and not both.")
    for key in _POSITIVE:
        value = getattr(recipe, key)
        if value is not None and not value > 0:
            raise CreditError(f"{name}: {key} is {value}; it must be above zero.")
        if value == math.inf:
            raise CreditError(f"{name}: {key} is {value}; it must have an end.")
        if value is not None and value > (most := sys.maxsize if isinstance(value, int) else LARGEST):
            raise CreditError(f"{name}: {key} is {value}; it can be {most:g} at most.")
    if not 0 <= recipe.seed < 2**32:
        raise CreditError(f"{name}: seed is {recipe.seed}; it must be from 0 to {2**32 - 1}.")
    if wrong := [loss for loss in recipe.losses if loss not in LOSSES]:
        raise CreditError(f"{name}: loss is {wrong[0]!r}; TRL has {', '.join(LOSSES)}.")
    if not 0 <= recipe.warmup_steps <= sys.maxsize:
        raise CreditError(f"{name}: warmup_steps is {recipe.warmup_steps}; it must be from 0 to {sys.maxsize:g}.")


def _hint(key: str) -> str:
    if key in OWN_NAMES:
        return f" (TRL's {key} is set by {OWN_NAMES[key]}.)"
    return " Other arguments of TRL go under trl."


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        content = tomllib.loads(text) if name.endswith(".toml") else yaml.safe_load(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, RecursionError) as error:
        raise CreditError(f"{name} cannot be parsed: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise CreditError(f"{name} must hold names and values, such as beta: 0.1")
    return content


def _value(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise CreditError(f"{name} cannot be parsed: {' '.join(str(error).split())}") from error


def _typed(value: Any, wanted: Any, name: str) -> Any:
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        return _typed(value, next(option for option in inner if option is not type(None)), name)
    if origin is Literal:
        if value in inner:
            return value
        raise CreditError(f"{name} is {value!r}; it must be {', '.join(inner[:-1])} or {inner[-1]}.")
    if origin is tuple:
        return tuple(_typed(option, str, name) for option in (value if isinstance(value, list) else [value]))
    if origin is dict:
        if isinstance(value, dict):
            return value
        raise CreditError(f"{name} is {value!r}; it must hold names and values.")
    if wanted is float and not isinstance(value, bool):
        try:
            return float(value)  # YAML takes 5e-7 for text: it has no dot
        except (TypeError, ValueError):
            pass
    elif type(value) is wanted:
        return value
    raise CreditError(f"{name} is {value!r}; it must be {_WORDS[wanted]}.")
