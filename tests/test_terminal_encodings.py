"""Terminals that are not UTF-8: every command prints what their encoding can carry, and data stays UTF-8."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import yaml
from program import run

import dpo_credit
from dpo_credit.views.look import Look

ENCODINGS = ("ascii", "cp1252", "cp437", "gbk")
ROOT = Path(dpo_credit.__file__).parent
PROSE = "the Café naïve “said” π ≠ 3 ▲ 日本 👩‍🚀 – Zürich"  # each of the encodings has some of it, none all
LABEL = {"start": 1, "end": 4, "text": "the", "kind": "Größe"}
ROW = {
    "id": "é→日",
    "prompt": f"Is {PROSE}?",
    "chosen": f" {PROSE} at 12 dollars.",
    "rejected": f" {PROSE}, says Zoë",
    "labels": [LABEL],
    "ref_chosen_logps": -1.5,
    "ref_rejected_logps": -2.5,
}
VIEWS: dict[str, tuple[str, ...]] = {  # after the name of a row's file, or of a scored one's, what the command needs
    "score": ("--top-k", "2", "--show", "q,v,advantage"),
    "diff": ("--top-k", "2"),
    "compare": ("--beta", "0.1", "--beta", "0.5"),
    "search": ("--beams", "1,2", "--max-new-tokens", "4"),
    "steer": ("--max-new-tokens", "4", "--base", "{reference}"),
    "inspect": ("--full",),
    "localise": (),
    "verify": ("--no-trl",),
    "render": (),
    "report": ("--min-rows", "2"),
    "pairs": (),
    "trajectory": ("--samples", "0"),
}
ENDS = {"verify": 4}  # the reference's columns in the row are made up


@pytest.fixture(scope="module")
def pair(tiny_pair_dirs: tuple[Path, Path]) -> tuple[str, ...]:
    return ("--policy", str(tiny_pair_dirs[0]), "--reference", str(tiny_pair_dirs[1]), "--device", "cpu")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "row.json"
    path.write_text(json.dumps(ROW, ensure_ascii=False), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scored(rows: Path, pair: tuple[str, ...]) -> Path:
    path = rows.with_name("scored.json")
    assert run("score", rows, *pair, "--json", path).code == 0
    return path


@pytest.mark.parametrize(
    ("command", "encoding"),
    [
        (command, encoding)
        for command in VIEWS
        for encoding in ENCODINGS[: 2 if command not in ("diff", "inspect") else 4]
    ],
)
def test_a_view_prints_what_its_terminals_encoding_has(
    command: str, encoding: str, rows: Path, scored: Path, pair: tuple[str, ...], few_resamples: None
) -> None:
    policy, reference = pair[1], pair[3]
    given: tuple[str | Path, ...] = (rows, *pair)
    if command in ("render", "report"):
        given = (scored,)
    elif command == "pairs":
        given = ()
    elif command == "trajectory":
        given = (f"{reference},{policy}", rows, *pair[2:])
    more = (word.format(reference=reference) for word in VIEWS[command])
    ended = run(command, *given, *more, encoding=encoding)
    assert ended.code == ENDS.get(command, 0), ended.stderr
    assert ended.stdout and ended.data.decode(encoding) == ended.stdout
    assert "Traceback" not in ended.stderr
    assert not set(ended.stdout) & set("▼▲␣↵⟦⟧‹›▶│✗▁▂▃▄▅▆▇█") - set(PROSE), (
        "some signs of ours, but not all, would differ"
    )
    if command in ("score", "diff") and encoding != "ascii":
        assert "Café" in ended.stdout if encoding != "gbk" else "日本" in ended.stdout  # what it has, it shows


@pytest.mark.parametrize("encoding", ENCODINGS[:2])
@pytest.mark.parametrize("command", ["image", "refine"])
def test_a_view_of_pictures_prints_what_its_terminals_encoding_has(command: str, encoding: str) -> None:
    examples = ROOT.parent / "examples"
    drawings = (
        examples / "image/chosen.png",
        examples / "image/rejected.png",
        "--prompt",
        "a “red” triangle at the left",
    )
    given = ("diff", *drawings) if command == "image" else (examples / "refine/rows.jsonl", "--row", "2")
    ended = run(command, *given, "--steps", "2", "--draws", "2", encoding=encoding)
    assert ended.code == 0, ended.stderr
    assert ended.data.decode(encoding) == ended.stdout and "margin" in ended.stdout
    assert not set(ended.stdout) & set("▼▲−±▀"), "some signs of ours, but not all, would differ"


@pytest.mark.parametrize("encoding", ENCODINGS[:2])
@pytest.mark.parametrize("command", ["score", "diff", "compare", "search", "steer", "localise", "batch", "corrupt"])
def test_data_on_stdout_is_utf_8_whatever_the_terminal(
    command: str, encoding: str, rows: Path, pair: tuple[str, ...], few_resamples: None
) -> None:
    flags = {
        "compare": ("--beta", "0.1", "--beta", "0.5"),
        "search": ("--beams", "1", "--max-new-tokens", "4"),
        "steer": ("--max-new-tokens", "4"),
    }
    more = flags.get(command, ())
    to = () if command in ("batch", "corrupt") else ("--json", "-")
    models = () if command == "corrupt" else pair
    data = [run(command, rows, *models, *more, *to, encoding=named).data for named in (encoding, "utf-8")]
    assert data[0] == data[1]
    assert all(map(json.loads, data[0].decode().rstrip("\n").split("\n")))
    assert PROSE.encode() in data[0]


@pytest.mark.parametrize("encoding", ENCODINGS[:2])
def test_a_recipe_that_is_printed_reads_back(
    encoding: str, tmp_path: Path, rows: Path, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    recipe = tmp_path / "dpo.yaml"
    settings = f"model: {tiny_pair_dirs[0]}\ndata: {rows}\noutput: Größe日\nlearning_rate: 0.001\nbatch_size: 1\n"
    recipe.write_text(settings + "max_length: 256\n", encoding="utf-8")
    ended = run("train", "dpo", "--config", recipe, "--dry-run", encoding=encoding)
    assert ended.code == 0, ended.stderr
    assert yaml.safe_load(ended.stdout)["output"] == "Größe日"


def test_every_sign_of_ours_has_a_stand_in() -> None:
    look = Look(encoding="ascii")
    sources = [*(ROOT / "views/terminal").glob("*.py"), *(ROOT / "cli").glob("*.py"), *ROOT.glob("*/wording.py")]
    signs = {
        (path.name, char)
        for path in [*sources, ROOT / "report/length.py"]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for char in node.value
        if not char.isascii()
    }
    assert {char for _, char in signs} >= set("▼▲π−▶✗")
    assert not [sign for sign in signs if not look.plain(sign[1]).isascii()]


def test_help_and_errors_are_printed_in_ascii() -> None:
    for asked in (("--help",), ("score", "--help"), ("score", "nö.json"), ("score", "--nö")):
        ended = run(*asked, encoding="ascii")
        assert ended.code in (0, 2) and (ended.stdout + ended.stderr).isascii()
        assert "Traceback" not in ended.stderr


def test_half_a_surrogate_pair_in_a_view_is_written_out() -> None:
    """Which UTF-8 cannot carry either."""
    ended = run("pairs", "\udcff")
    assert (ended.code, ended.stdout) == (2, "") and "<U+DCFF>" in ended.stderr
