"""A cache on a hostile disk: full, cut, flipped, shared. Its numbers are right or it says why it cannot be used."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from program import run

from dpo_credit.cache import Cached
from dpo_credit.credit import CreditError, Logps, Tokens

BATCHES = 40


class Arithmetic:
    """A side whose numbers are told by the ids alone."""

    name, dtype = "arithmetic", "float32"

    def fingerprint(self) -> str:
        return "0" * 32

    def logps(self, batch: Sequence[Tokens]) -> list[Logps]:
        return [Logps(tuple(-sum(t.prompt_ids) - token / 7 for token in t.answer_ids)) for t in batch]


def batch_of(number: int) -> list[Tokens]:
    """Five answers of equal length, one of them the same in every batch."""
    return [
        Tokens((n, 5), (n + 1, n + 2, n + 3), ("",) * 3, ((0, 0),) * 3, "")
        for n in (0, *range(4 * number, 4 * number + 4))
    ]


def check(directory: Path, numbers: Sequence[int] = range(4)) -> Cached:
    """Ask a cache for batches: each number is what the side itself gives."""
    cached = Cached(Arithmetic(), directory)
    for number in numbers:
        batch = batch_of(number)
        assert cached.logps(batch) == Arithmetic().logps(batch)
    return cached


def right_or_refused(directory: Path) -> bool:
    try:
        check(directory)
    except CreditError as error:
        assert str(error).startswith("cannot use the cache ") and "Delete it, or give another --cache" in str(error)
        return False
    return True


def test_a_file_cut_at_any_length_is_right_or_refused(tmp_path: Path) -> None:
    file = check(tmp_path).path
    whole = file.read_bytes()
    outcomes = set()
    for length in sorted({*range(0, len(whole), 97), *range(0, len(whole), 512), *range(110)}):
        file.write_bytes(whole[:length])
        outcomes.add(right_or_refused(tmp_path))
    assert outcomes == {True, False}  # an empty one begins anew


def test_a_flipped_byte_anywhere_is_right_or_refused(tmp_path: Path) -> None:
    file = check(tmp_path).path
    whole = file.read_bytes()
    outcomes = []
    for place in range(0, len(whole), 11):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        outcomes.append(right_or_refused(tmp_path))
    assert outcomes.count(True) > outcomes.count(False) > 0


def test_an_entry_under_another_answers_key_is_no_number_of_its(tmp_path: Path) -> None:
    """Each is whole by itself, and as long as the other: what a torn index leads to."""
    file = check(tmp_path).path
    with sqlite3.connect(file) as database:
        (one, its), (other, theirs) = database.execute("SELECT key, nats FROM logps LIMIT 2").fetchall()
        database.execute("UPDATE logps SET nats = ? WHERE key = ?", (theirs, one))
        database.execute("UPDATE logps SET nats = ? WHERE key = ?", (its, other))
    assert check(tmp_path).damaged >= 2


@contextmanager
def pages(monkeypatch: pytest.MonkeyPatch, count: int) -> Iterator[None]:
    """SQLite's own full disk: a database that may have so many pages of 4,096 bytes."""
    connect = sqlite3.connect

    def small(*arguments: Any, **named: Any) -> sqlite3.Connection:
        database = connect(*arguments, **named)
        database.execute(f"PRAGMA max_page_count = {count}")
        return database

    with monkeypatch.context() as patched:
        patched.setattr(sqlite3, "connect", small)
        yield


@contextmanager
def limit(monkeypatch: pytest.MonkeyPatch, count: int) -> Iterator[None]:
    """Files of no more than so many pages, by the system's word."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096 * count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("count", [0, 1, 3, 5])
@pytest.mark.parametrize("disk", [pages, limit])
def test_a_full_disk_is_said_and_changes_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Any, count: int
) -> None:
    if disk is pages and count == 0:
        count = 2  # 0 asks SQLite for its own limit
    with disk(monkeypatch, count):
        cached = check(tmp_path, range(BATCHES))
    assert cached.refused.startswith(f"the cache {tmp_path} takes nothing more (")
    assert check(tmp_path, range(BATCHES)).refused == ""  # there is room again
    assert check(tmp_path, range(BATCHES)).damaged == 0


def test_batch_with_a_cache_on_a_full_disk_goes_on_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "Rent {n}?", "completion": " Up {n}."}}\n' for n in range(300)))
    policy, reference = tiny_pair_dirs
    ask = partial(run, "batch", rows, "--policy", policy, "--reference", reference, "--device", "cpu")
    plain = ask()
    with pages(monkeypatch, 4):
        ended = ask("--cache", tmp_path / "cache")
    assert (ended.code, ended.stdout) == (0, plain.stdout)
    said = [line for line in ended.stderr.splitlines() if "takes nothing more" in line]
    why = "(database or disk is full): what is not kept is computed"
    assert said == [f"note: the cache {tmp_path / 'cache'} takes nothing more {why}"]


CHILD = """
import sys
from pathlib import Path
from test_cache_hostile import BATCHES, check
order = range(BATCHES) if sys.argv[2] == "up" else reversed(range(BATCHES))
check(Path(sys.argv[1]), list(order))
"""


def test_two_processes_share_a_cache_and_both_are_right(tmp_path: Path) -> None:
    """They meet amid, one upwards and one downwards; each batch has an answer that both write."""
    command = [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{CHILD}", str(tmp_path)]
    both = [subprocess.Popen([*command, order], stderr=subprocess.PIPE) for order in ("up", "down")]
    for process in both:
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    assert check(tmp_path, range(BATCHES)).damaged == 0
    with sqlite3.connect(Cached(Arithmetic(), tmp_path).path) as database:
        assert database.execute("SELECT count(*) FROM logps").fetchone() == (4 * BATCHES,)  # 0 is one of these
