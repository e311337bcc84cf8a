"""Whether a run goes on under the settings that it was begun with: one check for everything that is resumed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dpo_credit.credit import CreditError

_SHOWN = 40  # characters of a setting that a message quotes
_NAMED = 4  # changes that a message names


def refuse_changes(output: str | Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Make sure that nothing has changed of what decides a run's numbers.

    Args:
        output: what the run writes.
        was: the settings that it was begun with, as JSON; those of a mapping count one by one.
        now: the settings that it would go on with.

    Raises:
        CreditError: some have; the message names each, with what it was and is.
    """
    changes = list(_changes(was, json.loads(json.dumps(now))))
    if changes:
        more = f"; and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
        raise CreditError(
            f"{output} was begun with other settings: {'; '.join(changes[:_NAMED])}{more}. Go on with the old ones, or "
            "begin again with --overwrite."
        )


def _changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in {**was, **now}:
        before, after = was.get(name), now.get(name)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _changes(before, after)
            continue
        shown = [json.dumps(value, ensure_ascii=False) for value in (before, after)]
        yield f"{name} changed" if max(map(len, shown)) > _SHOWN else f"{name} was {shown[0]} and is {shown[1]}"
