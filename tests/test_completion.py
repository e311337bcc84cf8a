"""The shells' completion: what an option or an argument completes to, in each shell's own words."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dpo_credit.models.published import published

PROGRAM = "import sys; sys.argv = ['dpo-credit']; from dpo_credit.cli.app import main; main()"
ASKS = {
    "bash": lambda line: {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))},
    "zsh": lambda line: {"_TYPER_COMPLETE_ARGS": line},
    "fish": lambda line: {
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_WORD_TO_COMPLETE": line.rpartition(" ")[2],
    },
}


def completed(shell: str, line: str) -> str:
    asked = {"_DPO_CREDIT_COMPLETE": f"complete_{shell}", **ASKS[shell](line)}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ, **asked}, capture_output=True, text=True
    )  # fmt: skip
    assert ended.stderr == "", ended.stderr
    return ended.stdout


@pytest.mark.parametrize("shell", ASKS)
def test_public_pairs_are_completed(shell: str) -> None:
    names = {pair.name for pair in published()}
    for line in ("dpo-credit score --pair ", "dpo-credit pairs "):
        told = completed(shell, line)
        assert all(name in told for name in names), told
    told = completed(shell, "dpo-credit batch rows.jsonl --pair tulu-3-8")
    assert "tulu-3-8b" in told and "zephyr" not in told


@pytest.mark.parametrize("shell", ASKS)
def test_commands_options_and_choices_are_completed(shell: str) -> None:
    assert "trajectory" in completed(shell, "dpo-credit tra")
    assert "--tokens-per-batch" in completed(shell, "dpo-credit score --pair no-such-pair --tok")
    assert "bfloat16" in completed(shell, "dpo-credit score --dtype bf")
