"""Saved JSON read back without a model."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import credits
import pytest

from dpo_credit.align import diff
from dpo_credit.credit import Alternative, Credit, CreditError
from dpo_credit.rows.output import credit_record, diff_record, row_record, to_json
from dpo_credit.rows.records import parse_row
from dpo_credit.rows.saved import read_saved

ROW = parse_row({"id": "r", "prompt": "q", "chosen": "ab", "rejected": "ac"}, "r")


def credit(answer: str, logps: tuple[float, ...], noise: float = 0.0) -> Credit:
    made = credits.credit(answer, [0.0] * 2, beta=0.1, source=credits.noisy(noise))
    return replace(
        made,
        id=f"r/{answer}",
        tokens=replace(made.tokens, prompt_ids=(-1, -1), notes=("a note",)),
        policy_logps=logps,
        reference_logps=(-1.0, -1.0),
        policy_top=((Alternative("x", -0.1),), (Alternative("y", -0.2),)),
        reference_top=((Alternative("x", -0.1),), (Alternative("y", -0.2),)),
    )


CREDITS = (credit("ab", (-0.5, -2.0)), credit("ac", (-0.5, -3.0)))


def test_what_is_written_reads_back_as_the_same_credits():
    saved = to_json(row_record(ROW, CREDITS)).encode()
    ((row, credits),) = read_saved(saved, "scored.json")
    assert credits == CREDITS
    assert (row.kind, row.labels, row.id) == ("preference", ("chosen", "rejected"), "r")


def test_a_diff_reads_back_as_its_two_credits():
    saved = to_json(diff_record(diff(*CREDITS), "r")).encode()
    assert read_saved(saved, "diff.json")[0][1] == CREDITS


def test_the_noise_floor_survives():
    one = credit("ab", (-0.5, -2.0), noise=0.25)
    ((_, (again,)),) = read_saved(to_json(credit_record(one)).encode(), "scored.json")
    assert again.noise == pytest.approx(one.noise, rel=1e-15)


def test_another_beta_needs_no_model():
    ((_, credits),) = read_saved(to_json(row_record(ROW, CREDITS)).encode(), "scored.json", beta=0.4)
    assert [c.reward for c in credits] == pytest.approx([4 * c.reward for c in CREDITS])


def test_length_normalisation_and_its_noise_survive_and_another_beta_keeps_them():
    one = replace(credit("ab", (-0.5, -2.0), noise=0.25), length_normalised=True)
    saved = to_json(credit_record(one)).encode()
    record = json.loads(saved)
    assert record["length_normalised"] is True
    assert record["rewards"] == pytest.approx([0.1 / 2 * 0.5, 0.1 / 2 * -1.0])
    assert record["noise"] == pytest.approx(0.1 / 2 * 0.25)
    ((_, (again,)),) = read_saved(saved, "scored.json")
    assert again == replace(one, source=again.source)
    assert again.source.noise == pytest.approx(0.25, rel=1e-15)
    ((_, (other,)),) = read_saved(saved, "scored.json", beta=0.4)
    assert other.rewards == pytest.approx([0.4 / 2 * 0.5, 0.4 / 2 * -1.0])


def test_a_record_from_before_length_normalisation_is_a_summed_one():
    record = json.loads(to_json(credit_record(CREDITS[0])))
    del record["length_normalised"]
    assert read_saved(json.dumps(record).encode(), "scored.json")[0][1] == (CREDITS[0],)


def test_each_line_of_a_file_is_a_row():
    line = to_json(row_record(ROW, CREDITS))
    assert len(read_saved(f"{line}\n\n{line}\n".encode(), "scored.jsonl")) == 2


def test_indented_json_is_one_row():
    pretty = json.dumps(json.loads(to_json(credit_record(CREDITS[0]))), indent=2)
    assert len(read_saved(pretty.encode(), "scored.json")) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("[1]", "is no object"),
        ('{"a": 1}\n{"b"', "line 2 is not JSON"),
        ('{"prompt": "q"}', "is no scored answer"),
        ('{"schema": "dpo-credit/credit@1"}', "is no whole record: KeyError 'spans'"),
        ('{"chosen": {}, "rejected": {}}', "is no scored answer"),
    ],
)
def test_what_is_no_saved_score_is_refused(content: str, said: str):
    with pytest.raises(CreditError, match=said):
        read_saved(content.encode(), "scored.jsonl")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokens": ["a"]}, "differ in length"),
        ({"policy_logps": [-0.5]}, "1 policy log-probabilities for 2 answer tokens"),
        ({"policy_logps": [-0.5, None]}, "is no whole record"),
        ({"beta": 0}, "beta is 0.0; it must be a positive number"),
        ({"reference_logps": [-0.5, -math.inf]}, "log-probability -inf"),
    ],
)
def test_a_record_that_was_changed_is_refused(change: dict, said: str):
    record = {**json.loads(to_json(credit_record(CREDITS[0]))), **change}
    with pytest.raises(CreditError, match=said):
        read_saved(json.dumps(record).encode(), "scored.json")
