"""A trajectory as JSONL: a header with the rows under the reference, then a line for each checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dpo_credit.checked import check_fields, reason_of
from dpo_credit.credit import CreditError
from dpo_credit.rows.output import json_line, to_json
from dpo_credit.rows.records import Row
from dpo_credit.rows.saved import parse_scored
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.rows.settings import refuse_changes
from dpo_credit.trajectory.trajectory import SIDES, Diverged, Divergence, Moment, Trajectory, in_order

SCHEMA = "dpo-credit/trajectory@1"
_DRAWN = "answers drawn from the reference (--seed, --max-new-tokens, the device)"
_ADVICE = "Give what -o wrote."
_CLOSE = 1e-4  # nats: what the reference's numbers may differ by between two runs of one program


@dataclass(frozen=True, slots=True)
class _Line:
    """A checkpoint's line: log-probabilities of each row's two answers, or why there are none."""

    step: int
    policy: str
    chosen_logps: list[list[float]]
    rejected_logps: list[list[float]]
    divergence: Divergence | None = None
    diverged: str | None = None


def header(name: str, start: Moment, made_by: dict[str, Any] | None = None) -> dict[str, Any]:
    """The first line: what was followed, what decides its numbers, and the rows under the reference as scored rows."""
    rows = []
    for chosen, rejected in start.pairs:
        row = Row(chosen.id, "preference", labels=("chosen", "rejected"))
        rows.append(json.loads(to_json(ScoredRow(row, (chosen, rejected)))))
    return {"schema": SCHEMA, "name": name, "made_by": made_by or {}, "samples": _divergence(start), "rows": rows}


def line(moment: Moment | Diverged, made_by: dict[str, Any] | None = None) -> str:
    """A checkpoint's line, and what decides its numbers."""
    fields = {"step": moment.step, "policy": moment.name, **({} if made_by is None else {"made_by": made_by})}
    if isinstance(moment, Diverged):
        return json_line({**fields, "diverged": moment.reason}) + "\n"
    fields |= {
        "chosen_logps": [list(chosen.policy_logps) for chosen, _ in moment.pairs],
        "rejected_logps": [list(rejected.policy_logps) for _, rejected in moment.pairs],
        "divergence": _divergence(moment),
    }
    return json_line(fields) + "\n"


def _divergence(moment: Moment) -> dict[str, Any] | None:
    divergence = moment.divergence
    return None if divergence is None else asdict(divergence)


def parse(data: bytes, name: str) -> tuple[dict[str, Any], Trajectory]:
    """The header and the trajectory, from its start on; a line that was cut off while it was written is none.

    Raises:
        CreditError: the file is something else, or was changed.
    """
    lines = data.split(b"\n")[:-1]  # not splitlines: JSON leaves U+2028 and its like as they are
    try:
        head, *rest = map(json.loads, lines)
        if head["schema"] != SCHEMA:
            raise ValueError(f"its schema is {head['schema']!r}")
        read = [parse_scored(row, name).credits for row in head["rows"]]
        pairs = tuple((chosen, rejected) for chosen, rejected in read)
        start = Moment(0, pairs[0][0].source.reference, pairs, _known(head["samples"]))
        moments: list[Moment | Diverged] = [start]
        for number, fields in enumerate(rest, 2):
            check_fields(fields, _Line, f"{name}, line {number}", _ADVICE, required=("step", "policy"))
            if "diverged" in fields:
                moments.append(Diverged(fields["step"], fields["policy"], fields["diverged"]))
                continue
            logps = list(zip(fields["chosen_logps"], fields["rejected_logps"], strict=True))
            moment = start.with_logps(fields["step"], fields["policy"], logps)
            moments.append(replace(moment, divergence=_known(fields["divergence"])))
        return head, in_order(head["name"], tuple(chosen.id for chosen, _ in pairs), moments)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise CreditError(f"{name} is no trajectory that was kept ({reason_of(error)}). {_ADVICE}") from error


def _known(fields: dict[str, Any] | None) -> Divergence | None:
    return None if fields is None else Divergence(**fields)


def known(data: bytes, path: Path, head: dict[str, Any]) -> list[Moment | Diverged]:
    """The checkpoints that a file holds already.

    Raises:
        CreditError: the file is of other rows, another reference, beta or samples.
    """
    was, trajectory = parse(data, str(path))
    _refuse_changes(path, was, head)
    return [*trajectory.moments[1:], *trajectory.diverged]


def made_by_step(data: bytes) -> dict[int, dict[str, Any]]:
    """What decided the numbers of each step that a file holds."""
    lines = map(json.loads, data.split(b"\n")[1:-1])
    return {fields["step"]: fields.get("made_by", {}) for fields in lines}


def _refuse_changes(path: Path, was: dict[str, Any], now: dict[str, Any]) -> None:
    refuse_changes(path, _settings(was), _settings(now))
    logps = [
        (answer["reference_logps"], other["reference_logps"])
        for rows in zip(was["rows"], now["rows"], strict=True)
        for answer, other in zip(*map(_answers, rows), strict=True)
    ]
    if any(abs(a - b) > _CLOSE for before, after in logps for a, b in zip(before, after, strict=True)):
        raise CreditError(
            f"{path} was begun with other settings: the reference is another model. Go on with the old one, or begin "
            "again with --overwrite."
        )
    drawn = ({_DRAWN: (head["samples"] or {}).get("drawn")} for head in (was, now))
    refuse_changes(path, *drawn)


def _settings(head: dict[str, Any]) -> dict[str, Any]:
    """What of a header decides the numbers, but for what the reference gave."""
    return {
        **head.get("made_by", {}),
        "rows": len(head["rows"]),
        "samples": (head["samples"] or {}).get("samples"),
        **{
            f"{key} of row {row['id']}, {side}": answer.get(key)
            for row in head["rows"]
            for side, answer in zip(SIDES, _answers(row), strict=True)
            for key in ("token_ids", "beta", "length_normalised", "prompt_tokens", "prompt_hash")
        },
    }


def _answers(row: dict[str, Any]) -> list[dict[str, Any]]:
    """A row's two answers, whichever version wrote it."""
    return row["credit"]["answers"] if "credit" in row else [row[side] for side in SIDES]
