"""Saved JSON read back without a model."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import Any

import credits
import pytest

from dpo_credit.credit import Alternative, Credit, CreditError, margin
from dpo_credit.rows.output import credit_record, to_json
from dpo_credit.rows.reader import records_of
from dpo_credit.rows.records import parse_row
from dpo_credit.rows.saved import parse_scored, read_scored
from dpo_credit.rows.scored import ScoredRow

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


def read(data: bytes, name: str, beta: float | None = None) -> list[ScoredRow]:
    return list(read_scored(records_of(io.BytesIO(data), name), beta))


def alone(credit: Credit) -> ScoredRow:
    return ScoredRow(parse_row({"id": "r", "prompt": "q", "answer": credit.tokens.answer}, "r"), (credit,))


def of_first_version(scored: ScoredRow) -> Any:
    """A row as `dpo-credit/credit@1` had it: records in the answers' places, and no prompt."""
    credit = json.loads(to_json(scored))["credit"]
    answers = [{"schema": "dpo-credit/credit@1", **answer} for answer in credit["answers"]]
    if scored.kind == "single":
        return answers[0]
    names = dict(zip(("chosen", "rejected"), answers, strict=True))
    return {"id": scored.id, **names, "margin": credit["margin"]}


CREDITS = (credit("ab", (-0.5, -2.0)), credit("ac", (-0.5, -3.0)))
SCORED = ScoredRow(ROW, CREDITS)


def test_what_is_written_reads_back_as_the_same_credits():
    saved = to_json(SCORED).encode()
    (scored,) = read(saved, "scored.json")
    assert scored.credits == CREDITS
    assert (scored.kind, scored.labels, scored.id) == ("preference", ("chosen", "rejected"), "r")
    assert (scored.prompt, scored.row.examples) == ("q", ROW.examples)


@pytest.mark.parametrize("scored", [SCORED, alone(CREDITS[0])], ids=["preference", "single"])
def test_rows_of_the_first_version_are_read_still(scored: ScoredRow) -> None:
    (again,) = read(json.dumps(of_first_version(scored)).encode(), "scored.json")
    assert again.credits == scored.credits
    assert (again.kind, again.labels, again.id, again.prompt) == (scored.kind, scored.labels, again.id, "")


def test_turns_roles_and_the_date_survive() -> None:
    tokens = replace(CREDITS[0].tokens, scored="assistant", roles=("assistant", "user"), date="2024-02-29")
    (again,) = read(to_json(alone(replace(CREDITS[0], tokens=tokens))).encode(), "scored.json")
    assert (again.credits[0].tokens, again.credits[0].rewards[1]) == (tokens, 0.0)


def test_fields_that_were_named_are_read_from_again() -> None:
    row = parse_row({"id": "r", "post_text": "q", "reply": "ab"}, "r", prompt_key="post_text", answer_key="reply")
    (again,) = read(to_json(ScoredRow(row, CREDITS[:1])).encode(), "scored.json")
    assert (again.prompt, again.row.examples) == ("q", row.examples)


def test_a_diff_reads_back_as_its_two_credits():
    saved = to_json(SCORED, credit_record(SCORED, edits=True)).encode()
    assert read(saved, "diff.json")[0].credits == CREDITS


def test_the_noise_floor_survives():
    one = credit("ab", (-0.5, -2.0), noise=0.25)
    ((again,),) = (scored.credits for scored in read(to_json(alone(one)).encode(), "scored.json"))
    assert again.noise == pytest.approx(one.noise, rel=1e-15)


def test_another_beta_needs_no_model():
    (credits,) = (scored.credits for scored in read(to_json(SCORED).encode(), "scored.json", beta=0.4))
    assert [c.reward for c in credits] == pytest.approx([4 * c.reward for c in CREDITS])


def test_length_normalisation_and_its_noise_survive_and_another_beta_keeps_them():
    one = replace(credit("ab", (-0.5, -2.0), noise=0.25), length_normalised=True)
    saved = to_json(alone(one)).encode()
    (record,) = json.loads(saved)["credit"]["answers"]
    assert record["length_normalised"] is True
    assert record["rewards"] == pytest.approx([0.1 / 2 * 0.5, 0.1 / 2 * -1.0])
    assert record["noise"] == pytest.approx(0.1 / 2 * 0.25)
    ((again,),) = (scored.credits for scored in read(saved, "scored.json"))
    assert again == replace(one, source=again.source)
    assert again.source.noise == pytest.approx(0.25, rel=1e-15)
    ((other,),) = (scored.credits for scored in read(saved, "scored.json", beta=0.4))
    assert other.rewards == pytest.approx([0.4 / 2 * 0.5, 0.4 / 2 * -1.0])


def test_a_record_from_before_length_normalisation_is_a_summed_one():
    record = of_first_version(alone(CREDITS[0]))
    del record["length_normalised"]
    assert read(json.dumps(record).encode(), "scored.json")[0].credits == (CREDITS[0],)


def saved_after(*prompts: tuple[int, ...]) -> dict[str, Any]:
    """A preference whose answers follow these prompts, as JSON."""
    answers = [
        replace(answer, tokens=replace(answer.tokens, prompt_ids=prompt))
        for answer, prompt in zip(CREDITS, prompts, strict=True)
    ]
    chosen, rejected = (of_first_version(alone(answer)) for answer in answers)
    return {"id": "r", "chosen": chosen, "rejected": rejected}


def test_answers_to_different_prompts_of_one_length_do_not_compare_once_saved():
    (same,), (other,) = (
        read(json.dumps(saved_after((7, 8), prompt)).encode(), "scored.json") for prompt in ((7, 8), (7, 9))
    )
    assert margin(*same.credits) == pytest.approx(0.1 * 1.0)  # the logps of CREDITS differ by one nat
    with pytest.raises(CreditError, match="r/ab and r/ac follow different prompts"):
        margin(*other.credits)
    with pytest.raises(CreditError, match="follow different prompts"):
        _ = other.diff


@pytest.mark.parametrize(("prompt", "compares"), [((7, 8), True), ((7, 9), False), ((7, 8, 9), False)])
def test_a_saved_answer_compares_with_a_fresh_one_to_the_same_prompt_alone(prompt: tuple[int, ...], compares: bool):
    (saved,) = read(json.dumps(saved_after((7, 8), (7, 8))).encode(), "scored.json")
    fresh = replace(CREDITS[1], tokens=replace(CREDITS[1].tokens, prompt_ids=prompt))
    if compares:
        assert margin(saved.credits[0], fresh) == pytest.approx(0.1)
    else:
        with pytest.raises(CreditError, match="follow different prompts"):
            margin(saved.credits[0], fresh)


def test_answers_saved_before_prompts_were_known_count_as_answers_to_one():
    record = saved_after((7, 8), (7, 9))
    for side in ("chosen", "rejected"):
        del record[side]["prompt_hash"]
    (scored,) = read(json.dumps(record).encode(), "scored.json")
    assert margin(*scored.credits) == pytest.approx(0.1)
    again = json.loads(to_json(scored))
    assert all("prompt_hash" not in answer for answer in again["credit"]["answers"])


def test_each_line_of_a_file_is_a_row():
    line = to_json(SCORED)
    assert len(read(f"{line}\n\n{line}\n".encode(), "scored.jsonl")) == 2


def test_indented_json_is_one_row():
    pretty = json.dumps(json.loads(to_json(alone(CREDITS[0]))), indent=2)
    assert len(read(pretty.encode(), "scored.json")) == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1]", "row 1 is no scored row: holds a JSON number"),
        ('{"a": 1}\n{"b"', "is no scored answer"),
        ('{"prompt": "q"}', "is no scored answer"),
        ('{"schema": "dpo-credit/credit@1"}', "line 1 has no id"),
        ('{"chosen": {}, "rejected": {}}', "is no scored answer"),
        ('{"credit": {}}', "is no scored row"),
        ('{"credit": {"schema": "dpo-credit/credit@2"}}', "no kind or no answers"),
        (
            '{"credit": {"schema": "dpo-credit/credit@2", "kind": "single", "answers": [{}]}}',
            "line 1 has no id",
        ),
        ('{"credit": {"schema": "dpo-credit/credit@2", "kind": "single", "answers": [1]}}', "is no scored answer"),
    ],
)
def test_what_is_no_saved_score_is_refused(content: str, said: str):
    with pytest.raises(CreditError, match=said):
        read(content.encode(), "scored.jsonl")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tokens": ["a"]}, "differ in length"),
        ({"policy_logps": [-0.5]}, "1 policy log-probabilities for 2 answer tokens"),
        ({"policy_logps": [-0.5, None]}, r"policy_logps\[1\] is null, which must be a number"),
        ({"beta": 0}, "beta is 0; it must be a positive number|beta is 0.0; it must be a positive number"),
        (
            {"token_ids": [1, 2**70]},
            r"token_ids\[1\] is 1180591620717411303424, which must be a whole number of at most",
        ),
        ({"policy": None}, "policy is null, which must be text"),
        ({"tokens": ["a", 1]}, r"tokens\[1\] is 1, which must be text"),
        ({"token_ids": [True, 1]}, r"token_ids\[0\] is true, which must be a whole number"),
        ({"answer": ["ab"]}, "answer is .*, which must be text"),
        ({"spans": [[-1, 1], [1, 2]]}, r"a span is \(-1, 1\) of an answer of 2 characters"),
        ({"spans": [[0, 1], [1, 99]]}, r"a span is \(1, 99\) of an answer of 2 characters"),
        ({"spans": [[1, 0], [1, 2]]}, r"a span is \(1, 0\)"),
        ({"spans": [[0, 1], 3]}, r"spans\[1\] is 3, which must be a list of 2"),
        ({"spans": [[0, 1], [1, 2.5]]}, r"spans\[1\]\[1\] is 2.5, which must be a whole number"),
        ({"spans": [[0, 1], [1, True]]}, r"spans\[1\]\[1\] is true, which must be a whole number"),
        ({"spans": [[0, 1], [1, 2**70]]}, r"spans\[1\]\[1\] is 1180591620717411303424, which must be a whole number"),
        ({"spans": [[0, 1], [1, 2, 3]]}, r"spans\[1\] is a list, which must be a list of 2"),
        ({"spans": "ab"}, 'spans is "ab", which must be a list'),
        ({"eos": "x"}, 'eos is "x", which must be one of appended, template, in-text, none'),
        ({"rewards": [0.5, "x"]}, r'rewards\[1\] is "x", which must be a number'),
        ({"length_normalised": 1}, "length_normalised is 1, which must be true or false"),
        ({"noise": 1e308}, r"noise is 1e\+308, which must be a number of at most 1e\+50"),
        ({"noise": -1}, "noise is -1, which must be the size of a reward"),
        ({"optimal_values": {"q": []}}, "optimal_values.v is null, which must be a list"),
        ({"length_normalised": True, "turns": "assistant", "roles": ["", ""]}, "no token of the answer counts"),
        ({"prompt_tokens": 10**12}, "prompt_tokens is 1000000000000"),
        ({"prompt_tokens": -1}, "prompt_tokens is -1"),
        (
            {"policy_logps": [10**400, -1.0]},
            r"policy_logps\[0\] is a number of many digits, which must be a number",
        ),
        ({"roles": ["user"]}, "tokens and roles differ in length"),
        ({"policy_top": [[3], []]}, r"policy_top\[0\]\[0\] is 3, which must be an object"),
        ({"policy_top": [[]]}, "tokens and policy_top differ in length"),
        ({"policy_logps": [1e300, -1.0]}, r"policy_logps\[0\] is 1e\+300, which must be a number of at most 1e\+50"),
        ({"reference_logps": [-0.5, -math.inf]}, "-Infinity is not JSON"),
    ],
)
def test_a_record_that_was_changed_is_refused(change: dict, said: str):
    record = json.loads(to_json(alone(CREDITS[0])))
    record["credit"]["answers"][0] |= change
    with pytest.raises(CreditError, match=said):
        read(json.dumps(record).encode(), "scored.json")


def test_a_number_that_is_none_is_refused_wherever_it_stands():
    record = json.loads(to_json(alone(CREDITS[0])))
    record["credit"]["answers"][0]["rewards"] = [0.5, math.nan]
    with pytest.raises(CreditError, match=r"rewards\[1\] is NaN, which must be a number of at most"):
        parse_scored(record, "scored.json")


def test_whole_numbers_are_log_probabilities_too():
    record = json.loads(to_json(alone(CREDITS[0])))
    record["credit"]["answers"][0]["policy_logps"] = [-1, -0.5]
    assert parse_scored(record, "scored.json").credits[0].policy_logps == (-1.0, -0.5)
