"""`dpo-credit filter`: which rows stay, as they stand, from every kind of file to every other."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pyarrow
import pyarrow.parquet as parquet
import pytest
from credits import credit
from program import run
from scored import pairs, saved, write

from dpo_credit.credit import CreditError
from dpo_credit.filter.conditions import class_condition, comparison, end_of
from dpo_credit.filter.filter import Filter
from dpo_credit.filter.quantities import disagreement, part_of_class, values_of
from dpo_credit.rows.scored import ScoredRow

MARGINS = [0.5, -2.0, 3.0, 1.0, -0.25, 2.0, 0.0, -1.0, 4.0, 1.5]
ROWS = pairs([(value, 0.0) for value in MARGINS])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "scored.jsonl", ROWS)


def kept(stdout: str) -> list[float]:
    return [json.loads(line)["credit"]["margin"] for line in stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "margins"),
    [
        (["--margin", "< 0"], [-2.0, -0.25, -1.0]),
        (["--margin", ">= 0", "--margin", "<1.5"], [0.5, 1.0, 0.0]),
        (["--margin", "< 0", "--invert"], [0.5, 3.0, 1.0, 2.0, 0.0, 4.0, 1.5]),
        (["--smallest", "20%"], [-2.0, -1.0]),
        (["--largest", "20%"], [3.0, 4.0]),
        (["--largest", "3", "--margin", "< 2.5"], [1.0, 2.0, 1.5]),
        (["--smallest", "30%", "--of", "abs-margin"], [0.5, -0.25, 0.0]),
        (["--smallest", "1%"], [-2.0]),  # one row at least
        (["--largest", "99", "--margin", "> 3"], [4.0]),
        (["--smallest", "20%", "--invert"], [0.5, 3.0, 1.0, -0.25, 2.0, 0.0, 4.0, 1.5]),
        (["--reward", "> 2", "--answer", "chosen"], [3.0, 4.0]),
        (["--reward", "> 2"], []),  # of all answers: the rejected ones earned 0
    ],
)
def test_rows_stay_in_their_order(arguments: list[str], margins: list[float], file: Path) -> None:
    ended = run("filter", file, *arguments)
    assert ended.code == 0 and kept(ended.stdout) == margins
    assert f"{len(margins)} of 10 rows kept" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--margin", "< 0", "--of", "length"], "--of length is of an end. Give --smallest 10% or --largest 10% too."),
        (["--margin", "< 0", "--answer", "chosen"], "--answer chosen is of rewards, lengths and classes of tokens."),
        (["--smallest", "10%", "--answer", "chosen"], "--answer chosen is of rewards, lengths and classes of tokens."),
    ],
)
def test_a_flag_that_changes_nothing_is_refused(arguments: list[str], message: str, file: Path) -> None:
    ended = run("filter", file, *arguments)
    assert (ended.code, ended.stdout) == (2, "") and message in ended.stderr


def test_a_line_comes_out_byte_by_byte(file: Path) -> None:
    lines = file.read_bytes().splitlines(keepends=True)
    strange = lines[2].replace(b'"id"', b'   "text": "caf\\u00e9", "id"  ', 1)
    file.write_bytes(b"".join([lines[0], strange, lines[8].rstrip(b"\n")]))
    assert run("filter", file, "--margin", "> 2").data == strange + lines[8]
    assert run("filter", "-", "--largest", "1", stdin=file.read_bytes()).data == lines[8]


@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_every_kind_of_file_goes_in_and_comes_out(end: str, file: Path, tmp_path: Path) -> None:
    first, second = tmp_path / f"first{end}", tmp_path / f"second{end}"
    assert run("filter", file, "--margin", ">= 0", "-o", first).code == 0
    ended = run("filter", first, "--largest", "50%", "-o", second)
    assert ended.code == 0 and "4 of 7 rows kept (57.1%): the largest 50 % by margin, 1.5 to 4" in ended.stderr
    assert kept(run("filter", second, "--margin", "> -9").stdout) == [3.0, 2.0, 4.0, 1.5]
    if end == ".jsonl.gz":
        assert gzip.decompress(first.read_bytes()).startswith(file.read_bytes().splitlines()[0])


def test_a_tables_columns_keep_their_types(file: Path, tmp_path: Path) -> None:
    rows = [{**json.loads(line), "when": n} for n, line in enumerate(file.read_text().splitlines())]
    table = pyarrow.Table.from_pylist(rows)
    table = table.set_column(table.schema.get_field_index("when"), "when", table["when"].cast(pyarrow.timestamp("us")))
    parquet.write_table(table, tmp_path / "in.parquet")
    assert run("filter", tmp_path / "in.parquet", "--margin", "< 0", "-o", tmp_path / "out.parquet").code == 0
    out = parquet.read_table(tmp_path / "out.parquet")
    assert out.schema.field("when").type == pyarrow.timestamp("us") and out.num_rows == 3
    assert out.schema.field("credit").type == table.schema.field("credit").type


def test_disagreement_is_the_share_of_credit_against_the_preference() -> None:
    row = saved([credit([" a", " b"], [3.0, -1.0]), credit([" c", " d"], [0.5, -1.5])])
    # for it speak 3 and 1.5, against it 1 and 0.5
    assert disagreement(row) == pytest.approx(1.5 / 6)
    (margin,) = values_of(row, "margin")
    assert disagreement(row) == pytest.approx((1 - margin / 6) / 2)
    assert disagreement(saved([credit([" a"], [-1.0]), credit([" b"], [0.25])])) == 1.0
    assert disagreement(saved([credit([" a"], [0.0]), credit([" b"], [0.0])])) is None


def test_the_classes_parts_make_up_the_margin() -> None:
    row = saved([credit([" a", " 7", "."], [1.0, -2.0, 0.5], end=0.25), credit([" b", " 8"], [0.75, 3.0], end=-1.0)])
    parts = {name: part_of_class(row, name) for name in ("words", "digits", "punctuation", "end", "Markdown")}
    assert parts == {"words": 0.25, "digits": -5.0, "punctuation": 0.5, "end": 1.25, "Markdown": None}
    assert math.fsum(part for part in parts.values() if part) == values_of(row, "margin")[0]
    assert part_of_class(row, "digits", "rejected") == 3.0
    assert class_condition("", "digits < 0").meets(row) and not class_condition("", "digits > 0").meets(row)
    assert class_condition("", "end").meets(row) and not class_condition("", "Markdown").meets(row)
    assert class_condition("", "white space").token_class == "white space"


def test_lengths_are_of_each_answer_and_an_end_by_their_mean() -> None:
    row = saved([credit([" a"] * 4, [1.0] * 4), credit([" b"] * 2, [1.0] * 2)])
    assert values_of(row, "length") == (4, 2) and values_of(row, "length", "rejected") == (2,)
    assert comparison("", "<= 4", "length").meets(row) and not comparison("", "< 4", "length").meets(row)
    longer = saved([credit([" a"] * 3, [1.0] * 3), credit([" b"] * 4, [1.0] * 4)])
    assert Filter([], end_of("largest", "1", "length")).those_that_stay([row, longer]) == [False, True]


def test_of_equal_values_the_first_rows_are_taken() -> None:
    rows = pairs([(1.0, 0.0)] * 4)
    for which in ("smallest", "largest"):
        assert Filter([], end_of(which, "50%", "margin")).those_that_stay(rows) == [True, True, False, False]


def test_rows_without_a_quantity_are_left_out_and_counted(tmp_path: Path) -> None:
    rows: list[ScoredRow] = [*ROWS[:2], saved([credit([" a"], [9.0])], "single", line=3)]
    file = write(tmp_path / "mixed.jsonl", rows)
    ended = run("filter", file, "--margin", "> -9")
    assert kept(ended.stdout) == MARGINS[:2]
    assert "2 of 3 rows kept (66.7%): margin > -9" in ended.stderr
    assert "1 row has no margin: a preference alone has one" in ended.stderr
    assert len(run("filter", file, "--margin", "> -9", "--invert").stdout.splitlines()) == 1
    ended = run("filter", file, "--reward", "> 0", "--answer", "chosen")
    assert "1 row has no reward: no such answer" in ended.stderr
    assert "1 row has no margin" in run("filter", file, "--largest", "50%").stderr


def test_bad_rows_are_set_aside_and_never_kept(file: Path) -> None:
    data = b'{"id": 1}\n' + file.read_bytes()
    for arguments in (["--margin", "< 0"], ["--smallest", "30%"], ["--smallest", "30%", "--invert"]):
        ended = run("filter", "-", *arguments, stdin=data)
        assert (
            ended.code == 3 and "1 row set aside: stdin, line 1" in ended.stderr and "of 10 rows kept" in ended.stderr
        )
        assert b'{"id": 1}' not in ended.data
    ended = run("filter", "-", "--strict", "--smallest", "30%", stdin=data)
    assert ended.code == 2 and ended.stdout == ""


def test_nothing_is_written_where_no_row_is_one(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    ended = run("filter", "-", "--margin", "< 0", "-o", out, stdin=b'{"id": 1}\n')
    assert ended.code == 2 and not out.exists()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to filter by. Give --margin '< 0'"),
        (["--margin", "0"], "--margin '0' compares with nothing. Give a sign and a number in quotes, such as '< 0'."),
        (["--length", "== 3"], "--length '== 3' compares with nothing"),
        (["--smallest", "0%"], "--smallest '0%' is neither a share of the rows such as 10% nor a number of them"),
        (["--largest", "1.5"], "--largest '1.5' is neither"),
        (["--smallest", "101%"], "--smallest '101%' is neither"),
        (["--smallest", "1", "--largest", "1"], "--smallest and --largest exclude each other"),
        (["--token-class", "verbs"], "--token-class 'verbs' names no class of tokens. There are end, white space"),
        (["--token-class", "digits <"], "--token-class 'digits <' compares with nothing"),
        (["--margin", "< 0", "-o", "x.csv"], "x.csv is no format of ours"),
        (["--margin", "< 0", "-o", "nowhere/x.jsonl"], "cannot write nowhere/x.jsonl"),
    ],
)
def test_what_is_no_filter_is_one_line(arguments: list[str], said: str, file: Path) -> None:
    ended = run("filter", file, *arguments)
    assert ended.code == 2 and ended.stdout == "" and said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_the_input_is_never_the_output(file: Path) -> None:
    before = file.read_bytes()
    ended = run("filter", file, "--margin", "< 0", "-o", file)
    assert ended.code == 2 and "would be written over" in ended.stderr and file.read_bytes() == before


def test_a_filter_of_nothing_is_refused() -> None:
    with pytest.raises(CreditError, match="nothing to filter by"):
        Filter([])
