"""Peak memory on large inputs: `python tests/bench/large.py FOLDER [SCORED...]`, Linux only.

Makes files of 200 MB in the folder and reads each in a process of its own, then runs the commands that load models (the
embedded pair) on so many rows, answers or labels and on twice as many; scored files are reported on and drawn.
Prints each one's peak and its CPU seconds: these are rough where others use the machine, the peaks are not.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROMPT = "I earn $50K as an analyst in Denver and they offer a manager post for $90K but my sister says wait. " * 20
READ = (
    "import sys\n"
    "from dpo_credit.rows.reader import read_records, read_rows\n"
    "from dpo_credit.rows.aside import SetAside\n"
    "from dpo_credit.rows.sources import Input\n"
    "for row in read_rows(read_records([Input(sys.argv[1])]), aside=SetAside(strict=False)): pass"
)
BYTES = 200_000_000  # of rows
POST = "I earn $50K as an analyst in Denver and they offer a manager post. Should I take it?\n\nTL;DR:"
JOB = " Take the job in Denver, it pays 50K more."
COMMANDS = (  # a command, what its rows are, and how many there are of these at first
    ("corrupt rows.jsonl -o corrupted.jsonl --overwrite", "prompts", 300),
    ("localise rows.jsonl", "prompts", 300),
    ("verify rows.jsonl", "prompts", 300),
    ("search rows.jsonl --beams 2 --max-new-tokens 4", "prompts", 300),
    ("batch rows.jsonl -o scored.jsonl --overwrite", "rows of one prompt", 1000),
    ("score rows.jsonl", "answers of one prompt", 2500),
    ("localise rows.jsonl", "labels a row", 5000),
)


def make(folder: Path) -> list[Path]:
    """The files that are read, written a row at a time: a child counts what this process held as its own."""
    row = json.dumps({"prompt": PROMPT + "\n\nTL;DR:", "chosen": " Take the job.", "rejected": " Wait a month."})
    files = [folder / name for name in ("rows.jsonl", "array.json", "long.jsonl", "zeros.jsonl.gz")]
    with files[0].open("w") as rows, files[1].open("w") as array:
        array.write("[" + row)
        for _ in range(BYTES // len(row)):
            rows.write(row + "\n")
            array.write(", " + row)
        array.write("]")
    with files[2].open("w") as long:
        long.write('{"prompt": "')
        for _ in range(25):
            long.write("x " * 1_000_000)
        long.write('", "answer": " y"}')
    with gzip.open(files[3], "wb") as zeros:
        for _ in range(1000):
            zeros.write(bytes(1_000_000))
    return files


def rows_of(what: str, count: int) -> Iterator[dict[str, Any]]:
    """The rows of `COMMANDS`."""
    pair = {"prompt": POST, "chosen": JOB, "rejected": " Wait a month."}
    if what == "prompts":
        for n in range(count):
            yield {**pair, "prompt": POST.replace("50", str(n)), "labels": [{"start": 1, "end": 5}]}
    elif what == "rows of one prompt":
        for n in range(count):
            yield {**pair, "chosen": JOB.replace("50", str(n))}
    elif what == "answers of one prompt":
        yield {"prompt": POST, "completions": [f" Take {n} jobs." for n in range(count)]}
    else:
        starts = [1 + n % (len(JOB) - 3) for n in range(count)]
        row = {**pair, "chosen": " Wait.", "rejected": JOB, "labels": [{"start": a, "end": a + 2} for a in starts]}
        yield from [row] * 3


def measured(what: str, *command: str | Path, inside: Path | None = None) -> None:
    """Run a command of Python's, in a folder, and print a row of the table."""
    child = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL, cwd=inside)
    _, _, used = os.wait4(child.pid, 0)
    print(f"| {what} | {used.ru_maxrss / 1024:.0f} MB | {used.ru_utime:.0f} s |", flush=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for path in make(folder):
        measured(f"reading {path.name}", "-c", READ, path)
    for command, what, first in COMMANDS:
        for count in (first, 2 * first):
            lines = (json.dumps(row) + "\n" for row in rows_of(what, count))
            (folder / "rows.jsonl").write_text("".join(lines))
            name = command.partition(" ")[0]
            measured(f"{name}, {count:,} {what}", "-m", "dpo_credit", *command.split(), "-q", inside=folder)
    for scored in map(Path, sys.argv[2:]):
        measured(f"report of {scored.name}", "-m", "dpo_credit", "report", scored, "-q")
        measured(f"page of {scored.name}", "-m", "dpo_credit", "render", scored, "-q", "--html", folder / "page.html")
