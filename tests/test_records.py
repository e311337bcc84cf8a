"""records: every accepted row shape becomes the same Examples, and a prompt is never guessed."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from dpo_credit.credit import CreditError, Message
from dpo_credit.rows.chats import prompt_text
from dpo_credit.rows.reader import records_of
from dpo_credit.rows.records import Row, stem

USER = {"role": "user", "content": "Capital of Australia?"}
RIGHT, WRONG = ({"role": "assistant", "content": name} for name in ("Canberra", "Cairns"))
ASKED = (Message("user", "Capital of Australia?"),)
AGAIN = {"role": "user", "content": "Sure?"}
POST = {"subreddit": "jobs", "title": "Two offers", "post": "I have two offers."}
# the public TL;DR format (openai/summarize-from-feedback, trl-lib/tldr), written out by hand
POST_PROMPT = "SUBREDDIT: r/jobs\n\nTITLE: Two offers\n\nPOST: I have two offers.\n\nTL;DR:"
TURNS = "\n\nHuman: Capital of Australia?\n\nAssistant:"
HEARD = "\n\nHuman: Hi\n\nAssistant: Hello"


def read_row(data: bytes, name: str, **keys: str) -> Row:
    (record,) = records_of(io.BytesIO(data), name)
    return record.row(default_id=stem(name), **keys)  # type: ignore[arg-type]


def parse(row: dict[str, Any], **keys: str) -> Row:
    return read_row(json.dumps(row).encode(), "folder/row.json", **keys)


def pairs(row: Row) -> list[tuple[Any, str]]:
    return [(example.prompt, example.answer) for example in row.examples]


PARTS = [{"type": "text", "text": "Capital of "}, {"text": "Australia?"}]
SHAPES: dict[str, tuple[dict[str, Any], str, list[tuple[Any, str]]]] = {
    "prompt, completion": ({"prompt": "Q:", "completion": " A"}, "single", [("Q:", " A")]),
    "prompt, answer": ({"prompt": "Q:", "answer": " A"}, "single", [("Q:", " A")]),
    "prompt, response": ({"prompt": "Q:", "response": " A"}, "single", [("Q:", " A")]),
    "prompt, summary": ({"prompt": "Q:", "summary": " A"}, "single", [("Q:", " A")]),
    "prompt, text without a space": ({"prompt": "Q:", "answer": "A"}, "single", [("Q:", "A")]),
    "prompt that contains TL;DR:": ({"prompt": "TL;DR: Q", "answer": "TL;DR: A"}, "single", [("TL;DR: Q", "TL;DR: A")]),
    "empty prompt": ({"prompt": "", "answer": "A"}, "single", [("", "A")]),
    "preference": ({"prompt": "Q:", "chosen": " A", "rejected": " B"}, "preference", [("Q:", " A"), ("Q:", " B")]),
    "completions": ({"prompt": "Q:", "completions": [" A", " B", " C"]}, "list", [("Q:", f" {x}") for x in "ABC"]),
    "messages": ({"messages": [USER, RIGHT]}, "single", [(ASKED, "Canberra")]),
    "messages, several turns": (
        {"messages": [USER, RIGHT, AGAIN, WRONG]},
        "single",
        [(ASKED, "assistant: Canberra\n\nuser: Sure?\n\nassistant: Cairns")],
    ),
    "messages after which the user speaks": (
        {"messages": [USER, RIGHT, AGAIN]},
        "single",
        [(ASKED, "assistant: Canberra\n\nuser: Sure?")],
    ),
    "messages of one turn": ({"messages": [RIGHT]}, "single", [((), "Canberra")]),
    "content in parts": (
        {"messages": [{**USER, "content": PARTS}, RIGHT]},
        "single",
        [((Message("user", PARTS),), "Canberra")],
    ),
    "chat lists": (
        {"prompt": [USER], "chosen": [RIGHT], "rejected": [WRONG]},
        "preference",
        [(ASKED, "Canberra"), (ASKED, "Cairns")],
    ),
    "chat lists that repeat the prompt": (
        {"prompt": [USER], "chosen": [USER, RIGHT], "rejected": [USER, WRONG]},
        "preference",
        [(ASKED, "Canberra"), (ASKED, "Cairns")],
    ),
    "chat lists without a prompt": (
        {"chosen": [USER, RIGHT], "rejected": [USER, WRONG]},
        "preference",
        [(ASKED, "Canberra"), (ASKED, "Cairns")],
    ),
    "text prompt, chat lists that hold it": (
        {"prompt": USER["content"], "chosen": [USER, RIGHT], "rejected": [USER, WRONG]},
        "preference",
        [(ASKED, "Canberra"), (ASKED, "Cairns")],
    ),
    "chat prompt, text answer": ({"prompt": [USER], "answer": "Canberra"}, "single", [(ASKED, "Canberra")]),
    "chat prompt, chat completion": ({"prompt": [USER], "completion": [RIGHT]}, "single", [(ASKED, "Canberra")]),
    "completions that are chats": (
        {"prompt": [USER], "completions": [[RIGHT], [WRONG]]},
        "list",
        [(ASKED, "Canberra"), (ASKED, "Cairns")],
    ),
    "post, summary": ({**POST, "summary": "Two."}, "single", [(POST_PROMPT, " Two.")]),
    "post, summary with its space": ({**POST, "summary": " Two."}, "single", [(POST_PROMPT, " Two.")]),
    "post, r/ in the subreddit": ({**POST, "subreddit": "r/jobs", "summary": "T"}, "single", [(POST_PROMPT, " T")]),
    "post, summaries": (
        {**POST, "summaries": ["One.", "Two."]},
        "list",
        [(POST_PROMPT, " One."), (POST_PROMPT, " Two.")],
    ),
    "post, chosen and rejected": (
        {**POST, "chosen": "One.", "rejected": "Two."},
        "preference",
        [(POST_PROMPT, " One."), (POST_PROMPT, " Two.")],
    ),
    "post alone": ({"post": "Hi.", "summary": "H"}, "single", [("POST: Hi.\n\nTL;DR:", " H")]),
    "info and summaries": (
        {"info": {"id": "t3_x", **POST}, "summaries": [{"text": " One.", "policy": "sup4"}, {"text": "Two."}]},
        "list",
        [(POST_PROMPT, " One."), (POST_PROMPT, " Two.")],
    ),
    "HH transcripts": (
        {"chosen": TURNS + " Canberra", "rejected": TURNS + " Cairns"},
        "preference",
        [(TURNS, " Canberra"), (TURNS, " Cairns")],
    ),
    "HH transcript of several turns": (
        {"chosen": HEARD + TURNS + " Canberra", "rejected": HEARD + TURNS + " Cairns"},
        "preference",
        [(HEARD + TURNS, " Canberra"), (HEARD + TURNS, " Cairns")],
    ),
    "answer with TL;DR:": ({"completion": "Long.\n\nTL;DR: Short."}, "single", [("Long.\n\nTL;DR:", " Short.")]),
    "answer with two TL;DR:": ({"completion": "TL;DR: a TL;DR: b"}, "single", [("TL;DR: a TL;DR:", " b")]),
    "answer alone": ({"answer": "Canberra"}, "single", [("", "Canberra")]),
    "answers alone": ({"chosen": "Canberra", "rejected": "Cairns"}, "preference", [("", "Canberra"), ("", "Cairns")]),
}


@pytest.mark.parametrize(("data", "kind", "expected"), SHAPES.values(), ids=SHAPES)
def test_every_accepted_shape_gives_its_prompt_and_answers(
    data: dict[str, Any], kind: str, expected: list[tuple[Any, str]]
) -> None:
    row = parse(data)
    assert (row.kind, pairs(row)) == (kind, expected)


@pytest.mark.parametrize("data", [data for data, _, _ in SHAPES.values()], ids=SHAPES)
def test_unknown_columns_pass_through_every_shape(data: dict[str, Any]) -> None:
    extra = {"worker": "w1", "scores": [0.5, None], "nested": {"a": True}}
    assert {name: parse({**data, **extra}).columns[name] for name in extra} == extra


def test_a_prompt_is_never_the_common_prefix_of_the_answers() -> None:
    """TRL's implicit prompt would be "Ca" here, and the answers "nberra" and "irns"."""
    row = parse({"chosen": "Canberra", "rejected": "Cairns"})
    assert pairs(row) == [("", "Canberra"), ("", "Cairns")]
    row = parse({"prompt": "Capital? Ca", "chosen": "Canberra", "rejected": "Cairns"})
    assert pairs(row) == [("Capital? Ca", "Canberra"), ("Capital? Ca", "Cairns")]


def test_the_turns_of_an_answer_keep_all_that_their_messages_hold() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}], "weight": None}
    row = parse(
        {"messages": [USER, call, {"role": "tool", "content": "9", "name": "f"}, RIGHT], "tools": [{"name": "f"}]}
    )
    (example,) = row.examples
    assert [turn.fields for turn in example.turns] == [
        {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]},
        {"role": "tool", "content": "9", "name": "f"},
        RIGHT,
    ]
    assert example.template_kwargs == row.template_kwargs == {"tools": [{"name": "f"}]}
    assert row.columns == {"tools": [{"name": "f"}]}


def test_a_prompt_of_messages_reads_as_people_read_it() -> None:
    turns = (Message("user", PARTS), Message("assistant", None, {"tool_calls": [{"name": "f"}]}))
    assert prompt_text(turns) == 'user: Capital of Australia?\n\nassistant: [{"name": "f"}]'


@pytest.mark.parametrize(
    ("tools", "said"),
    [("not JSON", "tools is text that is no JSON"), ({"a": 1}, "tools is a object"), ([1], "tools is a list")],
)
def test_tools_that_are_none_are_refused(tools: Any, said: str) -> None:
    with pytest.raises(CreditError, match=f"^row: {said}"):
        parse({"messages": [USER, RIGHT], "tools": tools})


def test_tools_of_a_row_of_text_play_no_part_and_that_is_said() -> None:
    row = parse({"prompt": "Q:", "answer": " A", "tools": [{"name": "f"}]})
    assert row.examples[0].template_kwargs == {} and row.columns == {"tools": [{"name": "f"}]}
    assert row.notes == ("tools and chat_template_kwargs are a chat's: text has no template that would read them",)


def test_transcripts_that_part_before_the_last_turn_are_refused() -> None:
    other = TURNS.replace("Australia", "Austria")
    with pytest.raises(CreditError, match=r"row: its answers follow different prompts.*Put the shared prompt into"):
        parse({"chosen": TURNS + " Canberra", "rejected": other + " Vienna"})


def test_transcripts_that_part_in_a_later_turn_are_scored_from_there_on_and_that_is_said() -> None:
    answers = [f"{TURNS} Canberra{more}" for more in ("\n\nHuman: Sure?\n\nAssistant: Yes", "!\n\nHuman: ?")]
    row = parse({"chosen": answers[0], "rejected": answers[1]})
    assert pairs(row) == [(TURNS, answers[0].removeprefix(TURNS)), (TURNS, answers[1].removeprefix(TURNS))]
    assert "part before their last turns" in row.notes[0]


def test_prompt_key_and_answer_key_name_other_fields() -> None:
    data = {"question": "Q:", "reply": " A", "prompt": "P:", "answer": " B"}
    row = parse(data, prompt_key="question", answer_key="reply")
    assert pairs(row) == [("Q:", " A")]
    assert row.columns == {"prompt": "P:", "answer": " B"}


def test_answer_key_takes_a_list_a_chat_or_one_side_of_a_preference() -> None:
    assert pairs(parse({"prompt": "Q:", "drafts": [" A", " B"]}, answer_key="drafts")) == [("Q:", " A"), ("Q:", " B")]
    assert pairs(parse({"dialog": [USER, RIGHT]}, answer_key="dialog")) == [(ASKED, "Canberra")]
    alone = parse({"prompt": "Q:", "chosen": " A", "rejected": " B"}, answer_key="rejected")
    assert (alone.kind, pairs(alone), alone.columns) == ("single", [("Q:", " B")], {"chosen": " A"})


def test_answer_key_settles_which_of_two_answers_is_meant() -> None:
    data = {"prompt": "Q:", "answer": " A", "summary": " B"}
    with pytest.raises(CreditError, match=r"row: several answers: answer, summary\. Say which .* --answer-key"):
        parse(data)
    assert pairs(parse(data, answer_key="summary")) == [("Q:", " B")]


@pytest.mark.parametrize("given", [7, "7"])
def test_an_id_is_text_or_a_whole_number(given: int | str) -> None:
    row = parse({"id": given, "answer": "A"})
    assert (row.id, row.examples[0].id) == ("7", "7")


def test_a_row_without_an_id_is_named_after_its_file() -> None:
    assert parse({"answer": "A"}).id == "row"
    assert read_row(b"TL;DR: A", r"C:\posts\a.b.txt").id == "a.b"


def test_examples_of_a_row_are_told_apart_by_their_ids() -> None:
    data = {"id": "x", "prompt": "Q:"}
    preference = parse({**data, "chosen": "A", "rejected": "B"})
    assert [example.id for example in preference.examples] == ["x/chosen", "x/rejected"]
    assert [example.id for example in parse({**data, "completions": ["A", "B"]}).examples] == ["x/0", "x/1"]


TEXTS = {
    "plain": b"I have two offers.\n\nTL;DR: Two.",
    "trailing newline": b"I have two offers.\n\nTL;DR: Two.\n",
    "trailing newlines": b"I have two offers.\n\nTL;DR: Two.\r\n\n",
    "byte-order mark": "\ufeffI have two offers.\n\nTL;DR: Two.\n".encode(),
}


@pytest.mark.parametrize("data", TEXTS.values(), ids=TEXTS)
def test_text_up_to_and_with_tldr_is_the_prompt(data: bytes) -> None:
    assert pairs(read_row(data, "post.txt")) == [("I have two offers.\n\nTL;DR:", " Two.")]


def test_text_keeps_the_line_breaks_it_came_with() -> None:
    assert pairs(read_row(b"One.\r\n\r\nTL;DR: Two.\r\nThree.\r\n", "post.txt")) == [
        ("One.\r\n\r\nTL;DR:", " Two.\r\nThree.")
    ]


def test_text_without_tldr_is_an_answer_alone() -> None:
    assert pairs(read_row(b"Just this.\n", "post.txt")) == [("", "Just this.")]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", "\ufeff".encode()])
def test_json_may_have_a_byte_order_mark_and_any_line_ending(mark: bytes, ending: bytes) -> None:
    for name in ("row.json", "row.jsonl", "stdin"):
        assert pairs(read_row(mark + b'{"prompt": "Q:", "answer": " A"}' + ending, name)) == [("Q:", " A")]


def test_a_file_named_txt_is_text_even_if_it_begins_with_a_brace() -> None:
    assert pairs(read_row(b'{"answer": "A"}', "post.txt")) == [("", '{"answer": "A"}')]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 5000], ids=["inf", "-inf", "5000 digits"])
def test_a_number_that_json_cannot_carry_through_is_refused(number: str) -> None:
    """Python reads 1e999 as infinity, which no JSON can be written with, and refuses integers of 5,000 digits."""
    with pytest.raises(CreditError, match=r"row\.json"):
        read_row(f'{{"answer": "A", "score": {number}}}'.encode(), "row.json")
