"""`dpo-credit image`: its three commands on tiny pipelines, what they write, and the one line about bad input."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import denoisers
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from denoisers import PROMPT, picture, png
from jsonschema import Draft202012Validator
from program import Ended, run

from dpo_credit.image.credit import PictureDiff
from dpo_credit.image.saved import read_image
from dpo_credit.image.schema import SHIPPED, json_schema

EXAMPLES = Path(__file__).parents[1] / "examples"
FEW = ("--steps", "2", "--draws", "2")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("pipelines")
    sides = (denoisers.pixels_pipeline(folder / side, seed) for side, seed in (("policy", 1), ("reference", 2)))
    policy, reference = map(str, sides)
    return ("--policy", policy, "--reference", reference, "--beta", "100", "--device", "cpu", *FEW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """chosen.png, rejected.png, and wide.png that fits no model."""
    for name, seed, size in (("chosen", 1, (8, 8)), ("rejected", 2, (8, 8)), ("wide", 3, (12, 8))):
        (tmp_path / f"{name}.png").write_bytes(png(picture(seed, size)))
    return tmp_path


@pytest.fixture(scope="module")
def validator() -> Iterator[Draft202012Validator]:
    yield Draft202012Validator(json.loads(SHIPPED.read_text(encoding="utf-8")))


def test_the_shipped_schema_is_the_one_of_the_types() -> None:
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == json_schema(), "python -m dpo_credit.image.schema"


def test_a_score_is_valid_json_that_reads_back(folder: Path, pair: Any, validator: Draft202012Validator) -> None:
    ended = run("image", "score", folder / "chosen.png", "--prompt", PROMPT, *pair, "--json", "-", "--quiet")
    assert (ended.code, ended.stderr) == (0, ""), ended
    record = json.loads(ended.stdout)
    validator.validate(record)
    (shown,) = record["pictures"]
    assert (record["schema"], record["draws"], record["timesteps"]) == ("dpo-credit/image@1", 2, [25, 75])
    (credit,) = read_image(record, "it")
    assert (
        credit.reward
        == shown["reward"]
        == pytest.approx(np.sum(shown["map"]))
        == pytest.approx(np.mean(shown["profile"]))
    )
    assert credit.map.tolist() == shown["map"] and credit.profile_error.tolist() == shown["profile_error"]


def test_a_diff_has_the_margin_of_both(folder: Path, pair: Any, validator: Draft202012Validator) -> None:
    files = folder / "chosen.png", folder / "rejected.png"
    ended = run("image", "diff", *files, "--prompt", PROMPT, *pair, "--json", "-", "--quiet")
    assert ended.code == 0, ended
    record = json.loads(ended.stdout)
    validator.validate(record)
    diff = PictureDiff(*read_image(record, "it"))
    assert record["margin"] == diff.margin and record["preference_probability"] == diff.preference_probability
    assert [one["label"] for one in record["pictures"]] == ["chosen", "rejected"]


def rows(folder: Path) -> Path:
    """Pictures as paths, as data URIs and as `datasets` keeps them; a row without a picture; one alone."""
    chosen, rejected = (
        base64.b64encode((folder / f"{name}.png").read_bytes()).decode() for name in ("chosen", "rejected")
    )
    lines = [
        {"id": "paths", "prompt": PROMPT, "chosen": "chosen.png", "rejected": "rejected.png", "of": [1]},
        {"id": "uris", "prompt": PROMPT, "chosen": f"data:image/png;base64,{chosen}", "rejected": "rejected.png"},
        {"id": "missing", "prompt": PROMPT, "chosen": "nowhere.png", "rejected": "rejected.png"},
        {"id": "objects", "prompt": PROMPT, "chosen": {"bytes": chosen, "path": None}, "rejected": {"bytes": rejected}},
        {"id": "alone", "prompt": PROMPT, "image": {"bytes": None, "path": "chosen.png"}},
    ]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def read(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_batch_scores_every_kind_of_row_and_sets_bad_ones_aside(
    folder: Path, pair: Any, validator: Draft202012Validator
) -> None:
    out = folder / "scored.jsonl"
    ended = run("image", "batch", rows(folder), "-o", out, *pair)
    assert ended.code == 3, ended
    assert "4 rows scored; chosen preferred in " in ended.stderr and "1 rows could not be scored; see" in ended.stderr
    scored = read(out)
    assert [row["id"] for row in scored] == ["paths", "uris", "objects", "alone"]
    for row in scored:
        validator.validate(row["credit"])
        assert "errors" not in row["credit"]["pictures"][0]
    margins = [row["credit"]["margin"] for row in scored[:3]]
    assert margins[0] == margins[1] == margins[2] != 0  # the same pictures, wherever they were
    assert (scored[0]["chosen"], scored[0]["of"]) == ("chosen.png", [1])
    assert "chosen" not in scored[1] and scored[1]["rejected"] == "rejected.png"  # no picture is copied
    (wrong,) = read(folder / "scored.jsonl.errors.jsonl")
    assert wrong["id"] == "missing" and wrong["line"] == 3
    assert wrong["error"].endswith("nowhere.png does not exist. Paths are from the rows' own file on.")


def test_a_batch_that_was_cut_off_goes_on_to_the_same_bytes(folder: Path, pair: Any) -> None:
    whole, out, file = folder / "whole.jsonl", folder / "out.jsonl", rows(folder)
    run("image", "batch", file, "-o", whole, *pair)
    run("image", "batch", file, "-o", out, *pair)
    journal = folder / "out.jsonl.journal"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:3]))  # settings and two rows
    assert run("image", "batch", file, "-o", out, *pair, "--resume").code == 3
    assert out.read_bytes() == whole.read_bytes()
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:3]))
    ended = run("image", "batch", file, "-o", out, *pair, "--resume", "--seed", "1")
    assert ended.code == 2 and "out.jsonl was begun with other settings: seed was 0 and is 1." in ended.stderr
    file.write_text(file.read_text().replace(PROMPT, "a blue circle", 1))
    ended = run("image", "batch", file, "-o", out, *pair, "--resume")
    assert ended.code == 2 and "the input was changed: its first 2 rows are others now. Begin again" in ended.stderr


def test_a_table_of_pictures_is_scored(folder: Path, pair: Any) -> None:
    chosen, rejected = ((folder / f"{name}.png").read_bytes() for name in ("chosen", "rejected"))
    columns = {
        "prompt": [PROMPT],
        "chosen": [{"bytes": chosen, "path": "a.png"}],  # as datasets' Image feature is stored
        "rejected": pyarrow.array([rejected], pyarrow.binary()),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "rows.parquet")
    expected = run("image", "batch", rows(folder), "--limit", "1", *pair)
    ended = run("image", "batch", folder / "rows.parquet", *pair)
    assert ended.code == 0, ended
    assert json.loads(ended.stdout)["credit"]["margin"] == json.loads(expected.stdout)["credit"]["margin"]


def one_line(ended: Ended, message: str) -> None:
    assert (ended.code, ended.stdout) == (2, ""), ended
    assert len(ended.stderr.splitlines()) == 1 and message in ended.stderr, ended.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.png", "nowhere.png does not exist. Give a picture, or - for stdin."),
        (".", "is a directory. Give a picture, or - for stdin."),
        ("text.png", "text.png is no picture: Pillow knows no such format. Give a PNG, JPEG or WebP file."),
        ("wide.png", "wide.png is 12 x 8, and the models take 8 x 8 pixels. Scale and crop it with --resize."),
    ],
)
def test_bad_pictures_are_one_line(name: str, message: str, folder: Path, pair: Any) -> None:
    (folder / "text.png").write_text("a red circle")
    for command in ([name], ["chosen.png", name]):
        files = [folder / file for file in command]
        one_line(
            run("image", ("score", "diff")[len(files) - 1], *files, "--prompt", PROMPT, *pair, "--json", "-", "-q"),
            message,
        )


def test_flags_that_exclude_each_other_are_one_line(folder: Path, pair: Any) -> None:
    file = folder / "chosen.png"
    given = ("image", "score", file, "--json", "-", "--quiet")
    one_line(run(*given, "--prompt", " ", *pair), "--prompt is empty. Say what the picture was made from.")
    one_line(run(*given, "--prompt", "x", *pair, "--pair", "shapes"), "--pair shapes names both models. Leave it out")
    one_line(run(*given, "--prompt", "x", "--policy", "p"), "--policy is named, and --reference is not.")
    one_line(run("image", "score", file, "--prompt", "x", *pair, "--json", file), "would be written over")
    one_line(run(*given, "--prompt", "x", *pair, "--steps", "101"), "--steps 101: the models were trained on 100.")
    one_line(run("image", "diff", "-", "-", "--prompt", "x", *pair), "- is stdin, which holds one picture.")


def test_a_prompt_may_be_longer_than_a_files_name(folder: Path, pair: Any) -> None:
    one_line(
        run("image", "score", folder / "chosen.png", "--prompt", "rent " * 80, *pair, "-q"),
        "tokens long and the text encoder",
    )


def test_a_table_of_pick_a_pic_is_scored_by_its_labels_and_ties_are_set_aside(folder: Path, pair: Any) -> None:
    chosen, rejected = ((folder / f"{name}.png").read_bytes() for name in ("chosen", "rejected"))
    columns = {
        "caption": [PROMPT] * 3,
        "jpg_0": [chosen, rejected, chosen],
        "jpg_1": [rejected, chosen, rejected],
        "label_0": [1.0, 0.0, 0.5],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "picked.parquet")
    (expected,) = [json.loads(run("image", "batch", rows(folder), "--limit", "1", *pair).stdout)]
    out = folder / "picked.jsonl"
    ended = run("image", "batch", folder / "picked.parquet", "-o", out, *pair)
    assert ended.code == 3, ended
    assert [row["credit"]["margin"] for row in read(out)] == [expected["credit"]["margin"]] * 2
    assert [sorted(row) for row in read(out)] == [["caption", "credit", "id", "label_0"]] * 2
    (tie,) = read(folder / "picked.jsonl.errors.jsonl")
    assert "its label_0 is 0.5. It is 1 where jpg_0 was preferred and 0 where jpg_1 was" in tie["error"]


def test_the_embedded_pair_punishes_the_square_of_another_colour(tmp_path: Path) -> None:
    folder, page = EXAMPLES / "image", tmp_path / "out.html"
    asked = ("--prompt", "a red triangle left of a green square", "--steps", "5", "--draws", "2", "--html", page)
    ended = run("image", "diff", folder / "chosen.png", folder / "rejected.png", *asked, "--json", "-")
    assert ended.code == 0, ended
    record = json.loads(ended.stdout)
    chosen, rejected = (np.array(one["map"]) for one in record["pictures"])
    square = (slice(13, 19), slice(23, 29))  # its inner pixels
    assert rejected[square].mean() < 5 * min(chosen[square].mean(), rejected[10:22, 2:10].mean()) < 0
    assert record["margin"] > 0.5 and "beta" not in ended.stderr  # what training left is known
    assert "shapes policy" in (text := page.read_text("utf-8")) and "shapes reference" in text
