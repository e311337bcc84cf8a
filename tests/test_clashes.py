"""An output that is an input is refused by every command, under whatever name, and nothing is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from program import run

from dpo_credit.cli.app import app
from dpo_credit.cli.clashes import READ, refuse_clashes
from dpo_credit.credit import CreditError

ROW = json.dumps({"id": "x", "prompt": "Rent?", "chosen": " Up.", "rejected": " Down."}) + "\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("rows.jsonl").write_text(ROW)
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "command",
    [
        ("batch", "rows.jsonl", "-o", "rows.jsonl", "--overwrite"),
        ("batch", "rows.jsonl", "-o", "."),
        ("batch", "*.jsonl", "-o", "./rows.jsonl", "--overwrite"),
        ("score", "rows.jsonl", "--json", "rows.jsonl"),
        ("score", "rows.jsonl", "--html", "rows.jsonl"),
        ("diff", "rows.jsonl", "--svg", "rows.jsonl"),
        ("inspect", "rows.jsonl", "--json", "rows.jsonl"),
        ("corrupt", "rows.jsonl", "-o", "rows.jsonl"),
        ("search", "rows.jsonl", "-o", "rows.jsonl", "--overwrite"),
        ("steer", "rows.jsonl", "--json", "rows.jsonl"),
        ("trajectory", "run", "rows.jsonl", "-o", "rows.jsonl", "--overwrite"),
        ("verify", "rows.jsonl", "--json", "rows.jsonl"),
        ("localise", "rows.jsonl", "--json", "rows.jsonl"),
        ("report", "rows.jsonl", "--json", "rows.jsonl"),
        ("render", "rows.jsonl", "--json", "rows.jsonl"),
        ("mdp", "rows.jsonl", "-o", "rows.jsonl"),
        ("mdp", "other.jsonl", "--policy", "rows.jsonl", "-o", "rows.jsonl"),
        ("mdp", "other.jsonl", "--policy", "rows.jsonl:policy", "--json", "rows.jsonl"),
        ("score", "other.jsonl", "--reference", "rows.jsonl", "--json", "rows.jsonl"),
    ],
    ids=" ".join,
)
def test_every_command_refuses_to_write_over_its_input(command: tuple[str, ...]) -> None:
    ended = run(*command)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    assert "rows.jsonl, which is read. Nothing was written" in ended.stderr
    assert Path("rows.jsonl").read_text() == ROW
    assert {path.name for path in Path().iterdir()} == {"rows.jsonl"}


def _link(make: Callable[[str, str], None]) -> Callable[[], str]:
    def linked() -> str:
        make("rows.jsonl", "other.jsonl")
        return "other.jsonl"

    return linked


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "name",
    [_link(os.symlink), _link(os.link), lambda: "./rows.jsonl", lambda: str(Path("rows.jsonl").resolve())],
    ids=["link", "hard link", "dot", "whole path"],
)
def test_a_file_is_known_under_any_name(name: Callable[[], str]) -> None:
    with pytest.raises(CreditError, match=r"would be written over .*rows\.jsonl"):
        refuse_clashes({"files": ["rows.jsonl"], "output": name()})


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("end", ["journal", "errors.jsonl", "rows.jsonl", "unfinished"])
def test_what_is_kept_beside_an_output_counts_too(end: str) -> None:
    Path(f"out.parquet.{end}").write_text(ROW)
    with pytest.raises(CreditError, match=r"out\.parquet would be written over"):
        refuse_clashes({"file": f"out.parquet.{end}", "output": "out.parquet"})


def test_no_argument_of_any_command_is_forgotten() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    arguments = {
        (name, parameter.name)
        for name, group in commands.items()
        for command in getattr(group, "commands", {name: group}).values()
        for parameter in command.params
        if parameter.param_type_name == "argument"
    }
    assert {(name, key) for name, key in arguments if key not in READ} == {("pairs", "name"), ("train", "method")}


@pytest.mark.usefixtures("folder")
def test_two_outputs_are_two_files() -> None:
    for outputs in ({"json": "f", "output": "f"}, {"json": "f", "html": "./f"}, {"output": "f", "json": "f.journal"}):
        with pytest.raises(CreditError, match="would be one file"):
            refuse_clashes({"file": "rows.jsonl", **outputs})


@pytest.mark.usefixtures("folder")
def test_what_is_apart_is_let_through() -> None:
    refuse_clashes({"file": "rows.jsonl", "output": "out.jsonl", "json": "-", "html": "page.html", "png": None})
    refuse_clashes({"files": ["-"], "output": "-", "json": "/dev/null", "html": "/dev/null"})


@pytest.mark.parametrize("key", ["file", "files", "json"])
def test_no_name_at_all_is_one_line(key: str) -> None:
    with pytest.raises(CreditError, match="'' is no name of a file"):
        refuse_clashes({key: [""] if key == "files" else ""})


@pytest.mark.parametrize("key", ["file", "files", "sources", "json", "policy", "cache"])
@pytest.mark.parametrize(
    ("name", "said"), [("a" * 300, "a… is no name of a file: File name too long"), ("a\0b", "null")]
)
def test_what_no_file_is_called_is_one_line(key: str, name: str, said: str) -> None:
    with pytest.raises(CreditError, match=said):
        refuse_clashes({key: [name] if key in ("files", "sources") else name})
