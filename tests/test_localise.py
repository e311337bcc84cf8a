"""`localise`: labels, rankings and sentences against small cases counted by hand, and the command on wrong input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from pages import credit
from peft import LoraConfig, get_peft_model
from program import run
from sklearn.metrics import average_precision_score, roc_auc_score
from tiny import CHATML, language_model, randomise, save, tokenizer
from transformers import AutoModelForCausalLM

from dpo_credit.credit import Example
from dpo_credit.estimates.statistics import Ranking
from dpo_credit.localise.labels import Case, Error
from dpo_credit.localise.localise import Options, measure
from dpo_credit.localise.localised import LocaliseReport
from dpo_credit.localise.scores import Beyond
from dpo_credit.views.page.localise import _whole_words

PIECES = [" a", " b", " c", " d"]
ERRORS = (Error(1, 2), Error(5, 6))  # "a" and "c"


def report(rewards: list[float], entropy: list[float], answers: int = 12, top_k: int = 2) -> LocaliseReport:
    """Equal answers " a b c d" to one prompt each, in which a and c are wrong; an end token of reward 0 follows."""
    one = credit(PIECES, rewards)
    cases = [Case(f"{n}", Example(f"P{n}:", one.tokens.answer), ERRORS) for n in range(answers)]
    beyond = [Beyond([*entropy, 0.0])] * answers
    return measure(cases, [one] * answers, [None] * answers, beyond, Options(top_k=top_k)).report


def test_areas_are_scikit_learns_with_ties_and_resamples():
    rng = np.random.default_rng(0)
    scores, wrong, owner = rng.integers(0, 9, 60) / 1.0, rng.random(60) < 0.3, np.repeat(np.arange(6), 10)
    for counts in (np.ones(6, dtype=int), np.array([2, 0, 1, 1, 0, 2])):
        expected = [f(wrong, scores, sample_weight=counts[owner]) for f in (roc_auc_score, average_precision_score)]
        assert Ranking(scores, wrong, owner).areas(counts) == pytest.approx(expected, abs=1e-12)  # float64 sums


@pytest.mark.usefixtures("few_resamples")
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


@pytest.mark.usefixtures("few_resamples")
def test_a_perfect_reward_reaches_one_and_the_sentence_says_so():
    made = report([-4, 1, -3, 2], [0, 0, 0, 0])
    assert made.finding("-reward").auroc.value == made.finding("-reward").all_errors.value == 1
    assert made.sentence.startswith("The reward finds the wrong tokens better than the best baseline")


@pytest.mark.usefixtures("few_resamples")
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
    ended = run("localise", file, "--strict", "--device", "cpu")
    assert (ended.code, ended.stdout) == (2, "")
    assert re.search(message, ended.stderr), ended.stderr


@pytest.mark.usefixtures("few_resamples")
def test_the_help_s_example_writes_a_page_and_json_and_names_its_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []
    monkeypatch.setattr("dpo_credit.cli.heartbeat.Stage.update", lambda stage, task: stages.append(task))
    rows = Path(__file__).parents[1] / "examples" / "free_prose.jsonl"
    page, picture = tmp_path / "report.html", tmp_path / "view.svg"
    files = ("--html", page, "--svg", picture)
    ended = run("localise", rows, "--by", "word", *files, "--json", "-", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    found = json.loads(ended.stdout)
    assert (found["schema"], found["answers"], found["errors"]) == ("dpo-credit/localise@1", 30, 45)
    assert "<script" not in page.read_text() and page.read_text().count("<article") == 20
    assert picture.read_text().startswith("<svg") and "−reward" in picture.read_text()
    scoring = [f"Scoring 30 answers, {done} done" for done in range(30)]
    assert stages == [
        *scoring,
        "Computing the policy's entropy",
        "Computing the reference's entropy",
        "Resampling",
    ]


WRONG = " The rent fell by 120 dollars in Lisbon."
LABELS = [{"start": 10, "end": 14, "text": "fell"}, {"start": 33, "end": 39, "text": "Lisbon"}]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """Flags that name a whole pair with a chat template, the same one model at a time, and an adapter on its base."""
    folder = tmp_path_factory.mktemp("sides")
    chat = tokenizer(chat_template=CHATML)
    for seed, side in enumerate(("policy", "reference"), 1):
        save(language_model(seed=seed), folder / side, chat)
    config = LoraConfig(r=2, target_modules=["query_key_value"], task_type="CAUSAL_LM")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "reference"), config)
    randomise(adapted, seed=7, scale=0.2, only="lora_")
    adapted.save_pretrained(folder / "adapter")
    whole = ("--policy", str(folder / "policy"), "--reference", str(folder / "reference"))
    return {"whole": whole, "in turn": (*whole, "--sequential"), "adapter": ("--policy", str(folder / "adapter"))}


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("kind", ["whole", "in turn", "adapter"])
def test_the_area_is_that_of_the_scored_tokens(
    sides: dict[str, tuple[str, ...]], tmp_path: Path, kind: str, chat: bool
) -> None:
    prompt: object = "My landlord wrote.\n\nTL;DR:"
    wrong: object = WRONG
    if chat:
        prompt = [{"role": "user", "content": "What did my landlord write?"}]
        wrong = [{"role": "assistant", "content": WRONG}]
    file = tmp_path / "rows.jsonl"
    row = {"id": "x", "prompt": prompt, "completion": wrong}
    file.write_text(json.dumps({**row, "labels": LABELS}) + "\n")
    flags = (*sides[kind], "--device", "cpu", "-q", "--json", "-")
    found = json.loads(run("localise", file, *flags).stdout)
    (scored,) = json.loads(run("score", "-", *flags, stdin=json.dumps(row).encode()).stdout)["credit"]["answers"]
    shown = [
        (span, -reward) for span, reward in zip(scored["spans"], scored["rewards"], strict=True) if span[0] < span[1]
    ]
    inside = [any(start < one["end"] and one["start"] < end for one in LABELS) for (start, end), _ in shown]
    # a token that brings only the space before a label holds none of its characters
    expected = roc_auc_score(inside, [suspicion for _, suspicion in shown])
    (reward,) = [one for one in found["findings"] if one["name"] == "-reward"]
    assert reward["auroc"]["value"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "marked", "shown"),
    [
        ("He is 24.", (7, 8), "24"),
        (" a well-known 5%", (4, 5), "well-known"),
        (" ", (0, 1), " "),
        ("明天会下雪。", (4, 5), "雪"),
        ("用iPhone拍", (2, 3), "iPhone"),
    ],
)
def test_a_mark_is_listed_with_the_rest_of_its_word(text: str, marked: tuple[int, int], shown: str) -> None:
    assert _whole_words(text, *marked) == shown
