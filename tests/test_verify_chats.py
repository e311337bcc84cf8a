"""verify on chats: TRL gets the rows as the user wrote them, so that what we read otherwise shows, and has a name."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_conventions import BETA, POLICY, REFERENCE, Ids, jointly, reward, rewards_of
from test_turns import CALL, ROWS, TABLE, WEATHER
from tiny import CHATML, save, tokenizer
from transformers import AutoModelForCausalLM

from dpo_credit import Loading, load_pair
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.records import Row, parse_row
from dpo_credit.verify.conventions import Way
from dpo_credit.verify.references import gather
from dpo_credit.verify.rewards import Rewards
from dpo_credit.verify.targets import Target, Trial
from dpo_credit.verify.trl_rows import is_trls, trl_row
from dpo_credit.verify.verify import VerifyReport, verify

pytest.importorskip("trl", reason="the train extra is not installed")

TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['reasoning_content'] %}({{ message['reasoning_content'] }}){% endif %}{{ message['content'] }}"
    "{% if message['tool_calls'] %}{{ message['tool_calls'] | tojson }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DATED = "{{ strftime_now('%d %b %Y') }}\n" + CHATML


@pytest.fixture
def made(tmp_path: Path, tiny_pair_dirs: tuple[Path, Path]):
    def pair(template: str) -> ModelPair:
        models = [AutoModelForCausalLM.from_pretrained(directory) for directory in tiny_pair_dirs]
        names = [
            save(model, tmp_path / name, tokenizer(chat_template=template))
            for model, name in zip(models, "pr", strict=True)
        ]
        return load_pair(*names, beta=0.37, loading=Loading(device="cpu"))

    return pair


def compared(pair: ModelPair, rows: list[dict[str, Any]], way: Way = Way()) -> VerifyReport:
    rewards = Rewards(pair, [parse_row(row, str(n)) for n, row in enumerate(rows)], replace(way, beta=pair.beta))
    targets, _ = gather(rewards)
    return verify(rewards, targets)


def best(report: VerifyReport) -> Trial:
    return report.comparisons[0].trials[0]


def test_every_kind_of_chat_agrees_with_trl_by_the_defaults(made) -> None:
    rows = [row for name, row in ROWS.items() if name not in ("tools", "a call and its result")]
    report = compared(made(TOOLS), rows)
    assert report.agrees and best(report).of == len(rows)


@pytest.mark.parametrize(
    ("rows", "way", "named", "flags"),
    [
        ([TABLE], Way(turns="last"), "all turns", "--turns all"),
        ([ROWS["the user speaks last"]], Way(turns="assistant"), "all turns", "--turns all"),
    ],
)
def test_other_turns_than_trls_are_named(made, rows: list[dict[str, Any]], way: Way, named: str, flags: str) -> None:
    report = compared(made(TOOLS), rows, way)
    assert (report.agrees, best(report).name, best(report).flags) == (False, named, flags)


def test_another_date_than_todays_is_named(made) -> None:
    report = compared(made(DATED), [TABLE], Way(date="2024-02-29"))
    today = datetime.date.today().isoformat()  # TRL writes the day it runs on
    assert (report.agrees, best(report).name, best(report).flags) == (False, f"date {today}", f"--date {today}")


def test_a_prompt_that_chats_repeat_is_named(made) -> None:
    row = {**ROWS["no prompt"], "prompt": TABLE["prompt"]}
    report = compared(made(TOOLS), [row])
    assert (report.agrees, best(report).name) == (False, "prompt repeated")


def test_fields_that_a_table_fills_in_are_named(made) -> None:
    """TRL's table gives each call the other's arguments, as null, and the template writes them."""
    other = {"type": "function", "function": {"name": "time", "arguments": {"zone": "CET"}}}
    rows = [{**ROWS["a call and its result"], "rejected": [{"role": "assistant", "content": "", "tool_calls": [call]}]}
            for call in (CALL, other)]  # fmt: skip
    report = compared(made(TOOLS), rows)
    assert (report.agrees, best(report).name) == (False, "fields as a table's")


@pytest.mark.parametrize(
    ("reading", "named"),
    [
        (lambda example: replace(example, template_kwargs={}), "tools"),
        (lambda example: replace(example, turns=example.turns[:1]), "turns"),
    ],
)
def test_a_row_that_we_would_read_otherwise_shows(made, reading: Any, named: str) -> None:
    """The fault that this guards against: TRL was given our reading of a row, and agreed with it."""
    row = parse_row({**TABLE, "tools": [WEATHER]}, "row")
    misread = replace(row, examples=tuple(map(reading, row.examples)))
    pair = made(TOOLS)
    for given, agrees in ((row, True), (misread, False)):
        rewards = Rewards(pair, [given], Way(beta=pair.beta))
        targets, _ = gather(rewards)
        assert verify(rewards, targets).agrees is agrees, named


def test_trl_gets_the_users_own_fields() -> None:
    fields = {**ROWS["tools as JSON"], "chat_template_kwargs": {"a": 1}, "score": 3}
    assert trl_row(parse_row(fields, "row")) == {name: value for name, value in fields.items() if name != "score"}
    implicit = {"chosen": "Rent? TL;DR: ten", "rejected": "Rent? TL;DR: two"}
    assert trl_row(parse_row(implicit, "row")) == implicit


@pytest.mark.parametrize(
    "fields",
    [
        {"post": "P", "chosen": "a", "rejected": "b"},
        {"prompt": "Book a table.", **ROWS["no prompt"]},
        {"prompt": TABLE["prompt"], "chosen": "a", "rejected": "b"},
    ],
)
def test_rows_that_trl_takes_not_go_as_they_are_read_and_that_is_said(made, fields: dict[str, Any]) -> None:
    row: Row = parse_row(fields, "row")
    assert not is_trls(row)
    pair = made(TOOLS)
    rewards = Rewards(pair, [row], Way(beta=pair.beta))
    targets, notes = gather(rewards)
    assert verify(rewards, targets).agrees
    assert "1 of 1 rows are none that TRL" in notes[0] and "(the first: row)" in notes[0]


def written(turns: list[dict[str, Any]]) -> str:
    """ChatML, written by hand."""
    return "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in turns)


def after(before: list[dict[str, Any]], answer: dict[str, Any]) -> Ids:
    """One turn's own tokens after all that was said before."""
    return jointly(f"{written(before)}<|im_start|>assistant\n", f"{answer['content']}<|im_end|>\n")


def last_turn(row: dict[str, Any], side: str) -> list[Ids]:
    *before, answer = [*row["prompt"], *row[side]]
    return [after(before, answer)]


def assistants_turns(row: dict[str, Any], side: str) -> list[Ids]:
    """Each after all before it: the sums of their tokens add up."""
    turns = [*row["prompt"], *row[side]]
    return [after(turns[:n], turn) for n, turn in enumerate(turns) if turn["role"] == "assistant"]


def whole(row: dict[str, Any], side: str) -> list[Ids]:
    """As if there were messages with role and content alone."""
    opened = f"{written(row['prompt'])}<|im_start|>assistant\n"
    return [jointly(opened, written([*row["prompt"], *row[side]]).removeprefix(opened))]


THOUGHT = {**TABLE, "chosen": [{**TABLE["chosen"][0], "reasoning_content": "Seats?"}, *TABLE["chosen"][1:]]}


@pytest.mark.parametrize(
    ("name", "row", "naive"),
    [
        ("last turn", TABLE, last_turn),
        ("assistant's turns", TABLE, assistants_turns),
        ("no tools", {**TABLE, "tools": [WEATHER]}, whole),
        ("no thoughts", THOUGHT, whole),
    ],
)
def test_what_a_script_leaves_out_of_a_chat_is_recognised(name: str, row: dict[str, Any], naive: Any) -> None:
    numbers = tuple(
        sum(reward(POLICY, REFERENCE, ids, BETA, average=False) for ids in naive(row, side))
        for side in ("chosen", "rejected")
    )
    rewards = rewards_of(tokenizer(chat_template=TOOLS), [row], Way())
    trial = verify(rewards, [Target("a script", "the script", (numbers,))]).comparisons[0].trials[0]  # type: ignore[arg-type]
    assert (trial.meets, trial.name) == (True, name)
