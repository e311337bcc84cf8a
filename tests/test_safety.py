"""What holds for every command: no network and no pickles unless they are asked for; and a power cut costs no row."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from program import run
from test_journal import files, write
from tiny import language_model, save, tokenizer

from dpo_credit.cli.app import app
from dpo_credit.rows.kept import Kept

GROUPS = {"image", "refine"}  # whose commands have tests of their own
COMMANDS = [name for name in typer.main.get_command(app).commands if name not in GROUPS]  # type: ignore[attr-defined]
DECOYS = (
    "pytorch_model.bin",
    "adapter_model.bin",
    "training_args.bin",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
)
RECIPE = {
    "model": "policy",
    "data": "rows.jsonl",
    "output": "trained",
    "beta": 0.1,
    "seed": 1,
    "max_steps": 1,
    "batch_size": 1,
    "max_length": 128,
    "learning_rate": 0.001,
}


class Evil:
    """What writes a file when it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.ran,)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair, rows, scored rows and a recipe; beside each model pickles that would write the file `ran`."""
    folder = tmp_path_factory.mktemp("safety")
    for seed, side in enumerate(("policy", "reference")):
        save(language_model(seed=seed), folder / side, tokenizer())
        for name in DECOYS:
            torch.save(Evil(folder / "ran"), folder / side / name)
    rows = [
        {"id": n, "prompt": f"Rent is {n} dollars.\n\nTL;DR:", "chosen": f" It is {n}.", "rejected": f" It is {n + 1}."}
        for n in range(3)
    ]
    spans = [{"start": 7, "end": 8, "text": str(n + 1), "kind": "number"} for n in range(3)]
    lines = [json.dumps({**row, "labels": [span]}) + "\n" for row, span in zip(rows, spans, strict=True)]
    (folder / "rows.jsonl").write_text("".join(lines))
    (folder / "row.json").write_text(json.dumps(rows[0]))
    (folder / "dpo.yaml").write_text(json.dumps(RECIPE))
    pair = ("--policy", folder / "policy", "--reference", folder / "reference", "--beta", "0.1", "--device", "cpu")
    assert run("batch", folder / "rows.jsonl", *pair, "-o", folder / "scored.jsonl").code == 0
    return folder


def arguments(command: str) -> list[str]:
    """A run of a command with all that it does; a command that is not named here has no test."""
    pair = ["--policy", "policy", "--reference", "reference", "--beta", "0.1", "--device", "cpu"]
    return {
        "score": ["row.json", *pair, "--html", "page.html"],
        "diff": ["row.json", *pair],
        "compare": ["rows.jsonl", *pair, "--beta", "0.5", "--html", "page.html"],
        "search": ["rows.jsonl", *pair, "--beams", "1", "--max-new-tokens", "4", "--judge", "reward"],
        "steer": ["row.json", *pair, "--max-new-tokens", "4"],
        "batch": ["rows.jsonl", *pair, "-o", "out.jsonl", "--cache", "cache"],
        "render": ["scored.jsonl", "--html", "page.html"],
        "report": ["scored.jsonl"],
        "filter": ["scored.jsonl", "--smallest", "50%", "-o", "hard.parquet"],
        "export": ["scored.jsonl", "--to", "trl-reference", "-o", "exported/"],
        "verify": ["rows.jsonl", *pair],
        "inspect": ["row.json", *pair, "--full"],
        "pairs": [],
        "localise": ["rows.jsonl", *pair],
        "train": ["dpo", "--config", "dpo.yaml"],
        "trajectory": ["policy", "rows.jsonl", *pair[2:], "--samples", "2", "--max-new-tokens", "4"],
        "mdp": [str(Path(__file__).parents[1] / "examples" / "grid.jsonl"), "--limit", "2", "--html", "page.html"],
        "corrupt": ["rows.jsonl", "-o", "wrong.jsonl"],
    }[command]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Where connections were tried to, names looked up and packets sent, this machine's own among them."""
    asked: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError(f"asks for the network: {arguments}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)  # free to ask, but nobody should
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)  # the test below says why
    return asked


@pytest.mark.slow
@pytest.mark.parametrize("command", ["verify", "train"])
def test_the_program_switches_off_what_its_libraries_report_about_themselves(
    command: str, folder: Path, tmp_path: Path
) -> None:
    """TRL's trainers ask the hub's client to, which reads the environment once: when it is imported."""
    program = f"""
import sys
from dpo_credit.cli.app import main
sys.argv = {["dpo-credit", command, *arguments(command)]!r}
try:
    main()
finally:
    print("silent:", "trl" in sys.modules, sys.modules["huggingface_hub.constants"].HF_HUB_DISABLE_TELEMETRY)
"""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    names = ("HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_OFFLINE")
    bare = {name: value for name, value in os.environ.items() if name not in names}
    bare["PYTHONPATH"] = str(Path(__file__).parents[1])
    ended = subprocess.run([sys.executable, "-c", program], env=bare, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout.splitlines()[-1] == "silent: True True", ended.stderr


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_asks_the_network_or_unpickles_anything(
    command: str, folder: Path, asked: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch.load is called"))
    ended = run(command, *arguments(command))
    assert ended.code == 0, ended.stderr
    assert asked == []
    assert not (folder / "ran").exists()


def test_what_watches_for_both_can_fail(folder: Path, asked: list[object], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="asks for the network"):
        socket.create_connection(("127.0.0.1", 9))
    assert asked
    torch.save(Evil(tmp_path / "ran"), tmp_path / "it.bin")
    torch.load(tmp_path / "it.bin", weights_only=False)
    pickle.loads(pickle.dumps(Evil(tmp_path / "too")))
    assert (tmp_path / "ran").exists() and (tmp_path / "too").exists()
    assert (folder / "policy" / DECOYS[0]).is_file()


# Power


@contextmanager
def power_cuts(folder: Path, survives: Callable[[Path], bool]) -> Iterator[list[dict[str, bytes]]]:
    """What a disk would hold if power failed at each sync: of each file what was synced before, and nothing since.

    Args:
        folder: whose files.
        survives: files of which, unluckily, all that was written is on the disk already, synced or not.
    """
    synced: dict[int, bytes] = {}
    left: list[dict[str, bytes]] = []
    fsync = os.fsync

    def image() -> dict[str, bytes]:
        return {
            path.name: path.read_bytes() if survives(path) else synced.get(path.stat().st_ino, b"")
            for path in folder.iterdir()
        }

    def watched(handle: int) -> None:
        left.append(image())
        fsync(handle)
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode):
            path = next(path for path in folder.iterdir() if path.stat().st_ino == status.st_ino)
            synced[status.st_ino] = path.read_bytes()
        left.append(image())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", watched)
        yield left
    left.append(image())


SURVIVES: dict[str, Callable[[Path], bool]] = {
    "nothing unsynced": lambda _: False,
    "the journal first": lambda path: path.name.endswith("journal"),
    "the rows first": lambda path: not path.name.endswith("journal"),
}


def restore(image: dict[str, bytes], folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, content in image.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("survives", SURVIVES)
@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.gz"])
def test_after_a_power_cut_at_any_sync_a_batch_resumes_to_the_same_bytes(
    name: str, survives: str, tmp_path: Path
) -> None:
    output = tmp_path / "whole" / name
    output.parent.mkdir()
    with power_cuts(output.parent, SURVIVES[survives]) as left:
        write(output)
    expected = files(output)
    assert len(left) > 20
    for number, image in enumerate(left):
        again = tmp_path / str(number) / name
        restore(image, again.parent)
        write(again, "resume")
        assert files(again) == expected, number


def test_a_line_that_a_kept_file_added_is_on_the_disk(tmp_path: Path) -> None:
    with power_cuts(tmp_path, lambda _: False) as left, Kept(tmp_path / "kept.jsonl", "new") as kept:
        kept.begin({"head": 1}, bytes, b"")
        for n in range(3):
            before = (tmp_path / "kept.jsonl").read_bytes()
            kept.add(f'{{"n": {n}}}\n')
            assert left[-1]["kept.jsonl"] == before + f'{{"n": {n}}}\n'.encode()


def test_a_sync_that_is_left_out_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpo_credit.rows.journal.append", unsynced)
    with pytest.raises(AssertionError):
        test_after_a_power_cut_at_any_sync_a_batch_resumes_to_the_same_bytes("o.jsonl", "the journal first", tmp_path)


def unsynced(handle: int, _: Path, data: bytes) -> None:
    os.lseek(handle, 0, os.SEEK_END)
    os.write(handle, data)
