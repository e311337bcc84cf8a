"""The one reader: every shape of row, from every kind of file, is the same row for every command."""

from __future__ import annotations

import gzip
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from program import run

from dpo_credit import CreditError
from dpo_credit.credit import Message
from dpo_credit.rows.reader import Record, read_records, read_rows, records_of
from dpo_credit.rows.records import parse_row
from dpo_credit.rows.sources import Input

EXAMPLES = Path(__file__).parent.parent / "examples"
ROWS = [
    {"id": f"r{n}", "prompt": f"Post {n} \u2028\x85 TL;DR:", "chosen": f" yes {n}", "rejected": " no", "score": n / 2}
    for n in range(3)
]
SHAPES: dict[str, Callable[[list[dict]], str]] = {
    "lines": lambda rows: "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows),
    "lines with blanks": lambda rows: "\ufeff\n" + "\r\n\n".join(json.dumps(row) for row in rows),
    "array": lambda rows: json.dumps(rows),
    "pretty array": lambda rows: "\ufeff" + json.dumps(rows, indent=2, ensure_ascii=False) + "\n",
    "array, a row a line": lambda rows: "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n",
    "array that opens with a row": lambda rows: "[" + ",\n".join(json.dumps(row) for row in rows) + "]",
    "pretty objects": lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows),
}
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {"": bytes, ".gz": gzip.compress}


def _zstd(data: bytes) -> bytes:
    return pytest.importorskip("pyarrow").compress(data, "zstd", asbytes=True)


COMPRESSIONS[".zst"] = _zstd


@pytest.mark.parametrize("end", COMPRESSIONS)
@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_in_every_kind_of_file_gives_the_same_rows(tmp_path: Path, shape: str, name: str, end: str) -> None:
    path = tmp_path / (name + end)
    path.write_bytes(COMPRESSIONS[end](SHAPES[shape](ROWS).encode()))
    rows = list(read_rows(read_records([Input(str(path))])))
    assert [row.fields for row in rows] == ROWS
    expected = [parse_row(row, "") for row in ROWS]
    assert [(row.id, row.kind, row.examples, row.columns) for row in rows] == [
        (row.id, row.kind, row.examples, row.columns) for row in expected
    ]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_from_a_pipe(shape: str) -> None:
    piped = io.BytesIO(SHAPES[shape](ROWS).encode())
    assert [row.fields for row in read_rows(read_records([Input("-")], piped))] == ROWS


@pytest.mark.parametrize("end", ["gz", "zst"])
def test_what_is_packed_is_unpacked_whatever_its_name(tmp_path: Path, end: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(COMPRESSIONS[f".{end}"](SHAPES["lines"](ROWS).encode()))
    assert [record.fields() for record in read_records([Input(str(tmp_path / "rows.jsonl"))])] == ROWS


def test_a_named_pipe_is_read_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(pipe.write_bytes, SHAPES["lines"](ROWS).encode())
        assert [record.fields() for record in read_records([Input(str(pipe))])] == ROWS
        assert writing.result()


def test_a_row_keeps_its_fields_and_names_those_it_was_read_from() -> None:
    fields = {"id": 7, "subreddit": "jobs", "post": "They pay.", "summary": "Yes.", "note": {"by": [1.5, None]}}
    row = parse_row(fields, "x")
    assert row.fields is fields
    assert (row.prompt_keys, row.answer_keys, row.columns) == (
        ("subreddit", "post"),
        ("summary",),
        {"note": fields["note"]},
    )
    assert (row.prompt, row.implicit_prompt) == ("SUBREDDIT: r/jobs\n\nPOST: They pay.\n\nTL;DR:", False)
    assert parse_row({"chosen": "Q TL;DR: a", "rejected": "Q TL;DR: b"}, "x").implicit_prompt


def test_a_row_says_where_it_stood() -> None:
    lines = list(read_rows(records_of(io.BytesIO(b"\n" + SHAPES["lines"](ROWS).encode()), "a.jsonl")))
    array = list(read_rows(records_of(io.BytesIO(SHAPES["pretty array"](ROWS).encode()), "a.json")))
    assert [row.place for row in lines] == ["a.jsonl, line 2", "a.jsonl, line 3", "a.jsonl, line 4"]
    assert [row.place for row in array] == ["a.json, row 1", "a.json, row 2", "a.json, row 3"]


def test_jsonl_comes_line_by_line_while_the_pipe_is_open() -> None:
    taken = []

    def piped() -> Iterator[bytes]:
        for n, line in enumerate(SHAPES["lines"](ROWS).encode().splitlines(keepends=True)):
            taken.append(n)
            yield line

    records = records_of(piped(), "stdin")
    for n in range(len(ROWS)):
        assert next(records).fields() == ROWS[n]
        assert taken == [*range(n + 1)]


@pytest.mark.parametrize(
    ("data", "count", "wrong"),
    [
        (b'{"a": 1}\n{"b"\n{"c": 3}\n', 3, {1: "is not JSON: .* line 2"}),
        (b'{"a"\n{"b": 2}\n{"c": 3}\n', 3, {0: "is not JSON: .* line 1"}),
        (b'"a": 1}\n{"b": 2}\n', 2, {0: "is not JSON: .* line 1"}),
        (b'{"a": \xff}\n{"b": 2}\n', 2, {0: "line 1 is not UTF-8"}),
        (
            b'[{"a": 1}, 2, {"c": NaN}, {"d": 1e999}, {"e": 5}]',
            5,
            {1: "row 2 holds a JSON number", 2: "NaN", 3: "row 4"},
        ),
        (b'[{"a": %s}, {"b": 2}]' % (b"1" * 5000), 2, {0: "row 1 holds a number that cannot be kept"}),
    ],
)
def test_a_bad_record_is_its_own_error_and_the_next_follows(data: bytes, count: int, wrong: dict[int, str]) -> None:
    records = list(records_of(io.BytesIO(data), "stdin"))
    assert len(records) == count
    for n, record in enumerate(records):
        if n in wrong:
            with pytest.raises(CreditError, match=wrong[n]):
                record.fields()
        else:
            assert record.fields()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n  {"a": 1},\n  {"b": 2\n]', r"rows\.json is not JSON: .* at line 4, column 1"),
        ('[{"a": 1}, {"b": 2}', r"rows\.json is not JSON: Expecting ',' delimiter at line 1, column 20"),
        ('[{"a": 1},]', r"rows\.json is not JSON: .* at line 1, column 1[01]"),
        ('[{"a": 1}]\n{"b": 2}', r"rows\.json is not JSON: Extra data after the array at line 2, column 1"),
        ('{\n  "a": 1,\n', r"rows\.json is not JSON: .* at line (2|3)"),
        ("[" * 9999, r"rows\.json is nested too deeply"),
    ],
)
def test_a_broken_document_is_an_error_of_the_file(text: str, message: str) -> None:
    with pytest.raises(CreditError, match=message):
        list(records_of(io.BytesIO(text.encode()), "rows.json"))


def test_an_array_of_a_hundred_thousand_rows_takes_linear_time() -> None:
    def seconds(count: int) -> float:
        data = json.dumps([{"prompt": "Q TL;DR:", "completion": f" {n}"} for n in range(count)], indent=1).encode()
        start = time.perf_counter()
        assert sum(1 for _ in records_of(io.BytesIO(data), "rows.json")) == count
        return time.perf_counter() - start

    assert seconds(100_000) < 40 * max(seconds(10_000), 0.01)  # ten times the rows; quadratic would be a hundred


@pytest.mark.parametrize(
    ("text", "name", "prompt", "answer"),
    [
        ("My post.\n\nTL;DR: yes\n", "post", "My post.\n\nTL;DR:", " yes"),
        ("[Update] My post.\nTL;DR: yes", "post", "[Update] My post.\nTL;DR:", " yes"),
        ('{"answer": "A"}', "post.txt", "", '{"answer": "A"}'),
        ("\n\nHuman: Hi\n\nAssistant: Hello", "post", "\n\nHuman: Hi\n\nAssistant:", " Hello"),
    ],
)
def test_text_is_one_row(text: str, name: str, prompt: str, answer: str) -> None:
    (row,) = read_rows(records_of(io.BytesIO(text.encode()), name))
    assert [(example.prompt, example.answer) for example in row.examples] == [(prompt, answer)]
    assert row.fields == {}


USER, ANSWER, MORE = Message("user", "Well?"), Message("assistant", "No."), Message("user", "Why?")


@pytest.mark.parametrize(
    ("fields", "prompt", "kind"),
    [
        ({"prompt": "Q"}, "Q", "prompt"),
        ({"prompt": "Q", "completion": " A"}, "Q", "single"),
        ({"prompt": "Q", "answer": "A", "summary": "B"}, "Q", "prompt"),  # it matters to `score` alone which is meant
        ({"chosen": "Q TL;DR: a", "rejected": "Q TL;DR: b"}, "Q TL;DR:", "preference"),
        ({"messages": [USER.fields]}, (USER,), "prompt"),
        ({"messages": [USER.fields, ANSWER.fields]}, (USER,), "single"),
        ({"messages": [USER.fields, ANSWER.fields, MORE.fields]}, (USER, ANSWER, MORE), "prompt"),
        ({"prompt": [USER.fields], "chosen": "a", "rejected": "b"}, (USER,), "preference"),
    ],
)
def test_where_answers_are_optional_a_row_is_its_prompt(fields: dict, prompt: object, kind: str) -> None:
    row = Record("x.json", 1, json.dumps(fields).encode()).row(answers="optional")
    assert (row.prompt, row.kind) == (prompt, kind)


@pytest.mark.parametrize("fields", [{"completion": "A"}, {"title": "x"}, {"chosen": "A", "rejected": "B"}])
def test_what_has_no_prompt_is_refused_where_one_is_asked_for(fields: dict) -> None:
    with pytest.raises(CreditError, match=r"x:1: no prompt to answer\. Give a prompt field"):
        Record("x.json", 1, json.dumps(fields).encode()).row(answers="optional")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A preference as one pretty object, and labelled rows, in files of each kind."""
    monkeypatch.chdir(tmp_path)
    for name, source in {"vet": EXAMPLES / "vet.json", "chat": EXAMPLES / "chat.json"}.items():
        data = source.read_bytes()
        (tmp_path / f"{name}.json").write_bytes(data)
        (tmp_path / f"{name}.json.gz").write_bytes(gzip.compress(data))
        (tmp_path / f"{name}.jsonl").write_bytes(json.dumps(json.loads(data)).encode() + b"\n")
        (tmp_path / f"{name}_array.json").write_text(json.dumps([json.loads(data)], indent=2))
    return tmp_path


ONE = ["vet.json", "vet.json.gz", "vet.jsonl", "vet_array.json"]


@pytest.mark.parametrize(
    "command",
    [
        ("score", "--json", "-"),
        ("diff", "--json", "-"),
        ("batch",),
        ("corrupt",),
        ("steer", "--max-new-tokens", "2", "--json", "-"),
        ("verify", "--no-trl", "--json", "-", "--trainer-log", "log.json"),
    ],
    ids=lambda command: command[0],
)
def test_each_command_reads_a_row_from_every_kind_of_file(
    folder: Path, tiny_pair_dirs: tuple[Path, Path], command: tuple[str, ...]
) -> None:
    (folder / "log.json").write_text(json.dumps([{"eval_rewards/chosen": 0.1, "eval_rewards/rejected": 0.2}]))
    name, *flags = command
    if name == "verify":  # which scores a row under every convention that it knows
        policy, reference = map(str, tiny_pair_dirs)
        flags += ["--policy", policy, "--reference", reference]
    outputs = {file: run(name, file, *flags, "-q") for file in ONE}
    outputs["-"] = run(name, "-", *flags, "-q", stdin=(folder / "vet.json").read_bytes())
    first = outputs["vet.json"]
    assert first.stdout and first.code == (4 if name == "verify" else 0), first
    for file, ended in outputs.items():
        assert (ended.stdout, ended.code) == (first.stdout, first.code), file


@pytest.mark.parametrize("file", ["vet.json", "vet_array.json", "-"])  # .jsonl and .gz are data sets to it
def test_search_judges_against_the_chosen_answer_of_every_kind_of_file(folder: Path, file: str) -> None:
    flags = ("--beams", "1", "--max-new-tokens", "2", "--json", "-", "-q")
    ended = run("search", file, *flags, stdin=(folder / "vet.json").read_bytes())
    assert ended.code == 0
    assert json.loads(ended.stdout)["verdicts"][0]["win"] is not None


@pytest.mark.parametrize("command", ["steer", "search"])
def test_a_chat_is_answered_as_it_is_scored(folder: Path, command: str) -> None:
    beams = ("--beams", "1") if command == "search" else ()
    outputs = [
        run(command, file, *beams, "--max-new-tokens", "2", "--json", "-", "-q")
        for file in ("chat.json", "chat_array.json")
    ]
    assert [ended.code for ended in outputs] == [0, 0], outputs
    one, other = (json.loads(ended.stdout) for ended in outputs)
    if command == "search":
        assert one["credit"]["answers"][0]["rewards"] == other["credit"]["answers"][0]["rewards"]
    else:
        messages = json.loads((folder / "chat.json").read_text())["messages"]
        assert one["prompt"] == other["prompt"] == messages[:-1]


@pytest.mark.parametrize("command", ["score", "diff", "steer", "inspect"])
def test_a_command_for_one_row_refuses_several(folder: Path, command: str) -> None:
    row = json.loads((folder / "vet.json").read_text())
    Path("two.jsonl").write_text(2 * (json.dumps(row) + "\n"))
    Path("two.jsonl.gz").write_bytes(gzip.compress(Path("two.jsonl").read_bytes()))
    Path("two.json").write_text(json.dumps([row, row]))
    for file in ("two.jsonl", "two.jsonl.gz", "two.json"):
        ended = run(command, file)
        assert ended.code == 2 and ended.stderr.count("\n") == 1
        assert f"{file} holds more than one row. Pick one with --row 1 or --id vet" in ended.stderr


@pytest.mark.parametrize("pick", [("--row", "2"), ("--id", "second")])
def test_a_row_of_several_is_picked_by_its_number_or_id(folder: Path, pick: tuple[str, str]) -> None:
    row = json.loads((folder / "vet.json").read_text())
    second = {**row, "id": "second", "chosen": " Another answer."}
    Path("two.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(second) + "\n")
    Path("second.json").write_text(json.dumps(second))
    for command in ("score", "diff"):
        picked = run(command, "two.jsonl", *pick, "--json", "-", "-q")
        assert picked.code == 0 and picked == run(command, "second.json", "--json", "-", "-q")
    inspected = (run("inspect", file, *more, "-q").stdout for file, more in (("two.jsonl", pick), ("second.json", ())))
    assert len({text.partition("memory")[0] for text in inspected}) == 1
    assert run("steer", "two.jsonl", *pick, "-q", "--max-new-tokens", "2").code == 0
    Path("scored.jsonl").write_text(run("batch", "two.jsonl", "-q").stdout)
    drawn = run("render", "scored.jsonl", *pick, "--json", "-", "-q")
    assert json.loads(drawn.stdout)["id"] == "second"


@pytest.mark.parametrize("shape", ["pretty array", "array", "array, a row a line", "pretty objects"])
def test_batch_scores_an_array_as_it_scores_lines(folder: Path, shape: str) -> None:
    rows = [json.loads(line) for line in (EXAMPLES / "posts.jsonl").read_text("utf-8").split("\n")[:3]]
    lines = run("batch", "-", "-q", stdin=SHAPES["lines"](rows).encode())
    assert lines.code == 0 and lines.stdout.count("\n") == 3
    Path("rows.json").write_text(SHAPES[shape](rows), encoding="utf-8")
    assert run("batch", "rows.json", "-q") == lines


def test_batch_scores_text(folder: Path) -> None:
    ended = run("batch", EXAMPLES / "good.txt", "-q")
    alone = json.loads(run("score", EXAMPLES / "good.txt", "-q", "--json", "-").stdout)
    assert ended.code == 0
    record = json.loads(ended.stdout)
    assert [answer.pop("id") for answer in record["credit"]["answers"]] == ["good:1"]
    assert [answer.pop("id") for answer in alone["credit"]["answers"]] == ["good"]
    assert (record.pop("id"), record["credit"].pop("id")) == ("good:1", "good:1")
    assert (alone.pop("id"), alone["credit"].pop("id")) == ("good", "good")
    assert record == alone


@pytest.mark.usefixtures("few_resamples")
def test_localise_reads_an_array(folder: Path) -> None:
    rows = [json.loads(line) for line in (EXAMPLES / "free_prose.jsonl").read_text("utf-8").split("\n")[:3]]
    Path("rows.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    Path("rows.jsonl").write_text(SHAPES["lines"](rows), encoding="utf-8")
    array, lines = (run("localise", file, "-q", "--json", "-") for file in ("rows.json", "rows.jsonl"))
    assert array == lines and array.code == 0


def test_what_batch_wrote_is_rendered_and_reported_from_every_kind_of_file(folder: Path) -> None:
    row = {**json.loads((folder / "vet.json").read_text()), "note": "one\u2028two\x85three"}
    Path("odd.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert run("batch", "odd.jsonl", "-o", "scored.jsonl", "-q").code == 0
    saved = Path("scored.jsonl").read_bytes()
    assert "\u2028".encode() in saved
    record = json.loads(saved)
    Path("scored.jsonl.gz").write_bytes(gzip.compress(saved))
    Path("scored.jsonl.zst").write_bytes(_zstd(saved))
    Path("pretty.json").write_text(json.dumps(record, indent=2))
    Path("array.json").write_text(json.dumps([record], indent=2))
    first = run("render", "scored.jsonl", "--json", "-", "-q")
    assert first.code == 0 and json.loads(first.stdout)["credit"]["edits"]
    reported = json.loads(run("report", "scored.jsonl", "--json", "-", "-q").stdout)
    for file in ("scored.jsonl.gz", "scored.jsonl.zst", "pretty.json", "array.json"):
        assert run("render", file, "--json", "-", "-q") == first, file
        ended = run("report", file, "--json", "-", "-q")
        assert json.loads(ended.stdout)["pairs"] == reported["pairs"], file
    assert run("render", "-", "--json", "-", "-q", stdin=saved) == first
    assert run("batch", "odd.jsonl", "-o", "scored.parquet", "-q").code == 0
    assert run("render", "scored.parquet", "--json", "-", "-q") == first


def test_several_saved_rows_in_an_array_make_one_page(folder: Path) -> None:
    record = json.loads(run("score", "vet.json", "--json", "-", "-q").stdout)
    Path("array.json").write_text(json.dumps([record, {**record, "id": "other"}], indent=1))
    assert run("render", "array.json", "--html", "out.html", "-q").code == 0
    assert "other" in Path("out.html").read_text("utf-8")
    ended = run("render", "array.json")
    assert ended.code == 2 and "array.json holds several rows, which make one page" in ended.stderr


@pytest.mark.parametrize("command", [("render",), ("report",)])
def test_a_saved_preference_of_two_prompts_is_refused(folder: Path, command: tuple[str, ...]) -> None:
    record = json.loads(run("score", "vet.json", "--json", "-", "-q").stdout)
    assert len(record["credit"]["answers"][0]["prompt_hash"]) == 16
    assert record["credit"]["answers"][0]["prompt_hash"] == record["credit"]["answers"][1]["prompt_hash"]
    record["credit"]["answers"][1]["prompt_hash"] = "0" * 16
    Path("mixed.json").write_text(json.dumps(record))
    ended = run(*command, "mixed.json")
    assert ended.code == 2 and "vet/chosen and vet/rejected follow different prompts" in ended.stderr
    for answer in record["credit"]["answers"]:  # as versions before wrote it
        del answer["prompt_hash"]
    Path("old.json").write_text(json.dumps(record))
    assert run(*command, "old.json", "-q").code == 0
