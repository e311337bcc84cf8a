"""A run's files: what was committed stays good whatever happens, and no two runs mix."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from dpo_credit.credit import CreditError
from dpo_credit.rows.formats import format_of, to_parquet
from dpo_credit.rows.journal import FORMAT, Commit, Format, Journal, Mode, beside
from dpo_credit.rows.reader import read_records
from dpo_credit.rows.sources import Input

CHUNKS = [(["a", "b"], []), (["c"], ["bad row 4"]), ([], ["bad row 5"]), (["d \u2028 \U0001f600"], [])]
SETTINGS = {"beta": 0.1, "policy": "p"}


def write(output: Path, mode: Mode = "new", *, settings: dict | None = None, chunks: int = 4) -> Commit:
    """A run over the first chunks, from where it stands; finished if these are all."""
    with Journal(output, mode, format_of(output)) as journal:
        journal.begin(settings or SETTINGS)
        for number, (lines, errors) in enumerate(CHUNKS[:chunks]):
            if number >= journal.last.rows:  # each chunk counts as one row here
                journal.append(lines, errors, Commit(number + 1, f"hash {number}"))
        if chunks == len(CHUNKS):
            journal.finish()
        return journal.last


def files(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.parent.iterdir())}


def rows_of(output: Path) -> list[str]:
    return output.read_text().splitlines()


@pytest.mark.parametrize("name", ["o.jsonl", "o.jsonl.gz", "o.jsonl.zst"])
@pytest.mark.parametrize("stopped_after", [0, 1, 2, 3])
def test_a_resumed_run_ends_in_the_same_bytes(tmp_path: Path, name: str, stopped_after: int) -> None:
    undisturbed, resumed = tmp_path / "one" / name, tmp_path / "two" / name
    for output in (undisturbed, resumed):
        output.parent.mkdir()
    write(undisturbed)
    write(resumed, chunks=stopped_after)
    for path in (resumed, beside(resumed, "errors.jsonl"), beside(resumed, "journal")):
        with path.open("ab") as file:
            file.write(b'{"torn')
    assert write(resumed, "resume").rows == 4
    assert files(resumed) == files(undisturbed)


def test_a_run_that_fails_at_any_system_call_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a disk that is full from the nth write, sync or truncation on, for every n there is."""
    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole" / "o.jsonl")
    expected = files(tmp_path / "whole" / "o.jsonl")
    left = 0

    def failing(call: Callable) -> Callable:
        def fails(*arguments: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                if call is os_write:  # half of it arrives
                    call(arguments[0], bytes(arguments[1])[: len(bytes(arguments[1])) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return call(*arguments)

        return fails

    os_write, failures = os.write, 0
    for calls in range(200):
        output = tmp_path / str(calls) / "o.jsonl"
        output.parent.mkdir()
        with monkeypatch.context() as patched:
            for name in ("write", "fsync", "ftruncate"):
                patched.setattr(os, name, failing(getattr(os, name)))
            left = calls
            try:
                write(output)
                break
            except CreditError as error:
                failures += 1
                assert "No space left on device" in str(error)
        write(output, "resume")
        assert files(output) == expected
    assert failures > 15


def test_an_output_that_is_there_is_not_touched(tmp_path: Path) -> None:
    output = tmp_path / "o.jsonl"
    output.write_text("mine\n")
    with pytest.raises(CreditError, match=r"o\.jsonl is there already\. .*--overwrite"):
        write(output)
    with pytest.raises(CreditError, match=r"has no o\.jsonl\.journal beside it"):
        write(output, "resume")
    assert files(output) == {"o.jsonl": b"mine\n"}
    write(output, "overwrite")
    assert rows_of(output)[0] == "a"
    with pytest.raises(CreditError, match="is there and complete"):
        write(output)
    before = files(output)
    write(output, "resume")
    assert files(output) == before


def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path) -> None:
    write(tmp_path / "o.jsonl", chunks=2)
    with pytest.raises(CreditError, match=r"holds 2 rows of a run that was interrupted\. Go on with --resume"):
        write(tmp_path / "o.jsonl")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"beta": 0.2}, r"beta was 0\.1 and is 0\.2"),
        ({"policy": "q" * 50}, "policy changed"),
        ({"eos": "never"}, 'eos was null and is "never"'),
    ],
)
def test_other_settings_are_refused_and_never_mixed(tmp_path: Path, changed: dict, message: str) -> None:
    output = tmp_path / "o.jsonl"
    write(output, chunks=2)
    before = files(output)
    with pytest.raises(CreditError, match=f"begun with other settings: {message}.*--overwrite"):
        write(output, "resume", settings={**SETTINGS, **changed})
    assert files(output) == before


def test_two_runs_on_one_output_are_kept_apart(tmp_path: Path) -> None:
    output = tmp_path / "o.jsonl"
    with Journal(output) as first:
        first.begin(SETTINGS)
        for mode in ("new", "resume", "overwrite"):
            second = Journal(output, mode)
            with pytest.raises(CreditError, match="another run is writing"):
                second.check()
            with second, pytest.raises(CreditError, match="another run is writing"):
                second.begin(SETTINGS)
        first.append(["a"], [], Commit(1))
    assert rows_of(output) == ["a"]


def test_a_file_taken_away_is_noticed(tmp_path: Path) -> None:
    output = tmp_path / "o.jsonl"
    with Journal(output) as journal:
        journal.begin(SETTINGS)
        journal.append(["a"], [], Commit(1))
        output.rename(tmp_path / "elsewhere")
        with pytest.raises(CreditError, match="was moved or deleted while it was written"):
            journal.append(["b"], [], Commit(2))
    with pytest.raises(CreditError, match="is shorter than its journal says"):
        write(output, "resume")


@pytest.mark.parametrize(
    ("place", "message"),
    [("missing/o.jsonl", "No such file or directory"), (".", "Is a directory")],
)
def test_a_place_that_takes_no_file_is_refused_before_any_work(tmp_path: Path, place: str, message: str) -> None:
    with pytest.raises(CreditError, match=message):
        Journal(tmp_path / place).check()
    assert list(tmp_path.iterdir()) == []


def test_a_foreign_journal_is_no_ground_to_go_on(tmp_path: Path) -> None:
    output = tmp_path / "o.jsonl"
    begun = json.dumps({"journal": FORMAT})
    changed = [
        f"{begun}\n{json.dumps(asdict(Commit()) | change)}\n" for change in ({"rows": -1}, {"input": 5}, {"state": 1})
    ]
    for content in (
        '{"journal": "dpo-credit/journal@0"}\n',
        "[]\n",
        "no\n",
        "[" * 100_000 + "\n",
        f"{begun}\n7\n",
        *changed,
    ):
        beside(output, "journal").write_text(content)
        with pytest.raises(CreditError, match="is no journal of this version"):
            write(output, "resume")


def test_parquet_is_made_when_all_rows_are_there(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    output = tmp_path / "o.parquet"
    rows = [{"id": "1", "n": 1}, {"id": "2", "n": 0.5, "more": [1.0, 2.0]}, {"id": "3", "n": None}]
    with Journal(output, format=format_of(output)) as journal:
        journal.begin(SETTINGS)
        for number, row in enumerate(rows):
            journal.append([json.dumps(row)], [], Commit(number + 1))
        assert not output.exists()
        journal.finish()
    assert parquet.read_table(output).to_pylist() == [
        {"id": "1", "n": 1.0, "more": None},
        {"id": "2", "n": 0.5, "more": [1.0, 2.0]},
        {"id": "3", "n": None, "more": None},
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.parquet", "o.parquet.journal"]


VALUES: dict[str, tuple[list[str], bool]] = {  # a column's values as JSON, and whether it has to hold JSON
    "numbers": (["1", "1.5", "null"], False),
    "up to 2^64": ([str(2**63), "1"], False),
    "objects": (['{"a": 1}', '{"a": 2}'], False),
    "text and numbers": (["1", '"one"', "null"], True),
    "beyond 2^64": ([str(2**70), "1"], True),
    "below -2^63": ([str(-(2**63) - 1), "1"], True),
    "numbers that lose digits as floats": (["1.5", str(2**60 + 1)], True),
    "booleans and numbers": (["true", "1"], True),
    "half a surrogate pair": (['"\\ud800"'], True),
    "half a surrogate pair in a name": (['{"\\ud800": 1}'], True),
    "an object without fields": (["{}"], True),
    "mixed lists": (['[1, "a"]'], True),
    "a hundred deep": (["[" * 200 + "]" * 200], True),
    "in another group of rows": ([*["1"] * 256, '"one"'], True),
}


@pytest.mark.parametrize(("values", "is_json"), VALUES.values(), ids=VALUES)
def test_a_column_of_any_values_is_written_and_read_back_as_it_was(
    values: list[str], is_json: bool, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    output = tmp_path / "o.parquet"
    with Journal(output, format=format_of(output)) as journal:
        journal.begin(SETTINGS)
        journal.append([f'{{"x": {value}, "n": 1}}' for value in values], [], Commit(len(values)))
        journal.finish()
    back = [record.fields() for record in read_records([Input(str(output))])]
    assert back == [{"x": json.loads(value), "n": 1} for value in values]
    assert journal.notes == ["column x holds JSON: its values share no type that Parquet has"] * is_json


def test_a_column_whose_name_utf8_cannot_carry_has_another(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "rows.jsonl").write_text('{"\\ud800": 1}\n')
    notes = to_parquet(tmp_path / "rows.jsonl", tmp_path / "o.parquet")
    assert notes == ["column \\ud800 has another name in the rows, which UTF-8 cannot carry"]
    assert [record.fields() for record in read_records([Input(str(tmp_path / "o.parquet"))])] == [{"\\ud800": 1}]


def test_a_format_is_known_by_its_name(tmp_path: Path) -> None:
    assert format_of(Path("x.jsonl")) == Format()
    with pytest.raises(CreditError, match=r"x\.csv is no format of ours: end it in \.jsonl"):
        format_of(Path("x.csv"))
