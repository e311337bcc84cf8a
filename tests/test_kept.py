"""Kept files: what is on the disk stays there, whatever happens while a run goes on."""

from __future__ import annotations

import builtins
from pathlib import Path

import pytest

from dpo_credit.credit import CreditError
from dpo_credit.rows.kept import Kept


def test_resuming_cuts_a_torn_line_and_never_writes_what_was_there_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.jsonl"
    kept = Kept(path, "new")
    assert kept.begin({"head": 1}, lambda data: data, b"") == b""
    kept.add('{"n": 1}\n')
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"n": 2')
    modes, opened = [], builtins.open

    def watched(file: Path, mode: str = "r") -> object:
        modes.append(mode)
        return opened(file, mode)

    monkeypatch.setattr(builtins, "open", watched)
    assert Kept(path, "resume").begin({"head": 1}, lambda data: data, b"") == whole == path.read_bytes()
    assert "wb" not in modes  # it empties the file first: killed there, all would be lost


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
