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
from dpo_credit.rows.output import own_fields, to_json
from dpo_credit.rows.records import Row, parse_row
from dpo_credit.rows.schema import SHIPPED, json_schema
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.scoring import score

FIELDS = {  # an answer's, with the JSON types
    "id": str,
    "label": str,
    "answer": str,
    "policy": str,
    "reference": str,
    "beta": float,
    "eos": str,
    "turns": str,
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
    line = to_json(ScoredRow(row, credits))
    assert "\n" not in line
    return json.loads(line), credits


def answer_of(pair: ModelPair, top_k: int = 0) -> tuple[dict[str, Any], Credit]:
    record, (credit,) = written(pair, ONE, top_k)
    (answer,) = record["credit"]["answers"]
    return answer, credit


def single(credit: Credit = CREDIT, **fields: Any) -> dict[str, Any]:
    return json.loads(line_of(credit, **fields))


def line_of(credit: Credit, **fields: Any) -> str:
    row = Row(credit.id, "single", labels=("",), fields={"id": credit.id, **fields})
    return to_json(ScoredRow(row, (credit,)))


def test_one_answer_has_the_fields_of_the_contract_with_their_types(tiny_pair: ModelPair) -> None:
    record, _ = answer_of(tiny_pair)
    for name, kind in FIELDS.items():
        values, expected = (record[name], kind[0]) if isinstance(kind, list) else ([record[name]], kind)
        assert {type(value) for value in values} == {expected}, name
    assert list(record)[: len(FIELDS)] == list(FIELDS)
    assert set(record) - set(FIELDS) == {"noise", "length_normalised", "notes", "prompt_hash"}


def test_every_list_has_one_entry_a_token(tiny_pair: ModelPair) -> None:
    record, _ = answer_of(tiny_pair, top_k=2)
    lists = [name for name, value in record.items() if isinstance(value, list) and name != "notes"]
    assert {*lists} == {name for name, kind in FIELDS.items() if isinstance(kind, list)} | {
        "policy_top",
        "reference_top",
    }
    assert {len(record[name]) for name in lists} == {len(record["token_ids"])}


def test_numbers_are_the_credits_own_unrounded() -> None:
    whole = single(CREDIT)
    (record,) = whole["credit"]["answers"]
    assert (whole["credit"]["schema"], whole["credit"]["kind"]) == ("dpo-credit/credit@2", "single")
    assert whole["credit"]["reward"] == CREDIT.reward
    assert record == {
        "id": "x",
        "label": "",
        "answer": "a é",
        "policy": "P",
        "reference": "R",
        "beta": 0.1,
        "eos": "appended",
        "turns": "all",
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
    record, credit = answer_of(tiny_pair)
    assert record["policy_logps"] == list(credit.policy_logps)
    assert record["reference_logps"] == list(credit.reference_logps)
    assert record["rewards"] == list(credit.rewards)
    joint = tiny_pair.tokenizer(ONE["prompt"] + ONE["answer"])["input_ids"]
    assert record["token_ids"] == [*joint[record["prompt_tokens"] :], tiny_pair.tokenizer.eos_token_id]


def test_spans_are_characters_of_the_answer(tiny_pair: ModelPair) -> None:
    record, _ = answer_of(tiny_pair)
    covered: set[int] = set()
    for token, (start, end) in zip(record["tokens"], record["spans"], strict=True):
        covered |= set(range(start, end))
        assert record["answer"][start:end] == token or not token.isascii() or start == end
    assert (record["answer"], covered) == (ONE["answer"], set(range(len(ONE["answer"]))))


def test_a_preference_row_is_as_it_was_with_both_sides_and_dpos_logit(tiny_pair: ModelPair) -> None:
    record, credits = written(tiny_pair, TWO)
    credit = record.pop("credit")
    assert record == TWO
    assert list(credit) == ["schema", "id", "kind", "answers", "margin", "preference_probability"]
    assert [(answer["id"], answer["label"]) for answer in credit["answers"]] == [
        ("x/chosen", "chosen"),
        ("x/rejected", "rejected"),
    ]
    assert [answer["rewards"] for answer in credit["answers"]] == [[*answer.rewards] for answer in credits]
    assert credit["margin"] == credit["answers"][0]["reward"] - credit["answers"][1]["reward"]
    # two ways to write the sigmoid may differ in the last bit
    assert credit["preference_probability"] == pytest.approx(1 / (1 + math.exp(-credit["margin"])), rel=1e-15)


def test_completions_give_a_list_in_their_order(tiny_pair: ModelPair) -> None:
    record, credits = written(tiny_pair, MANY)
    answers = record.pop("credit")["answers"]
    assert record == MANY
    assert [answer["answer"] for answer in answers] == MANY["completions"]
    assert [answer["id"] for answer in answers] == ["x/0", "x/1", "x/2"]
    assert [answer["reward"] for answer in answers] == [credit.reward for credit in credits]


CHAT = {
    "prompt": [{"role": "user", "content": "Rent?"}],
    "completion": [
        {"role": "assistant", "content": "Let me look.", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "content": "900", "name": "f"},
        {"role": "assistant", "content": "900."},
    ],
    "tools": [{"type": "function", "function": {"name": "f"}}],
}
ROWS = [
    *(ONE, TWO, MANY, CHAT, {**ONE, "id": 7}, {**TWO, "worker": "w1", "score": None}),
    {"subreddit": "r/x", "title": "T", "post": "P", "summary": "S"},
]


@pytest.mark.parametrize("data", ROWS)
def test_a_row_comes_out_whole_and_can_be_scored_again(tiny_pair: ModelPair, data: dict[str, Any]) -> None:
    record, _ = written(tiny_pair, data)
    again, _ = written(tiny_pair, record)
    credit, other = record.pop("credit"), again.pop("credit")
    assert {"id": "row", **data} == record == again
    assert credit == other


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (ONE, {"prompt": "My landlord", "completion": ONE["answer"]}),
        (TWO, {name: TWO[name] for name in ("prompt", "chosen", "rejected")}),
        (MANY, {name: MANY[name] for name in ("prompt", "completions")}),
        ({"answer": "a"}, {"completion": "a"}),
        (
            {**CHAT, "completion": "900."},
            {"prompt": CHAT["prompt"], "completion": [{"role": "assistant", "content": "900."}]},
        ),
    ],
)
def test_text_gets_the_names_that_a_row_has_for_its_parts(data: dict[str, Any], fields: dict[str, Any]) -> None:
    row = parse_row(data, "x")
    assert own_fields(replace(row, fields={})) == {"id": "x", **fields}
    assert parse_row(fields, "x").examples == tuple(replace(example, template_kwargs={}) for example in row.examples)


def test_top_k_adds_what_each_model_would_rather_have_said(tiny_pair: ModelPair) -> None:
    record, credit = answer_of(tiny_pair, top_k=3)
    for name, top in (("policy_top", credit.policy_top), ("reference_top", credit.reference_top)):
        assert record[name] == [[{"token": piece, "logp": logp} for piece, logp in position] for position in top]
        assert [len(position) for position in record[name]] == [3] * len(record["tokens"])


@pytest.mark.parametrize("data", [ONE, TWO, MANY, CHAT], ids=["one", "preference", "completions", "chat"])
@pytest.mark.parametrize("top_k", [0, 2])
def test_real_outputs_are_valid_under_the_shipped_schema(
    tiny_pair: ModelPair, validator: Draft202012Validator, data: dict[str, Any], top_k: int
) -> None:
    record, _ = written(tiny_pair, {**data, "worker": "w1", "score": None}, top_k)
    validator.validate(record)
    assert (record["worker"], record["score"]) == ("w1", None)


@pytest.mark.parametrize("name", FIELDS)
def test_the_schema_misses_each_field_and_its_type(validator: Draft202012Validator, name: str) -> None:
    record = single()
    (answer,) = record["credit"]["answers"]
    assert validator.is_valid(record)
    for wrong in ({**answer, name: {"wrong": "type"}}, {key: answer[key] for key in answer if key != name}):
        assert not validator.is_valid({**record, "credit": {**record["credit"], "answers": [wrong]}})


def test_the_shipped_schema_is_the_one_of_the_types() -> None:
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == json_schema(), "make schema"


def test_a_field_named_credit_becomes_input_credit_and_an_earlier_scoring_goes(
    validator: Draft202012Validator, tiny_pair: ModelPair
) -> None:
    record, _ = written(tiny_pair, {**ONE, "credit": "mine", "input_credit": "too", "answer_key": "kept"})
    assert (record["input_credit"], record["input_input_credit"], record["answer_key"]) == ("too", "mine", "kept")
    assert validator.is_valid(record)
    again, _ = written(tiny_pair, record)
    assert again == record


def test_text_is_written_as_it_is_and_half_a_surrogate_pair_as_an_escape() -> None:
    line = line_of(CREDIT, column="日本 👩‍🚀")
    assert '"日本 👩‍🚀"' in line
    line = line_of(CREDIT, column="\ud83d")
    assert line.isascii()
    assert json.loads(line) == {**single(CREDIT), "column": "\ud83d"}


def test_alternatives_are_written_with_any_character() -> None:
    (record,) = single(replace(CREDIT, policy_top=TOP))["credit"]["answers"]
    assert record["policy_top"][0] == [{"token": "é", "logp": -0.1}, {"token": '"', "logp": -2.5}]
    assert "reference_top" not in record
