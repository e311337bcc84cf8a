"""`dpo-credit mdp`: what it shows and writes, of one pair, of many and over a training; and its example world."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from program import run

from dpo_credit.demo import gridworld
from dpo_credit.demo.gridworld_evaluate import HERE, measure
from dpo_credit.mdp.policies import load_mlp

EXAMPLES = Path(__file__).parents[1] / "examples"
ROWS = EXAMPLES / "grid.jsonl"


def test_one_pair_is_shown_step_by_step(tmp_path: Path) -> None:
    ended = run("mdp", ROWS, "--row", "1", "-o", tmp_path / "out.jsonl", "--html", tmp_path / "out.html", NO_COLOR="1")
    (record,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    rejected = record["rejected"]
    lowest = min(range(len(rejected["credits"])), key=rejected["credits"].__getitem__)
    name = record["action_names"][rejected["actions"][lowest]]
    assert ended.code == 0 and f"{lowest}:{name}▼▼" in ended.stdout
    assert "P(chosen is preferred) = " in ended.stdout
    page = (tmp_path / "out.html").read_text()
    steps = len(record["chosen"]["actions"]) + len(rejected["actions"])
    assert page.count('src="data:image/png;base64,') == steps and "<script" not in page


def test_many_pairs_are_listed_and_counted(tmp_path: Path) -> None:
    ended = run("mdp", ROWS, "-o", tmp_path / "out.jsonl", "--json", tmp_path / "out.json", "--png", tmp_path / "o.svg")
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    figures = json.loads((tmp_path / "out.json").read_text())
    margins = [record["margin"] for record in records]
    assert ended.code == 0 and f"{len(records)} pairs" in ended.stdout
    assert figures["accuracy"]["hits"] == sum(margin > 0 for margin in margins)
    assert figures["margin"]["mean"] == pytest.approx(sum(margins) / len(margins))
    assert "the figure is of detour-0" in ended.stderr and (tmp_path / "o.svg").read_text().startswith("<?xml")


def test_stdin_is_read_and_bad_rows_are_set_aside() -> None:
    good = ROWS.read_bytes().splitlines(keepends=True)[0]
    ended = run("mdp", "-", "-o", "-", stdin=good + b'{"id": "x", "chosen": {}}\n3\n')
    assert ended.code == 3 and json.loads(ended.stdout)["id"] == "detour-0"
    assert "x: no rejected" in ended.stderr and "holds a JSON number; a row is an object with chosen" in ended.stderr
    assert "completion" not in ended.stderr and "Traceback" not in ended.stderr


def test_a_training_is_drawn_as_trajectory_draws_it_and_kept(tmp_path: Path) -> None:
    grid = HERE / "step-*.safetensors"
    arguments = ["mdp", ROWS, "--checkpoints", grid, "--reference", HERE / "reference.safetensors"]
    ended = run(
        *arguments, "-o", tmp_path / "kept.jsonl", "--json", tmp_path / "out.json", "--html", tmp_path / "o.html"
    )
    known = json.loads((tmp_path / "out.json").read_text())["checkpoints"]
    assert ended.code == 0 and [point["step"] for point in known] == [0, 30, 100, 300, 1000, 2000]
    assert known[-1]["margin"]["mean"] > known[0]["margin"]["mean"] and "when credit was learnt" in ended.stdout
    learnt = json.loads((tmp_path / "out.json").read_text())["learnt"]
    assert {token["side"] for token in learnt} == {"chosen", "rejected"}  # a step's state may differ: none is both's
    again = run("trajectory", tmp_path / "kept.jsonl", "--json", "-")
    assert json.loads(again.stdout)["checkpoints"][-1] == known[-1]


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    for arguments, said in {
        (ROWS, "--alpha", "0"): "alpha is 0.0",
        (ROWS, "--policy", "none.safetensors"): "does not exist",
        (ROWS, "--reference-weights", "x"): "go with --reference",
        (ROWS, "--checkpoints", "none-*"): "names no file",
        (ROWS, "--checkpoints", HERE / "step-*", "-o", tmp_path / "k.jsonl"): "kept from its reference on",
        (ROWS, "--row", "99"): "has no row",
        (tmp_path / "none.jsonl",): "does not exist",
        (ROWS, "-o", "-", "--json", "-"): "both be stdout",
    }.items():
        ended = run("mdp", *arguments)
        assert ended.code == 2 and said in ended.stderr + ended.stdout and "Traceback" not in ended.stderr


def test_arrays_and_rows_are_scored_without_torch(tmp_path: Path) -> None:
    """Nor any plotting or pictures, where none are asked for."""
    shape = (1, 3, 6)
    np.savez(
        tmp_path / "a.npz",
        **{f"{side}_observations": np.zeros(shape) for side in ("chosen", "rejected")},
        **{f"{side}_actions": np.zeros(shape[:2], int) for side in ("chosen", "rejected")},
    )
    code = (
        "import sys; from dpo_credit.cli.app import main\ntry: main()\nexcept SystemExit as e: assert not e.code\n"
        "print({'torch', 'transformers', 'matplotlib', 'PIL'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, "mdp", tmp_path / "a.npz", ROWS]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert ended.stdout.splitlines()[-1] == "set()"


def test_the_grids_solution_is_one() -> None:
    """Its policy sums to 1, an optimal step costs no hard advantage, and a step back costs two."""
    solved = gridworld.solved()
    for cell in gridworld.STARTS:
        assert np.exp(solved.soft[cell] / gridworld.ALPHA).sum() == pytest.approx(1)
        assert solved.hard[cell].max() == pytest.approx(0) and solved.hard[cell].min() >= 2 * gridworld.STEP - 1e-9
    assert solved.steps[gridworld.CORNER] == 12  # up 6 and right 6, through both gaps: counted on the map


def test_the_credit_is_the_advantage_and_finds_the_detour() -> None:
    """What the guide reports, with some room: a correlation of .976 and an AUROC of .999."""
    figures = measure(load_mlp(HERE / "policy.safetensors"), load_mlp(HERE / "reference.safetensors"))
    own, cloned = figures["credit, CPL"], figures["the same for the cloned behaviour"]
    assert own["r, soft advantage"] > 0.95 > 0.5 > cloned["r, soft advantage"]
    assert own["AUROC, one detour"] > 0.99 > 0.95 > cloned["AUROC, one detour"]
