"""Where a trainer's numbers are written down: its log (means only), and columns of precomputed reference sums."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from dpo_credit.credit import LARGEST, CreditError
from dpo_credit.extras import INSTALL, trl_installed
from dpo_credit.rows.records import Row
from dpo_credit.verify.rewards import Rewards
from dpo_credit.verify.targets import Target

COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")  # what TRL's precompute_ref_log_probs adds
_EVALUATION = re.compile(r"(eval_(?:.+_)?)rewards/chosen")


def logged_rewards(data: bytes, name: str, rows: int) -> tuple[Target, tuple[str, ...]]:
    """The mean rewards of a Hugging Face Trainer's log: those of its last evaluation, else of its last training step.

    Args:
        data: `trainer_state.json`, or its `log_history` alone.
        name: the file's name, for messages.
        rows: how many rows there are to compare with.

    Returns:
        The target, and what the user should be told.

    Raises:
        CreditError: it is no such file, or logged no rewards.
    """
    entries = _history(data, name)
    evaluated = [(entry, match[1]) for entry in entries for key in entry if (match := _EVALUATION.fullmatch(key))]
    trained = [(entry, "") for entry in entries if "rewards/chosen" in entry]
    if not evaluated and not trained:
        raise CreditError(
            f"{name} logs no rewards/chosen, neither of an evaluation nor of training, in its {len(entries)} entries. "
            "Give the trainer_state.json of a DPO run."
        )
    entry, prefix = (evaluated or trained)[-1]
    chosen, rejected = (_number(entry, f"{prefix}rewards/{side}", name) for side in ("chosen", "rejected"))
    step = f"step {entry['step']}" if "step" in entry else "no step"
    what = f"last evaluation{_of(prefix)}" if evaluated else "last training entry"
    target = Target(
        name=f"{name} ({what}, {step})",
        who=f"the trainer of {name}",
        numbers=((chosen, rejected),),
        means=True,
        batches=_batches(entry, prefix, rows) if evaluated else (),
        loss=_finite(entry.get(f"{prefix}loss")),
    )
    return target, _notes(entry, prefix, rows, name)


def column_logps(rows: Sequence[Row]) -> Target | None:
    """The sums of the reference's log-probabilities that the rows bring; None if no row has them.

    Raises:
        CreditError: one of them is no number.
    """
    numbers: list[tuple[float, float] | None] = []
    for row in rows:
        values = [row.columns.get(column) for column in COLUMNS]
        if all(value is None for value in values):
            numbers.append(None)
            continue
        chosen, rejected = map(_finite, values)
        if chosen is None or rejected is None:
            raise CreditError(
                f"{row.id}: {' and '.join(COLUMNS)} must be two numbers, not {values[0]!r} and {values[1]!r}."
            )
        numbers.append((chosen, rejected))
    if not any(numbers):
        return None
    return Target(
        name=" and ".join(COLUMNS),
        who=f"whoever made {COLUMNS[0]}",
        numbers=tuple(numbers),
        quantity="reference_logp",
    )


def gather(
    rewards: Rewards, log: tuple[bytes, str] | None = None, *, trl: bool = True
) -> tuple[list[Target], tuple[str, ...]]:
    """All that there is to compare with: TRL's own evaluation, a trainer's log, and columns of the rows.

    Args:
        log: a `trainer_state.json` and its name.
        trl: run TRL, where it is installed.

    Returns:
        The targets, and what the user should be told.

    Raises:
        CreditError: there is nothing, or one of them cannot be used.
    """
    from dpo_credit.verify.trl_evaluation import trl_rewards

    targets: list[Target] = []
    notes: tuple[str, ...] = ()
    if trl and trl_installed():
        target, notes = trl_rewards(rewards.pair, rewards.rows, rewards.base.max_length)
        for row, numbers in zip(rewards.rows, target.numbers, strict=True):
            if not all(map(math.isfinite, numbers or ())):
                raise CreditError(f"{row.id}: {target.name} gives the rewards {numbers}. --no-trl leaves it out.")
        targets.append(target)
    elif trl:
        notes = (f"TRL is not installed, so its own evaluation is left out: {INSTALL.format('train')}",)
    if log is not None:
        target, more = logged_rewards(*log, len(rewards.rows))
        targets.append(target)
        notes += more
    columns = column_logps(rewards.rows)
    if columns is not None:
        targets.append(columns)
    if not targets:
        raise CreditError(
            f"nothing to compare with: install TRL ({INSTALL.format('train')}), name a --trainer-log, or give rows "
            f"with {' and '.join(COLUMNS)}."
        )
    return targets, notes


def _history(data: bytes, name: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CreditError(f"--trainer-log {name} is not JSON: {error}.") from error
    history = content.get("log_history") if isinstance(content, dict) else content
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise CreditError(f"--trainer-log {name} has no log_history. Give a trainer_state.json.")
    return history


def _number(entry: dict[str, Any], key: str, name: str) -> float:
    value = _finite(entry.get(key))
    if value is None:
        raise CreditError(f"{name} has {key} {entry.get(key)!r}, which is no number.")
    return value


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        return None
    return float(value)


def _of(prefix: str) -> str:
    name = prefix.removeprefix("eval_").rstrip("_")
    return f" of {name}" if name else ""


def _counted(entry: dict[str, Any], prefix: str, what: str) -> int | None:
    """How many samples or steps an evaluation had: the log gives its seconds, and how many a second."""
    runtime, rate = (_finite(entry.get(prefix + key)) for key in ("runtime", f"{what}_per_second"))
    return None if runtime is None or rate is None else round(runtime * rate)


def _batches(entry: dict[str, Any], prefix: str, rows: int) -> tuple[int, ...]:
    """The sizes of a batch with which so many rows make so many steps: a Trainer's mean is one of batches' means."""
    steps = _counted(entry, prefix, "steps")
    return tuple(size for size in range(1, rows + 1) if math.ceil(rows / size) == steps)


def _notes(entry: dict[str, Any], prefix: str, rows: int, name: str) -> tuple[str, ...]:
    if not prefix:
        return (
            f"{name} holds no evaluation: its last training entry is of that step's own rows, while the model moved, "
            "and compares only with these",
        )
    samples = _counted(entry, prefix, "samples")
    if samples is None or abs(samples - rows) <= max(1, samples // 100):  # seconds and rates are logged rounded
        return ()
    return (
        f"the evaluation in {name} had about {samples} rows, here are {rows}: means compare on the same rows only (see "
        "--limit)",
    )
