"""What a trainer left in `training_args.bin`, read opcode by opcode: nothing in it is imported, called or unpickled.

`torch.save` writes a zip that holds `data.pkl`; before torch 1.6 a pickle after three others. Either way the trainer's
arguments are one object: its class by name, and a dict of its fields. A class stays a name here, and so does whatever a
pickle would call, with what it would be called with: enough to read an enum's value.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpo_credit.credit import CreditError

NAME = "training_args.bin"
MOST_BYTES = 4 * 2**20  # a trainer's arguments are some kilobytes
MOST_OPCODES = 20_000  # some hundreds
_LEGACY = 4  # pickles: a magic number, a protocol, the machine, and then what was saved


@dataclass(slots=True, eq=False)
class Named:
    """What a pickle would have made: a class or function by its name, what it is called with, and its fields."""

    name: str
    arguments: tuple[Any, ...] = ()
    fields: dict[Any, Any] = field(default_factory=dict)


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """The class of a run's arguments, such as "DPOConfig", and the arguments: numbers, text, lists of these, or None.

    An enum is its value. Arguments of other kinds are left out.

    Raises:
        CreditError: the file holds no such object, is damaged, or is larger than any.
    """
    try:
        data = _pickled(path)
        made = next((value for value in _objects(data) if isinstance(value, Named) and value.fields), None)
        if made is None:
            raise ValueError("it holds no object with fields")
        fields = {name: _plain(value) for name, value in made.fields.items()}
        plain = {name: value for name, value in fields.items() if isinstance(name, str) and _is_plain(value)}
        return made.name.rpartition(".")[2], plain
    except Exception as error:  # whatever is wrong with a file of somebody else's making is worth one line
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CreditError(f"{path} cannot be read: {reason}") from error


def _pickled(path: Path) -> bytes:
    """The bytes of the pickle, or of the pickles one after the other."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"it has {size:,} bytes, more than any trainer's arguments ({MOST_BYTES:,})")
    if not zipfile.is_zipfile(path):
        data = path.read_bytes()
        if data.startswith(b"PK"):
            raise ValueError("it is a zip that is damaged or cut off")
        return data
    with zipfile.ZipFile(path) as archive:
        inside = next((name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"), None)
        if inside is None:
            raise ValueError("it is a zip without data.pkl")
        with archive.open(inside) as file:
            data = file.read(MOST_BYTES + 1)  # what a zip says of its sizes need not be true
    if len(data) > MOST_BYTES:
        raise ValueError(f"its data.pkl has more than {MOST_BYTES:,} bytes")
    return data


def _objects(data: bytes) -> Iterator[Any]:
    """What each of the first pickles stands for."""
    stream = io.BytesIO(data)
    for _ in range(_LEGACY):
        if stream.tell() < len(data):
            yield _Reading().run(stream)


def _plain(value: Any) -> Any:
    """An enum's value, or its name, which some versions of Python pickle."""
    return value.arguments[-1] if isinstance(value, Named) and value.arguments else value


def _is_plain(value: Any) -> bool:
    entries = value if isinstance(value, list) else [value]
    return all(entry is None or isinstance(entry, str | int | float) for entry in entries)


_MARK = object()


class _Reading:
    """The stack machine that a pickle (of protocol 2 or above) is a program for, as far as it builds values."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> Any:
        """The value that the next pickle of a stream leaves on the stack.

        Raises:
            ValueError: it does something that no trainer's arguments need.
        """
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count == MOST_OPCODES:
                raise ValueError(f"it has more than {MOST_OPCODES:,} opcodes")
            self.step(opcode.name, argument)
        return self.stack.pop()

    def step(self, opcode: str, argument: Any) -> None:
        """Do what one opcode says."""
        push, pop = self.stack.append, self.stack.pop
        match opcode:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                push(_MARK)
            case "NONE":
                push(None)
            case "NEWTRUE" | "NEWFALSE":
                push(opcode == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "LONG4" | "BINFLOAT":
                push(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE" | "BINUNICODE8" | "BINBYTES" | "SHORT_BINBYTES":
                push(argument)
            case "EMPTY_LIST":
                push([])
            case "EMPTY_DICT":
                push({})
            case "EMPTY_SET":
                push(Named("set"))
            case "EMPTY_TUPLE":
                push(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                push(tuple(self.last(int(opcode[-1]))))
            case "TUPLE":
                push(tuple(self.since_mark()))
            case "APPEND":
                self.extend(self.last(1))
            case "APPENDS" | "ADDITEMS":
                self.extend(self.since_mark())
            case "SETITEM":
                self.put(self.last(2))
            case "SETITEMS":
                self.put(self.since_mark())
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                push(self.memo[argument])
            case "GLOBAL":
                push(Named(argument.replace(" ", ".")))
            case "STACK_GLOBAL":
                push(Named(".".join(self.last(2))))
            case "REDUCE" | "NEWOBJ":
                what, arguments = self.last(2)
                push(Named(what.name, arguments))
            case "BUILD":
                state = pop()
                self.stack[-1].fields.update(state)
            case "BINPERSID":
                push(Named("persistent", (pop(),)))
            case _:
                raise ValueError(f"opcode {opcode} has no place in a trainer's arguments")

    def since_mark(self) -> list[Any]:
        """What was pushed since the last mark, taken off with it."""
        values: list[Any] = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def last(self, count: int) -> list[Any]:
        """The last so many values, taken off."""
        return [self.stack.pop() for _ in range(count)][::-1]

    def put(self, values: list[Any]) -> None:
        """Names and values in turn into the dict on top; what another object's items are does not matter."""
        if isinstance(self.stack[-1], dict):
            self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def extend(self, values: list[Any]) -> None:
        """More entries for the list on top; what another object's are does not matter."""
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)
