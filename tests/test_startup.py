"""What a command imports before it shows anything: what it uses, and threads that sleep while they wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# Packages of other commands and views; each takes a tenth of a second or more to import. transformers itself imports
# scipy's optimisers, torch's compiler and its distributed tensors with any model: those are not in our hands.
UNUSED = {
    *(
        "sklearn",
        "matplotlib",
        "datasets",
        "pandas",
        "pyarrow",
        "trl",
        "ray",
        "gguf",
        "lemminflect",
        "openai",
        "captum",
        "diffusers",
    ),
    *("scipy.stats", "playwright", "IPython"),
}
WATCHED = """
import json, os, sys

class Watch:
    at_torch = None

    def find_spec(self, name, *_):
        if name == "torch" and self.at_torch is None:
            Watch.at_torch = os.environ.get("OMP_WAIT_POLICY")

sys.meta_path.insert(0, Watch())
from dpo_credit.cli.app import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print("\\n" + json.dumps({"modules": sorted(sys.modules), "waiting": Watch.at_torch}))
"""


def watched(*arguments: str | Path, **environment: str) -> tuple[set[str], str | None]:
    """The modules that a run of the program has imported, and how threads were to wait when it imported torch."""
    kept = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    command = [sys.executable, "-c", WATCHED, *map(str, arguments), "--pair", "embedded", "--device", "cpu"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**kept, **environment}, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    return set(told["modules"]), told["waiting"]


@pytest.mark.parametrize(
    ("arguments", "own"),
    [
        (("score", EXAMPLES / "vet.json"), {"peft"}),
        (("search", EXAMPLES / "travel.json", "--beams", "1,2", "--max-new-tokens", "2"), set()),
        (("steer", EXAMPLES / "travel.json", "--max-new-tokens", "2"), set()),
    ],
    ids=["score", "search", "steer"],
)
def test_a_command_imports_what_it_uses(arguments: tuple[str | Path, ...], own: set[str]) -> None:
    modules, waiting = watched(*arguments)
    assert "torch" in modules and modules & (UNUSED | own) == set()
    assert waiting == "passive"


def test_how_threads_wait_is_left_to_who_said_so() -> None:
    assert watched("score", EXAMPLES / "vet.json", OMP_WAIT_POLICY="active")[1] == "active"
