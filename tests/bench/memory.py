"""Peak memory above the loaded model: one contender alone in a fresh process, Linux only.

Everything is built, warmed up on a prompt of one word, and what malloc holds free is given back; then the kernel's
high-water mark is reset, and read again after one pass over the workload.
"""

from __future__ import annotations

import ctypes
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SCRIPT = Path(__file__).with_name("bench_score.py")


def rise(warm_up: Callable[[], object], job: Callable[[], object]) -> float | None:
    """Megabytes by which `job()` raises this process's peak over what it holds after `warm_up()`; None if unknown."""
    warm_up()
    gc.collect()
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
    except OSError:
        return None
    before = _kilobytes("VmRSS")
    job()
    return (_kilobytes("VmHWM") - before) * 1024 / 1e6


def _kilobytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1])


def alone(arguments: list[str], name: str, batch: int) -> float | None:
    """`rise` of one contender, by this benchmark's own command line with `--alone`."""
    command = [sys.executable, str(SCRIPT), *arguments, "--alone", name, "--batch", str(batch)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])
