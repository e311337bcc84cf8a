"""A small training to start from, and one that was run: recipes, rows and models on disk."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from program import run
from safetensors.torch import load_file
from tiny import language_model, save, tokenizer

EXAMPLES = Path(__file__).parents[1] / "examples"
ROWS = [
    {"prompt": f"Rent is {n} dollars a month.\n\nTL;DR:", "chosen": f" It is {n}.", "rejected": f" It is {n + 1} now."}
    for n in range(100, 112)
]
# the program, whose steps leave time for a signal to arrive between two of them, however busy the machine is
UNHURRIED = """
import time
from transformers import Trainer
from dpo_credit.cli.app import main

step = Trainer.training_step
def unhurried(*arguments, **options):
    time.sleep(2)
    return step(*arguments, **options)
Trainer.training_step = unhurried
main()
"""
SETTINGS = "learning_rate: 0.001\nbatch_size: 2\nlog_steps: 1\nsave_steps: 2\nmax_steps: 6\nmax_length: 128\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model whose head is its own, twelve preferences and a recipe that takes six steps of two."""
    folder = tmp_path_factory.mktemp("made")
    save(language_model(tie_word_embeddings=False), folder / "sft", tokenizer())
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "dpo.yaml").write_text(f"model: sft\ndata: rows.jsonl\noutput: dpo\nbeta: 0.25\n{SETTINGS}")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `made` to work in."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def run_once(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`made` after its recipe was run, in `dpo`. Read only."""
    folder = shutil.copytree(made, tmp_path_factory.mktemp("trained") / "folder")
    with contextlib.chdir(folder):
        train()
    return folder


@pytest.fixture
def trained(run_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `run_once` to work in."""
    shutil.copytree(run_once, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def train(*arguments: str, method: str = "dpo", config: str = "dpo.yaml") -> object:
    ended = run("train", method, "--config", config, *arguments)
    assert ended.code == 0, ended.stderr
    return ended


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_file(directory / "model.safetensors")
