"""A run that goes on another day: a chat template's date stays the one that the run began with."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from program import run
from tiny import CHATML, save, tokenizer
from transformers import AutoModelForCausalLM

from dpo_credit.text import conventions

DATED = "{{ strftime_now('%d %b %Y') }}\n" + CHATML
ROWS = [
    {
        "id": f"r{n}",
        "prompt": [{"role": "user", "content": f"Rent {n}?"}],
        "chosen": [{"role": "assistant", "content": said}],
        "rejected": [{"role": "assistant", "content": "No."}],
    }
    for n, said in enumerate(("Up.", "Down.", "Ten."))
]


@pytest.fixture
def pair(tmp_path: Path, tiny_pair_dirs: tuple[Path, Path]) -> tuple[str, ...]:
    made = tokenizer(chat_template=DATED)
    names = [
        str(save(AutoModelForCausalLM.from_pretrained(directory), tmp_path / name, made))
        for directory, name in zip(tiny_pair_dirs, "pr", strict=True)
    ]
    return ("--policy", names[0], "--reference", names[1], "--device", "cpu", "--beta", "0.1")


COMMANDS = {
    "trajectory": ("--samples", "0"),
    "search": ("--beams", "1", "--max-new-tokens", "3", "--judge", "reward"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_keeps_lines_goes_on_under_the_date_that_it_began_with(
    tmp_path: Path, pair: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (run_of, policy), models = pair[:2], pair[2:]
    first = (policy + ",", rows) if command == "trajectory" else (rows, run_of, policy)
    asked = (command, *first, *models, *COMMANDS[command], "-o", out)
    on(5, monkeypatch)
    assert run(*asked).code == 0
    whole = out.read_bytes()
    assert json.loads(whole.split(b"\n")[0])["made_by"]["today"] == "2026-01-05"
    on(6, monkeypatch)
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:1]))
    assert run(*asked, "--resume").code == 0
    assert out.read_bytes() == whole
    refused = run(*asked, "--resume", "--date", "2026-01-06")
    assert refused.code == 2 and 'date was "" and is "2026-01-06"' in refused.stderr


def on(day: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Day(datetime.date):
        @classmethod
        def today(cls) -> datetime.date:
            return datetime.date(2026, 1, day)

    monkeypatch.setattr(conventions.datetime, "date", Day)


def test_a_resumed_run_keeps_the_date_and_a_new_one_has_todays(
    tmp_path: Path, pair: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    on(5, monkeypatch)
    assert run("batch", rows, "-o", out, *pair).code == 0
    whole, journal = out.read_bytes(), tmp_path / "out.jsonl.journal"
    head = journal.read_bytes().split(b"\n")[0]
    assert json.loads(head)["today"] == "2026-01-05"
    answers = [answer for line in whole.splitlines() for answer in json.loads(line)["credit"]["answers"]]
    assert {answer["date"] for answer in answers} == {"2026-01-05"}
    assert all(any("writes the date 2026-01-05" in note for note in answer["notes"]) for answer in answers)
    on(6, monkeypatch)
    journal.write_bytes(head + b"\n")  # killed before its first chunk was kept
    assert run("batch", rows, "-o", out, *pair, "--resume").code == 0
    assert out.read_bytes() == whole
    assert run("batch", rows, "-o", out, *pair, "--overwrite").code == 0
    assert out.read_bytes() != whole
    refused = run("batch", rows, "-o", out, *pair, "--resume", "--date", "2026-01-05")
    assert refused.code == 2 and "date was" in refused.stderr
