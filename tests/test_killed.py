"""Whatever keeps a file, killed at any write or ended at any moment, and resumed: the bytes of an undisturbed run."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
from killed import server, start
from program import run
from tiny import language_model, save, tokenizer

ROWS = 3
CAMPAIGN_S, MOST_S = 12.0, 120.0  # of each command; more where a busy machine makes few ends
ENDS = 3
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServerContext]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("OMP_NUM_THREADS", "1")
        yield server()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference, a run of two checkpoints, and preferences."""
    folder = tmp_path_factory.mktemp("killed")
    save(language_model(seed=0), folder / "sft", tokenizer())
    for step in (1, 2):
        save(language_model(seed=step), folder / f"dpo/checkpoint-{step}", tokenizer())
    rows = [
        {"id": f"r{n}", "prompt": f"Rent is {n}.\n\nTL;DR:", "chosen": f" It is {n}.", "rejected": " No."}
        for n in range(ROWS)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    return folder


def reference(folder: Path) -> tuple[object, ...]:
    return "--reference", folder / "sft", "--device", "cpu", "--beta", "0.1"


def batch(folder: Path, output: Path, *more: object) -> list[object]:
    policy = "--policy", folder / "dpo/checkpoint-2", *reference(folder)
    return ["batch", folder / "rows.jsonl", "-o", output, *policy, *more]


def search(folder: Path, output: Path) -> list[object]:
    return ["search", *batch(folder, output, "--beams", "1,2", "--max-new-tokens", "4", "--judge", "reward")[1:]]


def trajectory(folder: Path, output: Path) -> list[object]:
    samples = "--samples", "2", "--max-new-tokens", "4"
    return ["trajectory", folder / "dpo", folder / "rows.jsonl", "-o", output, *reference(folder), *samples]


# the output of each, and what is asked
COMMANDS: dict[str, tuple[str, Callable[[Path, Path], list[object]]]] = {
    "batch": ("out.jsonl", batch),
    "batch to gzip, one model at a time": ("out.jsonl.gz", lambda *at: batch(*at, "--sequential")),
    "batch to zstd, with a cache": ("out.jsonl.zst", lambda *at: batch(*at, "--cache", at[1].parent / "cache")),
    "batch to Parquet, with both": (
        "out.parquet",
        lambda *at: batch(*at, "--sequential", "--cache", at[1].parent / "cache"),
    ),
    "search": ("out.jsonl", search),
    "trajectory": ("out.jsonl", trajectory),
}


def asked(folder: Path, at: Path, command: str) -> list[object]:
    at.mkdir()
    name, arguments = COMMANDS[command]
    return arguments(folder, at / name)


def files(at: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in at.iterdir() if path.is_file() and path.name != "said"}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_at_any_write_it_resumes_to_the_same_bytes(
    folder: Path, tmp_path: Path, forks: ForkServerContext, command: str
) -> None:
    """At the first write, sync, truncation or renaming, then at the second, until none is left."""
    assert run(*asked(folder, tmp_path / "whole", command)).code == 3  # type: ignore[arg-type]  # one row is bad
    expected = files(tmp_path / "whole")
    for kills in range(60):
        at = tmp_path / str(kills)
        arguments = asked(folder, at, command)
        process = start(forks, arguments, at / "said", die_at=kills)
        process.join(120)
        if process.exitcode == 3:
            break
        assert process.exitcode == -signal.SIGKILL, (at / "said").read_text()
        assert run(*arguments, "--resume").code == 3  # type: ignore[arg-type]
        assert files(at) == expected
    assert kills > 5 and files(at) == expected


@pytest.mark.parametrize("command", ["search", "trajectory"])
def test_a_failure_at_any_write_is_one_line_and_can_be_resumed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """As a disk that is full from the nth write, sync or truncation on, for every n there is; half a write arrives.

    Of trajectory, which takes long, for every second n.
    """
    assert run(*asked(folder, tmp_path / "whole", command)).code == 3  # type: ignore[arg-type]
    expected, write = files(tmp_path / "whole"), os.write
    left = 0

    def failing(name: str) -> Callable[..., object]:
        call = getattr(os, name)

        def fails(*arguments: Any) -> object:
            nonlocal left
            left -= 1
            if left >= 0:
                return call(*arguments)
            if call is write:
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

        return fails

    for failures in range(0, 60, 2 if command == "trajectory" else 1):
        at = tmp_path / str(failures)
        arguments = asked(folder, at, command)
        with monkeypatch.context() as patched:
            for name in ("write", "fsync", "ftruncate"):
                patched.setattr(os, name, failing(name))
            left = failures
            ended = run(*arguments)  # type: ignore[arg-type]
        if ended.code == 3:
            break
        assert ended.code == 2
        said = f"dpo-credit: cannot write {at / 'out.jsonl'}: No space left on device. Go on with --resume."
        assert [line for line in ended.stderr.splitlines() if line.startswith("dpo-credit: ")] == [said]
        assert run(*arguments, "--resume").code == 3  # type: ignore[arg-type]
        assert files(at) == expected
    assert failures > 5 and files(at) == expected


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_ended_by_any_signal_at_any_moment_it_resumes_to_the_same_bytes(
    folder: Path, tmp_path: Path, forks: ForkServerContext, command: str
) -> None:
    for name in ("whole", "again"):  # the first waits for the process that children come from
        began = time.monotonic()
        process = start(forks, asked(folder, tmp_path / name, command), tmp_path / name / "said")
        process.join(120)
        assert process.exitcode == 3
    run_s = time.monotonic() - began
    expected, draw = files(tmp_path / "whole"), random.Random(command)
    ends: list[signal.Signals] = []
    rounds = 0

    def goes_on() -> bool:
        return time.monotonic() < began + (CAMPAIGN_S if len(ends) >= ENDS else MOST_S)

    while goes_on():
        at, rounds = tmp_path / str(rounds), rounds + 1
        arguments = asked(folder, at, command)
        done = False
        while not done and goes_on():
            process = start(forks, [*arguments, "--resume"], at / "said")
            process.join(draw.uniform(0.05, 1.1) * run_s)
            if process.exitcode is None:
                number = draw.choice(SIGNALS)
                assert process.pid is not None
                os.kill(process.pid, number)
                process.join(60)
                allowed = {-signal.SIGKILL, 128 + number, -number, 3}
                assert process.exitcode in allowed, (number, (at / "said").read_text())
                ends.append(number)
            done = process.exitcode == 3
        if not done:
            process = start(forks, [*arguments, "--resume"], at / "said")
            process.join(120)
        assert files(at) == expected
        assert "Traceback" not in (at / "said").read_text()
    assert len(ends) >= ENDS, "too few ends: it has shown nothing"
