"""`localise --paraphrase`: what the same facts earn in other words, counted by hand, and the command on wrong input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from credits import credit
from jsonschema import Draft202012Validator
from program import run

from dpo_credit import CreditError, ModelPair, score
from dpo_credit.localise.labels import Error, cases_of
from dpo_credit.localise.localise import localise
from dpo_credit.localise.localised import Fact
from dpo_credit.localise.paraphrase import _compared, earned, paraphrase, reworded
from dpo_credit.localise.schema import SHIPPED, json_schema
from dpo_credit.localise.wording import paraphrased
from dpo_credit.rows.aside import SetAside
from dpo_credit.rows.given import rows_of
from dpo_credit.text.conventions import Conventions

PROMPT = "We met in Rome in May.\n\nTL;DR:"
SAID = {
    **{"id": "met", "prompt": PROMPT, "completion": " Met in Bonn in July."},
    "labels": [{"start": 8, "end": 12, "text": "Bonn"}, {"start": 16, "end": 20, "text": "July"}],
}
OTHER = {
    **{"id": "met", "completion": " In July, in Bonn."},
    "labels": [{"start": 13, "end": 17, "text": "Bonn"}, {"start": 4, "end": 8, "text": "July"}],
}


def test_a_fact_earns_what_the_tokens_that_touch_it_earn() -> None:
    made = credit([" We", " met in", " Bo", "nn", "."], [1.0, 2.0, -4.0, -8.0, 16.0], end=32.0)
    assert earned(made, Error(11, 15)) == -12.0  # " Bo" and "nn"
    assert earned(made, Error(9, 12)) == -2.0  # " met in" and " Bo"


def test_the_figures_are_those_counted_by_hand() -> None:
    rewards = [(-1.0, -2.0), (-3.0, 1.0), (2.0, 2.0)]  # two facts of the first answer, one of the second
    facts = [Fact("a", "x", "y", *pair) for pair in rewards]
    made = _compared(facts, np.array([0, 0, 1]), np.array([0, 1]), np.random.default_rng(0))
    assert (made.answers, made.prompts, made.facts) == (2, 2, 3)
    assert made.credit.value == pytest.approx((1 + 3 + 2) / 3)
    assert made.change.value == pytest.approx((1 + 4 + 0) / 3)
    assert made.shift.value == pytest.approx((-1 + 4 + 0) / 3)
    assert made.kept_sign.value == pytest.approx(2 / 3)
    # ranks 2, 1, 3 and 1, 2, 3: 1 - 6 * (1 + 1 + 0) / (3 * 8)
    assert made.rank_correlation is not None and made.rank_correlation.value == pytest.approx(0.5)
    # a resample draws the first answer alone, the second alone, or both
    assert (made.change.low, made.change.high) == (0.0, 2.5)


def test_the_same_words_change_nothing(tiny_pair: ModelPair) -> None:
    rows = [SAID, {**SAID, "id": "too", "prompt": "And they?\n\nTL;DR:"}]
    cases = cases_of(rows_of(rows))
    found = paraphrase(tiny_pair, localise(tiny_pair, cases), reworded(cases, rows_of(rows)))
    assert (found.facts, found.change.value, found.shift.value, found.kept_sign.value) == (4, 0.0, 0.0, 1.0)
    assert found.rank_correlation is not None and found.rank_correlation.value == pytest.approx(1.0)


def test_facts_are_matched_in_the_order_of_the_labels(tiny_pair: ModelPair) -> None:
    cases = cases_of(rows_of(SAID))
    found = paraphrase(tiny_pair, localise(tiny_pair, cases), reworded(cases, rows_of(OTHER)))
    assert [(fact.text, fact.reworded) for fact in found.each] == [("Bonn", "Bonn"), ("July", "July")]
    (other,) = score(tiny_pair, (PROMPT, OTHER["completion"]))  # after the case's own prompt
    assert found.each[0].reworded_credit == earned(other, Error(13, 17))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "other"}, "other is the id of no labelled answer"),
        ({"prompt": "Another?"}, "met follows another prompt than the answer that it paraphrases."),
        ({"labels": OTHER["labels"][:1]}, "met has 1 labels, and the answer that it paraphrases 2 errors."),
    ],
)
def test_a_paraphrase_that_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CreditError) as said:
        reworded(cases_of(rows_of(SAID)), rows_of({**OTHER, **changes}))
    assert message in str(said.value)


def test_an_id_of_several_answers_is_refused() -> None:
    with pytest.raises(
        CreditError, match="met is the id of 2 labelled answers, so which it says in other words is not"
    ):
        reworded(cases_of(rows_of([SAID, SAID])), rows_of(OTHER))


def test_what_cannot_be_scored_is_set_aside(tiny_pair: ModelPair) -> None:
    said = [SAID, {**SAID, "id": "too"}]
    long = {**OTHER, "id": "too", "completion": OTHER["completion"] + " Far too long." * 5000}
    cases, aside = cases_of(rows_of(said)), SetAside(strict=False)
    found = paraphrase(tiny_pair, localise(tiny_pair, cases), reworded(cases, rows_of([OTHER, long])), aside=aside)
    assert (found.facts, [row.id for row in aside.rows]) == (2, ["too"])
    with pytest.raises(CreditError, match="no paraphrase can be scored"):
        paraphrase(tiny_pair, localise(tiny_pair, cases), reworded(cases, rows_of(long)), aside=SetAside(strict=False))


def test_a_template_that_rewrites_a_paraphrase_sets_it_aside(tiny_pair: ModelPair) -> None:
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}"
    chat = {"prompt": [{"role": "user", "content": "Where?"}], "completion": "Met in Bonn."}
    said = {**SAID, **chat, "labels": [{"start": 7, "end": 11, "text": "Bonn"}]}
    other = {**said, "completion": "  In Bonn, met.", "labels": [{"start": 5, "end": 9, "text": "Bonn"}]}
    cases, aside = cases_of(rows_of(said)), SetAside(strict=False)
    under = Conventions(chat_template=template)
    localised = localise(tiny_pair, cases, conventions=under)
    with pytest.raises(CreditError, match="no paraphrase can be scored"):
        paraphrase(tiny_pair, localised, reworded(cases, rows_of(other)), conventions=under, aside=aside)
    assert "the chat template rewrites the paraphrase" in aside.rows[0].error


def test_the_shipped_schema_is_that_of_the_types() -> None:
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == json_schema(), "python -m dpo_credit.localise.schema"


def test_the_paragraph_says_what_moved() -> None:
    facts = [Fact("a", "x", "y", -1.0, -2.0), Fact("b", "x", "y", -3.0, 1.0)]
    made = _compared(facts, np.array([0, 1]), np.array([0, 0]), np.random.default_rng(0))
    assert paraphrased(made) == (
        "In other words, 2 facts of 2 answers to one prompt earn otherwise: by 2.5 on average, where a fact earns 2 "
        "(either sign), and +1.5 on balance. 50 % keep their sign. Their order by credit is kept to a rank correlation "
        "of -1.00."
    )
    same = replace(made, rank_correlation=None)
    assert paraphrased(same).endswith("so they have no order.")


def test_the_command_shows_it_and_writes_it(tmp_path: Path, few_resamples: None) -> None:
    said, other = tmp_path / "said.jsonl", tmp_path / "other.jsonl"
    said.write_text(json.dumps(SAID), encoding="utf-8")
    other.write_text(json.dumps(OTHER), encoding="utf-8")
    outputs = ("--html", tmp_path / "page.html", "--json", tmp_path / "found.json")
    ended = run("localise", said, "--paraphrase", other, "--by", "word", "--device", "cpu", *outputs, COLUMNS="80")
    assert ended.code == 0, ended.stderr
    assert "In other words, 2 facts of 1 answer earn otherwise" in " ".join(ended.stdout.split())
    record = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(json_schema()).iter_errors(record))
    record = record["paraphrased"]
    assert record["facts"] == 2 and [fact["text"] for fact in record["each"]] == ["Bonn", "July"]
    assert "Is it the wording?" in (tmp_path / "page.html").read_text(encoding="utf-8")
    ended = run("localise", said, "--paraphrase", tmp_path / "none.jsonl", "--device", "cpu")
    assert (ended.code, ended.stdout) == (2, "") and "none.jsonl does not exist" in ended.stderr
