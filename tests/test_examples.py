"""The examples that the README and the guide name run on the embedded pair."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from program import run

EXAMPLES = Path(__file__).parents[1] / "examples"
GUIDE = "".join(page.read_text(encoding="utf-8") for page in (EXAMPLES / "guide").glob("*.md"))
ROWS = sorted([*EXAMPLES.glob("*.json"), *EXAMPLES.glob("*.txt")])


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.name)
def test_every_example_scores(path: Path):
    ended = run("score", path, "--json", "-", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    assert json.loads(ended.stdout)["id"]


def test_the_guide_names_every_example():
    files = {path.name for path in EXAMPLES.iterdir() if path.is_file()} - {"pictures.sh"}
    assert files - set(re.findall(r"\]\(\.\./([\w.]+)\)", GUIDE)) == set()


@pytest.mark.slow  # a program of its own imports torch and scores with as many threads as there are
@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_the_shell_script_scores_a_file_and_filters_it(tmp_path: Path):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    posts = tmp_path / "posts.jsonl"
    posts.write_bytes((EXAMPLES / "posts.jsonl").read_bytes() + b'{"prompt": "no answer"}\n')
    ended = subprocess.run(
        [EXAMPLES / "batch.sh", posts, tmp_path / "scored.jsonl", "--device", "cpu", "--beta", "0.2"],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "line 13: posts:13: a prompt but no answer" in ended.stderr
    rows = [json.loads(line) for line in (tmp_path / "scored.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 12 and rows[0]["credit"]["answers"][0]["beta"] == 0.2
    shown = [json.loads(line) for line in ended.stdout.splitlines()]
    margins = [row["credit"]["margin"] for row in rows]
    assert [row["margin"] for row in shown] == sorted(margin for margin in margins if margin < 0)


def test_the_first_example_blames_the_two_wrong_words():
    ended = run("score", EXAMPLES / "vet.json", "--json", "-", "--device", "cpu")
    record = json.loads(ended.stdout)
    assert record["credit"]["margin"] > 0
    _, rejected = record["credit"]["answers"]
    words = [(found[0].strip(), found.span()) for found in re.finditer(r"\s*\S+", rejected["answer"])]
    rewards = {
        word: sum(r for (a, b), r in zip(rejected["spans"], rejected["rewards"], strict=True) if start <= a < b <= end)
        for word, (start, end) in words
    }
    assert set(sorted(rewards, key=rewards.__getitem__)[:2]) == {"nine", "operate."}


def test_good_and_bad_make_a_diff():
    ended = run("diff", EXAMPLES / "good.txt", EXAMPLES / "bad.txt", "--rows", "0", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    assert "⟦" in ended.stdout and "echo on the" in ended.stdout


@pytest.mark.parametrize("columns", [50, 80, 119, 120, 160])
def test_what_the_models_would_rather_say_shows_at_any_width(columns: int):
    ended = run("score", EXAMPLES / "roommate.json", "--top-k", "2", "--device", "cpu", COLUMNS=str(columns))
    lines = ended.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    said = " ".join(" ".join(line.split()) for line in lines)
    assert "policy would say" in said and "reference would" in said
    assert "office" in said  # where the answer says kitchen
