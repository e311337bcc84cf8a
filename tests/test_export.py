"""`dpo-credit export`: what each form holds, the kinds of file, and the lines of other tools read back."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from credits import END, credit
from jsonschema import Draft202012Validator
from program import run
from scored import saved, write
from test_layers import loaded_by

from dpo_credit.credit import Credit, CreditError
from dpo_credit.export.columns import columns_row
from dpo_credit.export.rollouts import prime_records, rollout_records
from dpo_credit.export.schema import SHIPPED, json_schema
from dpo_credit.export.weights import keep_of, weights_row
from dpo_credit.rows.output import to_json
from dpo_credit.rows.records import parse_row
from dpo_credit.rows.saved import parse_scored
from dpo_credit.rows.scored import ScoredRow

CHOSEN = credit([" 3", " cats"], [0.5, -0.25], end=0.125, reference=-2.0)
REJECTED = credit([" 4", " cats"], [-1.0, 0.25], end=0.0, reference=-2.0)
FIELDS = {"id": "r", "prompt": "Cats?", "chosen": " 3 cats", "rejected": " 4 cats"}
FORMS = ("columns", "tokens", "token-weights", "trl-reference", "prime-rl", "rollout-viz")


def row(fields: dict[str, Any] = FIELDS, answers: tuple[Credit, ...] = (CHOSEN, REJECTED)) -> ScoredRow:
    """A row of one's own fields, scored."""
    given = parse_row(fields, "r")
    credits = [replace(each, id=example.id) for each, example in zip(answers, given.examples, strict=True)]
    return ScoredRow(given, tuple(credits))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two preferences with a column of their own."""
    rows = [row({**FIELDS, "id": f"r{n}", "source": {"page": n}}) for n in range(2)]
    path = tmp_path / "scored.jsonl"
    path.write_text("".join(to_json(each) + "\n" for each in rows))
    return path


def lines(*arguments: str | Path) -> list[dict[str, Any]]:
    ended = run("export", *arguments)
    assert ended.code == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_columns_stand_beside_the_rows_own(file: Path) -> None:
    first, _ = lines(file, "--to", "columns")
    margin = 0.5 - 0.25 + 0.125 - (-1.0 + 0.25)
    assert first == {
        **FIELDS,
        "id": "r0",
        "source": {"page": 0},
        "margin": margin,
        "preference_probability": 1 / (1 + math.exp(-margin)),
        "chosen_reward": 0.375,
        "chosen_policy_logp": -6 + 0.375,
        "chosen_reference_logp": -6.0,
        "chosen_tokens": 3,
        "rejected_reward": -0.75,
        "rejected_policy_logp": -6 - 0.75,
        "rejected_reference_logp": -6.0,
        "rejected_tokens": 3,
    }


def test_columns_of_one_answer_and_of_several_and_a_name_that_is_taken() -> None:
    single = columns_row(row({"prompt": "Cats?", "answer": " 3 cats", "reward": "mine"}, (CHOSEN,)))
    assert (single["reward"], single["input_reward"], single["tokens"]) == (0.375, "mine", 3)
    several = columns_row(row({"prompt": "Cats?", "completions": [" 3 cats", " 4 cats"]}, (CHOSEN, REJECTED)))
    assert several["rewards"] == [0.375, -0.75] and several["tokens"] == [3, 3] and "margin" not in several


@pytest.mark.parametrize("unit", ["word", "sentence", "line", "step", "turn"])
def test_units_are_a_line_each_and_have_their_tokens_sums(unit: str, file: Path) -> None:
    found = lines(file, "--to", "tokens", "--by", unit)
    schema = json_schema()
    validator = Draft202012Validator({**schema, "$ref": "#/$defs/units"})
    assert not [error for line in found for error in validator.iter_errors(line)]
    ours = [line for line in found if (line["row"], line["answer"]) == ("r0", 0)]
    assert sum(line["reward"] for line in ours) == CHOSEN.reward and sum(line["tokens"] for line in ours) == 3
    assert [line["index"] for line in ours] == [*range(len(ours))]
    assert "".join(FIELDS["chosen"][line["start"] : line["end"]] for line in ours) == FIELDS["chosen"]
    if unit == "word":
        assert [(line["text"], line["reward"]) for line in ours] == [(" 3", 0.5), (" cats", -0.25), (END, 0.125)]


def test_units_are_of_tokens_alone(file: Path) -> None:
    ended = run("export", file, "--to", "columns", "--by", "word")
    assert ended.code == 2 and "--by goes with --to tokens, and this is --to columns." in ended.stderr


def test_weights_leave_a_rows_own_columns_of_their_names() -> None:
    made = weights_row(
        row({"prompt": "Cats?", "completion": " 3 cats", "completion_weights": [7]}, (CHOSEN,)), keep_of("sign")
    )
    assert made["input_completion_weights"] == [7] and len(made["completion_weights"]) == 3


def test_tokens_are_a_line_each(file: Path) -> None:
    found = lines(file, "--to", "tokens")
    assert len(found) == 2 * 2 * 3
    assert found[4] == {
        "row": "r0",
        "answer": 1,
        "label": "rejected",
        "index": 1,
        "token_id": 1,
        "token": " cats",
        "start": 2,
        "end": 7,
        "token_class": "words",
        "counted": True,
        "policy_logp": -1.75,
        "reference_logp": -2.0,
        "log_ratio": 0.25,
        "reward": 0.25,
    }
    assert [line["token_class"] for line in found[:3]] == ["digits", "words", "end"]


@pytest.mark.parametrize(
    ("keep", "chosen", "rejected"),
    [
        ("top:0.3", [1, 0, 0], [1, 0, 0]),
        ("top:0.5", [1, 0, 1], [1, 0, 1]),
        ("above:0.2", [1, 0, 0], [1, 0, 0]),
        ("sign", [1, 0, 1], [1, 0, 0]),
    ],
)
def test_weights_keep_what_speaks_for_the_preference(
    keep: str, chosen: list[int], rejected: list[int], file: Path
) -> None:
    first, _ = lines(file, "--to", "token-weights", "--keep", keep)
    assert (first["chosen_weights"], first["rejected_weights"]) == (chosen, rejected)
    assert first["chosen_token_ids"] == [0, 1, 2] and first["rejected_rewards"] == [-1.0, 0.25, 0.0]


def test_trls_rows_hold_the_prompt_that_was_scored_and_the_other_columns(file: Path) -> None:
    first, _ = lines(file, "--to", "trl-reference")
    sums = {"ref_chosen_logps": -6.0, "ref_rejected_logps": -6.0}
    assert first == {**FIELDS, "id": "r0", "source": {"page": 0}, **sums}
    transcripts = {"chosen": "Cats? TL;DR: 3 cats", "rejected": "Cats? TL;DR: 4 cats", "ref_chosen_logps": 7.0}
    found = run("export", "-", "--to", "trl-reference", stdin=to_json(row(transcripts)).encode())
    assert json.loads(found.stdout) == {
        "id": "r",
        "prompt": "Cats? TL;DR:",
        "chosen": " 3 cats",
        "rejected": " 4 cats",
        **sums,
    }


def test_tools_go_to_trl_as_text() -> None:
    turn = [{"role": "assistant", "content": "3 cats"}]
    tools = [{"name": "count"}]
    chat = {"prompt": [{"role": "user", "content": "Cats?"}], "chosen": turn, "rejected": turn, "tools": tools}
    answers = tuple(replace(each, tokens=replace(each.tokens, end="template")) for each in (CHOSEN, REJECTED))
    scored = row({**chat, "chat_template_kwargs": {"thinking": False}}, answers)
    found = json.loads(run("export", "-", "--to", "token-weights", stdin=to_json(scored).encode()).stdout)
    assert json.loads(found["tools"]) == tools and found["chat_template_kwargs"] == {"thinking": False}
    assert found["chosen"] == turn


def test_prime_rls_numbers_are_of_the_token_that_stands_there() -> None:
    first, second = prime_records(row(), 4)
    assert (first.export_sequence_idx, second.export_sequence_idx) == (4, 5)
    assert first.token_ids == [0, 1, 2] and first.position_ids == [2, 3, 4]  # behind a prompt of two
    assert first.trainer_logprobs == [-1.5, -2.25, -1.875] and first.inference_logprobs == [-2.0] * 3
    assert first.log_importance_ratio == [0.5, -0.25, 0.125] == first.advantages and first.rewards == [0.375] * 3
    assert first.importance_ratio == pytest.approx([math.exp(0.5), math.exp(-0.25), math.exp(0.125)])
    assert first.mismatch_kl[0] == pytest.approx(math.exp(0.5) - 1 - 0.5)
    assert first.prob_delta[1] == pytest.approx(math.exp(-2.25) - math.exp(-2.0))
    assert first.entropy == [None] * 3
    wide = row({"prompt": "Cats?", "answer": " a"}, (credit([" a"], [900.0], reference=-1000.0),))
    assert next(prime_records(wide, 0)).importance_ratio == [None]  # no float holds exp(900)


def test_rollout_lines_read_back_as_the_same_credits() -> None:
    for credit_given, record in zip(row().credits, rollout_records(row()), strict=True):
        line = json.loads(json.dumps({name: getattr(record, name) for name in record.__slots__}))
        (found,) = parse_scored(line, "x, line 1").credits
        assert found.rewards == credit_given.rewards and found.source == credit_given.source
        known = replace(credit_given.tokens, prompt_ids=(-1, -1), saved_prompt=credit_given.tokens.prompt_hash)
        assert found.tokens == known


PRIME: dict[str, Any] = {
    "schema_version": 1,
    "step": 7,
    "env_name": "cats",
    "token_ids": [11, 12, 21, 22, 31, 23],
    "position_ids": [0, 1, 2, 3, 4, 5],
    "loss_mask": [False, False, True, True, False, True],
    "inference_logprobs": [0.0, 0.0, -1.0, -2.0, 0.0, -3.0],
    "trainer_logprobs": [-9.0, -9.0, -1.5, -1.0, -4.0, -3.25],
}


def test_prime_rls_export_is_read_as_saved_credits() -> None:
    scored = parse_scored(PRIME, "rank_0.jsonl, line 1", default_id="rank_0:1")
    (found,) = scored.credits
    assert scored.id == found.id == "rank_0:1" and scored.kind == "single"
    assert found.tokens.answer_ids == (21, 22, 31, 23) and found.tokens.answer == "21 22 31 23"
    assert found.tokens.counted == (True, True, False, True)
    assert found.rewards == (-0.5, 1.0, 0.0, -0.25) and found.reward == 0.25  # beta is 1
    assert len(found.tokens.prompt_ids) == 2 and found.tokens.prompt_hash is not None
    assert scored.row.fields == {"schema_version": 1, "step": 7, "env_name": "cats"}
    assert any("no beta is saved" in note for note in found.tokens.notes)
    other = parse_scored({**PRIME, "token_ids": [11, 13, 21, 22, 31, 23]}, "x").credits[0]
    assert not found.tokens.follows_prompt_of(other.tokens)
    assert parse_scored(PRIME, "x", beta=0.1).credits[0].reward == pytest.approx(0.025)


def test_our_prime_rl_lines_read_back_with_the_same_numbers(file: Path, tmp_path: Path) -> None:
    prime = tmp_path / "prime.jsonl"
    assert run("export", file, "--to", "prime-rl", "-o", prime).code == 0
    found = run("filter", prime, "--reward", "> 0")
    assert len(found.stdout.splitlines()) == 2 and "2 of 4 rows kept" in found.stderr
    assert run("report", prime).code == 0 and run("render", prime, "--row", "1").code == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"loss_mask": [False] * 6}, "its loss_mask leaves no token to score"),
        ({"trainer_logprobs": [-1.0]}, "1 trainer_logprobs, 6 inference_logprobs, of which there must be as many"),
        ({"trainer_logprobs": [-9.0, -9.0, None, -1.0, -4.0, -3.25]}, "policy_logps[0] is null"),
        ({"token_ids": "text"}, "token_ids is no list with one entry a token"),
        ({"token_ids": [11, 12, "x", 22, 31, 23]}, 'token_ids[0] is "x", which must be a whole number'),
    ],
)
def test_a_broken_token_line_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(CreditError, match="x, line 1") as caught:
        parse_scored({**PRIME, **change}, "x, line 1")
    assert said in str(caught.value)


def test_csv_holds_tokens_and_columns(file: Path, tmp_path: Path) -> None:
    for form in ("tokens", "columns"):
        assert run("export", file, "--to", form, "-o", tmp_path / "out.csv").code == 0
        with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as table:
            cells = list(csv.DictReader(table))
        for line, cell in zip(lines(file, "--to", form), cells, strict=True):
            assert cell.keys() == line.keys()
            for name, value in line.items():
                said = cell[name] if isinstance(value, str) else json.loads(cell[name])
                assert said == value


@pytest.mark.parametrize("form", FORMS)
def test_every_form_makes_a_table_and_a_dataset(form: str, file: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    plain = lines(file, "--to", form)
    assert run("export", file, "--to", form, "-o", tmp_path / "out.parquet").code == 0
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == plain
    assert pytest.importorskip("polars").read_parquet(tmp_path / "out.parquet").to_dicts() == plain
    folder = f"{tmp_path}/out/"
    assert run("export", file, "--to", form, "-o", folder).code == 0
    assert datasets.load_from_disk(folder).to_list() == plain
    assert {path.name for path in tmp_path.iterdir()} == {"scored.jsonl", "out.parquet", "out"}
    again = run("export", file, "--to", form, "-o", folder)
    assert again.code == 2 and "is there already. Name another folder" in again.stderr


@pytest.mark.parametrize("form", FORMS)
def test_every_line_is_valid_under_the_shipped_schema(form: str, file: Path) -> None:
    schema = json.loads(SHIPPED.read_text(encoding="utf-8"))
    validator = Draft202012Validator({**schema, "$ref": f"#/$defs/{form}"})
    (line, *_) = lines(file, "--to", form)
    validator.validate(line)
    numbers = [name for name, value in line.items() if isinstance(value, float | list)]
    assert not any(validator.is_valid({**line, name: "text"}) for name in numbers if name not in ("prompt", "source"))


def test_the_shipped_schema_is_the_one_of_the_types() -> None:
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == json_schema(), "python -m dpo_credit.export.schema"


def test_rows_that_a_form_has_no_line_for_are_set_aside(tmp_path: Path) -> None:
    mixed = [row(), saved([CHOSEN], "single", line=2), saved([CHOSEN, REJECTED], "list", line=3)]
    path = tmp_path / "mixed.jsonl"
    write(path, mixed[1:])
    path.write_text(to_json(row()) + "\n" + path.read_text())
    ended = run("export", path, "--to", "trl-reference")
    assert ended.code == 3 and len(ended.stdout.splitlines()) == 1
    assert "2 rows set aside, such as " in ended.stderr and "has no chosen and rejected" in ended.stderr
    assert run("export", path, "--to", "trl-reference", "--strict").code == 2


def test_another_beta_scales_the_rewards_alone(file: Path) -> None:
    plain, _ = lines(file, "--to", "columns")
    halved, _ = lines(file, "--to", "columns", "--beta", "0.5")
    assert halved["margin"] == plain["margin"] / 2 and halved["chosen_policy_logp"] == plain["chosen_policy_logp"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--to", "columns", "--keep", "sign"], "--keep goes with --to token-weights, and this is --to columns"),
        (["--to", "token-weights", "--keep", "top:2"], "--keep 'top:2' is no rule. Give top:0.3"),
        (["--to", "token-weights", "--keep", "best"], "--keep 'best' is no rule"),
        (["--to", "trl-reference", "-o", "out.csv"], "out.csv: CSV holds no lists"),
        (
            ["--to", "tokens", "-o", "out.xlsx"],
            "end it in .jsonl, .jsonl.gz, .jsonl.zst, .parquet or .csv, or in / for",
        ),
        (["--to", "tokens", "-o", "no/such/folder/"], "cannot write no/such/folder/"),
        (["--to", "tokens", "-o", "no/such.csv"], "cannot write no/such.csv"),
    ],
)
def test_what_is_no_export_is_one_line(arguments: list[str], said: str, file: Path) -> None:
    ended = run("export", file, *arguments)
    assert ended.code == 2 and ended.stdout == "" and said in ended.stderr and len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["filter", "--smallest", "1"], ["export", "--to", "token-weights"]])
def test_no_model_is_needed_and_no_torch(command: list[str], file: Path) -> None:
    program = (
        f"sys.argv = ['dpo-credit', *{command}, {str(file)!r}, '-o', {str(file.with_name('out.jsonl'))!r}]\n"
        "from dpo_credit.cli.app import main\ntry: main()\nexcept SystemExit: pass"
    )
    assert loaded_by(program) == set()
    assert file.with_name("out.jsonl").read_text()


def test_rows_that_are_not_scored_are_named() -> None:
    ended = run("export", "-", "--to", "columns", stdin=json.dumps(FIELDS).encode())
    assert ended.code == 2 and "Give what dpo-credit score --json wrote" in ended.stderr
