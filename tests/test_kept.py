"""Kept files: what is on the disk stays there, whatever happens while a run goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dpo_credit.credit import CreditError
from dpo_credit.rows.kept import Kept


def test_resuming_cuts_a_torn_line_and_never_writes_what_was_there_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.jsonl"
    with Kept(path, "new") as kept:
        assert kept.begin({"head": 1}, lambda data: data, b"") == b""
        kept.add('{"n": 1}\n')
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n": 2')
    cut, truncate = [], os.ftruncate

    def watched(handle: int, length: int) -> None:
        cut.append(length)
        truncate(handle, length)

    monkeypatch.setattr(os, "ftruncate", watched)
    with Kept(path, "resume") as kept:
        assert kept.begin({"head": 1}, lambda data: data, b"") == whole == path.read_bytes()
    assert cut == [len(whole)]  # had it been emptied first, a kill there would have lost all


def test_a_header_that_was_cut_off_is_begun_anew_and_another_line_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    with Kept(path, "new") as kept:
        kept.begin({"head": 1}, bytes, b"")
    header = path.read_bytes()

    def refuse(data: bytes) -> bytes:
        raise CreditError("another file")

    for length in range(len(header) + 1):
        path.write_bytes(header[:length])
        with Kept(path, "resume") as kept:
            assert kept.begin({"head": 1}, refuse, b"none") == b"none"
        assert path.read_bytes() == header
    path.write_bytes(b"a line without an end")
    with pytest.raises(CreditError, match="another file"):
        Kept(path, "resume").begin({"head": 1}, refuse, b"none")
    assert path.read_bytes() == b"a line without an end"


@pytest.mark.parametrize("mode", ["resume", "overwrite"])
def test_two_runs_on_one_kept_file_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "kept.jsonl"
    with Kept(path, "new") as first:
        first.begin({"head": 1}, bytes, b"")
        before = path.read_bytes()
        for refused in (Kept(path, mode).check, lambda: Kept(path, mode).begin({"head": 2}, bytes, b"")):
            with pytest.raises(CreditError, match=r"^another run is writing .*kept\.jsonl\. Wait for it"):
                refused()
        first.add("{}\n")
        assert path.read_bytes() == before + b"{}\n"
    with Kept(path, mode) as second:
        second.check()
        second.begin({"head": 2}, bytes, b"")


def test_a_kept_file_that_is_moved_away_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    with Kept(path, "new") as kept:
        kept.begin({"head": 1}, bytes, b"")
        path.rename(tmp_path / "elsewhere.jsonl")
        with pytest.raises(CreditError, match="was moved or deleted while it was written"):
            kept.add("{}\n")


def test_what_the_caller_refuses_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_bytes(b"another file\nwithout an end")

    def refuse(data: bytes) -> None:
        raise CreditError("it is of other rows")

    with pytest.raises(CreditError, match="other rows"):
        Kept(path, "resume").begin({}, refuse, None)
    with pytest.raises(CreditError, match="exists"):
        Kept(path, "new")
    assert path.read_bytes() == b"another file\nwithout an end"
