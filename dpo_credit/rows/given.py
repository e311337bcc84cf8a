"""What Python gives to be scored -> rows: an `Example`, a prompt with its answer, a row as files hold it, or many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.reader import Record
from dpo_credit.rows.records import Row, labels_of
from dpo_credit.rows.values import table_row

Chat = Iterable[Message | Mapping[str, Any]]
Given = Example | tuple[str | Chat, str] | Mapping[str, Any] | Row
SOURCE = "the rows given"
_WANTED = (
    'Give an Example(prompt, answer), a tuple (prompt, answer), a row such as {"prompt": ..., "chosen": ..., '
    '"rejected": ...}, or many of them in a list.'
)


def rows_of(given: Given | Iterable[Given], aside: SetAside = STRICT) -> Iterator[Row]:
    """The rows of what was given: of one thing, or of many.

    A tuple that ends in text is a prompt with its answer; a data frame of pandas or polars has its rows. Rows without
    an id are called by their number, from 1 on.

    Args:
        given: what is to be scored.
        aside: takes the items that are no such row.

    Raises:
        CreditError: `given` is none of this, at once; an item of it is none, when it is its turn, and not set aside.
    """
    items: Any = given
    if isinstance(given, Example | Mapping | Row) or _is_pair(given):
        items = [given]
    elif isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise CreditError(f"what was given is of type {type(given).__name__}, which cannot be scored. {_WANTED}")
    elif hasattr(given, "itertuples"):  # a pandas data frame, which iterates over its columns' names
        items = items.to_dict("records")
    elif hasattr(given, "iter_rows"):  # polars'
        items = items.iter_rows(named=True)
    return _rows(items, aside)


def _rows(items: Iterable[Given], aside: SetAside) -> Iterator[Row]:
    for number, item in enumerate(items, 1):
        try:
            yield _row(item, number)
        except CreditError as error:
            aside.add(f"row {number}", f"row {number}", error)


def _row(item: Any, number: int) -> Row:
    row_id = f"row {number}"
    if isinstance(item, Row):
        if not item.examples:
            raise CreditError(f"{item.id}: a prompt without an answer cannot be scored.")
        return item
    if isinstance(item, Example):
        row = Row(item.id or row_id, "single", (item,), labels_of("single", 1), prompt=item.prompt)
        return replace(row, source=SOURCE, line=number, numbered=True)
    if _is_pair(item):
        prompt, answer = item
        if isinstance(prompt, Iterable) and not isinstance(prompt, str):
            prompt = [message.fields if isinstance(message, Message) else message for message in prompt]
        item = {"prompt": prompt, "completion": answer}
    if not isinstance(item, Mapping):
        raise CreditError(f"{row_id} is of type {type(item).__name__}, which cannot be scored. {_WANTED}")
    return Record(SOURCE, number, table_row(item)).row(default_id=row_id)


def _is_pair(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], str)
