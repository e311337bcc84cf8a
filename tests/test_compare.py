"""Several policies on the same answers: rewards as each scores alone, where they disagree, how far they agree."""

from __future__ import annotations

import gc
import io
import json
import weakref
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from program import run
from scipy.stats import spearmanr
from sides import unshared
from tiny import language_model, tokenizer

from dpo_credit.compare.compare import Policy, compare
from dpo_credit.compare.comparison import Comparison
from dpo_credit.compare.saved import record
from dpo_credit.compare.schema import SHIPPED, json_schema
from dpo_credit.credit import CreditError, Example, margin
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.aside import SetAside
from dpo_credit.rows.records import Row
from dpo_credit.scoring import score
from dpo_credit.views.figure import compare as figures
from dpo_credit.views.figure.heatmap import save
from dpo_credit.views.scale import Shading

EXAMPLES = Path(__file__).parents[1] / "examples"
TOKENIZER = tokenizer()
REFERENCE = language_model(seed=9)
ANSWERS = (
    ("The rent is 120 dollars.", "The rent is 130 dollars."),
    ("She left.", "She stayed."),
    ("No.", "Yes, it is."),
)
ROWS = [
    Row(f"r{n}", "preference", (Example(f"Q{n}: ", a), Example(f"Q{n}: ", b)), ("chosen", "rejected"))
    for n, (a, b) in enumerate(ANSWERS)
]


def pair(seed: int, beta: float = 0.1) -> ModelPair:
    return ModelPair(unshared(language_model(seed=seed), f"m{seed}"), unshared(REFERENCE, "ref"), TOKENIZER, beta)


def policy(seed: int, *betas: float) -> Policy:
    return Policy(f"m{seed}", lambda: pair(seed), betas)


@pytest.fixture(scope="module")
def compared() -> Comparison:
    return compare([policy(1), policy(2), policy(3)], ROWS)


def test_each_policy_gives_what_it_gives_alone(compared: Comparison):
    assert compared.names == ("m1", "m2", "m3")
    for seed, its in zip((1, 2, 3), compared.credits, strict=True):
        alone = list(score(pair(seed), [example for row in ROWS for example in row.examples]))
        assert [credit.rewards for answers in its for credit in answers] == [credit.rewards for credit in alone]


def test_one_pair_is_in_memory_at_a_time():
    made: list[weakref.ref[ModelPair]] = []
    alive: list[int] = []

    class Weak(ModelPair):  # a slotted dataclass takes no weak reference
        __slots__ = ("__weakref__",)

    def load(seed: int) -> ModelPair:
        gc.collect()
        alive.append(sum(ref() is not None for ref in made))
        loaded = pair(seed)
        weak = Weak(loaded.policy, loaded.reference, loaded.tokenizer, loaded.beta)
        made.append(weakref.ref(weak))
        return weak

    compare([Policy(f"m{seed}", partial(load, seed)) for seed in (1, 2, 3)], ROWS[:1])
    assert alive == [0, 0, 0]


def test_a_policy_under_two_betas_is_loaded_once():
    loads: list[int] = []

    def load() -> ModelPair:
        loads.append(1)
        return pair(1)

    both = compare([Policy("m1", load, (0.1, 0.5))], ROWS)
    assert len(loads) == 1 and both.names == ("m1, beta 0.1", "m1, beta 0.5")
    first, second = both.rewards()
    assert second == pytest.approx([5 * reward for reward in first], rel=1e-12)  # 0.5 / 0.1
    found = both.correlations()[0][1]
    assert found is not None and found.value == 1.0  # another beta changes no order


def test_the_widest_range_comes_first_and_units_keep_their_sums(compared: Comparison):
    words = compared.disagreements()
    assert [word.range for word in words] == sorted((word.range for word in words), reverse=True)
    for word in words:
        assert word.range == max(word.rewards) - min(word.rewards)
    ours = sum(word.rewards[0] for word in words if (word.row, word.answer) == (0, 1))
    assert ours == pytest.approx(compared.credits[0][0][1].reward, abs=1e-9)  # float64 sums in another order


def test_accuracy_margins_and_rank_correlations_are_the_naive_ones(compared: Comparison):
    margins = [[margin(*answers) for answers in its] for its in compared.credits]
    for summary, its in zip(compared.summaries(), margins, strict=True):
        assert summary.accuracy is not None and summary.accuracy.hits == sum(value > 0 for value in its)
        assert summary.margin == pytest.approx(sum(its) / 3)
    for quantity, values in (("margin", margins), ("reward", compared.rewards())):
        found = compared.correlations(quantity)[0][1]
        assert found is not None
        assert found.value == pytest.approx(spearmanr(values[0], values[1]).statistic)


def test_answers_without_a_pair_have_rewards_and_no_accuracy():
    singles = [Row(f"s{n}", "single", row.examples[:1], ("",)) for n, row in enumerate(ROWS)]
    both = compare([policy(1), policy(2)], singles)
    assert [summary.accuracy for summary in both.summaries()] == [None, None]
    assert [quantity for quantity, _ in both.agreements()] == ["reward"]


def test_another_tokenizer_is_refused():
    other = tokenizer()
    other.add_tokens(["<new>"])
    wrong = Policy("other", lambda: replace(pair(2), tokenizer=other))
    with pytest.raises(CreditError, match=r"other has another tokenizer than m1 \(401 and 400 tokens"):
        compare([policy(1), wrong], ROWS)


def test_one_policy_compares_with_none():
    with pytest.raises(CreditError, match="One policy compares with none: give --policy twice, or --beta twice"):
        compare([policy(1)], ROWS)


def test_a_row_that_cannot_be_scored_is_set_aside_for_all():
    bad = Row("bad", "single", (Example("Q", "x" * 2000),), ("",))
    aside = SetAside(strict=False)
    short = [Policy(f"m{seed}", partial(replace, pair(seed), max_length=64)) for seed in (1, 2)]
    both = compare(short, [ROWS[0], bad], aside=aside)
    assert [row.id for row in both.rows] == ["r0"] and [row.id for row in aside.rows] == ["bad"]


def test_policies_of_one_name_are_told_apart():
    assert compare([policy(1), policy(1)], ROWS[:1]).names == ("m1 (1)", "m1 (2)")


def test_the_record_is_valid_and_the_shipped_schema_is_the_one_of_the_types(compared: Comparison):
    schema = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert schema == json_schema(), "python -m dpo_credit.compare.schema"
    Draft202012Validator(schema).validate(json.loads(json.dumps(asdict(record(compared)))))


TWO_BETAS = ("-m", "embedded", "-r", "embedded", "--beta", "0.1", "--beta", "0.5", "--device", "cpu")


def test_the_command_writes_everything(tmp_path: Path):
    page, figure, saved = (tmp_path / name for name in ("c.html", "c.png", "c.json"))
    ended = run("compare", EXAMPLES / "vet.json", *TWO_BETAS, "--html", page, "--png", figure, "--json", saved)
    assert ended.code in (0, None), ended.stderr
    assert "where they disagree most (words)" in ended.stdout and "‹nine›" in ended.stdout
    assert "rank correlation" not in ended.stdout  # of a single row
    written = json.loads(saved.read_text(encoding="utf-8"))
    assert [policy["beta"] for policy in written["policies"]] == [0.1, 0.5]
    text = page.read_text(encoding="utf-8")
    assert "β = 0.1, 0.5; one scale for all policies" in text and "http" not in text.replace("http-equiv", "")
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_the_figures_colour_bar_points_to_what_lies_beyond_it(compared: Comparison):
    first = replace(compared, rows=compared.rows[:1], credits=tuple(its[:1] for its in compared.credits))
    largest = max(abs(reward) for its in first.credits for credit in its[0] for reward in credit.rewards)
    paths = []
    for limit in (largest, largest / 1e6):  # beyond which nothing lies, or both signs do
        drawn = io.BytesIO()
        save(figures.render(first, shading=Shading(limit=limit)), drawn, "svg")
        paths.append(drawn.getvalue().count(b"<path"))
    assert paths[1] == paths[0] + 2


def test_a_data_set_has_correlations_and_no_figure(tmp_path: Path):
    file = EXAMPLES / "free_prose.jsonl"
    ended = run("compare", file, *TWO_BETAS, "--limit", "3")
    assert ended.code in (0, None), ended.stderr
    assert "rank correlation of 3 margins" in ended.stdout
    ended = run("compare", file, *TWO_BETAS, "--limit", "3", "--png", tmp_path / "c.png")
    assert ended.code == 2 and "A figure shows one row, and here are 3: choose one with --row" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-m", "a", "-m", "b", "-m", "c", "-r", "x", "-r", "y"), "--reference is given 2 times for 3 policies"),
        (("-m", "a", "-m", "b", "--beta", "1", "--beta", "2", "--beta", "3"), "--beta is given 3 times for 2 policies"),
        (("-m", "a", "-m", "b", "--scale", "per-answer"), "policies are compared on one scale"),
    ],
)
def test_what_does_not_go_together_is_said_before_anything_loads(flags: tuple[str, ...], message: str):
    ended = run("compare", EXAMPLES / "vet.json", *flags)
    assert ended.code == 2 and message in ended.stderr
