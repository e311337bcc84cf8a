"""`localise --first-error`: against figures counted by hand, and the command on rows that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import credits
import numpy as np
import pytest
from jsonschema import Draft202012Validator
from program import run

from dpo_credit.credit import CreditError, Example
from dpo_credit.localise.first_error import Options, f1, measure, named, step_scores, swept
from dpo_credit.localise.schema import json_schema
from dpo_credit.localise.solutions import Solution, solutions_of
from dpo_credit.localise.stepwise import StepScore
from dpo_credit.rows.reader import Record


@pytest.mark.parametrize(("how", "scores"), [("sum", [3, 9]), ("mean", [1.5, 3]), ("lowest", [2, 5])])
def test_a_steps_score_is_its_tokens_sum_mean_or_highest_suspicion(how: StepScore, scores: list[float]) -> None:
    made = credits.credit(["a", " b\n\n", "c", " d", " e"], [0.0] * 5, end=0.0)
    assert step_scores(made, [0, 5], [1, 2, 5, 1, 3, 99], how).tolist() == scores


def test_the_first_step_that_reaches_the_threshold_is_named() -> None:
    assert [named(np.array([1.0, 3.0, 5.0]), at) for at in (0.0, 2.0, 3.0, 6.0)] == [0, 1, 1, -1]


def test_f1_is_the_harmonic_mean_of_both_halves() -> None:
    assert f1(np.array([0.5, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])).tolist() == [pytest.approx(2 / 3), 0.0, 0.0]


def test_the_swept_threshold_is_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores = [rng.integers(0, 9, rng.integers(1, 6)).astype(float) for _ in range(12)]
        labels = np.array([rng.integers(-1, len(own)) if n > 1 else n - 1 for n, own in enumerate(scores)])

        def at(threshold: float, scores: list[np.ndarray] = scores, labels: np.ndarray = labels) -> float:
            right = np.array([named(own, threshold) for own in scores]) == labels
            wrong, whole = right[labels >= 0].mean(), right[labels < 0].mean()
            return 2 * wrong * whole / (wrong + whole) if wrong + whole else 0.0

        threshold, best = swept(scores, labels)
        assert best == pytest.approx(at(threshold), abs=1e-12)  # float64 quotients
        assert best == pytest.approx(max(map(at, np.arange(-0.5, 10, 0.5))), abs=1e-12)


@pytest.mark.usefixtures("few_resamples")
def test_the_figures_are_those_counted_by_hand() -> None:
    made = credits.credit(["a\n\n", "b\n\n", "c"], [0, 0, 0])
    wrong = {"-reward": [0.0, 5.0, 9.0], "-log pi": [3.0, 1.0, 0.0]}  # surprise names step 0, whatever the threshold
    right = {"-reward": [0.0, 1.0, 2.0], "-log pi": [0.0, 0.0, 0.0]}
    labels = [1, -1] * 10
    solutions = [Solution(f"{n}", Example(f"P{n}", "a\n\nb\n\nc"), (0, 3, 6), label) for n, label in enumerate(labels)]
    scores = [{name: np.array(own) for name, own in (wrong if label >= 0 else right).items()} for label in labels]
    rng = np.random.default_rng(0)
    report = measure(solutions, [made] * 20, scores, Options(tune_on=0.4), rng=rng)
    assert (report.tuned_on, report.wrong + report.right, report.best) == (8, 12, "-log pi")
    ours, theirs = report.findings
    # thresholds between the right ones' highest step, 2, and the first wrong step, 5
    assert (ours.threshold, ours.wrong_accuracy.value, ours.right_accuracy.value, ours.f1.value) == (3.5, 1, 1, 1)
    assert (theirs.wrong_accuracy.value, theirs.f1.value, theirs.swept_f1) == (0, 0, 0)
    assert ours.gain is None and theirs.gain is not None and theirs.gain.value == 1
    assert [case.named["-reward"] for case in report.cases] == labels
    with pytest.raises(CreditError, match=r"0 right solutions to choose thresholds on"):
        measure(solutions[::2], [made] * 10, scores[::2], Options(), rng=rng)


ROW: dict[str, Any] = {"id": "r", "problem": "How many?", "steps": ["Four of us.", "One left: two."], "label": 1}


def test_steps_are_joined_by_blank_lines_after_the_problem() -> None:
    (solution,) = solutions_of([Record("f", 1, ROW)])
    assert (solution.answer.prompt, solution.answer.answer) == ("How many?", "\n\nFour of us.\n\nOne left: two.")
    assert [solution.answer.answer[at:][:4] for at in solution.starts] == ["Four", "One "]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 2}, r"label is 2; of 2 steps, it must be the index of the first wrong one, from 0 to 1, or -1"),
        ({"label": True}, r"label is True"),
        ({"steps": "Four."}, r"steps is a text"),
        ({"steps": ["Four.", " "]}, r"step 1 is ' '"),
        ({"steps": []}, r"at least one text"),
    ],
)
def test_a_row_that_is_no_solution_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CreditError, match=message):
        solutions_of([Record("f", 1, ROW | changes)])


def test_the_command_shows_it_and_refuses_what_does_not_go_with_it(tmp_path: Path, few_resamples: None) -> None:
    rows = tmp_path / "solutions.jsonl"
    made = [ROW | {"id": f"{n}", "problem": f"{n} of us?", "label": n % 3 - 1} for n in range(12)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    tiny = ("--pair", "tiny", "--device", "cpu")
    ended = run("localise", rows, "--first-error", "--step-score", "mean", "--tune-on", "0.5", "--json", "-", *tiny)
    assert ended.code == 0, ended.stderr
    record = json.loads(ended.stdout)
    assert (record["schema"], record["step_score"]) == ("dpo-credit/first-error@1", "mean")
    assert not list(Draft202012Validator(json_schema()).iter_errors(record))
    assert {"-reward", "-log pi", "random"} < {finding["name"] for finding in record["findings"]}
    shown = run("localise", rows, "--first-error", "--tune-on", "0.5", *tiny, COLUMNS="80")
    assert shown.code == 0 and "The reward names the first wrong step with an F1 of" in " ".join(shown.stdout.split())
    assert max(map(len, shown.stdout.splitlines())) <= 80
    refused = run("localise", rows, "--first-error", "--by", "word", "--html", tmp_path / "a.html", *tiny)
    assert refused.code == 2 and "--by and --html do not go with --first-error" in refused.stderr
    refused = run("localise", rows, "--tune-on", "0.5", *tiny)
    assert refused.code == 2 and "--tune-on does nothing without --first-error" in refused.stderr
