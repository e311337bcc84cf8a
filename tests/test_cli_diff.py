"""`dpo-credit diff` and `dpo-credit render`, from files to views."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from program import Ended, run

from dpo_credit.rows.schema import SHIPPED

POST = "SUBREDDIT: r/jobs\n\nPOST: They pay 50 a day, for ten days.\n\nTL;DR:"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two whole texts, two answers alone, their post, and rows with two and with three answers."""
    (tmp_path / "good.txt").write_text(f"{POST} They pay 50 a day.\n")
    (tmp_path / "bad.txt").write_text(f"{POST} They pay 90 a day.\n")
    (tmp_path / "yes.txt").write_text("They pay 50 a day.\n")
    (tmp_path / "no.txt").write_text("They pay 90 a day.\n")
    (tmp_path / "post.txt").write_text(f"{POST}\n")
    row = {"id": "r", "prompt": POST, "chosen": " They pay 50 a day.", "rejected": " They pay 90 a day.", "source": "x"}
    (tmp_path / "row.json").write_text(json.dumps(row))
    three = {"id": "t", "prompt": POST, "completions": [" 50 a day.", " 90 a day.", " Ten."]}
    (tmp_path / "three.json").write_text(json.dumps(three))
    return tmp_path


@pytest.fixture
def pair(tiny_pair_dirs: tuple[Path, Path]) -> list[str]:
    return ["--policy", str(tiny_pair_dirs[0]), "--reference", str(tiny_pair_dirs[1]), "--device", "cpu"]


def compared(ended: Ended) -> dict:
    assert ended.code in (0, None), ended.stderr
    return json.loads(ended.stdout)


def test_two_files_a_prompt_and_a_row_are_the_same_diff(folder: Path, pair: list[str]):
    one = compared(run("diff", folder / "good.txt", folder / "bad.txt", "--json", "-", *pair))
    two = compared(
        run("diff", folder / "yes.txt", folder / "no.txt", "--prompt", folder / "post.txt", "--json", "-", *pair)
    )
    three = compared(run("diff", folder / "row.json", "--json", "-", *pair))
    assert one["credit"]["schema"] == "dpo-credit/credit@2"
    assert one["credit"]["margin"] == two["credit"]["margin"] == three["credit"]["margin"]
    assert [(edit["chosen_text"], edit["rejected_text"]) for edit in one["credit"]["edits"]] == [(" 50", " 90")]
    assert three["source"] == "x"  # unknown columns pass through


def test_the_edits_and_the_echo_add_up_to_the_margin(folder: Path, pair: list[str]):
    record = compared(run("diff", folder / "row.json", "--json", "-", *pair))
    total = math.fsum(edit["delta"] for edit in record["credit"]["edits"]) + record["credit"]["echo"]["sum"]
    assert total == pytest.approx(record["credit"]["margin"], abs=1e-12)
    aligned = record["credit"]["aligned"]
    assert math.fsum(shared["delta"] for shared in aligned) == record["credit"]["echo"]["sum"]
    chosen, rejected = record["credit"]["answers"]
    for shared in aligned:
        (start, stop), (other_start, other_stop) = shared["chosen"], shared["rejected"]
        ours, theirs = chosen["rewards"][start:stop], rejected["rewards"][other_start:other_stop]
        assert shared["delta"] == math.fsum(ours) - math.fsum(theirs)
        assert shared["text"] == "".join(chosen["tokens"][start:stop])  # ASCII, one token a character at least
    # what is in none of these is the edit's: 50 and 90
    inside = {t for shared in aligned for t in range(*shared["chosen"])}
    alone = [token for t, token in enumerate(chosen["tokens"]) if t not in inside]
    assert "".join(alone) == " 50"


def test_what_a_diff_wrote_is_valid_under_the_schema_and_so_is_what_was_written_before(
    folder: Path, pair: list[str]
) -> None:
    record = compared(run("diff", folder / "row.json", "--json", "-", *pair))
    validator = Draft202012Validator(json.loads(SHIPPED.read_text(encoding="utf-8")))
    validator.validate(record)
    wrong = {**record["credit"]["aligned"][0], "delta": "much"}
    assert not validator.is_valid({**record, "credit": {**record["credit"], "aligned": [wrong]}})
    del record["credit"]["aligned"]  # what an older version wrote has none
    validator.validate(record)
    (folder / "older.json").write_text(json.dumps(record))
    assert "aligned" in compared(run("render", folder / "older.json", "--json", "-"))["credit"]


def test_answers_are_picked_or_all_shown(folder: Path, pair: list[str]):
    refused = run("diff", folder / "three.json", *pair)
    assert refused.code == 2 and "--pick 0,1 or compare all with --all" in refused.stderr
    picked = compared(run("diff", folder / "three.json", "--pick", "2,0", "--json", "-", *pair))
    assert [answer["answer"] for answer in picked["credit"]["answers"]] == [" Ten.", " 50 a day."]
    every = compared(run("diff", folder / "three.json", "--all", "--json", "-", *pair))
    assert len(every["credit"]["answers"]) == 3


def test_all_answers_are_shown_by_reward_the_highest_first(folder: Path, pair: list[str]):
    rewards = {
        f"answer {n}": credit["reward"]
        for n, credit in enumerate(
            compared(run("diff", folder / "three.json", "--all", "--json", "-", *pair))["credit"]["answers"]
        )
    }
    shown = run("diff", folder / "three.json", "--all", *pair).stdout
    labels = [line for line in shown.splitlines() if line in rewards]
    assert labels == sorted(rewards, key=rewards.__getitem__, reverse=True)


def test_different_posts_are_refused_and_nothing_is_written(folder: Path, pair: list[str]):
    (folder / "other.txt").write_text("Another post. TL;DR: no")
    ended = run("diff", folder / "good.txt", folder / "other.txt", "--html", folder / "out.html", *pair)
    assert ended.code == 2 and "different prompts" in ended.stderr
    assert not (folder / "out.html").exists()


def test_page_and_figure_are_written_and_the_view_is_shown(folder: Path, pair: list[str]):
    ended = run(
        *("diff", folder / "row.json", "--html", folder / "out.html", "--heatmap", folder / "fig.svg", *pair),
        *("--by", "word", "--palette", "purple-green", "--scale", "0.5", "--width-in", "3.25"),
    )
    assert ended.code in (0, None), ended.stderr
    assert "⟦50⟧" in ended.stdout.replace("▲", "").replace("▼", "")
    assert "<style" in (folder / "out.html").read_text()
    assert (folder / "fig.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--heatmap", "fig.gif"], ".png, .svg or .pdf"),
        (["--scale", "wide"], "--scale wide is neither shared, per-answer nor a reward"),
        (["--scale", "-1"], "--scale -1 is neither"),
        (["--lines", "9:3"], "--lines '9:3' names no lines. Give the first and the last, from 1"),
        (["--lines", "0"], "--lines '0' names no lines"),
        (["--lines", "one"], "--lines 'one' names no lines"),
        (["--lines", ""], "--lines '' names no lines"),
        (["--around-edits", "3", "--whole"], "--around-edits and --whole choose what the figure draws"),
    ],
)
def test_a_view_that_cannot_be_is_refused_before_the_models_load(folder: Path, flags: list[str], said: str):
    ended = run("diff", folder / "row.json", *flags, "--policy", "./nowhere", "--reference", "./nowhere")
    assert ended.code == 2 and said in ended.stderr


def test_what_adds_to_the_margin_is_coloured_wherever_a_pair_is_drawn(folder: Path, pair: list[str]):
    by_delta = ["--colour", "delta", "--rows", "2"]
    views = [run(command, folder / "row.json", *by_delta, *pair).stdout for command in ("diff", "score")]
    run("score", folder / "row.json", "--json", folder / "scored.json", *pair)
    views.append(run("render", folder / "scored.json", *by_delta, "--png", folder / "fig.svg").stdout)
    assert views[0] == views[1] == views[2]
    assert "tokens most for chosen" in views[0] and "edits " in views[0]
    assert "Δ: what a token adds to the margin" in (folder / "fig.svg").read_text()


@pytest.mark.parametrize(
    ("command", "file", "flags", "said"),
    [
        ("score", "good.txt", [], "here is one answer"),
        ("score", "three.json", [], "here are 3 answers"),
        ("diff", "three.json", ["--all"], "--all shows each for itself"),
    ],
)
def test_deltas_of_other_than_two_answers_are_refused_before_the_models_load(
    folder: Path, command: str, file: str, flags: list[str], said: str
):
    models = ["--policy", "./nowhere", "--reference", "./nowhere"]
    ended = run(command, folder / file, "--colour", "delta", *flags, *models)
    assert ended.code == 2 and said in " ".join(ended.stderr.split()) and "nowhere" not in ended.stderr


def test_render_refuses_the_deltas_of_one_answer(folder: Path, pair: list[str]):
    run("score", folder / "good.txt", "--json", folder / "one.json", *pair)
    ended = run("render", folder / "one.json", "--colour", "delta")
    assert ended.code == 2 and "here is one answer" in " ".join(ended.stderr.split())


def test_edits_of_other_than_two_answers_are_refused_before_the_models_load(folder: Path):
    (folder / "one.json").write_text(json.dumps({"prompt": "A post. TL;DR:", "completion": " yes"}))
    for command, said in ((("score", "one.json"), "here is one"), (("diff", "three.json", "--all"), "here are 3")):
        ended = run(command[0], folder / command[1], *command[2:], "--around-edits", "3", "--policy", "./nowhere")
        assert ended.code == 2 and f"--around-edits is about two answers, and {said}" in ended.stderr


def test_render_draws_saved_scores_again_under_another_beta(folder: Path, pair: list[str]):
    run("score", folder / "row.json", "--json", folder / "scored.json", "--beta", "0.1", *pair)
    again = compared(run("render", folder / "scored.json", "--beta", "0.2", "--json", "-"))
    saved = json.loads((folder / "scored.json").read_text())
    assert again["credit"]["margin"] == pytest.approx(2 * saved["credit"]["margin"])
    assert run("render", folder / "scored.json", "--html", folder / "out.html").code in (0, None)
    assert "<style" in (folder / "out.html").read_text()


def test_render_makes_one_page_of_many_rows(folder: Path, pair: list[str]):
    line = run("score", folder / "row.json", "--json", "-", *pair).stdout
    (folder / "scored.jsonl").write_text(line * 3)
    refused = run("render", folder / "scored.jsonl")
    assert refused.code == 2 and "holds several rows, which make one page" in refused.stderr
    assert run("render", folder / "scored.jsonl", "--html", folder / "out.html").code in (0, None)
    assert (folder / "out.html").read_text().count("<tbody id=") == 3
