"""`dpo-credit trajectory`: checkpoints, when credit was learnt, what is kept and how it is shown."""

from __future__ import annotations

import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import credits
import pytest
import torch
from peft import LoraConfig, get_peft_model
from program import run
from rich.console import Console
from tiny import language_model, save, tokenizer
from transformers import AutoModelForCausalLM

from dpo_credit.credit import CreditError
from dpo_credit.models.loading import load_pair
from dpo_credit.models.pair import Loading
from dpo_credit.rows.kept import Kept
from dpo_credit.rows.reader import read_records, read_rows
from dpo_credit.rows.sources import Input
from dpo_credit.scoring import score
from dpo_credit.trajectory.runs import checkpoints
from dpo_credit.trajectory.trajectory import Moment, Trajectory, learnt, points
from dpo_credit.trajectory.trajectory_file import parse
from dpo_credit.views.look import Look
from dpo_credit.views.terminal import trajectory as terminal_trajectory

CPU = Loading(device="cpu")
ROWS = [
    {
        "id": f"row {n}",
        "prompt": f"Rent is {n} dollars.\n\nTL;DR:",
        "chosen": f" It is {n}.",
        "rejected": f" No, {n + 1}.",
    }
    for n in range(100, 105)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three checkpoints, the model that it started from, and five preferences."""
    folder = tmp_path_factory.mktemp("run")
    save(language_model(seed=0), folder / "sft", tokenizer())
    for step in (10, 5, 20):
        save(language_model(seed=step), folder / f"dpo/checkpoint-{step}", tokenizer())
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return folder


def test_a_run_is_followed_step_by_step(folder: Path) -> None:
    ended = run(
        "trajectory", folder / "dpo", folder / "rows.jsonl", "--reference", folder / "sft", "--beta", "0.2",
        "--samples", "6", "--max-new-tokens", "5", "-o", folder / "kept.jsonl", "--json", "-", "--device", "cpu",
        "--overwrite",
    )  # fmt: skip
    assert ended.code in (0, None), ended.stderr
    found = json.loads(ended.stdout)
    assert [point["step"] for point in found["checkpoints"]] == [0, 5, 10, 20]
    assert "answers drawn from the reference had not ended after 5 tokens" in ended.stderr
    start, *_, last = found["checkpoints"]
    assert start["chosen"]["mean"] == start["expected"]["mean"] == 0.0
    pair = load_pair(folder / "dpo/checkpoint-20", folder / "sft", beta=0.2, loading=CPU)
    rows = list(read_rows(read_records([Input(str(folder / "rows.jsonl"))])))
    credits = list(score(pair, [example for row in rows for example in row.examples]))
    chosen, rejected = credits[::2], credits[1::2]
    assert last["chosen"]["mean"] == pytest.approx(math.fsum(one.reward for one in chosen) / 5, abs=1e-5)
    assert last["rejected_logp"]["mean"] == pytest.approx(math.fsum(one.policy_logp for one in rejected) / 5, abs=1e-4)
    margins = [a.reward - b.reward for a, b in zip(chosen, rejected, strict=True)]
    assert last["accuracy"]["hits"] == sum(margin > 0 for margin in margins)
    assert last["margin"]["mean"] == pytest.approx(math.fsum(margins) / 5, abs=1e-5)
    assert last["expected"]["mean"] < 0
    _, kept = parse((folder / "kept.jsonl").read_bytes(), "kept")
    assert points(kept) and kept.moments[-1].pairs[3][0].rewards == pytest.approx(chosen[3].rewards, abs=1e-5)


def asked(folder: Path, output: str, *more: str) -> tuple[str | Path, ...]:
    return (
        *("trajectory", folder / "dpo", folder / "rows.jsonl", "-r", folder / "sft", "-o", folder / output),
        *("--samples", "3", "--max-new-tokens", "4", "--device", "cpu", *more),
    )


@pytest.fixture(scope="module")
def kept(folder: Path) -> Path:
    """What a run over all of `folder` kept. Read only."""
    ended = run(*asked(folder, "whole.jsonl"))
    assert ended.code in (0, None), ended.stderr
    return folder / "whole.jsonl"


def test_a_run_that_was_cut_off_goes_on(folder: Path, kept: Path) -> None:
    whole = kept.read_bytes()
    lines = whole.splitlines(keepends=True)
    (folder / "parts.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:40])
    ended = run(*asked(folder, "parts.jsonl", "--resume"))
    assert ended.code in (0, None), ended.stderr
    assert (folder / "parts.jsonl").read_bytes() == whole
    assert "exists" in run(*asked(folder, "whole.jsonl")).stderr
    for other, said in (
        (("--beta", "0.5"), "beta"),
        (("--samples", "4"), "samples"),
        (("--limit", "2"), "rows was 5 and is 2"),
    ):
        options = [*asked(folder, "whole.jsonl", "--resume"), *other]
        assert said in run(*options).stderr
    ended = run(*asked(folder, "whole.jsonl", "--resume", "--reference", str(folder / "dpo/checkpoint-5")))
    assert "; reference's weights was " in ended.stderr
    assert kept.read_bytes() == whole


def spoil_config(checkpoint: Path, name: str, value: object) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    assert config[name] != value
    (checkpoint / "config.json").write_text(json.dumps({**config, name: value}))


CHANGES = {
    "a checkpoint trained anew in its place": (
        lambda here: save(language_model(seed=99), here / "dpo/checkpoint-5", tokenizer()),
        "step 5's weights was \"",
    ),
    "its configuration": (
        lambda here: spoil_config(here / "dpo/checkpoint-10", "layer_norm_eps", 0.5),
        "step 10's weights was \"",
    ),
    "the reference in its place": (
        lambda here: save(language_model(seed=98), here / "sft", tokenizer()),
        "reference's weights was \"",
    ),
    "a prompt": (
        lambda here: (here / "rows.jsonl").write_text((here / "rows.jsonl").read_text().replace("Rent is", "Rent was")),
        "prompt_hash of row row 100, chosen",
    ),
}


@pytest.mark.parametrize("changed", CHANGES)
def test_resuming_what_has_changed_since_is_refused(folder: Path, kept: Path, tmp_path: Path, changed: str) -> None:
    here = tmp_path / "here"
    shutil.copytree(folder, here)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(here)
        assert run(*asked(Path(), "again.jsonl")).code == 0
        assert run(*asked(Path(), "again.jsonl", "--resume")).code == 0  # nothing has changed
        whole = Path("again.jsonl").read_bytes()
        lines = whole.splitlines(keepends=True)
        change, said = CHANGES[changed]
        change(Path())
        for left in (4, 3):  # a run that is done, and one with a checkpoint to come
            Path("again.jsonl").write_bytes(b"".join(lines[:left]))
            ended = run(*asked(Path(), "again.jsonl", "--resume"))
            assert ended.code == 2, ended.stderr
            assert "again.jsonl was begun with other settings: " in ended.stderr and said in ended.stderr
            assert Path("again.jsonl").read_bytes() == b"".join(lines[:left])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (("--eos", "never"), 'eos was "auto" and is "never"'),
        (("--chat-template", "none"), 'chat_template was "auto" and is "none"'),
        (("--dtype", "bfloat16"), 'dtype was ["float32"] and is ["bfloat16"]'),
    ],
)
def test_resuming_under_other_conventions_is_refused(
    folder: Path, kept: Path, tmp_path: Path, other: tuple[str, ...], said: str
) -> None:
    shutil.copy(kept, tmp_path / "kept.jsonl")
    ended = run(*asked(folder, str(tmp_path / "kept.jsonl")), *other, "--resume")
    assert ended.code == 2 and said in ended.stderr, ended.stderr


def test_another_run_of_the_same_names_is_refused(folder: Path, kept: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    (other / "dpo/checkpoint-20").rename(other / "dpo/checkpoint-40")
    ended = run(*asked(other, "whole.jsonl", "--resume"))
    assert ended.code == 2 and "run changed" in ended.stderr, ended.stderr


def test_a_checkpoint_that_was_removed_since_keeps_its_numbers(folder: Path, kept: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "here")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path / "here")
        assert run(*asked(Path(), "again.jsonl")).code == 0
        whole = Path("again.jsonl").read_bytes()
        Path("again.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
        shutil.rmtree("dpo/checkpoint-5")
        ended = run(*asked(Path(), "again.jsonl", "--resume", "--json", "-"))
        assert ended.code == 0, ended.stderr
        assert Path("again.jsonl").read_bytes() == whole
        assert [point["step"] for point in json.loads(ended.stdout)["checkpoints"]] == [0, 5, 10, 20]


def test_kept_files_are_drawn_without_a_model(folder: Path, kept: Path) -> None:
    ended = run(
        "trajectory", kept, kept, "--labels", "with <b>SFT</b>,without", "--png", folder / "figure3.png",
        "--html", folder / "page.html",
    )  # fmt: skip
    assert ended.code in (0, None), ended.stderr
    assert (folder / "figure3.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "page.html").read_text()
    assert ".walk[hidden] { display: none; }" in page  # without a script there is nothing to slide
    assert "with &lt;b&gt;SFT" in page and "<b>SFT" not in page
    shades = re.findall(r'data-over="([^"]+)"', page)
    assert shades and all(len(one.split()) == 4 and one.split()[0] == "s20" for one in shades)
    assert ended.stdout.count("when credit was learnt") == 2 and ended.stdout.count("row 100") > 0


def test_credit_is_learnt_when_it_holds_half_of_its_last_reward() -> None:
    def at(step: int, rewards: tuple[float, float]) -> Moment:
        credit = credits.credit([" a", " b"], rewards)
        return Moment(step, "p", ((credit, credit),))

    over_time = [(0.0, 0.0), (-0.9, 0.6), (-0.4, -0.2), (-1.0, -2.0), (-2.0, -4.0)]
    steps = (0, 5, 10, 15, 20)
    found = learnt(Trajectory("t", ("x",), tuple(map(at, steps, over_time))))
    assert [(one.side, one.segment.text, round(one.segment.reward, 9), one.step) for one in found] == [
        (0, " b", -4.0, 15), (0, " a", -2.0, 15),
    ]  # fmt: skip
    assert [one.answer for one in found] == ["both", "both"]


def test_a_token_of_both_answers_is_told_once() -> None:
    def at(step: int) -> Moment:
        pair = [
            credits.credit([" a", text], [-step, -2.0 * step + start]) for start, text in ((-2.0, " b"), (-3.0, " c"))
        ]
        return Moment(step, "p", ((pair[0], pair[1]),))

    found = learnt(Trajectory("t", ("x",), (at(0), at(5))))
    assert [(one.segment.text, one.answer) for one in found] == [(" c", "rejected"), (" b", "chosen"), (" a", "both")]


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_terminal_shows_tokens_whole_whatever_its_width(width: int) -> None:
    text = " A dealer in Omaha has a new truck."
    pieces = re.findall(r" \w+|\.", text)

    def at(step: int) -> Moment:
        rewards = [-step * (piece == " Omaha") for piece in pieces]
        credit = replace(credits.credit(pieces, rewards), id="validation:20")
        return Moment(step, "p", ((credit, credit),))

    found = Trajectory("t", ("validation:20",), tuple(map(at, range(60))))
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_trajectory.render(found, Look(colours="none", width=width)))
    (line,) = [line for line in console.export_text().splitlines() if "‹Omaha›" in line]
    assert "validation:20 both" in line and "−59" in line and len(line) <= width
    assert line.count("▁") + line.count("█") > 2 or width == 60


def test_runs_are_folders_lists_and_revisions(folder: Path) -> None:
    assert [one.step for one in checkpoints(str(folder / "dpo"))] == [5, 10, 20]
    assert [one.step for one in checkpoints(str(folder / "dpo"), every=2)] == [10, 20]
    listed = checkpoints(f"{folder / 'sft'},{folder / 'dpo/checkpoint-5'}")
    assert [one.model for one in listed] == [str(folder / "sft"), str(folder / "dpo/checkpoint-5")]
    hub = checkpoints("some/model@step100,step20,main")
    assert [(one.step, one.name) for one in hub] == [
        (3, "some/model@main"), (20, "some/model@step20"), (100, "some/model@step100"),
    ]  # fmt: skip
    for wrong in ("nowhere", "@", str(folder)):
        with pytest.raises(CreditError):
            checkpoints(wrong)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{run}",), "give a run and its rows"),
        (("{run}", "nothing.jsonl"), "nothing.jsonl"),
        (("nowhere", "{rows}"), "nowhere does not exist"),
        (("{run}", "{rows}"), "name the SFT model it was trained from with --reference"),
        (("{run}", "{rows}", "-r", "{sft}", "-m", "{sft}"), "--policy has no place here"),
        (("{run}", "{rows}", "-r", "{sft}", "--resume"), "go with -o"),
        (("{run}", "{rows}", "-r", "{sft}", "--png", "x.bmp"), ".png, .svg or .pdf"),
        (("{rows}",), "no trajectory that was kept"),
        (("{rows}", "{rows}", "--labels", "one"), "--labels names 1 of 2"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    places = {"run": folder / "dpo", "rows": folder / "rows.jsonl", "sft": folder / "sft"}
    ended = run("trajectory", *(argument.format(**places) for argument in arguments))
    assert ended.code == 2 and said in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr


def test_line_separators_in_an_answer_do_not_tear_a_kept_file(folder: Path, tmp_path: Path) -> None:
    rows = [{**row, "chosen": " Yes.\u2028It\x85is\x1c[bold]x[/y] <b>."} for row in ROWS]
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = tmp_path / "kept.jsonl"
    arguments = (
        "trajectory",
        folder / "dpo",
        tmp_path / "odd.jsonl",
        "-r",
        folder / "sft",
        "--samples",
        "0",
        "-o",
        kept,
    )
    assert run(*arguments).code in (0, None)
    ended = run("trajectory", kept, "--html", tmp_path / "page.html")
    assert ended.code in (0, None), ended.stderr
    ended = run(*arguments, "--resume")
    assert ended.code in (0, None), ended.stderr
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\n")
    ended = run("trajectory", tmp_path / "bytes.jsonl")
    assert ended.code == 2 and "no trajectory that was kept" in ended.stderr


@pytest.mark.parametrize("other", [("--seed", "1"), ("--max-new-tokens", "7")])
def test_resuming_with_other_answers_of_the_reference_is_refused(
    folder: Path, kept: Path, tmp_path: Path, other: tuple[str, ...]
) -> None:
    shutil.copy(kept, tmp_path / "kept.jsonl")
    ended = run(*asked(folder, str(tmp_path / "kept.jsonl")), *other, "--resume")
    assert ended.code == 2 and "answers drawn from the reference" in ended.stderr


def test_a_length_normalised_policy_has_no_expected_reward_by_eq_16(folder: Path) -> None:
    ended = run(*asked(folder, "normalised.jsonl", "--length-normalised", "--json", "-"))
    assert ended.code in (0, None), ended.stderr
    assert all(point["expected"] is None for point in json.loads(ended.stdout)["checkpoints"])
    assert "without Eq. 16" in ended.stderr


def test_what_is_wrong_with_a_later_checkpoint_is_said_before_the_first_is_scored(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "dpo/checkpoint-5", tmp_path / "checkpoint-5")
    shutil.copytree(folder / "dpo/checkpoint-10", tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-best").mkdir()  # no step of training
    assert [one.step for one in checkpoints(str(tmp_path))] == [5, 10]
    arguments = ("trajectory", tmp_path, folder / "rows.jsonl", "-r", folder / "sft", "-o", tmp_path / "kept.jsonl")
    vocabulary = tmp_path / "checkpoint-10/tokenizer.json"
    swapped = json.loads(vocabulary.read_text())
    words = swapped["model"]["vocab"]
    words["a"], words["b"] = words["b"], words["a"]
    vocabulary.write_text(json.dumps(swapped))
    ended = run(*arguments)
    assert ended.code == 2 and "the tokenizers differ at id" in ended.stderr, ended.stderr
    (tmp_path / "checkpoint-10/model.safetensors").unlink()
    ended = run(*arguments)
    assert ended.code == 2 and "holds no weights" in ended.stderr, ended.stderr
    assert not (tmp_path / "kept.jsonl").exists()


def test_the_reference_of_an_adapter_is_the_one_that_score_takes(folder: Path, tmp_path: Path) -> None:
    """TRL saves the adapter that training began with as "ref" beside the trained one."""
    made = LoraConfig(r=2, target_modules=["query_key_value"], task_type="CAUSAL_LM")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(folder / "sft"), made)
    adapted.add_adapter("ref", made)
    generator = torch.Generator().manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * 0.3
    adapted.save_pretrained(tmp_path / "checkpoint-3")
    tokenizer().save_pretrained(tmp_path / "checkpoint-3")
    ended = run("trajectory", tmp_path, folder / "rows.jsonl", "--samples", "0", "--json", "-", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    pair = load_pair(tmp_path / "checkpoint-3", loading=CPU)
    rows = list(read_rows(read_records([Input(str(folder / "rows.jsonl"))])))
    rewards = [credit.reward for credit in score(pair, [row.examples[0] for row in rows])]
    last = json.loads(ended.stdout)["checkpoints"][-1]
    assert last["chosen"]["mean"] == pytest.approx(math.fsum(rewards) / 5, abs=1e-5)


def test_the_page_marks_whole_steps_once(folder: Path, tmp_path: Path) -> None:
    arguments = ("trajectory", f"{folder / 'sft'},", folder / "rows.jsonl", "-r", folder / "sft", "--samples", "0")
    ended = run(*arguments, "--html", tmp_path / "page.html", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    marks = re.findall(r'<text class="tick"[^>]*>([^<]*)<', (tmp_path / "page.html").read_text())
    assert marks == ["0", "1"] * 2  # a mark at each end of two charts


def test_a_second_trajectory_on_the_same_file_is_refused(folder: Path, kept: Path, tmp_path: Path) -> None:
    copy = tmp_path / "kept.jsonl"
    copy.write_bytes(kept.read_bytes())
    with Kept(copy, "resume") as other:
        other.begin({}, bytes, b"")
        ended = run(*asked(folder, str(copy)), "--resume")
    assert ended.code == 2 and ended.stderr.startswith(f"dpo-credit: another run is writing {copy}"), ended.stderr
    assert copy.read_bytes() == kept.read_bytes()
