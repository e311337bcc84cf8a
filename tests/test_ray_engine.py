"""Batches on a real local Ray: the same rows as in one process, also when a worker dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from program import run

pytest.importorskip("ray")
pytestmark = pytest.mark.slow  # each run starts a cluster

# a process of its own: Ray asks the network for this machine's address, which the tests' own process refuses
DYING = """
import os, sys
from functools import partial
from pathlib import Path
from dpo_credit import Scorer, load_pair
from dpo_credit.batch.job import Job
from dpo_credit.batch.run import run
from dpo_credit.rows.journal import Journal
from dpo_credit.batch.ray import Ray
from dpo_credit.rows.sources import Input

posts, output, policy, reference = sys.argv[1:]

def make(died):
    scorer = Scorer(load_pair(policy, reference))
    begin = scorer.begin
    def dies_once(rows, encoded):
        if any(example.prompt == "How long, 20?" for row in rows for example in row) and not Path(died).exists():
            Path(died).write_text("")
            os._exit(1)
        return begin(rows, encoded)
    scorer.begin = dies_once
    return scorer

job = Job((Input(posts),), chunk_rows=4)
engine = Ray(partial(make, output + ".died"), 2, 0)
with Journal(Path(output)) as journal:
    journal.begin({})
    counts = [progress.counts.rows for progress in run(job, engine, journal)]
Path(output + ".counts").write_text(repr(counts))  # stdout is Ray's, which talks of the dead worker
"""


@pytest.fixture
def posts(tmp_path: Path) -> Path:
    rows = [{"prompt": f"How long, {n}?", "chosen": f" {n} days", "rejected": " a year"} for n in range(60)]
    lines = [json.dumps(row) for row in rows]
    lines[30] = "{"
    path = tmp_path / "posts.jsonl"
    path.write_text("\n".join(lines))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(ours: list[dict], theirs: list[dict]) -> None:
    assert [row["id"] for row in ours] == [row["id"] for row in theirs]
    for one, other in zip(ours, theirs, strict=True):
        # packs of another make-up: float32 sums in another order
        assert one["credit"]["margin"] == pytest.approx(other["credit"]["margin"], abs=1e-5)
        assert one["credit"]["answers"][0]["tokens"] == other["credit"]["answers"][0]["tokens"]


def test_the_rows_are_those_of_one_process(posts: Path, tiny_pair_dirs: tuple[Path, Path]) -> None:
    pair = ("--policy", str(tiny_pair_dirs[0]), "--reference", str(tiny_pair_dirs[1]), "--device", "cpu")
    alone, spread = posts.parent / "alone.jsonl", posts.parent / "spread.jsonl"
    run("batch", posts, "-o", alone, *pair)
    command = [sys.executable, "-m", "dpo_credit", "batch", str(posts), "-o", str(spread), *pair]
    ended = subprocess.run([*command, "--engine", "ray", "--workers", "2"], capture_output=True, text=True, timeout=300)
    assert ended.returncode == 3, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("1 rows could not be scored")
    same(read(spread), read(alone))
    assert read(spread.with_name("spread.jsonl.errors.jsonl")) == read(alone.with_name("alone.jsonl.errors.jsonl"))
    mixed = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=300)
    assert (mixed.returncode, mixed.stderr.count("begun with other settings: engine")) == (2, 1)
    many = subprocess.run(
        [*command, "--overwrite", "--engine", "ray", "--workers", "999"], capture_output=True, text=True
    )
    assert many.returncode == 2
    assert "dpo-credit: 999 workers need 999 CPUs and the cluster has " in many.stderr


def test_a_worker_that_dies_has_its_rows_scored_again_and_none_twice(
    posts: Path, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    output = posts.parent / "out.jsonl"
    command = [sys.executable, "-c", DYING, str(posts), str(output), *map(str, tiny_pair_dirs)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert (posts.parent / "out.jsonl.died").exists()
    assert (posts.parent / "out.jsonl.counts").read_text() == repr(list(range(0, 64, 4)))  # each chunk once, in order
    alone = posts.parent / "alone.jsonl"
    pair = ("--policy", str(tiny_pair_dirs[0]), "--reference", str(tiny_pair_dirs[1]), "--device", "cpu")
    run("batch", posts, "-o", alone, *pair)
    same(read(output), read(alone))
