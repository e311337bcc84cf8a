"""Options that several commands share: the fields of a dataclass, given to each command as its flags."""

from __future__ import annotations

import inspect
import sys
import tomllib
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.models import OptionInfo

from dpo_credit.cli.clashes import refuse_clashes
from dpo_credit.cli.files import read
from dpo_credit.credit import CreditError
from dpo_credit.models.published import named, published
from dpo_credit.rows.encodings import decoded

MOST_BEAMS = 1000  # or answers at a time, of one prompt: each has a row of every batch, and a cache
MOST_DRAWN = 100_000  # answers to draw
MOST_ALTERNATIVES = 1000  # tokens to show instead of each one


def with_shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take whole dataclasses of options: each field becomes a flag of the command.

    Of an `Annotated[Group, "name", ...]` only the fields of these names do; the others keep their defaults. A flag that
    the command has itself is its own: the field keeps its other names.
    """
    own = inspect.signature(command, eval_str=True)
    groups = {name: group for name, parameter in own.parameters.items() if (group := _group(parameter.annotation))}

    @wraps(command)
    def run(**arguments: Any) -> None:
        _refuse_what_none_counts_to(arguments)
        refuse_clashes(arguments)
        for name, (group, offered) in groups.items():
            arguments[name] = group(**{field: arguments.pop(field) for field in offered})
        command(**arguments)

    parameters = [parameter for name, parameter in own.parameters.items() if name not in groups]
    taken = {flag for parameter in parameters for flag in _flags(parameter.annotation)}
    for group, offered in groups.values():
        hints = get_type_hints(group, include_extras=True)
        defaults = {field.name: field.default for field in fields(group)}
        parameters += [
            inspect.Parameter(
                field, inspect.Parameter.KEYWORD_ONLY, default=defaults[field], annotation=_without(hints[field], taken)
            )
            for field in offered
        ]
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _group(annotation: Any) -> tuple[Any, tuple[str, ...]] | None:
    """A group of options and the names of the fields that a command offers; None for any other annotation."""
    group, names = annotation, getattr(annotation, "__metadata__", ())
    if names:
        group = annotation.__origin__
    if not is_dataclass(group):
        return None
    return group, names or tuple(field.name for field in fields(group))


def _refuse_what_none_counts_to(arguments: Mapping[str, Any]) -> None:
    for value in arguments.values():
        if isinstance(value, int) and abs(value) > sys.maxsize:
            raise CreditError(f"{value} is more than anything is counted to: {sys.maxsize} at most.")


def _flags(annotation: Any) -> tuple[str, ...]:
    """The flags of an annotated option; typer keeps the first of them as its default."""
    infos = [info for info in getattr(annotation, "__metadata__", ()) if isinstance(info, OptionInfo)]
    return tuple(str(name) for info in infos for name in (info.default, *(info.param_decls or ())))


def _without(annotation: Any, taken: set[str]) -> Any:
    """An annotated option without the flags that are taken."""
    flags = _flags(annotation)
    if taken.isdisjoint(flags):
        return annotation
    info = copy(annotation.__metadata__[0])
    info.default, *info.param_decls = (name for name in flags if name not in taken)
    return Annotated[annotation.__origin__, info]


def option(*names: str, help: str, panel: str | None = None, **more: Any) -> Any:
    """An option with its help; `panel` is the group that it stands in."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def seed_option(help: str) -> Any:
    """The option --seed: what every generator takes, each number as a seed of its own."""
    return option("--seed", min=0, max=2**32 - 1, help=help)


def flag(*names: str, help: str, panel: str | None = None) -> Any:
    """A switch that is off."""
    return option(*names, help=help, panel=panel, show_default=False)


def from_config(context: typer.Context, path: Path | None) -> Path | None:
    """Let a YAML or TOML file set what no flag sets."""
    if path is not None:
        names = {
            option.lstrip("-").replace("-", "_"): parameter.name
            for parameter in context.command.params
            for option in parameter.opts
            if option.startswith("--")
        }
        values = {str(key).replace("-", "_"): value for key, value in _load_config(path).items()}
        unknown = sorted(values.keys() - names.keys())
        if unknown:
            raise CreditError(
                f"{path} sets {', '.join(unknown)}, which {context.command.name} does not have. See --help."
            )
        for key, value in values.items():
            parameter = next(p for p in context.command.params if p.name == names[key])
            try:
                parameter.process_value(context, value)
            except typer.BadParameter as error:
                raise CreditError(f"--config {path}: {key} is {value!r}: {error.message}") from error
        context.default_map = {**(context.default_map or {}), **{names[key]: value for key, value in values.items()}}
    return path


def from_published(context: typer.Context, name: str | None) -> str | None:
    """Let a public pair set what neither a flag nor --config sets."""
    if name is not None:
        pair = named(name)
        policy, reference = pair.names
        names = ("beta", "length_normalised", "revision", "subfolder", "adapter_base")
        fields = {field: getattr(pair, field) for field in names}
        fields |= {"policy": policy, "reference": reference}
        says = {field: value for field, value in fields.items() if value is not None}
        context.default_map = {**says, **(context.default_map or {})}
    return name


def published_names() -> list[str]:
    """What a shell completes the name of a public pair to."""
    return [pair.name for pair in published()]


def _load_config(path: Path) -> dict[str, Any]:
    text = decoded(read(str(path), "--config ", "a YAML or TOML file"), str(path), what="--config ")
    try:
        if path.suffix == ".toml":
            values = tomllib.loads(text)
        else:
            import yaml

            values = yaml.safe_load(text) or {}
    except Exception as error:  # whatever a parser raises is about the user's file
        raise CreditError(f"--config {path} cannot be parsed: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise CreditError(f"--config {path} must hold names and values, such as beta: 0.1")
    return values
