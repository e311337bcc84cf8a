"""A side needs no torch: one that looks numbers up is scored, compared, cached, resumed, reported and localised on."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from program import run
from table import EVEN, OTHER, Table

from dpo_credit.credit import CreditError
from dpo_credit.models.side import Distributions, Module, TopK, require

GAIN = EVEN - OTHER  # what an even digit earns at beta 1, nats


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands wrote, run in a process of their own."""
    folder = tmp_path_factory.mktemp("table")
    program = Path(__file__).with_name("table.py")
    ran = subprocess.run([sys.executable, program, folder], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "loaded"
    return folder


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_table_is_scored_by_eq_11(folder: Path) -> None:
    scored = read(folder / "score.json")
    assert scored["credit"]["answers"][0]["tokens"] == [*" so 12", "<end>"]
    assert scored["credit"]["answers"][0]["rewards"] == pytest.approx([0, 0, 0, 0, 0, GAIN, 0])
    assert scored["credit"]["margin"] == pytest.approx(GAIN)
    assert (scored["credit"]["answers"][0]["policy"], scored["credit"]["answers"][0]["dtype"]) == ("table", "float64")


def test_a_table_is_compared_edit_by_edit(folder: Path) -> None:
    compared = read(folder / "diff.json")
    assert sum(edit["delta"] for edit in compared["credit"]["edits"]) == pytest.approx(compared["credit"]["margin"])
    assert "<html" in (folder / "diff.html").read_text()


def test_a_table_has_a_journal_and_a_cache(folder: Path) -> None:
    lines = (folder / "scored.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"post {n}" for n in range(4)]
    head = json.loads((folder / "scored.jsonl.journal").read_text().splitlines()[0])
    assert head["policy's weights"] == Table("table", {digit: EVEN for digit in "02468"}).fingerprint()
    assert len(list((folder / "cache").glob("*-float64.sqlite"))) == 2


def test_a_table_is_reported_on_and_localised_without_entropy(folder: Path) -> None:
    assert read(folder / "report.json")["rows"] == 4
    measured = read(folder / "localise.json")
    (reward,) = (finding for finding in measured["findings"] if finding["name"] == "-reward")
    assert math.isclose(measured["preference"]["accuracy"]["value"], 1.0)
    assert "top_1" in reward
    assert not [finding for finding in measured["findings"] if "entropy" in finding["name"]]
    assert any("entropy is no baseline" in note for note in measured["notes"])


@pytest.mark.parametrize("capability", [TopK, Distributions, Module])
def test_what_a_side_cannot_do_is_one_clear_error(capability: type) -> None:
    with pytest.raises(CreditError, match=r"^--top-k asks more of flat than it can do: it .*\. Name a model that runs"):
        require(Table("flat", {}), capability, "--top-k")


def test_asking_too_much_of_a_table_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from table import pair, rows

    monkeypatch.setattr("dpo_credit.models.loading.load_pair", pair)
    (tmp_path / "row.json").write_text(json.dumps(rows()[0]))
    for option, what in (("--top-k=3", "--top-k"), ("--show=q", "--show")):
        ended = run("score", tmp_path / "row.json", option)
        assert ended.code == 2 and ended.stderr.splitlines()[-1].startswith(f"dpo-credit: {what} asks more of table")
