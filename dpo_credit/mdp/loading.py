"""A policy in one's own Python: a function, an object or a torch module. To name its file is to let it run."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError
from dpo_credit.mdp.policies import Policy, load_mlp
from dpo_credit.mdp.segments import Floats, Numbers

_WANTED = (
    "a function log_prob(observations, actions), an object with such a method, or a class or function without "
    "arguments that makes one"
)


@dataclass(frozen=True, eq=False)
class FromPython:
    """A policy whose `function` of observations and actions is the user's; a torch module's takes float32 tensors."""

    name: str
    function: Callable[[Any, Any], Any]
    takes_tensors: bool = False
    action_names: tuple[str, ...] = ()

    def log_prob(self, observations: Floats, actions: Numbers) -> Floats:
        """What the function gives, held to one number a step; see `Policy`."""
        try:
            given = self._with_tensors(observations, actions) if self.takes_tensors else self.function(
                observations, actions
            )  # fmt: skip
            logps = np.asarray(given, dtype=np.float64)
        except Exception as error:  # the user's code raises what it likes
            raise CreditError(f"policy {self.name} fails: {type(error).__name__}: {reason_of(error)}") from error
        if logps.shape != (len(observations),):
            raise CreditError(
                f"policy {self.name} gives log-probabilities of shape {logps.shape} for {len(observations)} steps; it "
                f"must be one a step: ({len(observations)},)."
            )
        return logps

    def _with_tensors(self, observations: Floats, actions: Numbers) -> Any:
        import torch

        whole = actions.dtype.kind in "iu"
        with torch.inference_mode():
            given = self.function(
                torch.from_numpy(observations).float(),
                torch.from_numpy(actions.astype(np.int64)) if whole else torch.from_numpy(actions).float(),
            )
            return given.double().numpy()


def load_policy(source: str, weights: str | None = None) -> Policy:
    """A policy by what `--policy` names: FILE.safetensors, or FILE.py:NAME, whose code runs.

    NAME is a function of observations and actions, an object with a method `log_prob`, or a class or a function without
    arguments that makes one. If that is a torch module, its method takes and gives tensors, and `weights` name a
    safetensors file of its state.

    Raises:
        CreditError: there is none, its code fails, or the weights are not its own.
    """
    path, colon, name = source.rpartition(":")
    if not (colon and path.endswith(".py")):
        if source.endswith(".py"):
            raise CreditError(f"policy {source} names no policy in the file. Give {source}:NAME.")
        if weights is not None:
            raise CreditError(f"--weights go with --policy FILE.py:NAME, and {source} has weights of its own.")
        return load_mlp(source)
    return _made(source, _run(path, name, source), weights)


def _run(path: str, name: str, source: str) -> Any:
    if not Path(path).is_file():
        raise CreditError(f"policy {path} does not exist. Give FILE.py:NAME or FILE.safetensors.")
    spec = importlib.util.spec_from_file_location(f"_policy_{Path(path).stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code raises what it likes
        raise CreditError(f"policy {path} fails: {type(error).__name__}: {reason_of(error)}") from error
    if not hasattr(module, name):
        names = ", ".join(known for known in vars(module) if not known.startswith("_"))
        raise CreditError(f"policy {source}: {path} has no {name}, but {names[:200] or 'nothing'}.")
    return getattr(module, name)


def _made(source: str, named: Any, weights: str | None) -> Policy:
    held = named
    if not hasattr(held, "log_prob") or inspect.isclass(held):
        arguments = _required(held)
        if arguments == 2 and not inspect.isclass(held):
            if weights is not None:
                raise CreditError(f"--weights go with a torch module, and policy {source} is a function.")
            return FromPython(source, held, action_names=_action_names(held))
        if arguments != 0:
            raise CreditError(f"policy {source} is {type(named).__name__} {named!r:.80}; it must be {_WANTED}.")
        try:
            held = held()
        except Exception as error:  # the user's code raises what it likes
            raise CreditError(f"policy {source} fails: {type(error).__name__}: {reason_of(error)}") from error
        if not callable(getattr(held, "log_prob", None)):
            raise CreditError(f"policy {source} makes {type(held).__name__} without log_prob; it must make {_WANTED}.")
    torch = sys.modules.get("torch")
    is_module = torch is not None and isinstance(held, torch.nn.Module)
    if is_module:
        held.eval()
    if weights is not None:
        if not is_module:
            raise CreditError(f"--weights go with a torch module, and policy {source} is {type(held).__name__}.")
        _fill(held, weights, source)
    name = source if weights is None else f"{source} {weights}"
    return FromPython(name, held.log_prob, is_module, _action_names(held))


def _required(held: Any) -> int | None:
    """How many arguments it cannot be called without; None where it cannot be called, or nobody knows."""
    try:
        parameters = inspect.signature(held).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional and parameter.default is parameter.empty for parameter in parameters)


def _action_names(held: Any) -> tuple[str, ...]:
    return tuple(map(str, getattr(held, "action_names", ())))


def _fill(module: Any, weights: str, source: str) -> None:
    from safetensors.torch import load_file

    if not Path(weights).is_file():
        raise CreditError(f"--weights {weights} does not exist. Give a safetensors file of the state of {source}.")
    try:
        module.load_state_dict(load_file(weights))
    except Exception as error:  # safetensors and torch raise what they like about a file
        raise CreditError(f"--weights {weights} is no state of {source}: {reason_of(error)}") from error
