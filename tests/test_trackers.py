"""What trackers get from `CreditCallback`: figures of tokens, and one preference's tokens as a table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from credits import credit
from test_credit_callback import folder, training

from dpo_credit.align import diff
from dpo_credit.credit import Credit
from dpo_credit.trajectory.trackers import COLUMNS, _html, token_figures
from dpo_credit.trajectory.trajectory import Moment
from dpo_credit.trajectory.trajectory_file import parse

__all__ = ["folder"]
WATCHED = 3  # "row 103"
TABLE = "train/credit/tokens"


def kept(folder: Path) -> list[Moment]:
    """What the callback kept of the steps 2 and 4."""
    _, trajectory = parse((folder / "inside.jsonl").read_bytes(), "inside.jsonl")
    return list(trajectory.moments[1:])


def rows_of(moment: Moment, pair: tuple[Credit, Credit]) -> list[list[Any]]:
    """The table of a preference at a step, written out; no token of these answers is part of a character."""
    return [
        [moment.step, side, repr(text) if text else piece, reward, policy_logp, reference_logp]
        for side, answer in zip(("chosen", "rejected"), pair, strict=True)
        for text, piece, reward, policy_logp, reference_logp in zip(
            answer.columns()["text"],
            answer.columns()["piece"],
            answer.rewards,
            answer.policy_logps,
            answer.reference_logps,
            strict=True,
        )
    ]


def same(rows: list[list[Any]], expected: list[list[Any]]) -> None:
    """Hold a table to what the kept file has, where numbers stand with fewer digits."""
    assert [row[:3] for row in rows] == [row[:3] for row in expected]
    for row, wanted in zip(rows, expected, strict=True):
        assert row[3:] == pytest.approx(wanted[3:], abs=1e-4)


def test_figures_of_tokens_are_means_shares_and_extremes_over_all_rows() -> None:
    first = credit(["It", " is", " 5."], [0.5, -0.25, 1.0]), credit(["It", " is", " 6."], [0.25, -0.5, -2.0])
    second = credit(["Yes"], [0.25]), credit(["No"], [-0.125])
    untouched = [diff(*pair).pairs for pair in (first, second)]
    assert untouched == [((0, 0), (1, 1)), ()]
    assert token_figures(Moment(1, "policy", (first, second)), untouched) == {
        "chosen_per_token": (0.5 - 0.25 + 1.0 + 0.25) / 4,
        "chosen_lowest": -0.25,
        "chosen_punished": 1 / 4,
        "rejected_per_token": (0.25 - 0.5 - 2.0 - 0.125) / 4,
        "rejected_lowest": -2.0,
        "rejected_punished": 3 / 4,
        "echo": ((0.5 - 0.25) + (-0.25 + 0.5) + 0) / 2,
    }


def test_tensorboard_gets_the_figures_and_a_table_a_step(folder: Path) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    training(folder, report_to="tensorboard", watch=f"row {100 + WATCHED}").train()
    (logs,) = (folder / "dpo/runs").iterdir()
    events = event_accumulator.EventAccumulator(str(logs)).Reload()
    moments = kept(folder)
    for name, side, value in [
        ("chosen_lowest", 0, min),
        ("rejected_lowest", 1, min),
        ("rejected_per_token", 1, lambda rewards: sum(rewards) / len(rewards)),
    ]:
        expected = [value([reward for pair in moment.pairs for reward in pair[side].rewards]) for moment in moments]
        scalars = events.Scalars(f"train/credit/{name}")
        assert [scalar.step for scalar in scalars] == [2, 4]
        assert [scalar.value for scalar in scalars] == pytest.approx(expected, abs=1e-6)  # float32
    texts = events.Tensors(f"{TABLE}/text_summary")
    assert [text.step for text in texts] == [2, 4]
    for text, moment in zip(texts, moments, strict=True):
        html = text.tensor_proto.string_val[0].decode()
        assert html.startswith("<p>row 103: margin ")
        chosen, rejected = (read(table) for table in html.split("<h4>")[1:])
        sides = [["chosen", *row] for row in chosen] + [["rejected", *row] for row in rejected]
        same([[moment.step, *row] for row in sides], rounded(rows_of(moment, moment.pairs[WATCHED])))


def read(table: str) -> list[list[Any]]:
    """The rows of an answer's table in TensorBoard: token, reward, and the two log-probabilities."""
    rows = re.findall(r"<tr><td><code>(.*?)</code></td>(.*?)</tr>", table)
    cells = [(token, re.findall("<td>(.*?)</td>", numbers)) for token, numbers in rows]
    return [[unescape(token), *(float(numbers[n]) for n in (0, 2, 3))] for token, numbers in cells]


def rounded(rows: list[list[Any]]) -> list[list[Any]]:
    """Log-probabilities as TensorBoard shows them."""
    return [[*row[:4], *(round(value, 3) for value in row[4:])] for row in rows]


def test_tensorboard_shows_a_hostile_answer_as_it_stands() -> None:
    plugin_util = pytest.importorskip("tensorboard.plugin_util")
    pieces = ["<script>alert(1)</script>", "|", "**bold**", "\n\n", "# 1", "&amp;", "`"]
    chosen = replace(credit(pieces, [1.0, -0.5, 0.0, 0.25, 0.125, -1.0, 0.5], end=0.5), id="<b>|*row*")
    html = _html((chosen, credit(["no"], [0.5])))
    assert plugin_util.markdown_to_safe_html(html).replace("\n", "") == html  # new lines between blocks
    assert [row[0] for row in read(html.split("<h4>")[1])] == [*map(repr, pieces), "</s>"]
    assert "░" * 10 in html and "█" * 10 in html and "█" * 11 not in html


def test_a_reference_as_policy_has_no_bars() -> None:
    nothing = credit(["no"], [0.0])
    assert "<td>+0.0000</td><td></td>" in _html((nothing, nothing))


def test_weights_and_biases_gets_the_table_offline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="the package wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(folder))
    monkeypatch.setenv("WANDB_SILENT", "true")
    training(folder, report_to="wandb").train()
    import wandb

    wandb.finish()
    (run,) = (folder / "wandb").glob("offline-run-*")
    tables = [json.loads(path.read_text()) for path in run.glob(f"files/media/table/{TABLE}_*.json")]
    assert all(tuple(table["columns"]) == COLUMNS for table in tables)
    for rows, moment in zip(sorted(table["data"] for table in tables), kept(folder), strict=True):
        same(rows, rows_of(moment, moment.pairs[0]))


@pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes")  # mlflow 3.17 with pandas 3
def test_mlflow_gets_the_figures_and_a_table_that_grows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the package mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (folder / "mlruns").as_uri())
    training(folder, report_to="mlflow").train()
    (run,) = mlflow.search_runs(output_format="list")
    assert run.data.metrics["credit/rejected_lowest"] == pytest.approx(
        min(reward for pair in kept(folder)[-1].pairs for reward in pair[1].rewards)
    )
    table = mlflow.load_table("credit/tokens.json", run_ids=[run.info.run_id])
    same(
        table[list(COLUMNS)].values.tolist(),
        [row for moment in kept(folder) for row in rows_of(moment, moment.pairs[0])],
    )


def test_trackio_gets_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio = pytest.importorskip("trackio", reason="the package trackio is not installed")
    logged: list[dict[str, Any]] = []
    monkeypatch.setattr(trackio, "init", lambda **options: None)  # which starts a server
    monkeypatch.setattr(trackio, "finish", lambda: None)
    monkeypatch.setattr(trackio, "log", logged.append)
    training(folder, report_to="trackio").train()
    tables = [row for row in logged if TABLE in row]
    assert [row["train/global_step"] for row in tables] == [2, 4]
    for row, moment in zip(tables, kept(folder), strict=True):
        same([[line[name] for name in COLUMNS] for line in row[TABLE].data], rows_of(moment, moment.pairs[0]))


def test_no_tracker_is_imported_unless_a_training_reports_to_it() -> None:
    script = "import sys, dpo_credit; dpo_credit.CreditCallback; print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = ended.stdout.split()
    assert "dpo_credit.trajectory.trackers" in modules
    assert not {"tensorboard", "wandb", "trackio", "mlflow"} & set(modules)
