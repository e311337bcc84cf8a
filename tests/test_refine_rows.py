"""Rows of a refiner: what is read of them, and one line about what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dpo_credit.credit import CreditError, Message
from dpo_credit.refine.rows import RefinedRow, parse, read
from dpo_credit.rows.aside import SetAside
from dpo_credit.rows.reader import Record, records_of

STILL = {"prompt": "a red circle", "picture": "a.png"}
ROW: dict[str, Any] = {"id": 7, "request": "something red", "chosen": STILL, "rejected": {**STILL, "picture": "b.png"}}


def records(*rows: Any) -> Iterator[Record]:
    return records_of([json.dumps(row).encode() + b"\n" for row in rows], "set/rows.jsonl")


def parsed(**fields: Any) -> RefinedRow:
    return parse(next(records({**ROW, **fields})))


def test_a_row_is_a_request_and_two_answers_with_a_picture_each() -> None:
    row = parsed()
    assert (row.id, row.request, row.place) == ("7", "something red", "set/rows.jsonl, line 1")
    assert (row.chosen.text, row.chosen.pictures, row.rejected.pictures) == ("a red circle", ("a.png",), ("b.png",))
    assert row.folder == Path("set") and row.fields == ROW


def test_several_pictures_are_drawn_from_one_prompt_or_from_one_each() -> None:
    frames = ["1.png", "2.png"]
    one = {"prompt": "a red circle", "pictures": frames}
    each = {"prompt": ["a red circle on the left", "a red circle on the right"], "pictures": frames}
    row = parsed(chosen=one, rejected=each)
    assert [row.chosen.prompt_of(n) for n in (0, 1)] == ["a red circle"] * 2
    assert [row.rejected.prompt_of(n) for n in (0, 1)] == each["prompt"]
    assert row.rejected.text == "a red circle on the left\na red circle on the right"


def test_a_request_may_be_a_chat() -> None:
    row = parsed(request=[{"role": "user", "content": "something red"}])
    assert row.request == (Message("user", "something red"),)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"request": None}, r"^7 has no request\. Give a field request: "),
        ({"request": " "}, r"^7: request is empty\. "),
        ({"request": 3}, r"^7: request is a number; it must be text or a list of messages\.$"),
        ({"chosen": None}, r'^7: chosen is missing\. Give an object with .*"picture"'),
        ({"rejected": "a red circle"}, r"^7: rejected is a text; it must be an object"),
        ({"chosen": {"prompt": "a red circle"}}, r"^7: chosen has no picture\. "),
        ({"chosen": {**STILL, "pictures": ["a.png"]}}, r"^7: chosen has picture and pictures\. "),
        ({"chosen": {"picture": "a.png"}}, r"^7: chosen has no prompt\. "),
        ({"chosen": {**STILL, "prompt": ""}}, r"^7: chosen has no prompt\. "),
        ({"chosen": {"prompt": "a", "pictures": []}}, r"^7: chosen: pictures is empty; it must be a list\.$"),
        ({"chosen": {"prompt": "a", "pictures": "a.png"}}, r"^7: chosen: pictures is a text; it must be a list\.$"),
        (
            {"chosen": {"prompt": ["a", "b"], "pictures": ["1.png", "2.png", "3.png"]}},
            r"^7: chosen has 2 prompts for 3 pictures\. Give one for all, or one for each\.$",
        ),
        (
            {
                "chosen": {"prompt": "a", "pictures": ["1.png", "2.png", "3.png", "4.png"]},
                "rejected": {"prompt": "a", "pictures": ["1.png", "2.png", "3.png"]},
            },
            r"^7: chosen has 4 pictures and rejected 3: .* Give both answers as many\.$",
        ),
    ],
)
def test_what_is_wrong_with_a_row_is_one_line(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(CreditError, match=error) as raised:
        parsed(**fields)
    assert "\n" not in str(raised.value)


def test_bad_rows_are_set_aside_and_the_rest_is_read() -> None:
    aside = SetAside(strict=False)
    rows = list(read(records({**ROW, "request": None}, ROW, "text"), aside=aside))
    assert [row.id for row in rows] == ["7"]
    assert [bad.place for bad in aside.rows] == ["set/rows.jsonl, line 1", "set/rows.jsonl, line 3"]
    with pytest.raises(CreditError, match="has no request"):
        list(read(records({**ROW, "request": None})))
