"""Records from every kind of file, one at a time, each with its place."""

import gzip
import io
import json
from pathlib import Path

import pytest

from dpo_credit import CreditError
from dpo_credit.rows.reader import Record, read_records
from dpo_credit.rows.sources import Input, expand

ROWS = [{"id": f"r{n}", "prompt": f"Post {n} \u2028 TL;DR:", "completion": " yes \U0001f600"} for n in range(5)]
LINES = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in ROWS)


def _rows(name: str | Path, **more: object) -> list[dict[str, object]]:
    return [record.fields() for record in read_records([Input(str(name), **more)])]  # type: ignore[arg-type]


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    datasets, pyarrow = pytest.importorskip("datasets"), pytest.importorskip("pyarrow")
    datasets.disable_progress_bars()
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(LINES))
    (tmp_path / "a.jsonl.zst").write_bytes(pyarrow.compress(LINES, "zstd", asbytes=True))
    table = datasets.Dataset.from_list(ROWS)
    table.to_parquet(str(tmp_path / "a.parquet"))
    table.save_to_disk(str(tmp_path / "disk"))
    datasets.DatasetDict({"test": table, "train": table}).save_to_disk(str(tmp_path / "dict"))
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"):
        assert _rows(tmp_path / name) == ROWS
    assert _rows(tmp_path / "disk", dataset=True) == ROWS
    assert _rows(tmp_path / "dict", dataset=True, split="test") == ROWS
    with pytest.raises(CreditError, match="several splits; name one with --split: test, train"):
        _rows(tmp_path / "dict", dataset=True)


def test_lines_are_counted_and_blank_ones_left_out() -> None:
    stdin = io.BytesIO(b"\n" + LINES + b"  \n" + b'{"a": 1}')
    records = list(read_records([Input("-")], stdin))
    assert [record.line for record in records] == [2, 3, 4, 5, 6, 8]
    assert records[-1].default_id == "stdin:8"
    assert records[0].part is None


def test_how_much_lies_behind_ends_at_all(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_bytes(LINES)
    parts = [record.part for record in read_records(expand([str(tmp_path / "*.jsonl")]))]
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    assert parts[4] == 0.5


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"[1]", "JSON list"),
        (b"{", "not JSON: .* line 3"),
        (b'{"a": 1} {"b": 2}', "more than one JSON object"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": "\xff"}', "line 3 is not UTF-8: byte 0xff at offset 7"),
        (b'{"prompt": "p"}', "a prompt but no answer"),
    ],
)
def test_a_bad_record_says_what_is_wrong(data: bytes, message: str) -> None:
    with pytest.raises(CreditError, match=message):
        Record("x.jsonl", 3, data).row()


def test_a_torn_or_broken_file_is_an_error(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    whole = {"a.jsonl.gz": gzip.compress(LINES * 99), "a.jsonl.zst": pyarrow.compress(LINES * 99, "zstd", asbytes=True)}
    for name, data in whole.items():
        middle = len(data) // 2
        for broken in (data[:-20], data[:middle] + b"broken here" + data[middle:], b"no"):
            (tmp_path / name).write_bytes(broken)
            with pytest.raises(CreditError, match=f"cannot read .*{name}( past line [0-9]+)?: ."):
                list(read_records([Input(str(tmp_path / name))]))
    (tmp_path / "b.parquet").write_bytes(b"no")
    with pytest.raises(CreditError, match="cannot read"):
        _rows(tmp_path / "b.parquet")


def test_no_file_no_pattern(tmp_path: Path) -> None:
    with pytest.raises(CreditError, match="does not exist"):
        expand([str(tmp_path / "*.jsonl")])
