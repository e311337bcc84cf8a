"""Text is read in whatever encoding it is stored, and what is no text is named."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from program import run

from dpo_credit import CreditError
from dpo_credit.rows.encodings import decoded, encoding_of
from dpo_credit.rows.reader import read_records, records_of
from dpo_credit.rows.sources import Input

# in UTF-16, U+0A0A and U+0D0A hold a line feed's byte, U+4E00 a zero byte, and the grinning face is two units
ROWS = [{"id": f"r{n}", "prompt": "Post \u0a0a\u0d0a 一二三 TL;DR:", "answer": " yes \U0001f600"} for n in range(3)]
ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16, as PowerShell's > writes it": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "big-endian UTF-16": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "big-endian UTF-16 without a mark": lambda text: text.encode("utf-16-be"),
    "UTF-32": lambda text: b"\xff\xfe\x00\x00" + text.encode("utf-32-le"),
    "UTF-32 without a mark": lambda text: text.encode("utf-32-le"),
    "big-endian UTF-32 without a mark": lambda text: text.encode("utf-32-be"),
}
TEXTS = {
    "rows.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS),
    "rows.json": json.dumps(ROWS, indent=1, ensure_ascii=False),
    "unnamed": "\n" + "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
}


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_rows_are_read_in_every_encoding(tmp_path: Path, name: str, encode: Callable[[str], bytes]) -> None:
    data = encode(TEXTS[name])
    (tmp_path / name).write_bytes(data)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(data))
    for file in (name, f"{name}.gz"):
        assert [record.fields() for record in read_records([Input(str(tmp_path / file))])] == ROWS
    piped = list(read_records([Input("-")], io.BytesIO(data)))
    assert [record.fields() for record in piped] == ROWS
    assert [record.line for record in piped] == ([2, 3, 4] if name == "unnamed" else [1, 2, 3])


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_text_is_read_in_every_encoding(encode: Callable[[str], bytes]) -> None:
    (record,) = records_of(io.BytesIO(encode("Ein Post, ä.\r\n\r\nTL;DR: ja")), "post.txt")
    assert record.row().prompt == "Ein Post, ä.\r\n\r\nTL;DR:"


def test_the_first_line_of_utf16_may_be_taken_with_head() -> None:
    first, _, _ = '{"prompt": "Q"}\r\n{"prompt": "R"}\r\n'.encode("utf-16").partition(b"\n")
    (record,) = records_of(io.BytesIO(first + b"\n"), "stdin")  # `head -n 1` cuts within a line feed
    assert record.fields() == {"prompt": "Q"}


@pytest.mark.parametrize("text", ["", "a", "ab", "{}", "é", '{"a": "x\x00y and more"}', "我们"])
def test_utf8_is_never_taken_for_something_else(text: str) -> None:
    assert encoding_of(text.encode()) == "utf-8"


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("rows.jsonl"))
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("rows.jsonl", "{}")
    return file.getvalue()


WEIGHTS = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
BINARY = {
    "gzip": (gzip.compress(b"{}"), r"gzip, not text\. Unpack it with gunzip -c\."),
    "Zstandard": (b"\x28\xb5\x2f\xfd\x04\x00", r"Zstandard, not text\. Unpack it with zstd -dc"),
    "Parquet": (b"PAR1\x15\x04\x15\x00", r"a Parquet table, not text\. Give the file by its name"),
    "zip": (_zip(), r"a zip archive .*\.xlsx.*, not text\. Unpack it"),
    "tar": (_tar(), r"a tar archive, not text\. Unpack it"),
    "safetensors": (
        len(WEIGHTS).to_bytes(8, "little") + WEIGHTS + bytes(4),
        r"a model's weights \(safetensors\).*--policy",
    ),
    "safetensors, a line feed in its length": (
        (10).to_bytes(8, "little") + WEIGHTS + bytes(4),
        r"a model's weights \(safetensors\), not text",
    ),
    "pickle": (pickle.dumps({"prompt": "Q"}), r"a Python pickle, not text\. Write its rows as JSONL"),
    "PDF": (b"%PDF-1.7\nmore", r"a PDF, not text\. Give its text"),
    "PNG": (b"\x89PNG\r\n\x1a\n\x00\x00", r"a picture, not text"),
    "Arrow": (b"ARROW1\x00\x00\xff", r"an Arrow file, not text"),
}


@pytest.mark.parametrize(("data", "message"), BINARY.values(), ids=BINARY)
@pytest.mark.parametrize("name", ["stdin", "rows.jsonl", "post.txt"])
def test_what_is_no_text_is_named(data: bytes, message: str, name: str) -> None:
    with pytest.raises(CreditError, match=f"{name} is {message}"):
        list(records_of(io.BytesIO(data), name))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"\xff\xfe{\x00\n\x00\x00\xd8\n\x00",
            r"line 2 begins as UTF-16 and breaks off: .*surrogate.*Save it as UTF-8",
        ),
        (b"\xff\xfe{\x00\n\x00}", r"line 2 begins as UTF-16 and breaks off: truncated data"),
        (
            "我们五月飞罗马。".encode("utf-16-le") + b"\x00\xd8 \x00",
            r"not UTF-8: .* zero bytes\. It is UTF-16, or no text",
        ),
    ],
)
def test_broken_utf16_is_called_so_and_never_latin1(data: bytes, message: str) -> None:
    with pytest.raises(CreditError, match=message) as caught:
        list(records_of(io.BytesIO(data), "post.txt"))
    assert "latin1" not in str(caught.value)


def test_a_configuration_and_a_template_are_text_too(tmp_path: Path) -> None:
    config, template = tmp_path / "my.yaml", tmp_path / "my.jinja"
    config.write_text("beta: x", encoding="utf-16")
    template.write_bytes(_zip())
    row = Path(__file__).parent.parent / "examples" / "vet.json"
    ended = run("score", row, "--config", config)
    assert ended.code == 2 and "beta is 'x'" in ended.stderr
    ended = run("score", row, "--chat-template", template)
    assert ended.code == 2 and f"--chat-template {template} is a zip archive" in ended.stderr
    assert decoded("ä".encode("utf-16"), "x") == "ä"
