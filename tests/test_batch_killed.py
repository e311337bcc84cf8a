"""`batch` as a process: killed at any moment, interrupted, its reader gone, its disk full, beside another one."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import resource
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

KILLS = 25  # of each format
DEADLINE_S = 300  # for these
PAUSE_S = 0.004  # before each of 80 chunks: a third of a second in which rows are written
ROWS = 320

# the program with hand-made numbers for models, slowly: a process of its own, but none that imports torch
PROGRAM = """
import dataclasses, signal, sys, time
from credits import credit
from dpo_credit.batch.job import ScoredChunk, chunks
from dpo_credit.cli import app, batch
from dpo_credit.credit import CreditError

def scored(example):
    n = len(example.answer)
    return dataclasses.replace(credit(example.answer, [n / 3] * n), id=example.id)

class Slow:
    def settings(self, job):
        return {{"inputs": [given.name for given in job.inputs]}}

    def score(self, job, last):
        for chunk in chunks(dataclasses.replace(job, chunk_rows=4), last, sys.stdin.buffer):
            time.sleep({pause})
            bad = lambda row: isinstance(row, CreditError)
            yield ScoredChunk(chunk, [row if bad(row) else tuple(map(scored, row.examples)) for row in chunk.rows])

batch._engine = lambda *_: Slow()
signal.signal(signal.SIGINT, signal.default_int_handler)
app.main()
"""


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    path = tmp_path / "posts.jsonl"
    rows = [f'{{"prompt": "{n}?", "completion": "{"yes" * (1 + n % 7)}"}}' for n in range(ROWS)]
    rows[7::40] = ["{"] * len(rows[7::40])
    path.write_text("\n".join(rows) + "\n")
    return path


def start(*flags: object, pause: float = 0.001, **streams: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", PROGRAM.format(pause=pause), "batch", *map(str, flags)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # `credits` lies beside this file
    return subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload]


def finish(*flags: object, **more: object) -> tuple[int, bytes, bytes]:
    process = start(*flags, **more)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.parent.iterdir()}


def wait_for(path: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size >= size):
        assert time.monotonic() < deadline, f"{path} does not grow"
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_killed_at_any_moment_it_resumes_to_the_same_bytes(posts: Path, name: str) -> None:
    """Moments are drawn over the time of a whole run here and now: a busy machine is not killed before it starts."""
    whole = posts.parent / "whole" / name
    whole.parent.mkdir()
    began = time.monotonic()
    assert finish(posts, "-o", whole, pause=PAUSE_S)[0] == 3  # some rows are bad
    run_s = time.monotonic() - began
    expected = files(whole)
    draw = random.Random(name)
    kills = amid = finished = 0
    while kills < KILLS:
        output = posts.parent / f"killed{finished}" / name
        output.parent.mkdir()
        done = False
        while not done and kills < KILLS:
            assert time.monotonic() < began + DEADLINE_S, f"{kills} of {KILLS} kills in {DEADLINE_S} s"
            process = start(posts, "-o", output, "--resume", pause=PAUSE_S)
            try:
                process.communicate(timeout=draw.uniform(0.1, 1.2) * run_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                amid += output.exists() and 0 < output.stat().st_size < whole.stat().st_size
                continue
            assert process.returncode == 3
            done = True
        if not done:  # killed often enough
            assert finish(posts, "-o", output, "--resume")[0] == 3
        assert files(output) == expected
        finished += 1
    assert amid, f"none of {kills} kills fell among the rows: it has shown nothing"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_chunk_and_says_how_to_go_on(posts: Path, number: signal.Signals) -> None:
    whole, output = posts.parent / "whole" / "out.jsonl", posts.parent / "stopped" / "out.jsonl"
    for path in (whole, output):
        path.parent.mkdir()
    finish(posts, "-o", whole)
    process = start(posts, "-o", output, pause=0.05)
    wait_for(output, 1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert b"Traceback" not in err
    said = err.decode().splitlines()
    name = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}[number]
    assert f"note: stopping after this chunk of rows; {name} again stops at once" in said
    assert said[-1].startswith("note: interrupted: ") and said[-1].endswith(
        f"rows of {output} are kept; go on with --resume"
    )
    assert finish(posts, "-o", output, "--resume")[0] == 3
    assert files(output) == files(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_at_once_and_loses_nothing(posts: Path, number: signal.Signals) -> None:
    output = posts.parent / "out.jsonl"
    process = start(posts, "-o", output, pause=20)
    wait_for(Path(f"{output}.journal"), 1)
    time.sleep(0.3)  # into the first chunk, where it sleeps
    for _ in range(2):
        process.send_signal(number)
        time.sleep(0.2)
    _, err = process.communicate(timeout=15)
    assert process.returncode == 128 + number
    assert b"Traceback" not in err
    assert finish(posts, "-o", output, "--resume")[0] == 3


def test_a_terminal_that_is_closed_ends_the_chunk(posts: Path) -> None:
    """The hang-up of a terminal: what would be said there is an error from then on, and must be none of ours."""
    whole, output = posts.parent / "whole" / "out.jsonl", posts.parent / "stopped" / "out.jsonl"
    for path in (whole, output):
        path.parent.mkdir()
    finish(posts, "-o", whole)
    ours, theirs = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = start(posts, "-o", output, pause=0.05, stdout=theirs, stderr=theirs, preexec_fn=own_terminal)
    os.close(theirs)
    wait_for(output, 1)
    os.close(ours)
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    assert 0 < output.stat().st_size < whole.stat().st_size
    assert finish(posts, "-o", output, "--resume")[0] == 3
    assert files(output) == files(whole)


def test_nohup_keeps_a_run_going(posts: Path) -> None:
    output = posts.parent / "out.jsonl"
    deaf = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    process = start(posts, "-o", output, pause=0.01, **deaf)
    wait_for(output, 1)
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 3  # some rows are bad


def test_a_second_run_on_one_output_is_refused(posts: Path) -> None:
    output = posts.parent / "out.jsonl"
    first = start(posts, "-o", output, pause=2)
    wait_for(output, 1)
    for flags in ((), ("--resume",), ("--overwrite",)):
        code, _, err = finish(posts, "-o", output, *flags)
        assert (code, err) == (
            2,
            f"dpo-credit: another run is writing {output}. Wait for it, or name another output.\n".encode(),
        )
    first.kill()
    first.communicate()
    assert finish(posts, "-o", output, "--resume")[0] == 3


def test_a_reader_that_left_is_no_error_of_ours(posts: Path) -> None:
    with start(posts, pause=0.01) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b'{"prompt"')
        process.stdout.close()
        assert process.wait(timeout=60) in (0, 1)
        assert b"Traceback" not in process.stderr.read()


def test_a_full_disk_is_one_line_and_what_was_written_is_kept(posts: Path) -> None:
    """The limit on a file's size stands for the disk's."""
    whole, output = posts.parent / "whole" / "out.jsonl", posts.parent / "full" / "out.jsonl"
    for path in (whole, output):
        path.parent.mkdir()
    finish(posts, "-o", whole)
    half = whole.stat().st_size // 2

    def small_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (half, half))

    code, _, err = finish(posts, "-o", output, preexec_fn=small_disk)
    assert code == 2
    last = err.decode().splitlines()[-1]
    assert last.startswith(f"dpo-credit: cannot write {output}: File too large. Its first ")
    assert last.endswith("rows are kept: remove the cause, then go on with --resume.")
    assert finish(posts, "-o", output, "--resume")[0] == 3
    assert files(output) == files(whole)


def test_stdin_goes_to_stdout_and_errors_to_stderr(posts: Path) -> None:
    with posts.open("rb") as rows:
        code, out, err = finish("-", stdin=rows)
    bad = len(range(7, ROWS, 40))
    assert (code, len(out.splitlines())) == (3, ROWS - bad)
    assert err.count(b'{"id": "stdin:') == bad
    assert err.decode().splitlines()[-2:] == [f"{ROWS - bad} rows scored", f"{bad} rows could not be scored"]


def test_an_output_folder_that_vanishes_is_one_line(posts: Path) -> None:
    output = posts.parent / "gone" / "out.jsonl"
    output.parent.mkdir()
    process = start(posts, "-o", output, pause=0.05)
    wait_for(output, 1)
    os.rename(output.parent, posts.parent / "moved")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "was moved or deleted while it was written" in err.decode().splitlines()[-1]
    os.rename(posts.parent / "moved", output.parent)
    assert finish(posts, "-o", output, "--resume")[0] == 3
