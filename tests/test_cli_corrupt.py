"""`dpo-credit corrupt` from the outside: rows in, labelled rows out, and one line for what is wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from program import Ended, run

SUMMARIES = Path(__file__).parents[1] / "examples" / "summaries.jsonl"


def rows(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_example_gives_rows_whose_labels_undo_the_errors(tmp_path: Path) -> None:
    ended = run("corrupt", SUMMARIES, "--errors", "1-2", "--seed", "0", "-o", tmp_path / "wrong.jsonl")
    assert (ended.code, ended.stdout) == (0, "")
    found = rows((tmp_path / "wrong.jsonl").read_text(encoding="utf-8"))
    labels = [label for row in found for label in row["labels"]]
    assert f"{len(found)} of 10 answers made wrong in {len(labels)} places" in ended.stderr
    for row in found:
        right = row["rejected"]
        for label in reversed(row["labels"]):
            assert right[label["start"] : label["end"]] == label["text"]
            right = right[: label["start"]] + label["original"] + right[label["end"] :]
        assert right == row["chosen"] != row["rejected"]


def test_stdin_gzip_and_a_file_give_the_same_rows_each_time(tmp_path: Path) -> None:
    packed = tmp_path / "summaries.jsonl.gz"
    packed.write_bytes(gzip.compress(SUMMARIES.read_bytes()))
    first = run("corrupt", SUMMARIES, "--seed", "3", "-q")
    assert first.code == 0 and first.stderr == "" and len(rows(first.stdout)) > 5
    assert rows(run("corrupt", packed, "--seed", "3", "-q").stdout) == rows(first.stdout)
    assert rows(run("corrupt", "-", "--seed", "3", "-q", stdin=SUMMARIES.read_bytes()).stdout) == rows(first.stdout)
    assert rows(run("corrupt", SUMMARIES, "--seed", "4", "-q").stdout) != rows(first.stdout)


def test_only_the_kinds_asked_for_are_made() -> None:
    found = rows(run("corrupt", SUMMARIES, "--kinds", "number", "--errors", "1", "-q").stdout)
    assert {label["kind"] for row in found for label in row["labels"]} == {"number"}
    assert {len(row["labels"]) for row in found} == {1}


def test_other_columns_are_kept_and_what_offers_nothing_is_counted() -> None:
    lines = [
        {"prompt": "P TL;DR:", "chosen": " We paid 300 dollars.", "rejected": " No.", "by": "me", "labels": "mine"},
        {"prompt": "P TL;DR:", "completion": " Hm."},
    ]
    ended = run("corrupt", "-", "--kinds", "number", stdin="\n".join(map(json.dumps, lines)).encode())
    (row,) = rows(ended.stdout)
    assert (row["by"], row["input_rejected"], row["input_labels"]) == ("me", " No.", "mine")
    assert "1 answers offered too little to change and were left out" in ended.stderr


@pytest.mark.parametrize(
    ("flags", "stdin", "message"),
    [
        (("--errors", "many"), b"", "--errors is 'many'; it must be a number such as 2 or a range such as 1-2."),
        (("--errors", "2-1"), b"", "2-1 errors is no range from 1 up; give one such as 1-2."),
        (
            ("--kinds", "spelling"),
            b"",
            "no kind of error 'spelling'. There are: number, entity, negation, relation, role.",
        ),
        (
            ("-o", "no/such/x.jsonl"),
            b"",
            "cannot write no/such/x.jsonl: No such file or directory. Nothing was written.",
        ),
        ((), b"{", "stdin is not JSON: Expecting property name enclosed in double quotes at line 1, column 2."),
        ((), b'{"prompt": "p", "completion": "\xff"}', "stdin, line 1 is not UTF-8: byte 0xff at offset 31."),
        (
            (),
            b'{"prompt": "p", "completions": ["a", "b"]}',
            "stdin:1: 2 answers, and none is said to be right. ",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(flags: tuple[str, ...], stdin: bytes, message: str) -> None:
    ended = run("corrupt", "-", "-q", *flags, stdin=stdin)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"dpo-credit: {message}") and ended.stderr.count("\n") == 1


def test_a_bad_line_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "wrong.jsonl"
    target.write_text("before")
    assert run("corrupt", "-", "--strict", "-o", target, stdin=SUMMARIES.read_bytes() + b"{\n").code == 2
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("wrong.jsonl", "before")]
    assert run("corrupt", SUMMARIES, "-o", target, "-q") == Ended(0, "", "")
    assert len(rows(target.read_text(encoding="utf-8"))) > 5
