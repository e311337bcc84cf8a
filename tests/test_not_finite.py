"""Models that diverged or overflow: one line that names the model and what to do, from every command."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from program import Ended, run
from tiny import language_model, save, tokenizer

from dpo_credit.credit import NotFiniteError
from dpo_credit.models.generate import generate
from dpo_credit.models.torch_side import side_of
from dpo_credit.trajectory.trajectory_file import parse
from dpo_credit.views.figure import trajectory as figure

ROWS = [
    {
        "id": f"r{n}",
        "prompt": f"Rent is {n} dollars.\n\nTL;DR:",
        "chosen": f" It is {n}.",
        "rejected": " No, it is not.",
    }
    for n in (10, 11)
]
BROKEN = "Its weights are broken: its training diverged, or its files are damaged. Take an earlier checkpoint."
OVERFLOWS = "Its weights are broken, or float16 overflows: try --dtype float32."


def nan(model: Any) -> None:
    for weight in model.parameters():
        weight.mul_(math.nan)


def infinite(model: Any) -> None:
    model.gpt_neox.layers[0].mlp.dense_h_to_4h.weight[0, 0] = math.inf


def huge(model: Any) -> None:
    """Fine in float32; float16 ends at 65504."""
    for layer in model.gpt_neox.layers:
        layer.mlp.dense_h_to_4h.weight.mul_(3e3)
        layer.mlp.dense_4h_to_h.weight.mul_(3e3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reference, policies that are broken in three ways, a run of which two checkpoints are broken, and rows."""
    folder = tmp_path_factory.mktemp("broken")
    save(language_model(seed=0), folder / "reference", tokenizer())
    for name, breaking in (("nan", nan), ("inf", infinite), ("huge", huge)):
        model = language_model(seed=1)
        breaking(model)
        save(model, folder / name, tokenizer())
    for step in (5, 15):
        save(language_model(seed=step), folder / f"run/checkpoint-{step}", tokenizer())
    for step, name in ((10, "nan"), (20, "inf")):
        shutil.copytree(folder / name, folder / f"run/checkpoint-{step}")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "row.json").write_text(json.dumps(ROWS[0]))
    (folder / "labelled.jsonl").write_text(json.dumps({**ROWS[0], "labels": [{"start": 1, "end": 3}]}) + "\n")
    return folder


def fails_with_one_line(ended: Ended, *said: str) -> None:
    assert (ended.code, ended.stdout) == (2, ""), ended.stderr
    (line,) = (line for line in ended.stderr.splitlines() if not line.startswith("note: "))
    assert all(part in line for part in said), line


COMMANDS = [
    ("score", "row.json"),
    ("diff", "row.json"),
    ("localise", "labelled.jsonl"),
    ("verify", "rows.jsonl"),
    ("steer", "row.json", "--max-new-tokens", "3"),
    ("steer", "row.json", "--sample", "--max-new-tokens", "3"),
    ("search", "row.json", "--beams", "1,2", "--max-new-tokens", "3"),
    ("search", "row.json", "--beams", "1,2", "--sample", "--max-new-tokens", "3"),
    ("search", "rows.jsonl", "--beams", "1", "--sample", "--max-new-tokens", "3"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("policy", "dtype", "advice"),
    [("nan", "float32", BROKEN), ("inf", "float32", BROKEN), ("huge", "float16", OVERFLOWS)],
)
def test_a_policy_that_gives_no_numbers_is_one_line(
    folder: Path, command: tuple[str, ...], policy: str, dtype: str, advice: str
) -> None:
    name, file, *flags = command
    pair = ("--policy", folder / policy, "--reference", folder / "reference", "--dtype", dtype, "--device", "cpu")
    fails_with_one_line(
        run(name, folder / file, *flags, *pair), policy if name in ("search", "steer") else "policy", advice
    )


@pytest.mark.parametrize("command", [*COMMANDS, ("trajectory", "run", "rows.jsonl", "--samples", "0")], ids=" ".join)
def test_a_reference_that_gives_no_numbers_is_named(folder: Path, command: tuple[str, ...]) -> None:
    name, *arguments = command
    given = [folder / part if (folder / part).exists() else part for part in arguments]
    pair = () if name == "trajectory" else ("--policy", folder / "run/checkpoint-5")
    fails_with_one_line(run(name, *given, *pair, "--reference", folder / "nan", "--device", "cpu"), "reference", BROKEN)


def test_what_is_huge_is_a_number_in_float32(folder: Path) -> None:
    ended = run(
        "score", folder / "row.json", "--policy", folder / "huge", "-r", folder / "reference", "--device", "cpu"
    )
    assert ended.code in (0, None), ended.stderr


def test_inspect_finds_broken_weights_and_does_not_call_them_equal(folder: Path) -> None:
    for policy, dtype, said in (
        ("nan", "float32", f"has weights that are not finite (first: gpt_neox.embed_in.weight). {BROKEN}"),
        ("huge", "float16", f"log-probability nan at answer token 0 (' I'). {OVERFLOWS}"),
    ):
        ended = run(
            "inspect", folder / "row.json", "--policy", folder / policy, "-r", folder / "reference", "--dtype", dtype,
            "--device", "cpu", "--json", "-",
        )  # fmt: skip
        findings = [finding for finding in json.loads(ended.stdout)["findings"] if finding["level"] == "error"]
        assert findings[-1]["kind"] == "not-finite" and findings[-1]["said"].endswith(said)
        assert "equal-weights" not in {finding["kind"] for finding in findings}


def test_steering_with_a_strength_that_overflows_is_one_line(folder: Path) -> None:
    ended = run(
        "steer", folder / "row.json", "--strength", "inf", "--sample", "--max-new-tokens", "3", "--device", "cpu"
    )
    fails_with_one_line(ended, "steering with strength inf gives no numbers: it overflows. Give a smaller one.")


def test_a_batch_of_which_no_row_can_be_scored_says_why(folder: Path, tmp_path: Path) -> None:
    ended = run(
        "batch", folder / "rows.jsonl", "-o", tmp_path / "out.jsonl", "--policy", folder / "nan", "-r",
        folder / "reference", "--device", "cpu",
    )  # fmt: skip
    assert ended.code == 3
    said = (
        "no row could be scored; the first: r10/chosen: the policy gives log-probability nan at answer token 0 (' I'). "
    )
    assert f"{said}{BROKEN}" in ended.stderr


@pytest.mark.parametrize(("model", "rate"), [("nan", "1e-5"), ("reference", "1e30")])
def test_a_training_that_diverges_stops_and_says_so(folder: Path, tmp_path: Path, model: str, rate: str) -> None:
    recipe = tmp_path / "dpo.yaml"
    recipe.write_text(
        f"model: {folder / model}\ndata: {folder / 'rows.jsonl'}\noutput: {tmp_path / 'dpo'}\nlearning_rate: {rate}\n"
        "batch_size: 1\nlog_steps: 1\nmax_steps: 3\nprecision: float32\ntrl: {dataloader_pin_memory: false}\n"
    )
    ended = run("train", "dpo", "--config", recipe)
    assert ended.code == 2
    step = 1 if model == "nan" else 2
    assert (
        f"dpo-credit: the training diverged: at step {step} TRL logs loss nan. Lower the learning rate" in ended.stderr
    )
    assert "trained" not in ended.stderr.replace(str(tmp_path), "").split("diverged")[1]


def test_a_trajectory_marks_what_diverged_and_goes_on(folder: Path, tmp_path: Path) -> None:
    kept, page = tmp_path / "kept.jsonl", tmp_path / "page.html"
    command = (
        *("trajectory", folder / "run", folder / "rows.jsonl", "-r", folder / "reference", "-o", kept),
        *("--samples", "2", "--max-new-tokens", "3", "--device", "cpu"),
    )
    ended = run(*command, "--html", page)
    assert ended.code in (0, None), ended.stderr
    steps = [line.split()[:2] for line in ended.stdout.splitlines() if line.split()[:1] in (["10"], ["15"], ["20"])]
    assert [step for step, _ in steps] == ["10", "15", "20"]
    assert (steps[0][1], steps[2][1]) == ("diverged", "diverged") and steps[1][1] != "diverged"
    assert f"note: {folder / 'run/checkpoint-10'} diverged: r10: the policy gives log-probability nan" in ended.stderr
    assert "2 more checkpoints diverged and have no numbers: step 10, step 20." in page.read_text()
    assert page.read_text().count('<line class="broken"') == 2  # step 10 on both charts; 20 is beyond them

    whole = kept.read_bytes()
    _, trajectory = parse(whole, "kept")
    assert [moment.step for moment in trajectory.moments] == [0, 5, 15]
    assert [(broken.step, broken.name) for broken in trajectory.diverged] == [
        (step, str(folder / f"run/checkpoint-{step}")) for step in (10, 20)
    ]
    rewards, _ = figure.render([trajectory], [""]).axes
    assert rewards.get_legend_handles_labels()[1].count("diverged") == 1
    assert [line.get_xdata()[0] for line in rewards.lines if line.get_label() == "diverged"] == [10]
    kept.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))  # up to and with step 10
    ended = run(*command, "--resume", "--json", "-")
    assert kept.read_bytes() == whole
    figures = json.loads(ended.stdout)
    assert [point["step"] for point in figures["checkpoints"]] == [0, 5, 15]
    assert [(broken["step"], broken["reason"].endswith(BROKEN)) for broken in figures["diverged"]] == [
        (10, True),
        (20, True),
    ]


def test_a_run_that_diverged_from_the_first_checkpoint_on_shows_its_start(folder: Path) -> None:
    run_of = f"{folder / 'run/checkpoint-10'},{folder / 'run/checkpoint-20'}"
    ended = run(
        "trajectory", run_of, folder / "rows.jsonl", "-r", folder / "reference", "--samples", "0", "--device", "cpu"
    )
    assert ended.code in (0, None), ended.stderr
    assert ended.stdout.count("diverged:") == 2


@pytest.mark.parametrize("draw", [False, True])
def test_minus_infinity_only_rules_a_token_out(draw: bool) -> None:
    model: Any = language_model(seed=1, config="PhiConfig")
    model.lm_head.bias[7:] = -math.inf
    side = side_of(model, "m")
    ((_, answer),) = generate(side, tokenizer(), [[5, 6]], max_new_tokens=4, do_sample=draw)
    assert max(answer) < 7
    model.lm_head.bias[:] = math.nan
    with pytest.raises(NotFiniteError, match=r"^m gives scores that are not finite\. Its weights are broken"):
        list(generate(side, tokenizer(), [[5, 6]], max_new_tokens=4, do_sample=draw))
