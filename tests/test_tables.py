"""Parquet and datasets, from the reader to every command: nothing that a column may hold ends in a traceback."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from program import run

from dpo_credit import CreditError
from dpo_credit.rows.reader import Record, read_records
from dpo_credit.rows.sources import Input

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

NAN = float("nan")
AT = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
ODD = {
    "prompt": ["Post. TL;DR:", "Post? TL;DR:"],
    "chosen": [" yes", " well"],
    "rejected": [" no", " not well"],
    "labels": [[{"start": 1, "end": 3, "text": "no"}], [{"start": 1, "end": 4, "text": "not"}]],
    "score": [NAN, 1.5],
    "ratio": [float("inf"), NAN],
    "at": [AT, None],
    "day": [AT.date(), None],
    "clock": [AT.time(), None],
    "price": [Decimal("1.50"), None],
    "blob": [b"\xff\x00", None],
    "meta": [{"at": AT, "parts": [NAN, 0.5]}, None],
}
SAID = {
    "score": None,
    "ratio": None,
    "at": "2024-01-02T03:04:05+00:00",
    "day": "2024-01-02",
    "clock": "03:04:05",
    "price": "1.50",
    "blob": "/wA=",
    "meta": {"at": "2024-01-02T03:04:05+00:00", "parts": [None, 0.5]},
}


def _not_utf8() -> Any:
    """Two texts as Arrow holds them: "a", and the byte ff."""
    return arrow.StringArray.from_buffers(2, arrow.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0])),
                                          arrow.py_buffer(b"a\xff"))  # fmt: skip


def records(name: str, **more: Any) -> list[Record]:
    return list(read_records([Input(name, **more)]))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table = arrow.table(ODD)
    table = table.set_column(table.column_names.index("score"), "score", arrow.array(ODD["score"], arrow.float32()))
    parquet.write_table(table, "odd.parquet")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_table_and_a_dataset_give_the_same_rows() -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    saved = datasets.Dataset(parquet.read_table("odd.parquet"))
    saved.save_to_disk("disk")
    rows = records("odd.parquet")
    assert {name: rows[0].fields()[name] for name in SAID} == SAID
    assert [record.fields() for record in records("disk", dataset=True)] == [record.fields() for record in rows]
    assert [record.data for record in records("disk", dataset=True)] == [record.data for record in rows]
    assert json.loads(rows[0].data) == rows[0].fields()


@pytest.mark.usefixtures("folder")
def test_a_dataset_saved_with_another_format_is_read_as_it_was_stored() -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = [{"prompt": "Q", "answer": " A", "ids": [1, 2]}]
    datasets.Dataset.from_list(rows).with_format("torch").save_to_disk("disk")
    assert [record.fields() for record in records("disk", dataset=True)] == rows


@pytest.mark.parametrize(
    "command",
    [
        ("batch", "-o", "out.jsonl"),
        ("batch", "-o", "out.parquet"),
        ("corrupt", "-o", "out.jsonl"),
        ("search", "--beams", "1", "--max-new-tokens", "1", "-o", "out.jsonl"),
        ("localise", "--json", "out.json"),
    ],
    ids=lambda command: f"{command[0]} {command[-1]}",
)
@pytest.mark.usefixtures("folder", "few_resamples")
def test_every_command_reads_what_columns_hold_and_names_once_what_is_lost(command: tuple[str, ...]) -> None:
    ended = run(command[0], "odd.parquet", *command[1:])
    assert ended.code == 0, ended.stderr
    for column in ("score", "ratio", "meta"):
        assert ended.stderr.count(f"NaN and infinity in column {column} are null in JSON\n") == 1


@pytest.mark.usefixtures("folder")
def test_what_batch_writes_says_times_decimals_and_bytes_and_a_table_keeps_their_types() -> None:
    assert run("batch", "odd.parquet", "-o", "out.jsonl", "-q").code == 0
    row = json.loads(Path("out.jsonl").read_text().splitlines()[0])
    assert {name: row[name] for name in SAID} == SAID
    assert run("batch", "odd.parquet", "-o", "out.parquet", "-q").code == 0
    given, table = parquet.read_table("odd.parquet"), parquet.read_table("out.parquet")
    for name in ("at", "day", "clock", "price", "blob"):
        assert table[name].type == given[name].type, name
        assert table[name].to_pylist() == ODD[name], name
    assert (table["score"].type, table["score"].to_pylist()) == (arrow.float32(), [None, 1.5])
    assert run("report", "out.parquet", "-q", "--json", "-").code == 0


@pytest.mark.usefixtures("folder")
def test_a_table_keeps_types_that_all_inputs_share_and_its_own_numbers() -> None:
    rows = {"prompt": ["Q"], "chosen": [" a"], "rejected": [" b"]}
    parquet.write_table(arrow.table({**rows, "n": arrow.array([1], arrow.int8()), "credit": ["mine"]}), "a.parquet")
    parquet.write_table(arrow.table({**rows, "n": arrow.array([300], arrow.int64()), "credit": ["its"]}), "b.parquet")
    Path("c.jsonl").write_text(json.dumps({**{name: values[0] for name, values in rows.items()}, "credit": 3}))
    assert run("batch", "a.parquet", "b.parquet", "-o", "out.parquet", "-q").code == 0
    table = parquet.read_table("out.parquet")
    assert table["n"].to_pylist() == [1, 300]
    assert table["input_credit"].to_pylist() == ["mine", "its"]
    assert table["credit"].type.field("margin").type == arrow.float64()
    ended = run("batch", "a.parquet", "c.jsonl", "-o", "mixed.parquet", "-q")
    assert ended.code == 0, ended.stderr
    assert [record.fields()["input_credit"] for record in records("mixed.parquet")] == ["mine", 3]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([3.0, 3.5], ["3", "3.5"]),
        ([None, 7], ["rows:1", "7"]),
        ([NAN, 7.0], ["rows:1", "7"]),
        ([Decimal("1.0"), Decimal("2.5")], ["1.0", "2.5"]),
        ([AT.date(), None], ["2024-01-02", "rows:2"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_no_id_refuses_a_row(ids: list[Any], expected: list[str]) -> None:
    parquet.write_table(arrow.table({"id": ids, "prompt": ["Q", "R"], "answer": [" A", " B"]}), "rows.parquet")
    assert [record.row().id for record in records("rows.parquet")] == expected


@pytest.mark.usefixtures("folder")
def test_a_value_that_cannot_be_read_is_the_error_of_its_row_under_its_own_id() -> None:
    table = arrow.table({"id": ["r1", "r2"], "prompt": ["Q", "R"], "answer": _not_utf8()})
    parquet.write_table(table, "bad.parquet")
    ended = run("batch", "bad.parquet", "-o", "out.jsonl", "-q")
    assert ended.code == 3
    assert json.loads(Path("out.jsonl").read_text())["id"] == "r1"
    assert json.loads(Path("out.jsonl.errors.jsonl").read_text()) == {
        "id": "r2",
        "line": 2,
        "error": "bad.parquet, row 2: column answer is not UTF-8: byte 0xff at offset 0. Convert it.",
    }
    ended = run("corrupt", "bad.parquet", "-q", "--strict")
    assert (ended.code, ended.stderr.count("\n")) == (2, 1)
    assert "bad.parquet, row 2: column answer is not UTF-8" in ended.stderr


@pytest.mark.usefixtures("folder")
def test_a_dataset_that_cannot_be_read_on_says_where_in_one_line() -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.Dataset(arrow.table({"prompt": ["Q", "R"], "answer": _not_utf8()})).save_to_disk("disk")
    with pytest.raises(
        CreditError, match=r"^cannot read row 2 of the dataset disk: 'utf-8' codec can't decode byte 0xff"
    ):
        records("disk", dataset=True)


@pytest.mark.usefixtures("folder")
def test_bytes_are_never_scored_as_their_base64() -> None:
    parquet.write_table(arrow.table({"id": ["r1"], "prompt": ["Q"], "answer": [b" A"]}), "bytes.parquet")
    ended = run("score", "bytes.parquet")
    assert ended.code == 2
    assert "answer holds bytes where text is scored. Store it as a column of strings." in ended.stderr


@pytest.mark.usefixtures("folder")
def test_two_columns_of_one_name_are_refused() -> None:
    table = arrow.Table.from_arrays([arrow.array(["Q"]), arrow.array([" A"]), arrow.array([" B"])], ["prompt", *"xx"])
    parquet.write_table(table, "twins.parquet")
    with pytest.raises(CreditError, match=r"twins\.parquet has several columns named x\. Rename them"):
        records("twins.parquet")


SIX = "".join(
    json.dumps({"id": f"q{n}", "ask": f"Question {n}?", "chosen": " yes", "rejected": " no"}) + "\n" for n in range(6)
)


@pytest.mark.usefixtures("folder")
def test_rows_without_a_prompt_are_counted_and_a_resumed_run_counts_all_of_them() -> None:
    ended = run("batch", "-", stdin=SIX.encode())
    margins = [json.loads(line)["credit"]["margin"] for line in ended.stdout.splitlines()]
    assert len(margins) == 6 and max(margins) - min(margins) < 1e-6  # six questions, and none was read
    said = "6 rows were scored without a prompt: name its field with --prompt-key"
    assert ended.stderr.splitlines()[-1] == said
    named = run("batch", "-", "--prompt-key", "ask", stdin=SIX.encode())
    assert len({round(json.loads(line)["credit"]["margin"], 5) for line in named.stdout.splitlines()}) > 1
    assert "without a prompt" not in named.stderr

    Path("six.jsonl").write_text(SIX)
    assert run("batch", "six.jsonl", "-o", "out.jsonl").code == 0
    journal = Path("out.jsonl.journal").read_bytes().splitlines(keepends=True)
    assert json.loads(journal[1])["counts"]["without_prompt"] == 6
    Path("out.jsonl.journal").write_bytes(b"".join(journal[:2]))  # a kill before the end was written
    assert run("batch", "six.jsonl", "-o", "out.jsonl", "--resume").stderr.splitlines()[-1] == said


@pytest.mark.usefixtures("folder")
def test_how_a_prompt_was_read_is_said_once() -> None:
    rows = [{"system": "Be brief.", "question": f"Q{n}?", "chosen": " a", "rejected": " b"} for n in range(3)]
    ended = run("batch", "-", stdin="\n".join(map(json.dumps, rows)).encode())
    note = "prompt read from system and question, with a blank line between"
    assert f"note: 3 rows: {note}" in ended.stderr
    assert ended.code == 0 and ended.stderr.count(note) == 1
    for command in (("score", "--json", "-"), ("inspect",), ("diff",), ("steer", "--max-new-tokens", "1")):
        ended = run(command[0], "-", *command[1:], stdin=json.dumps(rows[0]).encode())
        assert ended.code == 0 and ended.stderr.count(note) == 1, command


@pytest.mark.parametrize("row", [{"prompt": "p"}, {"prompt": 3, "answer": "a"}, {"prompt": "p", "answer": NAN}])
@pytest.mark.usefixtures("folder")
def test_the_error_of_a_row_has_its_own_id(row: dict[str, Any]) -> None:
    Path("rows.jsonl").write_text(json.dumps({"id": "mine", **row}) + "\n{torn\n")
    assert run("batch", "rows.jsonl", "-o", "out.jsonl", "-q").code == 3
    errors = [json.loads(line) for line in Path("out.jsonl.errors.jsonl").read_text().splitlines()]
    assert [error["id"] for error in errors] == ["mine", "rows:2"]


@pytest.mark.usefixtures("folder")
def test_crlf_of_two_texts_is_said_once() -> None:
    for name, answer in {"a": "yes", "b": "no"}.items():
        Path(f"{name}.txt").write_bytes(f"A post.\r\n\r\nTL;DR: {answer}\r\nindeed".encode())
    ended = run("diff", "a.txt", "b.txt")
    assert ended.code == 0
    assert ended.stderr.count("note: the text's lines end in CRLF, and are scored as they stand\n") == 1


@pytest.mark.usefixtures("folder")
def test_json_that_a_table_stores_as_text_is_read() -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    chats = [
        [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "by": {"a": [1]}}],
        [{"role": "user", "content": "Well?", "x": "y"}, {"role": "assistant", "content": "No"}],
    ]
    saved = datasets.Dataset.from_dict({"messages": chats}, on_mixed_types="use_json")
    saved.to_parquet("chats.parquet")
    saved.save_to_disk("chats")
    assert [record.fields()["messages"] for record in records("chats.parquet")] == chats
    assert [record.fields()["messages"] for record in records("chats", dataset=True)] == chats


@pytest.mark.usefixtures("folder")
def test_a_folder_of_files_is_a_dataset_whose_columns_keep_their_types() -> None:
    pytest.importorskip("datasets")
    Path("mine").mkdir()
    for name, kind in {"a": arrow.int8(), "b": arrow.int32()}.items():
        rows = {"prompt": ["Q"], "answer": [" A"], "n": arrow.array([3], kind)}
        parquet.write_table(arrow.table(rows), f"mine/{name}.parquet")
        assert run("batch", "--dataset", "mine", "-o", f"{name}.out.parquet", "-q").code == 0
        assert parquet.read_table(f"{name}.out.parquet")["n"].type == kind
        Path(f"mine/{name}.parquet").unlink()
    Path("mine/c.jsonl").write_text('{"prompt": "Q", "answer": " A"}\n')
    assert run("batch", "--dataset", "mine", "-o", "c.out.parquet", "-q").code == 0


@pytest.mark.usefixtures("folder")
def test_the_files_of_pictures_pass_through_undecoded() -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features({"answer": datasets.Value("string"), "shot": datasets.Image()})
    data = {"answer": ["A"], "shot": [{"bytes": b"\xff\x00", "path": None}]}  # no picture: decoding it would fail
    datasets.Dataset.from_dict(data, features=features).save_to_disk("shots")
    assert [record.fields()["shot"] for record in records("shots", dataset=True)] == [{"bytes": "/wA=", "path": None}]


@pytest.mark.parametrize(("value", "is_json"), [('"\\ud800"', True), (str(2**70), True), (str(2**64 - 1), False)])
@pytest.mark.usefixtures("folder")
def test_what_a_column_cannot_hold_is_json_in_it_and_said_once(value: str, is_json: bool) -> None:
    row = b'{"prompt": "Q", "answer": " A", "x": %s}\n' % value.encode()
    ended = run("batch", "-", "-o", "out.parquet", stdin=row * 2)
    assert (ended.code, ended.stderr.count("note: column x holds JSON")) == (0, int(is_json)), ended.stderr
    assert [record.fields()["x"] for record in records("out.parquet")] == [json.loads(value)] * 2
