"""Modules that the package's extras bring, imported where they are needed; one clear line where they are missing."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from dpo_credit.credit import CreditError

INSTALL = "pip install 'dpo-credit[{}]'"


def optional(name: str, wanted_for: str, extra: str = "data") -> Any:
    """A module that an extra brings.

    Raises:
        CreditError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise CreditError(
            f"{wanted_for} needs the package {package}, which is not installed: {INSTALL.format(extra)}"
        ) from error


def trl_installed() -> bool:
    """Whether TRL and what it needs are there: the extra train."""
    return all(importlib.util.find_spec(name) for name in ("trl", "datasets"))
