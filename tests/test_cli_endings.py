"""How the program ends: full disks, closed pipes, interrupts and its own bugs, with the streams a shell gives it."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from program import run

from dpo_credit.cli.files import write
from dpo_credit.credit import CreditError

# the program with hand-made numbers for models: a process of its own, but none that imports torch
PROGRAM = """
import os, signal, sys, types
from dataclasses import replace
from credits import credit
from dpo_credit.cli import app, options

# a shell starts its background jobs deaf to SIGINT, and so would this process be there
signal.signal(signal.SIGINT, signal.default_int_handler)

def score(pair, examples, **_):
    {happens}
    return [replace(credit(["ab", "c"], [1.0, -0.5]), id=example.id) for example in examples]

sys.modules["dpo_credit.scoring"] = types.SimpleNamespace(score=score)
options.PairOptions.load_pair = lambda self: types.SimpleNamespace(policy=None, notes=("a note",))
app.main()
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # `credits` lies beside this file
ROW = b'{"prompt": "Q", "answer": " A"}'
JSON, VIEW = ("--json", "-"), ()
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def process(
    *flags: str, happens: str = "", stdin: int | None = None, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", PROGRAM.format(happens=happens or "pass"), "score", "-", *flags]
    given = {"env": ENVIRONMENT, **({"input": ROW} if stdin is None else {"stdin": stdin})}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, timeout=300, **given)  # type: ignore[call-overload]


def test_results_and_talk_have_streams_of_their_own() -> None:
    ended = process()
    assert ended.returncode == 0
    assert b"note: a note" in ended.stderr.splitlines() and b"note:" not in ended.stdout
    assert b"abc" in ended.stdout.replace("▲".encode(), b"").replace("▼".encode(), b"")


@pytest.mark.parametrize("flags", [JSON, VIEW], ids=["json", "view"])
def test_a_full_disk_is_one_line(flags: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        ended = process("--quiet", *flags, stdout=full.fileno())
    assert ended.returncode == 2, ended.stderr
    assert re.fullmatch(rb"dpo-credit: cannot write (-|stdout): No space left on device\..*\n", ended.stderr)


def test_a_file_on_a_full_disk_is_one_line() -> None:
    ended = process("--quiet", "--json", "/dev/full")
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr == b"dpo-credit: cannot write /dev/full: No space left on device. Nothing was written.\n"


@pytest.mark.parametrize("flags", [JSON, VIEW], ids=["json", "view"])
def test_a_reader_that_left_is_no_error_of_ours(flags: tuple[str, ...]) -> None:
    """What `| head -c 0` does, without the race."""
    reader, writer = os.pipe()
    os.close(reader)
    ended = process("--quiet", *flags, stdout=writer)
    os.close(writer)
    assert ended.stderr == b""
    assert ended.returncode in (0, 1)


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_ends_with_its_code_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    at_rename = f"os.replace = lambda *_: os.kill(os.getpid(), {int(number)})"
    ended = process("--quiet", "--json", str(tmp_path / "scored.json"), happens=at_rename)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, b"", b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_in_a_destructor_is_not_dropped(number: signal.Signals) -> None:
    in_destructor = (
        f"type('Thing', (), {{'__del__': lambda self: os.kill(os.getpid(), {int(number)})}})(); "
        "import time; time.sleep(60)"
    )
    ended = process("--quiet", happens=in_destructor)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, b"", b"")


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("becomes", ["RuntimeError('of a class')", "CreditError('of a library')"])
def test_a_signal_that_became_another_error_on_its_way_still_ends(number: signal.Signals, becomes: str) -> None:
    """As one within a class's `__set_name__` does in Python 3.11, and what a library then makes of that."""
    wrapped = (
        "from dpo_credit.credit import CreditError\n"
        f"    try: os.kill(os.getpid(), {int(number)})\n"
        "    except BaseException as error:\n"
        "        try: raise RuntimeError from error\n"
        f"        except RuntimeError as wrapped: raise {becomes} from wrapped"
    )
    ended = process("--quiet", happens=wrapped)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, b"", b"")


@pytest.mark.parametrize("number", ENDS)
def test_an_error_after_a_swallowed_signal_is_that_signals_end(number: signal.Signals) -> None:
    swallowed = f"try: os.kill(os.getpid(), {int(number)})\n    except SystemExit: pass\n    raise KeyError"
    ended = process("--quiet", happens=swallowed)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, b"", b"")


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_while_a_class_is_made_ends(number: signal.Signals) -> None:
    named = f"type('Field', (), {{'__set_name__': lambda *_: os.kill(os.getpid(), {int(number)})}})()"
    in_class = f"type('Config', (), {{'field': {named}}})"
    ended = process("--quiet", happens=in_class)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + number, b"", b"")


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_while_python_ends_shows_no_traceback(number: signal.Signals) -> None:
    ended = process("--quiet", happens=f"import atexit; atexit.register(os.kill, os.getpid(), {int(number)})")
    assert (ended.returncode, ended.stderr) == (-number, b"")  # 128 + number in a shell


@pytest.mark.parametrize("bug", ["{}['no such key']", "open('/no/such/file')"])
def test_a_bug_of_ours_shows_its_traceback(bug: str) -> None:
    ended = process(happens=bug)
    assert (ended.returncode, ended.stdout) == (1, b"")
    assert b"Traceback (most recent call last)" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith((b"KeyError: 'no such key'", b"FileNotFoundError: "))


def test_a_stdin_that_is_closed_is_one_line() -> None:
    reader, writer = os.pipe()
    os.close(writer)
    script = PROGRAM.format(happens="pass").replace("app.main()", "sys.stdin = None; app.main()")  # as `<&-` leaves it
    command = [sys.executable, "-c", script, "score", "-"]
    ended = subprocess.run(command, stdin=reader, capture_output=True, timeout=300, env=ENVIRONMENT)
    os.close(reader)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, b"", 1), ended.stderr
    assert b"stdin" in ended.stderr


@pytest.mark.parametrize(
    ("json_to", "svg_to", "message"),
    [
        ("missing/x.json", "x.svg", "cannot write missing/x.json: No such file or directory. Nothing was written."),
        (".", "x.svg", "cannot write .: Is a directory. Nothing was written."),
        ("x.json", "missing/x.svg", "cannot write missing/x.svg: No such file or directory. Nothing was written."),
    ],
)
def test_a_target_that_cannot_be_written_is_one_line_and_nothing_is(
    json_to: str,
    svg_to: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiny_pair_dirs: tuple[Path, Path],
) -> None:
    monkeypatch.chdir(tmp_path)
    pair = ("--policy", tiny_pair_dirs[0], "--reference", tiny_pair_dirs[1], "--device", "cpu")
    ended = run("score", "-", *pair, "--json", json_to, "--svg", svg_to, stdin=ROW)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"dpo-credit: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "scored.json"
    write(str(target), "old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(CreditError, match=r"cannot write .*scored\.json: No space"):
        patched.setattr(os, "replace", full)
        write(str(target), "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("scored.json", "old")]
    write(str(target), "new")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("scored.json", "new")]


def test_a_written_file_has_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(str(tmp_path / "scored.json"), "x")
    finally:
        os.umask(before)
    assert (tmp_path / "scored.json").stat().st_mode & 0o777 == 0o640
