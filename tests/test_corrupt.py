"""A wrong answer differs from the right one in its labelled spans alone, and says something else there."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from dpo_credit import CreditError, Example
from dpo_credit.corrupt.corrupt import (
    KINDS,
    Corrupted,
    Plan,
    Tally,
    candidates,
    corrupt,
    corrupted_rows,
    plan,
    prompt_text,
    summary,
)
from dpo_credit.corrupt.errors.change import applied
from dpo_credit.corrupt.errors.number import VALUES
from dpo_credit.credit import Message
from dpo_credit.rows.records import parse_row

ROOT = Path(__file__).parents[1]
ROWS = [json.loads(line) for line in (ROOT / "examples" / "summaries.jsonl").read_text("utf-8").splitlines()]
POSTS = [Example(row["prompt"], row["summary"], row["id"]) for row in ROWS]
HOSTILE = [
    Example("", ""),
    Example("TL;DR:", "   \n\t "),
    Example(
        "p",
        "\U0001f468‍\U0001f469‍\U0001f467 She isn't 25 \U0001f600 and he isn't \U0001f1e9\U0001f1ea my boss.\U0001f600",
    ),
    Example("p", "هو 25 سنة. He is not my boss. ‏אני 30‎ and she left 2 dogs."),
    Example("p", "我25岁，她没有来。彼は3年前にBostonへ行った。He didn't go to Boston."),
    Example(
        "p",
        "## Plan\n\n- **Never** pay more than `$500`\n- [cheap hotel](https://a.b/3-dogs?x=2)\n\n1. Buy 2 dogs",
    ),
    Example("p", "e\u0301 cafe\u0301 is bad. I’m not happy, he doesn’t like my wife’s 3 cats. A 8-year-old."),
    Example("p", "don't " * 50 + "not never 1 1 1 2 2 no"),
    Example("p", "\x00 3 \ud83d dogs, is \u2028 not \u2029 was\r\n2 cats\r\n"),
    Example("p", "I I I me me told told him him from 3 to 3 from a to a than than"),
]


def undone(made: Corrupted) -> str:
    text = made.rejected
    for label in reversed(made.labels):
        text = text[: label.start] + label.original + text[label.end :]
    return text


@pytest.mark.parametrize("example", [*POSTS, *HOSTILE], ids=lambda example: example.id or repr(example.answer[:12]))
def test_labels_are_all_that_differs(example: Example) -> None:
    for seed in range(20):
        made = corrupt(example, Plan(1, 4, seed=seed))
        if made is None:
            assert not candidates(example)
            continue
        assert made.chosen == example.answer != made.rejected
        assert undone(made) == made.chosen
        assert 1 <= len(made.labels) <= 4
        for label in made.labels:
            assert made.rejected[label.start : label.end] == label.text
            assert label.text.strip() and label.text != label.original
            assert label.kind in KINDS
        spans = [(label.start, label.end) for label in made.labels]
        assert all(end < start for (_, end), (start, _) in pairwise(spans))


@pytest.mark.parametrize("example", POSTS, ids=lambda example: example.id)
def test_every_single_change_reads_as_another_sentence_of_english_words(example: Example) -> None:
    found = candidates(example)
    assert len({change.kind for change in found}) >= 3
    for change in found:
        text, _ = applied(example.answer, change.edits)
        assert "  " not in text.replace(example.answer, "")
        assert text[:2].strip() and (text[1].isupper() or not example.answer[1].isupper())
        for edit in change.edits:
            old = example.answer[edit.start : edit.end].lower().replace(",", "")
            new = edit.text.lower().replace(",", "")
            assert str(VALUES.get(old, old)) != str(VALUES.get(new, new))  # 2 is no error for two


def test_what_the_post_says_too_is_no_error() -> None:
    post = "My sister lent me 3 books and my brother lent me 5 books in Boston. TL;DR:"
    found = {change.edits[0].text for change in candidates(Example(post, " My sister lent me 3 books in Boston."))}
    assert {"mother", "4", "six", "Chicago"} & found  # what the post does not say
    assert not {"brother", "5", "five"} & found


def test_the_draw_depends_on_the_seed_and_the_rows_own_text() -> None:
    first = [corrupt(example, Plan(seed=7)) for example in POSTS]
    assert [corrupt(example, Plan(seed=7)) for example in reversed(POSTS)] == first[::-1]
    assert [corrupt(replace(example, id="other"), Plan(seed=7)) for example in POSTS] == first
    assert [corrupt(example, Plan(seed=8)) for example in POSTS] != first


def test_the_draw_is_the_same_in_every_process() -> None:
    program = (
        "import json, sys; from dpo_credit import Example; from dpo_credit.corrupt.corrupt import Plan, corrupt\n"
        "for line in sys.stdin:\n"
        "    row = json.loads(line); print(corrupt(Example(row['prompt'], row['summary']), Plan(seed=3)))"
    )
    stdin = "\n".join(map(json.dumps, ROWS))
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], input=stdin, capture_output=True, text=True, check=True, timeout=60,
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        ).stdout
        for hash_seed in ("0", "1")
    }  # fmt: skip
    assert outputs == {"".join(f"{corrupt(example, Plan(seed=3))}\n" for example in POSTS)}


def test_the_number_of_wrong_spans_is_the_one_asked_for() -> None:
    counts = {
        len(made.labels) for seed in range(20) for example in POSTS if (made := corrupt(example, Plan(2, 3, seed=seed)))
    }
    assert counts == {2, 3}
    assert corrupt(Example("p", "We met at 6:30."), Plan(2, 2)) is None  # there is one thing to change


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_kinds_asked_for_are_made(kind: str) -> None:
    made = [corrupt(example, Plan(1, 2, (kind,), seed)) for example in POSTS for seed in range(5)]
    assert {label.kind for one in made if one for label in one.labels} == {kind}


def test_what_is_stated_is_changed_as_often_as_it_is_and_negations_count_as_half_a_place() -> None:
    example = Example("p", "He is 3 and has 5 cars. He likes it. She wants to go, and she will sing. They can stay.")
    offered = {(change.kind, change.start) for change in candidates(example, ("number", "negation"))}
    numbers, negations = ([kind for kind, _ in offered].count(kind) for kind in ("number", "negation"))
    assert numbers == 2 and negations > 2
    drawn = [corrupt(example, Plan(1, 1, ("number", "negation"), seed)) for seed in range(400)]
    changed = sum(made.labels[0].kind == "number" for made in drawn if made)
    # 400 draws at 2 / 2.5: mean 320, standard deviation 8; five of them is one run in a million
    assert abs(changed - 320) < 40


def test_two_changes_of_polarity_do_not_meet_in_a_sentence() -> None:
    example = Example(
        "p", "The car is expensive and it isn't good."
    )  # "isn't expensive" for "is cheap" would be no error
    for seed in range(50):
        made = corrupt(example, Plan(1, 2, ("negation", "relation"), seed))
        assert made is not None and len(made.labels) == 1


def test_a_chats_turns_are_the_post() -> None:
    chat = (Message("user", "My sister has 3 dogs."), Message("assistant", "Nice."), Message("user", "Sum it up"))
    assert prompt_text(Example(chat, "")) == "My sister has 3 dogs.\n\nNice.\n\nSum it up"


def test_rows_keep_what_they_came_with() -> None:
    columns = {"source": {"a": 1}, "labels": ["mine"]}
    row = parse_row({**ROWS[0], **columns, "chosen": ROWS[0]["summary"], "rejected": " no"} | {"summary": 1}, "x")
    tally = Tally()
    (fields,) = corrupted_rows([row], Plan(), tally)
    assert list(fields)[:5] == ["id", "prompt", "chosen", "rejected", "labels"]
    assert fields["chosen"] == ROWS[0]["summary"] != fields["rejected"]
    assert fields["source"] == {"a": 1} and fields["summary"] == 1
    assert fields["input_labels"] == ["mine"] and fields["input_rejected"] == " no"
    assert set(fields["labels"][0]) == {"start", "end", "text", "kind", "original"} or hasattr(
        fields["labels"][0], "kind"
    )
    assert parse_row(json.loads(json.dumps(fields)), "x").examples[1].answer == fields["rejected"]


def test_a_chat_stays_one() -> None:
    row = parse_row(
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "It is 3 cats."}]}, "c"
    )
    (fields,) = corrupted_rows([row], Plan(), Tally())
    assert fields["prompt"] == [{"role": "user", "content": "Hi"}]
    assert parse_row(json.loads(json.dumps(fields)), "x").examples[0].prompt == (Message("user", "Hi"),)


def test_of_several_turns_the_last_is_made_wrong_and_the_row_stays_a_chat_with_its_tools() -> None:
    turns = [{"role": "assistant", "content": "How many?"}, {"role": "user", "content": "Cats."}]
    last = {"role": "assistant", "content": "It is 3 cats."}
    given = {"prompt": [{"role": "user", "content": "Hi"}], "completion": [*turns, last], "tools": [{"name": "f"}]}
    (fields,) = corrupted_rows([parse_row(given, "c")], Plan(1, 1, ("number",)), Tally())
    assert fields["prompt"] == [*given["prompt"], *turns]
    assert fields["chosen"] == [last] and fields["tools"] == given["tools"]
    ((message,), (label,)) = fields["rejected"], fields["labels"]
    assert message["role"] == "assistant" and message["content"][label["start"] : label["end"]] == label["text"]
    assert message["content"] != last["content"]


def test_the_tally_counts_answers_and_kinds() -> None:
    rows = [parse_row({"prompt": "p", "answer": answer}, "x") for answer in ("3 cats", "Hm.", "")]
    tally = Tally()
    made = list(corrupted_rows(rows, Plan(1, 1, ("number",)), tally))
    assert len(made) == 1 and (tally.answers, tally.unchanged) == (3, 2)
    assert summary(tally) == [
        "1 of 3 answers made wrong in 1 places: 1 number",
        "2 answers offered too little to change and were left out",
    ]


@pytest.mark.parametrize(
    ("errors", "kinds", "message"),
    [
        ("two", "number", "--errors is 'two'; it must be a number such as 2 or a range such as 1-2."),
        ("2-1", "number", "2-1 errors is no range from 1 up"),
        ("0", "number", "0-0 errors is no range from 1 up"),
        ("1", "number,speling", "no kind of error 'speling'. There are: number, entity, negation, relation, role."),
        ("1", "", "no kind of error ''"),
    ],
)
def test_a_plan_says_what_is_wrong_with_it(errors: str, kinds: str, message: str) -> None:
    with pytest.raises(CreditError, match="^" + message.replace(".", r"\.")):
        plan(errors, kinds)


def test_of_several_answers_none_is_right_by_itself() -> None:
    row = parse_row({"prompt": "p", "completions": ["a", "b"]}, "x")
    with pytest.raises(CreditError, match="x: 2 answers, and none is said to be right"):
        list(corrupted_rows([row], Plan(), Tally()))


@pytest.mark.parametrize("unit", ["I told him 3 times that my sister isn't in Boston. ", "word ", "a@", "3 ", "x"])
def test_time_grows_with_the_text_and_not_with_its_square(unit: str) -> None:
    def seconds(size: int) -> float:
        example = Example(unit * (size // len(unit)), unit * (size // len(unit)))
        start = time.perf_counter()
        corrupt(example, Plan())
        return time.perf_counter() - start

    seconds(1_000)
    small, large = seconds(5_000), seconds(40_000)
    assert large < 8 * 4 * small + 0.5  # 8 times the text; four times that for noise, and the machine's pauses


def test_random_text_never_breaks_it() -> None:
    rng = random.Random(0)
    alphabet = [
        *"aA1 .,'’-?!|\n$%()[]`#@",
        " not ",
        "n't ",
        " is ",
        " Tom",
        " US",
        " 3rd",
        " 1 ",
        "I'm ",
        " her",
        "é",
        "中",
        "\U0001f600",
    ]
    for _ in range(300):
        post, answer = ("".join(rng.choices(alphabet, k=rng.randrange(60))) for _ in range(2))
        made = corrupt(Example(post, answer), Plan(1, 5))
        assert made is None or undone(made) == answer != made.rejected
