"""`localise`: labels, rankings and sentences against small cases counted by hand, and the command on wrong input."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pages import credit
from program import run
from sklearn.metrics import average_precision_score, roc_auc_score

from dpo_credit.credit import Example
from dpo_credit.evaluate.labels import Case, Error
from dpo_credit.evaluate.localise import Options, measure
from dpo_credit.evaluate.localised import Report
from dpo_credit.evaluate.scores import Beyond
from dpo_credit.evaluate.statistics import Ranking

PIECES = [" a", " b", " c", " d"]
ERRORS = (Error(1, 2), Error(5, 6))  # "a" and "c"


def report(rewards: list[float], entropy: list[float], answers: int = 12, top_k: int = 2) -> Report:
    """Equal answers " a b c d" in which a and c are wrong; an end token of reward 0 follows each."""
    one = credit(PIECES, rewards)
    case = Case("x", Example("P:", one.tokens.answer), ERRORS)
    beyond = [Beyond([*entropy, 0.0])] * answers
    return measure([case] * answers, [one] * answers, [None] * answers, beyond, Options(top_k=top_k)).report


def test_areas_are_scikit_learns_with_ties_and_resamples():
    rng = np.random.default_rng(0)
    scores, wrong, owner = rng.integers(0, 9, 60) / 1.0, rng.random(60) < 0.3, np.repeat(np.arange(6), 10)
    for counts in (np.ones(6, dtype=int), np.array([2, 0, 1, 1, 0, 2])):
        expected = [f(wrong, scores, sample_weight=counts[owner]) for f in (roc_auc_score, average_precision_score)]
        assert Ranking(scores, wrong, owner).areas(counts) == pytest.approx(expected, abs=1e-12)  # float64 sums


def test_numbers_are_those_counted_by_hand():
    # suspicion a 4, b 3, c 2, d 1: of the pairs (wrong, right) a>b, a>d, c>d hold and c>b does not: 3 of 4
    found = report([-4, -3, -2, -1], [0, 0, 0, 0]).finding("-reward")
    assert found.auroc.value == found.auroc_within.value == 0.75
    assert found.average_precision.value == pytest.approx((1 / 1 + 2 / 3) / 2)  # precision at each wrong one
    # the two most suspicious are a and b: the first error is found, the second is not
    assert (found.top_1.value, found.first_error.value, found.later_errors.value, found.all_errors.value) == (
        1,
        1,
        0,
        0,
    )


def test_a_perfect_reward_reaches_one_and_the_sentence_says_so():
    made = report([-4, 1, -3, 2], [0, 0, 0, 0])
    assert made.finding("-reward").auroc.value == made.finding("-reward").all_errors.value == 1
    assert made.sentence.startswith("The reward finds the wrong tokens better than the best baseline")


def test_a_better_baseline_wins_and_the_sentence_says_so():
    made = report([4, -1, 3, -2], [5, 1, 5, 1])  # the reward likes what is wrong; the policy is unsure there
    assert "does not find" in made.sentence and made.sentence.count("finds them better") == 1
    assert made.finding(made.best).auroc_within.value == 1


def test_a_random_score_gives_a_half_within_its_interval():
    found = report([-4, -3, -2, -1], [0, 0, 0, 0], answers=200).finding("random").auroc
    assert found.low is not None and found.high is not None and found.low < 0.5 < found.high


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"start": 1, "end": 3, "text": "xx"}], r"line 2.*says 'xx' but characters 1 to 3"),
        ([{"start": 1, "end": 99}], r"line 2.*spans characters 1 to 99 of an answer of 17"),
        ([{"start": 0, "end": 1}], r"line 2.*white space only"),
        (None, r"line 2.*labels must be a list"),
    ],
)
def test_labels_that_do_not_fit_are_refused_with_their_line(tmp_path: Path, labels: object, message: str):
    row = {"id": "r", "prompt": "My landlord", "answer": " raised the rent."}
    good = {**row, "labels": [{"start": 1, "end": 7}]}
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(json.dumps(one) for one in (good, {**row, "labels": labels})))
    ended = run("localise", file, "--device", "cpu")
    assert (ended.code, ended.stdout) == (2, "")
    with pytest.raises(RuntimeError, match=message):
        raise RuntimeError(ended.stderr)


def test_the_help_s_example_writes_a_page_and_json(tmp_path: Path):
    rows = Path(__file__).parents[1] / "examples" / "free_prose.jsonl"
    page = tmp_path / "report.html"
    ended = run("localise", rows, "--by", "word", "--html", page, "--json", "-", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    found = json.loads(ended.stdout)
    assert (found["schema"], found["answers"], found["errors"]) == ("dpo-credit/localise@1", 30, 45)
    assert "<script" not in page.read_text() and page.read_text().count("<article") == 20
