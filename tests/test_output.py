"""output: the JSON contract, field by field, against the Credit it comes from and the schema that ships with it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dpo_credit.credit import Alternative, Credit, Source, Tokens
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.output import credit_record, row_record, to_json
from dpo_credit.rows.records import parse_row
from dpo_credit.rows.schema import SHIPPED, json_schema
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.scoring import score

FIELDS = {  # as the issue writes them, with the JSON types
    "schema": str,
    "id": str,
    "answer": str,
    "policy": str,
    "reference": str,
    "beta": float,
    "eos": str,
    "dtype": str,
    "token_ids": [int],
    "tokens": [str],
    "spans": [list],
    "policy_logps": [float],
    "reference_logps": [float],
    "rewards": [float],
    "reward": float,
    "policy_logp": float,
    "reference_logp": float,
    "prompt_tokens": int,
}
ONE = {"id": "x", "prompt": "My landlord", "answer": " raised the 👩‍🚀 rent."}
TWO = {"id": "x", "prompt": "My landlord", "chosen": " raised the rent.", "rejected": " never argued."}
MANY = {"id": "x", "prompt": "My landlord", "completions": [" raised", " gave", " drove"]}
# numbers that two decimals, or float32, would change
CREDIT = Credit(
    tokens=Tokens((5, 6, 7), (8, 9, 0), ("a", " é", "<end>"), ((0, 1), (1, 3), (3, 3)), "a é", "appended", ("said",)),
    policy_logps=(-0.1, -1 / 3, -1e-17),
    reference_logps=(-0.30000000000000004, -1e-300, -745.1332191019411),
    beta=0.1,
    source=Source("P", "R", "bfloat16", noise=0.0123),
    id="x",
)
TOP = ((Alternative("é", -0.1), Alternative('"', -2.5)),) * 3


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = json.loads(SHIPPED.read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def written(pair: ModelPair, data: dict[str, Any], top_k: int = 0) -> tuple[dict[str, Any], tuple[Credit, ...]]:
    row = parse_row(data, "row")
    credits = tuple(score(pair, row.examples, top_k=top_k))
    return json.loads(to_json(row_record(ScoredRow(row, tuple(credits))), row.columns)), credits


def single(credit: Credit, **columns: Any) -> dict[str, Any]:
    line = to_json(credit_record(credit), columns)
    assert "\n" not in line
    return json.loads(line)


def test_one_answer_has_the_fields_of_the_contract_with_their_types(tiny_pair: ModelPair) -> None:
    record, _ = written(tiny_pair, ONE)
    for name, kind in FIELDS.items():
        values, expected = (record[name], kind[0]) if isinstance(kind, list) else ([record[name]], kind)
        assert {type(value) for value in values} == {expected}, name
    assert list(record)[: len(FIELDS)] == list(FIELDS)
    assert set(record) - set(FIELDS) == {"noise", "length_normalised", "notes", "prompt_hash"}


def test_every_list_has_one_entry_a_token(tiny_pair: ModelPair) -> None:
    record, _ = written(tiny_pair, ONE, top_k=2)
    lists = [name for name, value in record.items() if isinstance(value, list) and name != "notes"]
    assert {*lists} == {name for name, kind in FIELDS.items() if isinstance(kind, list)} | {
        "policy_top",
        "reference_top",
    }
    assert {len(record[name]) for name in lists} == {len(record["token_ids"])}


def test_numbers_are_the_credits_own_unrounded() -> None:
    record = single(CREDIT)
    assert record == {
        "schema": "dpo-credit/credit@1",
        "id": "x",
        "answer": "a é",
        "policy": "P",
        "reference": "R",
        "beta": 0.1,
        "eos": "appended",
        "dtype": "bfloat16",
        "token_ids": [8, 9, 0],
        "tokens": ["a", " é", "<end>"],
        "spans": [[0, 1], [1, 3], [3, 3]],
        "policy_logps": [-0.1, -1 / 3, -1e-17],
        "reference_logps": [-0.30000000000000004, -1e-300, -745.1332191019411],
        "rewards": [0.1 * (-0.1 + 0.30000000000000004), 0.1 * (-1 / 3 + 1e-300), 0.1 * (-1e-17 + 745.1332191019411)],
        "reward": CREDIT.reward,
        "policy_logp": math.fsum([-0.1, -1 / 3, -1e-17]),
        "reference_logp": math.fsum([-0.30000000000000004, -1e-300, -745.1332191019411]),
        "prompt_tokens": 3,
        "noise": 0.1 * 0.0123,
        "length_normalised": False,
        "notes": ["said"],
        "prompt_hash": blake2b(b"".join(n.to_bytes(8, "little") for n in (5, 6, 7)), digest_size=8).hexdigest(),
    }
    assert record["reward"] == math.fsum(record["rewards"])


def test_what_the_models_score_is_what_is_written(tiny_pair: ModelPair) -> None:
    record, (credit,) = written(tiny_pair, ONE)
    assert record["policy_logps"] == list(credit.policy_logps)
    assert record["reference_logps"] == list(credit.reference_logps)
    assert record["rewards"] == list(credit.rewards)
    joint = tiny_pair.tokenizer(ONE["prompt"] + ONE["answer"])["input_ids"]
    assert record["token_ids"] == [*joint[record["prompt_tokens"] :], tiny_pair.tokenizer.eos_token_id]


def test_spans_are_characters_of_the_answer(tiny_pair: ModelPair) -> None:
    record, _ = written(tiny_pair, ONE)
    covered: set[int] = set()
    for token, (start, end) in zip(record["tokens"], record["spans"], strict=True):
        covered |= set(range(start, end))
        assert record["answer"][start:end] == token or not token.isascii() or start == end
    assert (record["answer"], covered) == (ONE["answer"], set(range(len(ONE["answer"]))))


def test_a_preference_row_has_both_sides_and_dpos_logit(tiny_pair: ModelPair) -> None:
    record, (chosen, rejected) = written(tiny_pair, TWO)
    assert list(record) == ["id", "chosen", "rejected", "margin", "preference_probability"]
    assert (record["id"], record["chosen"]["id"], record["rejected"]["id"]) == ("x", "x/chosen", "x/rejected")
    assert (record["chosen"]["rewards"], record["rejected"]["rewards"]) == ([*chosen.rewards], [*rejected.rewards])
    assert record["margin"] == record["chosen"]["reward"] - record["rejected"]["reward"]
    # two ways to write the sigmoid may differ in the last bit
    assert record["preference_probability"] == pytest.approx(1 / (1 + math.exp(-record["margin"])), rel=1e-15)


def test_completions_give_a_list_in_their_order(tiny_pair: ModelPair) -> None:
    record, credits = written(tiny_pair, MANY)
    assert list(record) == ["id", "completions"]
    assert [one["answer"] for one in record["completions"]] == MANY["completions"]
    assert [one["id"] for one in record["completions"]] == ["x/0", "x/1", "x/2"]
    assert [one["reward"] for one in record["completions"]] == [credit.reward for credit in credits]


def test_top_k_adds_what_each_model_would_rather_have_said(tiny_pair: ModelPair) -> None:
    record, (credit,) = written(tiny_pair, ONE, top_k=3)
    for name, top in (("policy_top", credit.policy_top), ("reference_top", credit.reference_top)):
        assert record[name] == [[{"token": piece, "logp": logp} for piece, logp in position] for position in top]
        assert [len(position) for position in record[name]] == [3] * len(record["tokens"])


@pytest.mark.parametrize("data", [ONE, TWO, MANY], ids=["one", "preference", "completions"])
@pytest.mark.parametrize("top_k", [0, 2])
def test_real_outputs_are_valid_under_the_shipped_schema(
    tiny_pair: ModelPair, validator: Draft202012Validator, data: dict[str, Any], top_k: int
) -> None:
    record, _ = written(tiny_pair, {**data, "worker": "w1", "score": None}, top_k)
    validator.validate(record)
    assert (record["worker"], record["score"]) == ("w1", None)


@pytest.mark.parametrize("name", FIELDS)
def test_the_schema_misses_each_field_and_its_type(validator: Draft202012Validator, name: str) -> None:
    record = single(CREDIT)
    assert validator.is_valid(record)
    assert not validator.is_valid({**record, name: {"wrong": "type"}})
    assert not validator.is_valid({key: value for key, value in record.items() if key != name})


def test_the_shipped_schema_is_the_one_of_the_types() -> None:
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == json_schema(), "make schema"


@pytest.mark.parametrize("name", sorted({*FIELDS, "notes", "noise", "policy_top", "reference_top"} - {"id"}))
def test_a_column_named_like_an_output_field_becomes_input_of_that_name(
    validator: Draft202012Validator, name: str
) -> None:
    record = single(CREDIT, **{name: "mine"})
    assert record == {**single(CREDIT), f"input_{name}": "mine"}
    assert validator.is_valid(record)


def test_renamed_columns_lose_none() -> None:
    """`input_policy` may be a column too, before or after `policy`."""
    for columns in ({"input_policy": "a", "policy": "b"}, {"policy": "b", "input_policy": "a"}):
        record = single(CREDIT, **columns)
        kept = [value for name, value in record.items() if name.startswith("input_")]
        assert sorted(kept) == ["a", "b"], columns


def test_columns_of_a_preference_keep_names_that_only_one_answers_record_has() -> None:
    row = parse_row({**TWO, "policy": "mine", "margin": "mine", "answer": "mine"}, "row")
    record = json.loads(to_json(row_record(ScoredRow(row, (CREDIT, CREDIT))), row.columns))
    assert (record["policy"], record["answer"], record["input_margin"]) == ("mine", "mine", "mine")


def test_text_is_written_as_it_is_and_half_a_surrogate_pair_as_an_escape() -> None:
    line = to_json(credit_record(CREDIT), {"column": "日本 👩‍🚀"})
    assert '"日本 👩‍🚀"' in line
    line = to_json(credit_record(CREDIT), {"column": "\ud83d"})
    assert line.isascii()
    assert json.loads(line) == {**single(CREDIT), "column": "\ud83d"}


def test_alternatives_are_written_with_any_character() -> None:
    record = single(replace(CREDIT, policy_top=TOP))
    assert record["policy_top"][0] == [{"token": "é", "logp": -0.1}, {"token": '"', "logp": -2.5}]
    assert "reference_top" not in record
