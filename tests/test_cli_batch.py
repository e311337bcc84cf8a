"""`dpo-credit batch` from the outside: files in, files out, and one line for what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from program import Ended, run

from dpo_credit.rows.reader import read_records
from dpo_credit.rows.sources import Input

ROWS = [
    {"id": f"r{n}", "prompt": f"How long, {n}?", "chosen": f" {n} days", "rejected": " a year", "tag": [n]}
    for n in range(5)
]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "posts.jsonl").write_bytes(LINES)
    return tmp_path


def test_a_file_becomes_a_file(folder: Path, pair: tuple[str, ...]) -> None:
    ended = run("batch", "posts.jsonl", "-o", "scored.jsonl", *pair)
    assert (ended.code, ended.stdout) == (0, "")
    rows = [json.loads(line) for line in Path("scored.jsonl").read_text().splitlines()]
    assert [(row["id"], row["tag"]) for row in rows] == [(row["id"], row["tag"]) for row in ROWS]
    won = sum(row["credit"]["margin"] > 0 for row in rows)
    mean = sum(row["credit"]["margin"] for row in rows) / 5
    assert ended.stderr.splitlines() == [
        f"5 rows scored to scored.jsonl; chosen preferred in {won / 5:.1%} of 5 pairs, mean margin {mean:+.4f}"
    ]
    assert run("batch", "posts.jsonl", "-o", "again.jsonl", "--quiet", *pair) == Ended(0, "", "")
    assert Path("again.jsonl").read_bytes() == Path("scored.jsonl").read_bytes()


def test_stdin_becomes_stdout(folder: Path, pair: tuple[str, ...]) -> None:
    run("batch", "posts.jsonl", "-o", "scored.jsonl", *pair)
    ended = run("batch", "-", "--quiet", *pair, stdin=LINES)
    assert (ended.code, ended.stdout, ended.stderr) == (0, Path("scored.jsonl").read_text(), "")


def test_a_pattern_and_a_folder_make_one_file_each(folder: Path, pair: tuple[str, ...]) -> None:
    Path("data").mkdir()
    for name in "ab":
        Path(f"data/{name}.jsonl.gz").write_bytes(gzip.compress(LINES))
    ended = run("batch", "data/*.jsonl.gz", "-o", "out/", *pair, "--quiet")
    assert ended == Ended(0, "", "")
    assert sorted(path.name for path in Path("out").iterdir()) == [
        "a.jsonl",
        "a.jsonl.journal",
        "b.jsonl",
        "b.jsonl.journal",
    ]
    run("batch", "posts.jsonl", "-o", "scored.jsonl", *pair)
    assert Path("out/a.jsonl").read_bytes() == Path("out/b.jsonl").read_bytes() == Path("scored.jsonl").read_bytes()
    again = run("batch", "data/*.jsonl.gz", "-o", "out", *pair)
    assert again.code == 2 and "out/a.jsonl is there and complete" in again.stderr
    Path("more").mkdir()
    Path("more/a.jsonl").write_bytes(LINES)
    clash = run("batch", "data/*.gz", "more/*", "-o", "out2/", *pair)
    assert clash.code == 2 and "two inputs would both be a.jsonl in out2/" in clash.stderr


@pytest.mark.parametrize("name", ["scored.jsonl.gz", "scored.jsonl.zst", "scored.parquet"])
def test_every_format_holds_the_same_rows(folder: Path, pair: tuple[str, ...], name: str) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    run("batch", "posts.jsonl", "-o", "scored.jsonl", *pair)
    assert run("batch", "posts.jsonl", "-o", name, "--quiet", *pair) == Ended(0, "", "")
    expected = [json.loads(line) for line in Path("scored.jsonl").read_text().splitlines()]
    if name.endswith(".parquet"):
        assert pyarrow.read_table(name).to_pylist() == expected
    else:
        assert [record.fields() for record in read_records([Input(name)])] == expected


def test_a_dataset_on_disk_is_read(folder: Path, pair: tuple[str, ...]) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    datasets.DatasetDict({"test": datasets.Dataset.from_list(ROWS)}).save_to_disk("disk")
    run("batch", "posts.jsonl", "-o", "scored.jsonl", *pair)
    assert run("batch", "--dataset", "disk", "--split", "test", "-o", "d.jsonl", "--quiet", *pair) == Ended(0, "", "")
    assert Path("d.jsonl").read_bytes() == Path("scored.jsonl").read_bytes()
    ended = run("batch", "--dataset", "disk", "--split", "train", "-o", "e.jsonl", *pair)
    assert ended.code == 2 and "no split 'train'; name one with --split: test" in ended.stderr
    assert not Path("e.jsonl").exists() or not Path("e.jsonl").read_bytes()


def test_a_cache_serves_another_beta(folder: Path, pair: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    run("batch", "posts.jsonl", "-o", "one.jsonl", "--cache", "kept", *pair)
    from dpo_credit.models.torch_side import TorchSide

    def no_more(*_: object) -> None:
        raise AssertionError("a model was run")

    monkeypatch.setattr(TorchSide, "logps", no_more)
    assert run("batch", "posts.jsonl", "-o", "two.jsonl", "--cache", "kept", *pair, "--beta", "0.2", "-q").code == 0
    one, two = (json.loads(Path(f"{name}.jsonl").read_text().splitlines()[0]) for name in ("one", "two"))
    assert two["credit"]["margin"] == pytest.approx(2 * one["credit"]["margin"])


def test_short_memory_is_said_once_each_time(
    folder: Path, pair: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpo_credit.batch import job
    from dpo_credit.models.torch_side import TorchSide

    packed = TorchSide._packed

    def crowded(self: TorchSide, shared: Any, batch: Any, tokens: int) -> Any:
        if tokens > 128:
            raise MemoryError
        return packed(self, shared, batch, tokens)

    monkeypatch.setattr(TorchSide, "_packed", crowded)
    monkeypatch.setattr(job, "CHUNK_BYTES", 1)  # a chunk a row: what was said stays in what later chunks tell
    ended = run("batch", "posts.jsonl", "-o", "scored.jsonl", "--tokens-per-batch", "512", *pair)
    assert ended.code == 0
    assert ended.stderr.splitlines()[:-1] == [
        "note: out of memory: now 256 tokens at a time",
        "note: out of memory: now 128 tokens at a time",
    ]
    assert ended.stderr.splitlines()[-1].startswith("5 rows scored")
    Path("row.json").write_text(Path("posts.jsonl").read_text().splitlines()[0])
    ended = run("score", "row.json", "--tokens-per-batch", "256", *pair)
    assert ended.code == 0 and "note: out of memory: now 128 tokens at a time" in ended.stderr.splitlines()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_one_model_at_a_time_gives_the_same_file(folder: Path, pair: tuple[str, ...], dtype: str) -> None:
    flags = (*pair, "--dtype", dtype, "-q")
    Path("mixed.jsonl").write_bytes(LINES + b'{"prompt": "p"}\n' + LINES)
    run("batch", "mixed.jsonl", "-o", "both.jsonl", *flags)
    assert run("batch", "mixed.jsonl", "-o", "turns.jsonl", "--sequential", *flags).code == 3
    assert Path("turns.jsonl").read_bytes() == Path("both.jsonl").read_bytes()
    assert Path("turns.jsonl.journal").read_text() == Path("both.jsonl.journal").read_text()
    noise = json.loads(Path("both.jsonl").read_text().splitlines()[0])["credit"]["answers"][0]["noise"]
    assert (noise > 0) == (dtype == "bfloat16")


def test_bad_rows_are_set_aside_and_the_exit_code_says_so(folder: Path, pair: tuple[str, ...]) -> None:
    Path("mixed.jsonl").write_bytes(LINES + b'{"prompt": "p"}\n' + LINES)
    ended = run("batch", "mixed.jsonl", "-o", "scored.jsonl", *pair)
    assert ended.code == 3
    assert ended.stderr.splitlines()[-1] == "1 rows could not be scored; see scored.jsonl.errors.jsonl"
    error = json.loads(Path("scored.jsonl.errors.jsonl").read_text())
    assert (error["id"], error["line"]) == ("mixed:6", 6)
    strict = run("batch", "mixed.jsonl", "-o", "strict.jsonl", "--strict", *pair)
    assert strict.code == 2 and strict.stderr.startswith("dpo-credit: mixed.jsonl, line 6: ")


def test_a_resumed_run_needs_the_same_settings(folder: Path, pair: tuple[str, ...]) -> None:
    run("batch", "posts.jsonl", "-o", "scored.jsonl", *pair)
    journal = Path("scored.jsonl.journal")
    journal.write_text("".join(line for line in journal.read_text().splitlines(True) if '"done"' not in line))
    ended = run("batch", "posts.jsonl", "-o", "scored.jsonl", "--resume", *pair, "--beta", "0.3")
    assert ended.code == 2
    assert "begun with other settings: beta was 0.1 and is 0.3" in ended.stderr
    ended = run("batch", "posts.jsonl", "-o", "scored.jsonl", "--resume", *pair, "--length-normalised")
    assert (ended.code, "length_normalised was false and is true" in ended.stderr) == (2, True), ended.stderr
    assert run("batch", "posts.jsonl", "-o", "scored.jsonl", "--resume", "-q", *pair) == Ended(0, "", "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give files to score, - for stdin, or --dataset NAME; not both."),
        (("posts.jsonl", "--dataset", "x"), "give files to score, - for stdin, or --dataset NAME; not both."),
        (("posts.jsonl", "--split", "x"), "--split goes with --dataset."),
        (
            ("no*.jsonl",),
            "no*.jsonl does not exist. Give a JSON, JSONL, text or Parquet file, a pattern, or - for stdin.",
        ),
        (("posts.jsonl", "--resume", "--overwrite"), "--resume and --overwrite exclude each other."),
        (("posts.jsonl", "--resume"), "--resume needs a file: -o scored.jsonl. What went to stdout is gone."),
        (
            ("posts.jsonl", "-o", "x.csv"),
            "x.csv is no format of ours: end it in .jsonl, .jsonl.gz, .jsonl.zst or .parquet.",
        ),
        (
            ("posts.jsonl", "-o", "no/x.jsonl"),
            "cannot write no/x.jsonl: No such file or directory. Nothing was written.",
        ),
        (("posts.jsonl", "--tokens-per-batch", "0"), "--tokens-per-batch 0 is neither auto nor a number from 1 on."),
        (
            ("-", "--engine", "ray"),
            "--engine ray loads pairs and reads files on its workers: stdin is here alone. Leave one of them out.",
        ),
        (("-", "--sequential"), "--sequential reads its input twice, which stdin does not allow. Name a file."),
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_written(
    folder: Path, pair: tuple[str, ...], flags: tuple[str, ...], message: str
) -> None:
    before = sorted(folder.iterdir())
    ended = run("batch", *flags, *pair, stdin=LINES)
    assert (ended.code, ended.stdout, ended.stderr) == (2, "", f"dpo-credit: {message}\n")
    assert sorted(folder.iterdir()) == before


def test_an_empty_file_makes_an_empty_one(folder: Path, pair: tuple[str, ...]) -> None:
    Path("empty.jsonl").write_bytes(b"")
    ended = run("batch", "empty.jsonl", "-o", "scored.jsonl", *pair)
    assert (ended.code, ended.stderr) == (0, "0 rows scored to scored.jsonl\n")
    assert Path("scored.jsonl").read_bytes() == b""
