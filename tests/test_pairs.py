"""Two answers to compare, out of one row, two files, or after a prompt of their own."""

from __future__ import annotations

import io
import json

import pytest

from dpo_credit.credit import CreditError, Message
from dpo_credit.rows.pairs import choose, pair_of
from dpo_credit.rows.reader import Record, records_of
from dpo_credit.rows.records import Prompt, Row, parse_row

POST = "SUBREDDIT: r/jobs\n\nPOST: They pay $50K.\n\nTL;DR:"


def record(data: bytes, name: str) -> Record:
    (only,) = records_of(io.BytesIO(data), name)
    return only


def read_pair(first: bytes, name: str, second: bytes | None, other: str, prompt: Prompt | None) -> Row:
    return pair_of(record(first, name), None if second is None else record(second, other), prompt)


def read_prompt(data: bytes, name: str) -> Prompt:
    return record(data, name).row(answers="optional").prompt


def test_two_texts_with_one_post_are_one_row():
    row = read_pair(f"{POST} yes\n".encode(), "a/good.txt", f"{POST} no\n".encode(), "a/bad.txt", None)
    assert [(e.prompt, e.answer) for e in row.examples] == [(POST, " yes"), (POST, " no")]
    assert (row.labels, row.id) == (("good", "bad"), "good-bad")


def test_different_posts_are_refused():
    with pytest.raises(CreditError, match=r"good\.txt and bad\.txt have different prompts.*--prompt"):
        read_pair(f"{POST} yes".encode(), "good.txt", b"Other post. TL;DR: no", "bad.txt", None)


def test_answers_alone_follow_the_prompt_with_the_space_of_the_tldr_format():
    row = read_pair(b"yes\n", "good.txt", b" no", "bad.txt", POST)
    assert [(e.prompt, e.answer) for e in row.examples] == [(POST, " yes"), (POST, " no")]


def test_answers_after_a_chat_are_verbatim():
    prompt = (Message("user", "Well?"),)
    row = read_pair(b"yes", "good.txt", b"no", "bad.txt", prompt)
    assert [(e.prompt, e.answer) for e in row.examples] == [(prompt, "yes"), (prompt, "no")]


def test_files_of_one_name_keep_their_folders_as_labels():
    assert read_pair(b"yes", "a/x.txt", b"no", "b/x.txt", POST).labels == ("a/x.txt", "b/x.txt")


@pytest.mark.parametrize(
    ("content", "name", "expected"),
    [
        (f"{POST} an answer", "post.txt", POST),
        ("a question?\n", "post.txt", "a question?"),
        (json.dumps({"prompt": "a question?"}), "post.json", "a question?"),
        (json.dumps({"subreddit": "jobs", "post": "They pay $50K."}), "post.json", POST),
        (json.dumps({"messages": [{"role": "user", "content": "Well?"}]}), "p.json", (Message("user", "Well?"),)),
        (
            json.dumps({"messages": [{"role": "user", "content": "Well?"}, {"role": "assistant", "content": "No."}]}),
            "p.json",
            (Message("user", "Well?"),),
        ),
    ],
)
def test_a_prompt_of_its_own_is_text_a_post_or_messages(content: str, name: str, expected: object):
    assert read_prompt(content.encode(), name) == expected


def test_a_prompt_file_without_a_prompt_is_refused():
    with pytest.raises(CreditError, match=r"no prompt to answer\. Give a prompt field"):
        read_prompt(b'{"title": "x"}', "post.json")


def test_one_answer_after_a_prompt_is_not_enough():
    with pytest.raises(CreditError, match="Name a second file"):
        read_pair(b"yes", "good.txt", None, "", POST)


def test_a_file_with_two_answers_is_no_side_of_a_pair():
    row = json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}).encode()
    with pytest.raises(CreditError, match=r"row\.json holds 2 answers: compare them with dpo-credit diff row\.json"):
        read_pair(row, "row.json", b"x", "x.txt", None)


def test_json_is_no_answer_alone():
    with pytest.raises(CreditError, match="it must be text, the answer alone"):
        read_pair(b'{"prompt": "q", "answer": "a"}', "row.json", b"x", "x.txt", POST)


ROW = parse_row({"id": "r", "prompt": "q", "completions": ["a", "b", "c"]}, "r")


def test_two_of_several_answers_are_picked_in_the_order_named():
    picked = choose(ROW, "2,0")
    assert [example.answer for example in picked.examples] == ["c", "a"]
    assert picked.labels == ("answer 2", "answer 0")


def test_all_answers_stay_on_request():
    assert choose(ROW, every=True) is ROW


def test_three_answers_need_a_choice():
    with pytest.raises(CreditError, match=r"r has 3 answers\. Name two with --pick 0,1 or compare all with --all"):
        choose(ROW)


@pytest.mark.parametrize("pick", ["0", "0,0", "0,3", "a,b", "-1,0", "0,1,2", ""])
def test_a_pick_that_names_no_two_answers_is_refused(pick: str):
    with pytest.raises(CreditError, match="does not name two of r's answers, 0 to 2"):
        choose(ROW, pick)


def test_one_answer_makes_no_diff():
    with pytest.raises(CreditError, match="has one answer; a diff needs two"):
        choose(parse_row({"prompt": "q", "answer": "a"}, "r"))
