"""Memory does not grow with the rows that are read or drawn, and a few compressed bytes cannot fill it."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from credits import credit
from program import run
from scored import pairs, saved, write

from dpo_credit.credit import CreditError
from dpo_credit.rows import documents, elements, lines, sources
from dpo_credit.rows.reader import read_records, records_of
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.rows.sources import Input
from dpo_credit.views.page import score
from dpo_credit.views.page.overview import overview_of

ROW = {"prompt": "p" * 1000, "answer": "a"}
GOOD = json.dumps(ROW) + "\n"


@pytest.fixture
def small_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte a row, read in pieces of 64 kB."""
    for module in (documents, elements, lines, sources):
        monkeypatch.setattr(module, "MOST_BYTES", 1 << 20, raising=False)
        monkeypatch.setattr(module, "PIECE_BYTES", 1 << 16, raising=False)
    monkeypatch.setattr(sources, "_PARQUET_BYTES", 1 << 20)


def peak_of_reading(path: Path) -> tuple[int, int]:
    """How many records a file has, and the most bytes that Python held while they were read."""
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_records([Input(str(path))]))
        return count, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def pieces(data: bytes, size: int) -> Iterator[lines.Line]:
    """Pieces of one line, as small as one likes."""
    return ((1, data[at : at + size], at + size) for at in range(0, len(data), size))


@pytest.mark.parametrize("separator", [",", ",\n"])
def test_an_array_of_many_megabytes_is_read_in_the_memory_of_a_few(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(f"[{separator.join([json.dumps(ROW)] * 12_000)}]")
    count, peak = peak_of_reading(path)
    assert path.stat().st_size > 12e6
    assert (count, peak < 8e6) == (12_000, True)  # a piece, what is read ahead, and their joining: of 1 MiB each


@pytest.mark.usefixtures("small_bound")
def test_a_bomb_between_good_rows_is_one_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD.encode() + b'{"prompt": "' + b"a" * (12 << 20) + b'"}\n' + GOOD.encode()))
    assert path.stat().st_size < 100_000
    first, bomb, last = read_records([Input(str(path))])
    assert first.fields() == last.fields() == ROW
    assert last.line == 3
    with pytest.raises(CreditError, match=r"rows\.jsonl\.gz, line 2 is longer than 1 MiB once it is decompressed"):
        bomb.fields()
    assert peak_of_reading(path)[1] < 5e6


@pytest.mark.usefixtures("small_bound")
@pytest.mark.parametrize(
    ("begin", "again", "message"),
    [
        (b"", b"\0" * (1 << 16), r"endless\.jsonl, line 1 has no end within 16 MiB"),
        (GOOD.encode(), b"\0" * (1 << 16), r"endless\.jsonl, line 2 has no end within 16 MiB"),
        (b"", b"\n", r"endless\.jsonl has 1,000 blank lines before its first rows"),
        (b'[{"a": 1}', b" " * (1 << 16), r"endless\.jsonl has 1 MiB of white space between rows"),
        (b'[{"a": 1}, [', b" " * (1 << 16), r"endless\.jsonl, row 2 is longer than 1 MiB"),
    ],
)
def test_a_line_or_a_gap_without_end_ends_reading(
    monkeypatch: pytest.MonkeyPatch, begin: bytes, again: bytes, message: str
) -> None:
    monkeypatch.setattr(documents, "MOST_BLANK", 1000)

    def endless() -> Iterator[lines.Line]:
        number = 1
        for piece in chain(filter(None, [begin]), repeat(again)):
            yield number, piece, 0
            number += piece.endswith(b"\n")

    with pytest.raises(CreditError, match=message):
        for _, content, _ in documents.contents(endless(), "endless.jsonl"):
            assert not isinstance(content, CreditError)


@pytest.mark.usefixtures("small_bound")
@pytest.mark.parametrize("name", ["zeros.jsonl.gz", "zeros.gz", "zeros.txt.gz", "zeros.json.gz"])
@pytest.mark.parametrize("begin", [b"", b"{", b'[{"a": "', b'["'])
def test_a_bomb_ends_in_one_line_whatever_it_is_taken_for(tmp_path: Path, name: str, begin: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(begin + b"a" * (30 << 20)))
    tracemalloc.start()
    ends = r"zeros[.a-z]+(, (line|row) 1)? (is (longer than 1 MiB|not JSON)|has no end within 16 MiB)"
    with pytest.raises(CreditError, match=ends):
        [record.fields() for record in read_records([Input(str(path))])]
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()


@pytest.mark.usefixtures("small_bound")
def test_a_value_that_a_table_points_at_from_many_rows_is_not_held_for_each(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    table = arrow.table({"prompt": ["a" * (1 << 19)] * 64, "answer": ["b"] * 64})
    parquet.write_table(table, path)
    assert path.stat().st_size < 100_000
    count, peak = peak_of_reading(path)
    assert (count, peak < 4e6) == (64, True)  # 32 MiB, were they held at once


@pytest.mark.usefixtures("small_bound")
def test_a_row_of_a_table_over_the_bound_is_a_bad_row(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(arrow.table({"prompt": ["a" * (2 << 20), "a"], "answer": ["b", "b"]}), path)
    long, good = read_records([Input(str(path))])
    assert good.fields() == {"prompt": "a", "answer": "b"}
    with pytest.raises(CreditError, match=r"rows\.parquet, row 1: it is longer than 1 MiB"):
        long.fields()


def test_a_row_of_megabytes_is_read_whole() -> None:
    text = "x " * (2 << 20)
    (record,) = records_of(io.BytesIO(json.dumps({"prompt": text, "answer": "y"}).encode()), "rows.jsonl")
    assert record.fields()["prompt"] == text


DOCUMENT = '[{"a": "ä\\u00e4\\ud83d\\ude00", "b": [-12.5e+3, true, null]}, {"b": {}}, 17, NaN]'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_where_a_document_is_cut_into_pieces_changes_nothing(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(elements, "PIECE_BYTES", 1)
    *values, bad = (value for _, value, _ in elements.elements(pieces(DOCUMENT.encode(), size), "x.json"))
    assert values == [{"a": "ää😀", "b": [-12500.0, True, None]}, {"b": {}}, 17]
    assert isinstance(bad, CreditError)
    assert "NaN is not JSON" in str(bad)


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_an_error_in_a_document_stands_where_it_is_in_the_file(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(elements, "PIECE_BYTES", 1)
    broken = b'[{"a": 1},\n {"b": 2},\n  {"c" 3}, {"d": 4}, {"e": 5}]'
    with pytest.raises(CreditError, match=r"not JSON: Expecting ':' delimiter at line 3, column 8\."):
        list(elements.elements(pieces(broken, size), "x.json"))
    with pytest.raises(CreditError, match=r"not UTF-8: byte 0xff at offset 11"):
        list(elements.elements(pieces(b'[{"a": "\xc3\xa4b\xff"}]', size), "x.json"))


@pytest.mark.slow
def test_a_page_of_many_rows_is_made_in_the_memory_of_a_few() -> None:
    pieces = tuple(f" w{n}" for n in range(200))

    def rows(count: int) -> Iterator[ScoredRow]:
        for n in range(count):
            yield saved([credit(pieces, [0.5 + n] * 200), credit(pieces, [0.25] * 200)], line=n + 1)

    def peak_and_size(count: int) -> tuple[int, int]:
        overview = overview_of(rows(count))
        tracemalloc.start()
        try:
            size = sum(map(len, score.pieces(rows(count), overview)))
            return tracemalloc.get_traced_memory()[1], size
        finally:
            tracemalloc.stop()

    (few, small), (many, large) = peak_and_size(70), peak_and_size(140)  # 64 answers stay in a cache of their segments
    assert large - small > 700_000  # what 70 rows more take on the page
    assert many - few < 200_000


def test_a_page_of_rows_that_changed_while_they_were_drawn_is_refused() -> None:
    entries = pairs([(1.0, 0.5), (2.0, 0.5), (0.5, 1.0)])
    with pytest.raises(CreditError, match="there were 3 rows, and now there are 2: draw them again"):
        "".join(score.pieces(entries[:2], overview_of(entries)))


def test_a_page_of_many_rows_is_the_same_from_stdin_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    path = write(tmp_path / "scored.jsonl", pairs([(1.0, 0.5), (0.25, 0.5)] * 15))
    lines = path.read_bytes() + b"{}\n"
    page, piped = tmp_path / "page.html", tmp_path / "piped.html"
    assert run("render", path, "--html", page).code == 0
    ended = run("render", "-", "--html", piped, stdin=lines)
    assert ended.code == 3 and "1 row set aside: stdin, line 31 is no scored answer" in ended.stderr
    assert piped.read_text("utf-8") == page.read_text("utf-8").replace(str(path), "-")
    picked = run("render", "-", "--row", "2", "--json", "-", stdin=lines)
    assert json.loads(picked.stdout)["id"] == "row-2"
