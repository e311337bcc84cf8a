"""Peak memory on large inputs: `python tests/bench/large.py FOLDER [SCORED...]`, Linux only.

Makes files of 200 MB in the folder and reads each in a process of its own; scored files are reported on and drawn.
Prints each one's peak and its CPU seconds: these are rough where others use the machine, the peaks are not.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

PROMPT = "I earn $50K as an analyst in Denver and they offer a manager post for $90K but my sister says wait. " * 20
READ = (
    "import sys\n"
    "from dpo_credit.rows.reader import read_records, read_rows\n"
    "from dpo_credit.rows.aside import SetAside\n"
    "from dpo_credit.rows.sources import Input\n"
    "for row in read_rows(read_records([Input(sys.argv[1])]), aside=SetAside(strict=False)): pass"
)
BYTES = 200_000_000  # of rows


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


def measured(what: str, *command: str | Path) -> None:
    """Run a command of Python's and print a row of the table."""
    child = subprocess.Popen([sys.executable, *map(str, command)], stdout=subprocess.DEVNULL)
    _, _, used = os.wait4(child.pid, 0)
    print(f"| {what} | {used.ru_maxrss / 1024:.0f} MB | {used.ru_utime:.0f} s |", flush=True)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for path in make(folder):
        measured(f"reading {path.name}", "-c", READ, path)
    for scored in map(Path, sys.argv[2:]):
        measured(f"report of {scored.name}", "-m", "dpo_credit", "report", scored, "-q")
        measured(f"page of {scored.name}", "-m", "dpo_credit", "render", scored, "-q", "--html", folder / "page.html")
