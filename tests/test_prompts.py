"""Where a row's prompt is: columns of public data sets, turns of transcripts, and what is said about both."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dpo_credit.credit import CreditError, Message
from dpo_credit.rows.prompts import _TURN, split
from dpo_credit.rows.records import parse_row, text_row

ASKED, SYSTEM = Message("user", "Capital?"), Message("system", "Be brief.")
RIGHT, WRONG = ({"role": "assistant", "content": name} for name in ("Canberra", "Cairns"))
HUMAN = {"from": "human", "value": "Capital?"}
GPT_RIGHT, GPT_WRONG = ({"from": "gpt", "value": name} for name in ("Canberra", "Cairns"))
PAIR = {"chosen": " Canberra", "rejected": " Cairns"}
CHATS = {"chosen": [RIGHT], "rejected": [WRONG]}
TURNS = "\n\nHuman: Capital?\n\nAssistant:"
TRANSCRIPTS = {"chosen": f"{TURNS} Canberra", "rejected": f"{TURNS} Cairns"}
READ_AS_CHAT = "read as a chat, in which from is the role and value the content"

# a row, its prompt, the fields that it was read from, what is said about that
COLUMNS: dict[str, tuple[dict[str, Any], Any, tuple[str, ...], tuple[str, ...]]] = {
    "instruction (argilla)": (
        {"instruction": "Capital?", **PAIR},
        "Capital?",
        ("instruction",),
        ("prompt read from instruction",),
    ),
    "question": ({"question": "Capital?", **PAIR}, "Capital?", ("question",), ("prompt read from question",)),
    "query": ({"query": "Capital?", **PAIR}, "Capital?", ("query",), ("prompt read from query",)),
    "input alone": ({"input": "Capital?", **PAIR}, "Capital?", ("input",), ("prompt read from input",)),
    "instruction and input (Alpaca)": (
        {"instruction": "Say hi.", "input": "In French.", "output": " Salut."},
        "Say hi.\n\nIn French.",
        ("instruction", "input"),
        ("prompt read from instruction and input, with a blank line between",),
    ),
    "instruction and an empty input": (
        {"instruction": "Say hi.", "input": "", "output": " Hi."},
        "Say hi.",
        ("instruction",),
        ("prompt read from instruction",),
    ),
    "system and question (Orca)": (
        {"system": "Be brief.", "question": "Capital?", **PAIR},
        "Be brief.\n\nCapital?",
        ("system", "question"),
        ("prompt read from system and question, with a blank line between",),
    ),
    "an empty system": (
        {"system": "", "question": "Capital?", **PAIR},
        "Capital?",
        ("question",),
        ("prompt read from question",),
    ),
    "system and question before chats": (
        {"system": "Be brief.", "question": "Capital?", **CHATS},
        (SYSTEM, ASKED),
        ("system", "question"),
        ("prompt read from system and question, as a chat",),
    ),
    "instruction before chats in a list": (
        {"instruction": "Capital?", "completions": [[RIGHT], [WRONG]]},
        (ASKED,),
        ("instruction",),
        ("prompt read from instruction, as a chat",),
    ),
    "instruction beside whole chats": (
        {"instruction": "Capital?", **{side: [ASKED.fields, *CHATS[side]] for side in CHATS}},
        (ASKED,),
        (),
        (),
    ),
    "question beside transcripts": ({"question": "Capital?", **TRANSCRIPTS}, TURNS, (), ()),
    "instruction beside a context": (
        {"instruction": "Capital?", "context": "Australia is a country.", "response": " Canberra"},
        "Capital?",
        ("instruction",),
        ("prompt read from instruction", "context is not read: instruction is the whole prompt"),
    ),
    "prompt beside system": (
        {"prompt": "Capital?", "system": "Be brief.", **PAIR},
        "Capital?",
        ("prompt",),
        ("system is not read: prompt is the whole prompt",),
    ),
    "prompt beside a question and its id": (
        {"prompt": "Capital?", "question": "Other?", "prompt_id": "a1", **PAIR},
        "Capital?",
        ("prompt",),
        (),
    ),
    "prompt_id alone": ({"prompt_id": "a1", **PAIR}, "", (), ()),
    "a list of one text": (
        {"prompt": ["Capital?"], "chosen": [" Canberra"], "rejected": [" Cairns"]},
        "Capital?",
        ("prompt",),
        ("prompt, chosen, rejected: a list of one text is read as that text",),
    ),
    "ShareGPT": ({"conversations": [HUMAN, GPT_RIGHT]}, (ASKED,), (), (f"conversations: {READ_AS_CHAT}",)),
    "ShareGPT preference": (
        {"conversations": [HUMAN], "chosen": GPT_RIGHT, "rejected": GPT_WRONG},
        (ASKED,),
        ("conversations",),
        (f"conversations, chosen, rejected: {READ_AS_CHAT}", "prompt read from conversations, as a chat"),
    ),
    "ShareGPT with its system": (
        {"conversations": [HUMAN], "chosen": [GPT_RIGHT], "rejected": [GPT_WRONG], "system": "Be brief."},
        (SYSTEM, ASKED),
        ("system", "conversations"),
        (f"conversations, chosen, rejected: {READ_AS_CHAT}", "prompt read from system and conversations, as a chat"),
    ),
    "ShareGPT beside a system": (
        {"conversations": [HUMAN, GPT_RIGHT], "system": "Be brief."},
        (ASKED,),
        (),
        (
            f"conversations: {READ_AS_CHAT}",
            "system is not read: what its answers begin with is the whole prompt",
        ),
    ),
    "whole ShareGPT chats": (
        {"chosen": [HUMAN, GPT_RIGHT], "rejected": [HUMAN, GPT_WRONG]},
        (ASKED,),
        (),
        (f"chosen, rejected: {READ_AS_CHAT}",),
    ),
    "messages before an answer": (
        {"messages": [ASKED.fields], "completion": "Canberra"},
        (ASKED,),
        ("messages",),
        ("prompt read from messages, as a chat",),
    ),
}


@pytest.mark.parametrize(("fields", "prompt", "keys", "notes"), COLUMNS.values(), ids=COLUMNS)
def test_a_prompt_is_read_from_the_columns_of_public_data_sets(
    fields: dict[str, Any], prompt: Any, keys: tuple[str, ...], notes: tuple[str, ...]
) -> None:
    row = parse_row(fields, "x")
    assert (row.prompt, row.prompt_keys, row.notes) == (prompt, keys, notes)
    assert row.fields is fields
    assert not set(row.columns) & {*keys, *row.answer_keys}
    assert {example.answer.strip() for example in row.examples} <= {"Canberra", "Cairns", "Salut.", "Hi."}


def test_two_columns_of_questions_are_not_chosen_between() -> None:
    fields = {"instruction": "Answer.", "question": "Capital?", "answer": " Canberra"}
    with pytest.raises(CreditError, match=r"x: several prompts: instruction, question\. Say which .* --prompt-key"):
        parse_row(fields, "x")
    assert parse_row(fields, "x", prompt_key="question").prompt == "Capital?"


def test_output_is_an_answer_where_there_is_no_other() -> None:
    assert parse_row({"prompt": "Q:", "output": " A"}, "x").examples[0].answer == " A"
    both = parse_row({"prompt": "Q:", "output": "log", "answer": " A"}, "x")
    assert (both.examples[0].answer, both.columns) == (" A", {"output": "log"})


def test_a_message_from_somebody_unknown_is_refused() -> None:
    with pytest.raises(CreditError, match=r"x: conversations\[0\] is from 'narrator', none of human, user, system"):
        parse_row({"conversations": [{"from": "narrator", "value": "Once"}, GPT_RIGHT]}, "x")


TURNS_OF_TRANSCRIPTS = {
    "HH": "\n\nHuman: Hi\n\nAssistant:| Hello",
    "HH, several turns": "\n\nHuman: Hi\n\nAssistant: Yes\n\nHuman: Why\n\nAssistant:| Hello",
    "CRLF": "\r\n\r\nHuman: Hi\r\n\r\nAssistant:| Hello",
    "lower case": "\n\nhuman: Hi\n\nassistant:| Hello",
    "lower case and CRLF": "human: Hi\r\n\r\nassistant:| Hello",
    "upper case": "HUMAN: Hi\n\nASSISTANT:| Hello",
    "no blank line before the first": "Human: Hi\n\nAssistant:| Hello",
    "no blank lines": "Human: Hi\nAssistant:| Hello\nthere",
    "no colons": "\n\nHuman Hi\n\nAssistant| Hello",
    "no colons, on lines of their own": "Human\nHi\n\nAssistant|\nHello",
    "the last without its colon": "\n\nHuman: Hi\n\nAssistant: Yes\n\nHuman: Why\n\nAssistant| Hello",
    "TL;DR: in the question": "human: Go on. TL;DR: no\n\nassistant:| Hello",
    "an answer about assistants": "\n\nHuman: Hi\n\nAssistant:| Yes.\n\nHuman rights\n\nAssistant professors",
    "an answer with a line of that": "\n\nHuman: Hi\n\nAssistant:| Yes.\nAssistant: no turn",
    "prose about humans": "|Human rights are.\n\nAssistant professors teach.",
    "an assistant in lower case to nobody": "|Yes.\n\nassistant: no turn",
    "an assistant at the beginning": "|Assistant: I am one.",
}


@pytest.mark.parametrize("marked", TURNS_OF_TRANSCRIPTS.values(), ids=TURNS_OF_TRANSCRIPTS)
def test_a_transcript_is_cut_at_its_last_assistant_turn(marked: str) -> None:
    prompt, _, answer = marked.partition("|")
    assert split(prompt + answer) == (prompt, answer)


def test_text_with_crlf_is_scored_as_it_stands_and_that_is_said() -> None:
    row = text_row("A post.\r\n\r\nTL;DR: yes\r\nno", "x")
    assert (row.prompt, row.examples[0].answer) == ("A post.\r\n\r\nTL;DR:", " yes\r\nno")
    assert row.notes == ("the text's lines end in CRLF, and are scored as they stand",)
    assert text_row("A post.\n\nTL;DR: yes", "x").notes == ()


def test_a_hundred_thousand_line_breaks_are_read_at_once() -> None:
    began = time.thread_time()
    assert _TURN.search("x" + "\n" * 100_000) is None
    assert time.thread_time() - began < 2  # linear: milliseconds; each break anew took minutes
