"""`dpo-credit verify` as a program: exit codes, streams, the table, the JSON, and what is wrong with the input."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from program import run
from rich.console import Console
from test_conventions import TEXT

from dpo_credit.cli.verify import EXAMPLE
from dpo_credit.verify.verdict import close
from dpo_credit.views.look import Look
from dpo_credit.views.terminal.verify import render

pytest.importorskip("trl", reason="the train extra is not installed")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in TEXT))
    return path


@pytest.fixture
def pair(tiny_pair_dirs: tuple[Path, Path]) -> tuple[str, ...]:
    policy, reference = map(str, tiny_pair_dirs)
    return ("--policy", policy, "--reference", reference, "--beta", "0.1", "--device", "cpu")


def test_agreement_with_trl_is_zero_and_the_json_has_every_row(rows_file: Path, pair: tuple[str, ...]) -> None:
    ended = run("verify", rows_file, *pair, "--json", "-")
    assert (ended.code, ended.stderr) == (0, "")
    record = json.loads(ended.stdout)
    assert (record["schema"], record["agrees"], record["beta"]) == ("dpo-credit/verify@1", True, 0.1)
    (comparison,) = record["comparisons"]
    assert [row["id"] for row in comparison["rows"]] == ["pairs:1", "pairs:2", "pairs:3"]
    for row in comparison["rows"]:
        assert row["agrees"] and row["ours"] == pytest.approx(row["theirs"], abs=max(row["tolerance"]))
    assert {peer["name"] for peer in record["peers"]} == {"TRL 0.12 to 0.27", "original DPO code", "RewardBench"}


def test_disagreement_is_four_and_the_view_names_the_flag(rows_file: Path, pair: tuple[str, ...]) -> None:
    ended = run("verify", rows_file, *pair, "--eos", "never")
    assert (ended.code, ended.stderr) == (4, "")
    said = " ".join(ended.stdout.split())
    assert "appended EOS; with --eos always all 3 rows agree to" in said
    assert "the options given 0 of 3" in said and "EOS always --eos always 3 of 3" in said
    assert max(map(len, ended.stdout.splitlines())) <= 80


def test_a_picture_of_the_verdict_is_saved_in_the_theme_asked_for(
    rows_file: Path, pair: tuple[str, ...], tmp_path: Path
) -> None:
    asked = ("verify", rows_file, *pair, "--svg", tmp_path / "v.svg")
    ended = run(*asked, "--theme", "light")
    light = (tmp_path / "v.svg").read_text()
    assert ended.code == 0 and "agree" in ended.stdout
    assert run(*asked, "--theme", "dark", "--json", "-").stdout.startswith("{")
    assert light.startswith("<svg") and "#ffffff" in light and "#ffffff" not in (tmp_path / "v.svg").read_text()


def test_a_trainer_log_is_compared_without_trl_too(rows_file: Path, pair: tuple[str, ...], tmp_path: Path) -> None:
    state = tmp_path / "trainer_state.json"
    state.write_text(
        json.dumps({"log_history": [{"step": 5, "eval_rewards/chosen": 99.0, "eval_rewards/rejected": 1.0}]})
    )
    ended = run("verify", rows_file, *pair, "--no-trl", "--trainer-log", state, "--json", "-")
    assert ended.code == 4
    (comparison,) = json.loads(ended.stdout)["comparisons"]
    assert comparison["target"] == f"{state} (last evaluation, step 5)" and comparison["rows"][0]["id"] == "mean"


def test_the_limit_is_kept_and_said(rows_file: Path, pair: tuple[str, ...]) -> None:
    ended = run("verify", rows_file, *pair, "--limit", "2", "--json", "-")
    assert len(json.loads(ended.stdout)["comparisons"][0]["rows"]) == 2
    assert ended.stderr == "note: the first 2 rows only (--limit)\n"


def test_stdin_and_a_json_file_are_read_too(pair: tuple[str, ...], tmp_path: Path) -> None:
    piped = run("verify", "-", *pair, "--json", "-", stdin=json.dumps(TEXT[0]).encode())
    (tmp_path / "one.json").write_text(json.dumps(TEXT[0], indent=2))
    from_file = run("verify", tmp_path / "one.json", *pair, "--json", "-")
    assert (piped.code, from_file.code) == (0, 0)
    numbers = [json.loads(one.stdout)["comparisons"][0]["rows"][0]["ours"] for one in (piped, from_file)]
    assert numbers[0] == numbers[1]


def test_the_helps_example_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    program, *arguments = shlex.split(EXAMPLE.removeprefix("Example: "))
    ended = run(*arguments, "--device", "cpu")
    assert program == "dpo-credit" and ended.code == 4
    assert "with --eos always the row agrees to" in " ".join(ended.stdout.split())
    assert " ".join(EXAMPLE.split()[-3:]) in " ".join(run("verify", "--help").stdout.split())


@pytest.mark.parametrize(
    ("content", "flags", "said"),
    [
        (b"", (), "there are no rows"),
        (b"{}\n", (), "pairs:1"),
        (b"\xff\n", (), "line 1 is not UTF-8"),
        (b"{\n", (), "is not JSON"),
        (b'{"prompt": "a", "answer": " b"}\n', (), "pairs:1 has no chosen and rejected"),
        (b'{"prompt": "a", "chosen": " b", "rejected": ""}\n', ("--no-trl",), "nothing to compare with"),
        (b'{"prompt": "a", "chosen": " b", "rejected": " c"}\n', ("--sequential",), "--sequential holds one model"),
        (
            b'{"prompt": "a", "chosen": " b", "rejected": " c"}\n',
            ("--trainer-log", "none.json"),
            "none.json does not exist",
        ),
        (b'{"prompt": "a", "chosen": " b", "rejected": " c"}\n', ("--json", "/none/x"), "cannot write /none/x"),
    ],
)
def test_what_is_wrong_is_one_line_and_two(
    content: bytes, flags: tuple[str, ...], said: str, pair: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(content)
    ended = run("verify", path, *pair, *flags)
    assert (ended.code, ended.stdout) == (2, "") and said in ended.stderr, ended
    assert ended.stderr.startswith("dpo-credit: ") and ended.stderr.count("\n") == 1


def test_names_from_files_are_no_markup_and_control_characters_show() -> None:
    counts: dict[str, Any] = {"rows_agree": 1, "rows": 1, "largest_difference": None}
    convention = {"name": "the options given", "flags": "", "agrees": False, "same_as": [], **counts}
    target = "[bold]x[/y]\x1b"
    comparison = {"target": target, "means": True, "sentence": f"S {target}", "conventions": [convention], "rows": [0]}
    console = Console(file=io.StringIO(), width=100, color_system=None, markup=True)
    console.print(render({"comparisons": [comparison], "peers": []}, Look(colours="none", width=100)))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("[bold]x[/y]<U+001B>") == 2 and "\x1b" not in shown and "unknown" in shown


@pytest.mark.parametrize(
    ("difference", "shown"),
    [
        (0.0, "0"),
        (1.21e-5, "2e-5"),
        (2e-5, "2e-5"),
        (0.0021, "0.0021"),
        (0.00213, "0.0022"),
        (12.31, "13"),
        (None, "unknown"),
    ],
)
def test_a_difference_is_rounded_up(difference: float | None, shown: str) -> None:
    assert close(difference) == shown
