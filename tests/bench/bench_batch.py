"""Whether `dpo-credit batch` takes time in proportion to the rows, and memory that does not grow with them.

    python tests/bench/bench_batch.py                               # 1,000 and 10,000 rows, the embedded pair
    python tests/bench/bench_batch.py --rows 1000 10000 100000 --policy DIR --reference DIR

Each size is a run of its own; what one row takes (starting Python, loading the models) is measured apart and taken off,
so that rows/s is the rate of the scoring itself. Exit code 1: a rate is over 10 % from the first one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from workload import TEXT

START_UPS = 4  # the first one reads files that lie in no cache yet
LINEAR = 0.10  # how far a rate may be from the first one


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the command: wall-clock seconds and the process's peak memory."""

    rows: int
    seconds: float
    megabytes: float


def rows(count: int) -> Iterator[dict[str, str]]:
    """Short preference rows, no two prompts alike."""
    draw, words = random.Random(0), TEXT.split()
    for n in range(count):
        prompt = f"{n}: {' '.join(draw.choices(words, k=draw.randint(5, 15)))}\n\nTL;DR:"
        chosen, rejected = (" " + " ".join(draw.choices(words, k=draw.randint(2, 6))) for _ in range(2))
        yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def run(command: list[str], count: int, folder: Path) -> Run:
    """Score `count` rows.

    Raises:
        SystemExit: the command fails, or writes another number of rows.
    """
    source, scored = folder / f"{count}.jsonl", folder / f"{count}.scored.jsonl"
    with source.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(count))
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, str(source), "-o", str(scored), "--overwrite"], stderr=subprocess.PIPE, text=True
    )
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: {said.strip()[-500:]}")
    with scored.open(encoding="utf-8") as file:
        written = sum(1 for _ in file)
    if written != count:
        sys.exit(f"{written} rows came out of {count}")
    return Run(count, seconds, usage.ru_maxrss * 1024 / 1e6)


def rates(runs: list[Run], start_up: float) -> list[float]:
    """Rows a second of each run, without the start-up."""
    return [one.rows / (one.seconds - start_up) for one in runs]


def linear(found: list[float]) -> bool:
    """Whether every rate is within `LINEAR` of the first."""
    return all(abs(rate / found[0] - 1) <= LINEAR for rate in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--policy", help="a model directory, with --reference; default: the embedded pair")
    parser.add_argument("--reference")
    asked = parser.parse_args()
    command = [sys.executable, "-m", "dpo_credit", "batch"]
    if asked.policy:
        command += ["--policy", asked.policy, "--reference", asked.reference]
    with tempfile.TemporaryDirectory() as folder:
        start_up = min(run(command, 1, Path(folder)).seconds for _ in range(START_UPS))
        runs = [run(command, count, Path(folder)) for count in asked.rows]
    found = rates(runs, start_up)
    print(f"start-up {start_up:.1f} s\n\n| rows | rows/s | x the first | peak MB |\n| --- | --- | --- | --- |")
    for one, rate in zip(runs, found, strict=True):
        print(f"| {one.rows:,} | {rate:.1f} | {rate / found[0]:.2f} | {one.megabytes:,.0f} |")
    if not linear(found):
        sys.exit(f"not linear: a rate is over {LINEAR:.0%} from the first one")


if __name__ == "__main__":
    main()
