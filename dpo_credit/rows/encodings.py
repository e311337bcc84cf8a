"""What a file's bytes are: text in UTF-8, UTF-16 or UTF-32, or something else that is named."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from itertools import chain

from dpo_credit.credit import CreditError
from dpo_credit.rows.lines import Line

BOM = codecs.BOM_UTF8
_MARKS = {  # UTF-32's little-endian mark begins with UTF-16's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_HEAD = 512  # bytes that tell: a tar archive is known by its 258th
_ROWS = "Write its rows as JSONL or Parquet"
_KINDS = (  # where bytes stand, the bytes, what they are, and what to do
    (0, b"\x1f\x8b", "gzip", "Unpack it with gunzip -c"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard", "Unpack it with zstd -dc"),
    (0, b"BZh", "bzip2", "Unpack it with bunzip2 -c"),
    (0, b"\xfd7zXZ\x00", "xz", "Unpack it with xz -dc"),
    (0, b"PK\x03\x04", "a zip archive (as .docx, .xlsx and .pt are)", "Unpack it and give a file of rows"),
    (257, b"ustar", "a tar archive", "Unpack it and give a file of rows"),
    (0, b"PAR1", "a Parquet table", "Give the file by its name, not through a pipe"),
    (0, b"ARROW1", "an Arrow file", _ROWS),
    (0, b"\xff\xff\xff\xff", "an Arrow stream", f"{_ROWS}, or give batch the folder with --dataset"),
    (0, b"SQLite format 3", "an SQLite database", _ROWS),
    (0, b"\x93NUMPY", "a NumPy array", _ROWS),
    (0, b"\x89HDF", "an HDF5 file", _ROWS),
    *((0, b"\x80" + bytes([protocol]), "a Python pickle", _ROWS) for protocol in range(2, 6)),
    (0, b"%PDF-", "a PDF", "Give its text"),
    *((0, start, "a picture", "Give text") for start in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")),
    (0, b"GGUF", "a model's weights (GGUF)", "Give rows"),
    (8, b'{"', "a model's weights (safetensors)", "Give rows; models go with --policy and --reference"),
)


def encoding_of(head: bytes) -> str:
    """The encoding of a text that begins so: by its byte-order mark, else by where its zero bytes stand; else UTF-8."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    if len(head) > 3 and head[0] and not any(head[1:4]):
        return "utf-32-le"
    if len(head) > 3 and head[3] and not any(head[:3]):
        return "utf-32-be"
    even, odd = head[::2].count(0), head[1::2].count(0)
    if 8 * max(even, odd) >= len(head) and max(even, odd) > 4 * min(even, odd):  # ASCII's, and those of U+4E00 and such
        return "utf-16-le" if odd > even else "utf-16-be"
    return "utf-8"


def refuse_binary(head: bytes, name: str) -> None:
    """Make sure that what begins so may be text.

    Raises:
        CreditError: it is a known kind of file that is none.
    """
    if not head.startswith(b"%PDF-") and b"\x00" not in head and head.isascii():
        return
    for at, start, kind, advice in _KINDS:
        if head.startswith(start, at) and (not at or b"\x00" in head[:at]):
            raise CreditError(f"{name} is {kind}, not text. {advice}.")


def decoded(data: bytes, name: str, line: int | None = None, *, what: str = "") -> str:
    """Bytes as text, without a byte-order mark.

    Args:
        data: a whole file, in whatever a text is stored in; or one of many lines, in UTF-8.
        name: the file's, for messages.
        line: which of many.
        what: what the file is for, for messages, such as "--config ".

    Raises:
        CreditError: they are no text, or not in the encoding that they begin in.
    """
    place, encoding = what + name, "utf-8-sig"
    if line is None:
        refuse_binary(data[:_HEAD], place)
        encoding = encoding_of(data[:_HEAD]).replace("utf-8", encoding)
    else:
        place, encoding = f"{name}, line {line}", "utf-8" if line > 1 else encoding
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise CreditError(_undecoded(place, name, encoding, error)) from error


def utf8_lines(lines: Iterable[Line], name: str) -> Iterator[Line]:
    """The lines of a text, or pieces of them, in UTF-8, whatever it is stored in; what is UTF-8 comes as it is.

    Raises:
        CreditError: it is a known kind of file that is no text, or is not the UTF-16 or UTF-32 that it begins as.
    """
    waiting = iter(lines)
    seen: list[Line] = []
    head = b""
    while len(head) < 4 or (b"\x00" in head and len(head) < _HEAD):
        line = next(waiting, None)
        if line is None:
            break
        seen.append(line)
        head += line[1][:_HEAD]
    refuse_binary(head, name)
    encoding = encoding_of(head)
    everything = chain(seen, waiting)
    return everything if encoding == "utf-8" else _decoded(everything, name, encoding)


def texts(pieces: Iterable[Line], name: str) -> Iterator[tuple[str, int]]:
    """A document in UTF-8 as text, piece by piece, with how many bytes of the file were read; no byte-order mark.

    Raises:
        CreditError: it is not UTF-8.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    fed = before = position = 0
    try:
        for _, data, position in pieces:
            before = fed - len(decoder.getstate()[0])  # the bytes of a character that has only begun come again
            fed += len(data)
            yield decoder.decode(data), position
        before = fed - len(decoder.getstate()[0])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise CreditError(_undecoded(name, name, "utf-8", error, before)) from error


def _decoded(pieces: Iterable[Line], name: str, encoding: str) -> Iterator[Line]:
    """Lines anew: in UTF-16 the byte of a line feed is half of one, and half of other letters too."""
    decoder = codecs.getincrementaldecoder(encoding)()
    number, position = 1, 0
    try:
        for _, data, position in pieces:
            *ended, rest = decoder.decode(data).split("\n")
            for text in ended:
                yield number, f"{text}\n".encode(), position
                number += 1
            if rest:
                yield number, rest.encode(), position
        if decoder.getstate()[0] != b"\n":  # the half of a line feed that `head -n 1` leaves
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise CreditError(_undecoded(f"{name}, line {number}", name, encoding, error)) from error


def _undecoded(place: str, name: str, encoding: str, error: UnicodeDecodeError, before: int = 0) -> str:
    if not encoding.startswith("utf-8"):
        return f"{place} begins as {encoding[:6].upper()} and breaks off: {error.reason}. Save it as UTF-8."
    where = f"byte {error.object[error.start]:#04x} at offset {before + error.start}"
    if b"\x00" in error.object:
        return f"{place} is not UTF-8: {where}, and zero bytes. It is UTF-16, or no text: save it as UTF-8."
    how = "" if name == "stdin" else f", for example with iconv -f latin1 -t utf-8 {name}"
    return f"{place} is not UTF-8: {where}. Convert it{how}."
