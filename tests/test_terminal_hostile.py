"""No character of a file, a model, a row or an argument acts on the terminal: every command, views and what is said."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from program import Ended, run
from tiny import CHATML, language_model, save, tokenizer

from dpo_credit.cli.app import app
from dpo_credit.cli.talk import Talk
from dpo_credit.cli.terminal import one_line
from dpo_credit.views.look import written_out

EVIL = (
    "e\x1b[2J\x9b31m\x7f\u202e\u200b\u2066\U000e0041$\\x$l"  # a terminal's orders, hidden text, and broken mathematics
)
ACTS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\U000e0000-\U000e0fff]")
UNSHOWN = ("steer", "verify", "corrupt", "filter")  # these show nothing of what they read, where all goes well
GROUPS = {"image", "refine"}  # whose commands have tests of their own
COMMANDS = [name for name in typer.main.get_command(app).commands if name not in GROUPS]  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of that name with a pair, whose tokenizer has a token of it, and rows, recipes and scored rows of it."""
    folder = tmp_path_factory.mktemp("hostile") / EVIL
    made = tokenizer(chat_template=CHATML)
    made.add_tokens([EVIL])
    for seed, side in enumerate(("policy", "reference")):
        save(language_model(seed=seed, vocab_size=len(made)), folder / side, made)
    text = f"He paid 40 dollars in {EVIL} on Friday. "
    row = {"id": EVIL, "prompt": text, "chosen": f" {EVIL} is right.", "rejected": f" {EVIL} was wrong in 1999."}
    span = {"start": 1, "end": 6, "text": row["rejected"][1:6], "kind": EVIL}
    labelled = {**row, "labels": [span], "label": EVIL, EVIL: EVIL}
    (folder / f"{EVIL}.jsonl").write_text(json.dumps(labelled) + "\n")
    (folder / f"{EVIL}.json").write_text(json.dumps(labelled))
    walk = {"observations": [[1, 1, 0, 0, 0, 0], [1, 0.667, 0, 0, 0, 0]], "actions": [1, 0]}
    segments = {"id": EVIL, "chosen": {**walk, EVIL: EVIL}, "rejected": walk, EVIL: EVIL}
    (folder / "segments.jsonl").write_text(2 * (json.dumps(segments) + "\n"))
    (folder / "dpo.yaml").write_text(json.dumps({"model": str(folder / "policy"), "rows": str(folder), EVIL: EVIL}))
    asked = ("batch", folder / f"{EVIL}.jsonl", *pair_of(folder), "-o", folder / "scored.jsonl")
    assert run(*asked).code == 0
    return folder


def pair_of(folder: Path) -> tuple[str, ...]:
    sides = ("--policy", str(folder / "policy"), "--reference", str(folder / "reference"))
    return (*sides, "--beta", "0.1", "--device", "cpu")


def arguments(command: str, folder: Path) -> list[str]:
    """A run of a command on what is hostile; a command that is not named here has no test."""
    rows, row, pair = str(folder / f"{EVIL}.jsonl"), str(folder / f"{EVIL}.json"), pair_of(folder)
    scored = str(folder / "scored.jsonl")
    return {
        "score": [row, *pair, "--top-k", "2"],
        "diff": [row, *pair],
        "compare": [row, *pair, "--beta", "0.5"],
        "search": [rows, *pair, "--beams", "1,2", "--max-new-tokens", "4", "--png", str(folder / "figure.png")],
        "steer": [row, *pair, "--max-new-tokens", "4"],
        "batch": [rows, *pair, "-o", str(folder / f"{EVIL}out.jsonl"), "--overwrite"],
        "render": [scored],
        "report": [scored],
        "filter": [scored, "--margin", "> -99", "-o", str(folder / "kept.jsonl")],
        "export": [scored, "--to", "tokens", "-o", str(folder / "tokens.csv")],
        "verify": [rows, *pair],
        "inspect": [row, *pair, "--full"],
        "pairs": [EVIL],
        "localise": [rows, *pair],
        "train": ["dpo", "--config", str(folder / "dpo.yaml"), "--dry-run"],
        "trajectory": [str(folder / "policy"), rows, *pair[2:], "--samples", "0"],
        "mdp": [str(folder / "segments.jsonl")],
        "corrupt": [rows, "-o", str(folder / "wrong.jsonl")],
    }[command]


def nothing_acts(ended: Ended, *, stdout: bool = True) -> None:
    assert not ACTS.search(ended.stderr), ascii(ended.stderr)
    assert not stdout or not ACTS.search(ended.stdout), ascii(ended.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_that_a_command_reads_acts_on_the_terminal(command: str, hostile: Path) -> None:
    ended = run(command, *arguments(command, hostile))
    nothing_acts(ended)
    assert command in UNSHOWN or "<U+001B>" in ended.stdout + ended.stderr, ascii(ended.stderr)


@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_of_an_argument_acts_on_the_terminal(command: str, hostile: Path) -> None:
    given = arguments(command, hostile)
    for wrong in (
        [*given, EVIL, EVIL],
        [*given, f"--{EVIL}"],
        [*given, "--theme", EVIL],
        [*given, "--limit", EVIL],
        [*given, "--config", EVIL],
        [EVIL, *given[1:]],
    ):
        ended = run(command, *wrong)
        assert ended.code != 0 or command == "inspect", (wrong, ended.stdout)
        nothing_acts(ended)
    nothing_acts(run(EVIL, *given))


def test_with_colours_nothing_acts_but_they(hostile: Path) -> None:
    ended = run(*("score", *arguments("score", hostile)), FORCE_COLOR="1", COLORTERM="truecolor")
    shown = re.sub(r"\x1b\[[\d;]*m", "", ended.stdout)
    assert shown != ended.stdout and not ACTS.search(shown) and "e<U+001B>[2J<U+009B>31m" in shown, ascii(shown)


def test_a_picture_of_the_view_and_a_page_hold_no_character_that_acts(hostile: Path, tmp_path: Path) -> None:
    picture, page, figure = tmp_path / "view.svg", tmp_path / "page.html", tmp_path / "figure.svg"
    ended = run("score", *arguments("score", hostile), "--svg", picture, "--html", page, "--png", figure)
    assert ended.code == 0, ended.stderr
    for file in (picture, page, figure):
        assert not ACTS.search(file.read_text()), file


def test_what_is_said_while_a_command_works_is_written_out(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Talk(quiet=False)
    with talk.working(EVIL) as stage:
        stage.update(f"[bold]{EVIL}")
        talk.stderr.print(stage.line())
    talk.notes([EVIL]), talk.say(EVIL), talk.complain(EVIL)
    said = capsys.readouterr().err
    assert not ACTS.search(said) and said.count("<U+001B>") == 4 and "[bold]e" in said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("see https://user:pass@host:8000/v1?key=s#f now", "see https://host:8000/v1 now"),
        ("(http://host/a@b?x=1)", "(http://host/a@b"),
        ("'https://t\x1bok@host/v1': 404", "'https://host/v1': 404"),
        ("row 3?key=1 of a@b", "row 3?key=1 of a@b"),
    ],
)
def test_no_address_shows_its_secrets(said: str, shown: str) -> None:
    assert one_line(said) == shown


def test_ordinary_text_stays_as_it_is() -> None:
    text = "tab\tand\nline, é, 한국, नमस्ते, می\u200cخواهم, \U0001f468\u200d\U0001f469\u200d\U0001f467, ❤\ufe0f"
    assert written_out(text) == text


DATA = [command for command in COMMANDS if command not in ("train", "verify", "steer", "pairs", "inspect")]


@pytest.mark.parametrize("command", DATA)
def test_data_on_a_terminal_are_the_same_and_no_character_of_them_acts(
    command: str, hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = arguments(command, hostile)
    if "-o" in given:  # data are all that these write
        given[given.index("-o") + 1] = "-"
        given = [argument for argument in given if argument != "--overwrite"]
    else:
        given += ["--json", "-"]
    piped = run(command, *given)
    monkeypatch.setattr("program.io.TextIOWrapper", _Screen)
    shown = run(command, *given)
    assert piped.code == shown.code == 0, shown.stderr
    assert ACTS.search(piped.stdout) or piped.stdout == shown.stdout, "into a pipe nothing changes"
    assert not ACTS.search(shown.stdout), ascii(shown.stdout)
    lines = zip(piped.stdout.splitlines(), shown.stdout.splitlines(), strict=True)
    assert [json.loads(line) for line, _ in lines] == [json.loads(line) for line in shown.stdout.splitlines()]


class _Screen(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def test_this_test_can_fail(monkeypatch: pytest.MonkeyPatch, hostile: Path) -> None:
    untouched: Callable[[str], str] = lambda text: text  # noqa: E731
    monkeypatch.setattr("dpo_credit.cli.terminal.written_out", untouched)
    monkeypatch.setattr("dpo_credit.views.look.written_out", untouched)
    with pytest.raises(AssertionError):
        nothing_acts(run("score", *arguments("score", hostile)))
