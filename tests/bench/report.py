"""What was measured, as JSON and as a table.

python tests/bench/report.py two.json eight.json qwen2.json      # one table, for examples/guide/speed.md
"""

from __future__ import annotations

import json
import platform
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from contender import OURS
from plan import Entry


def machine() -> dict[str, Any]:
    """Where it ran."""
    info = Path("/proc/cpuinfo")
    cpu = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return {
        "cpu": cpu[1] if cpu else platform.processor(),
        "isa": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def contenders(entries: Sequence[Entry], limits: Sequence[float]) -> list[dict[str, Any]]:
    """One object a contender: ratios and shares are taken within each round."""
    ours = next(entry for entry in entries if entry.contender.name == OURS)
    return [
        {
            "name": entry.contender.name,
            "batch_answers": entry.batch,
            "seconds": entry.seconds,
            "times_ours": _over(entry.seconds, ours.seconds),
            "limit_share": _over(limits, entry.seconds) if limits else None,
            "one_prompt_batch_answers": entry.single_batch,
            "one_prompt_seconds": entry.single_seconds,
            "one_prompt_times_ours": _over(entry.single_seconds, ours.single_seconds),
            "one_prompt_limit_share": _over(limits, entry.single_seconds) if limits else None,
            "peak_megabytes": entry.megabytes,
            "largest_difference_nats": entry.difference,
        }
        for entry in sorted(entries, key=lambda entry: -statistics.median(entry.seconds))
    ]


def _over(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    return spread([a / b for a, b in zip(above, below, strict=True)])


COLUMNS = ("contender", "batch", "s/pass", "x ours", "limit", "x, one prompt", "limit", "peak MB", "differs by")


def table(report: dict[str, Any]) -> str:
    """One run: every column, ratios with their smallest and largest round."""
    rows = [
        (
            peer["name"],
            f"{peer['batch_answers']}",
            f"{statistics.median(peer['seconds']):.2f}",
            _ratio(peer["times_ours"]),
            _share(peer["limit_share"]),
            _ratio(peer["one_prompt_times_ours"]),
            _share(peer["one_prompt_limit_share"]),
            _megabytes(peer["peak_megabytes"]),
            f"{peer['largest_difference_nats']:.0e}",
        )
        for peer in report["contenders"]
    ]
    return _markdown(COLUMNS, rows)


def joined(reports: Sequence[dict[str, Any]]) -> str:
    """Several runs side by side: what the guide shows."""
    names = list(dict.fromkeys(peer["name"] for report in reports for peer in report["contenders"]))
    names.sort(key=lambda name: name == OURS)
    header = ["contender"]
    for report in reports:
        header += [report["title"], "one prompt at a time", "limit", "peak MB"]
    rows = []
    for name in names:
        row = [name]
        for report in reports:
            peer = next((peer for peer in report["contenders"] if peer["name"] == name), None)
            row += _cells(peer) if peer else ["–"] * 4
        rows.append(row)
    return _markdown(header, rows)


def _cells(peer: dict[str, Any]) -> list[str]:
    return [
        _ratio(peer["times_ours"]),
        _ratio(peer["one_prompt_times_ours"]),
        _share(peer["limit_share"]),
        _megabytes(peer["peak_megabytes"]),
    ]


def _ratio(values: dict[str, float]) -> str:
    if values["min"] == values["max"] == 1:
        return "1"
    return f"{values['median']:.2f}x ({values['min']:.2f} to {values['max']:.2f})"


def _share(values: dict[str, float] | None) -> str:
    return f"{values['median']:.2f}" if values else "–"


def _megabytes(value: float | None) -> str:
    return f"{value:,.0f}" if value is not None else "–"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(joined([json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]))
