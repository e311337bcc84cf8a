"""Rows of a refiner: a request, and for both answers the refined prompt and what was drawn from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from dpo_credit.credit import CreditError
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.chats import Prompt, is_chat, messages_of
from dpo_credit.rows.documents import json_type
from dpo_credit.rows.reader import Record
from dpo_credit.rows.records import id_of, place

_WANTED = 'an object with the refined prompt and its picture: {"prompt": "...", "picture": "drawn.png"}'


@dataclass(frozen=True, slots=True)
class Refined:
    """One answer: `prompts`, one for all of its pictures or one for each, and `pictures`, as the row has them.

    A picture is the name of a file, or what a table of pictures holds in its cell.
    """

    prompts: tuple[str, ...]
    pictures: tuple[Any, ...]

    @property
    def text(self) -> str:
        """What the refiner wrote: its prompts, each a line."""
        return "\n".join(self.prompts)

    def prompt_of(self, frame: int) -> str:
        """What a picture was drawn from."""
        return self.prompts[frame if len(self.prompts) > 1 else 0]


@dataclass(frozen=True, slots=True)
class RefinedRow:
    """A request and two answers to it; `fields` are the user's own, and paths of pictures relative to `folder`."""

    id: str
    request: Prompt
    chosen: Refined
    rejected: Refined
    fields: Mapping[str, Any]
    folder: Path
    place: str


def read(records: Iterable[Record], *, limit: int | None = None, aside: SetAside = STRICT) -> Iterator[RefinedRow]:
    """The rows of records, the first `limit` of them.

    Raises:
        CreditError: a record is no row, and none is set aside; the message says which.
    """
    for record in islice(records, limit):
        try:
            yield parse(record)
        except CreditError as error:
            aside.add(record.id, record.place, error)


def parse(record: Record) -> RefinedRow:
    """A record as a row: `request`, text or messages; `chosen` and `rejected`, each a refined prompt with its pictures.

    Of several pictures, `prompt` is one text for all, or a list with one for each.

    Raises:
        CreditError: a field is missing or of a wrong type, or the answers differ in the number of their pictures.
    """
    fields = record.fields()
    row_id = id_of(fields, record.default_id)
    request = fields.get("request")
    if request is None:
        raise CreditError(
            f"{row_id} has no request. Give a field request: what the refiner was asked, text or messages."
        )
    if not isinstance(request, str):
        if not is_chat(request):
            raise CreditError(f"{row_id}: request is a {json_type(request)}; it must be text or a list of messages.")
        request = messages_of(request, "request")
    elif not request.strip():
        raise CreditError(f"{row_id}: request is empty. Give what the refiner was asked.")
    chosen, rejected = (_refined(fields.get(side), f"{row_id}: {side}") for side in ("chosen", "rejected"))
    ours, theirs = len(chosen.pictures), len(rejected.pictures)
    if ours != theirs:
        raise CreditError(
            f"{row_id}: chosen has {ours} pictures and rejected {theirs}: the image model decides what a picture "
            "shows, not how many there are, so their rewards do not compare. Give both answers as many."
        )
    folder = Path(record.source).parent
    where = place(record.source, record.line, numbered=record.numbered)
    return RefinedRow(row_id, request, chosen, rejected, fields, folder, where)


def _refined(value: Any, name: str) -> Refined:
    if value is None:
        raise CreditError(f"{name} is missing. Give {_WANTED}.")
    if not isinstance(value, Mapping):
        raise CreditError(f"{name} is a {json_type(value)}; it must be {_WANTED}.")
    prompts = value.get("prompt")
    prompts = prompts if isinstance(prompts, list) else [prompts]
    if not all(isinstance(prompt, str) and prompt.strip() for prompt in prompts) or not prompts:
        raise CreditError(f"{name} has no prompt. Give {_WANTED}; of several pictures, prompt may be a list.")
    pictures = value.get("pictures")
    if (pictures is None) == (value.get("picture") is None):
        raise CreditError(f"{name} has {'no picture' if pictures is None else 'picture and pictures'}. Give {_WANTED}.")
    if pictures is None:
        pictures = [value["picture"]]
    if not isinstance(pictures, list) or not pictures:
        raise CreditError(
            f"{name}: pictures is {'empty' if pictures == [] else f'a {json_type(pictures)}'}; it must be a list."
        )
    if len(prompts) not in (1, len(pictures)):
        raise CreditError(
            f"{name} has {len(prompts)} prompts for {len(pictures)} pictures. Give one for all, or one for each."
        )
    return Refined(tuple(prompts), tuple(pictures))
