"""`dpo-credit train`: recipes, the record beside the weights, Ctrl-C and resuming."""

# ruff: noqa: F401, F811  (fixtures are imported)

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from program import run
from safetensors.torch import load_file
from test_turns import ROWS as CHATS
from tiny import CHATML, language_model, save, tokenizer
from trainings import EXAMPLES, ROWS, SETTINGS, UNHURRIED, folder, made, run_once, train, trained, weights
from trl import DPOTrainer

from dpo_credit import Example, load_pair, score
from dpo_credit.credit import CreditError
from dpo_credit.models.pair import Cut, Loading
from dpo_credit.train.config import read_recipe
from dpo_credit.train.recipe import LOSSES, Recipe, arguments
from dpo_credit.train.rows import rows_of
from dpo_credit.train.run import last_checkpoint


def test_a_policy_brings_its_beta_and_reference(folder: Path) -> None:
    train("--set", "loss=sigmoid_norm", "--set", "max_steps=2")
    pair = load_pair("dpo", loading=Loading(device="cpu"))
    assert (pair.beta, pair.length_normalised) == (0.25, True)
    assert pair.notes[0] == "beta 0.25, as dpo was trained with" and "loss sigmoid_norm" in pair.notes[1]
    assert load_pair("dpo/checkpoint-2", loading=Loading(device="cpu")).beta == 0.25
    given = load_pair("dpo", beta=0.5, length_normalised=False, loading=Loading(device="cpu"))
    assert (given.beta, given.length_normalised) == (0.5, False)
    assert given.notes == (
        "beta 0.5 as given; dpo was trained with 0.25",
        "rewards are beta × log-ratio, as given; dpo was trained with loss sigmoid_norm",
    )
    (folder / "row.json").write_text(json.dumps(ROWS[0]))
    scored = run("score", "row.json", "--policy", "dpo", "--json", "-")
    found = json.loads(scored.stdout)
    (answer, _) = found["credit"]["answers"]
    assert answer["beta"] == 0.25 and "beta 0.25, as dpo was trained with" in scored.stderr
    assert answer["reference"].endswith("sft")


def test_a_training_is_followed_on_other_rows(folder: Path) -> None:
    rows = [{**row, "id": f"v{n}"} for n, row in enumerate(ROWS[:3])]
    (folder / "validation.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    train("--set", "follow=validation.jsonl", "--set", "follow_steps=4", "--set", "watch=v1")
    _, *moments = map(json.loads, (folder / "dpo/credit.jsonl").read_text().splitlines())
    assert [moment["step"] for moment in moments] == [4, 6]
    scored = run("batch", "validation.jsonl", "--policy", "dpo").stdout.splitlines()  # by the policy as it was saved
    chosen, rejected = json.loads(scored[2])["credit"]["answers"]
    for name, answer in (("chosen_logps", chosen), ("rejected_logps", rejected)):
        assert moments[-1][name][2] == pytest.approx(answer["policy_logps"], abs=1e-5)
    assert run("trajectory", "dpo/credit.jsonl").code == 0
    train("--resume", "--set", "follow=validation.jsonl", "--set", "follow_steps=4", "--set", "watch=v1")


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("sft", ["follow=rows.jsonl"], "follow is of DPO, whose rewards it shows. Leave it out."),
        ("dpo", ["watch=x"], "watch names one of the rows of follow, and there is none. Set follow: FILE."),
        ("dpo", ["follow=single.jsonl"], "s has no chosen and rejected. Give preferences."),
        ("dpo", ["follow=none.jsonl"], "none.jsonl does not exist"),
    ],
)
def test_what_cannot_be_followed_is_said_before_training(
    method: str, settings: list[str], message: str, folder: Path
) -> None:
    (folder / "single.jsonl").write_text(json.dumps({"id": "s", "prompt": "a", "completion": "b"}))
    changes = [part for setting in settings for part in ("--set", setting)]
    recipe = folder / f"{method}.yaml"
    recipe.write_text((folder / "dpo.yaml").read_text().replace("beta: 0.25\n", ""))
    ended = run("train", method, "--config", recipe, "--dry-run", *changes)
    assert ended.code == 2 and message in ended.stderr


def test_training_raises_the_margin_of_its_rows(folder: Path) -> None:
    train("--set", "max_steps=12")
    lines = run("batch", "rows.jsonl", "--policy", "dpo").stdout.splitlines()
    margins = [json.loads(line)["credit"]["margin"] for line in lines]
    assert sum(margin > 0 for margin in margins) > len(ROWS) * 0.8


def test_a_moved_run_still_finds_its_reference(trained: Path) -> None:
    (trained / "elsewhere").mkdir()
    for name in ("sft", "dpo"):
        (trained / name).rename(trained / "elsewhere" / name)
    assert load_pair("elsewhere/dpo", loading=Loading(device="cpu")).beta == 0.25


def test_a_resumed_training_ends_in_the_same_weights(run_once: Path, trained: Path) -> None:
    """A kill may fall while a checkpoint is written: the trainer's state comes last, and a part of one is none."""
    state, earlier = trained / "dpo/checkpoint-6/trainer_state.json", trained / "dpo/checkpoint-4"
    state.write_bytes(state.read_bytes()[:-20])
    (earlier / "trainer_state.json").unlink()
    (earlier / "optimizer.pt").unlink()
    (trained / "dpo/model.safetensors").unlink()
    assert last_checkpoint("dpo") == "dpo/checkpoint-2"
    train("--resume")
    whole, parts = weights(run_once / "dpo"), weights(trained / "dpo")
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_to_go_on_from(run_once: Path, folder: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", UNHURRIED, "train", "dpo", "-c", "dpo.yaml"]
    # One thread as here: sums over two round otherwise.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # these tests may run in the background
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 1 "):
                process.send_signal(number)
                break
        said = process.stderr.read()
    assert process.returncode == 128 + number and "go on with --resume" in said
    assert "Traceback" not in said
    train("--resume")
    whole, parts = weights(run_once / "dpo"), weights(folder / "dpo")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
def test_a_training_killed_at_its_checkpoints_ends_in_the_same_weights(run_once: Path, folder: Path) -> None:
    """Each kill falls as soon as a checkpoint's folder is there, most likely while it is written."""
    command = [sys.executable, "-m", "dpo_credit", "train", "dpo", "-c", "dpo.yaml", "--resume"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    for step in (2, 4):
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        ) as process:
            while not (folder / f"dpo/checkpoint-{step}").exists():
                assert process.poll() is None, "it ended before its checkpoint"
                time.sleep(0.001)
            process.kill()
        assert process.returncode == -signal.SIGKILL
    train("--resume")
    whole, parts = weights(run_once / "dpo"), weights(folder / "dpo")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_sft_learns_the_chosen_answer_of_chats(folder: Path) -> None:
    save(language_model(), folder / "chat", tokenizer(chat_template=CHATML, end="<|im_end|>"))
    chats = [
        {"messages": [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["chosen"]}]}
        for r in ROWS
    ]
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    (folder / "sft.yaml").write_text(f"model: chat\ndata: chats.jsonl\noutput: out\n{SETTINGS}")
    train("--set", "max_steps=2", method="sft", config="sft.yaml")
    record = json.loads((folder / "out/dpo_credit.json").read_text())
    assert record["method"] == "sft" and record["beta"] is None and record["chat_template"] == CHATML
    assert not torch.equal(
        weights(folder / "out")["gpt_neox.embed_in.weight"], weights(folder / "chat")["gpt_neox.embed_in.weight"]
    )


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_whole_chats_are_trained_as_they_are_scored(folder: Path, method: str) -> None:
    """Several turns, tools and template arguments; that TRL's tokens are ours, `train` makes sure itself."""
    template = "{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML
    save(language_model(), folder / "chat", tokenizer(chat_template=template, end="<|im_end|>"))
    names = ["several turns", "tools as JSON", "tools", "the user speaks last", "template arguments"]
    (folder / "chats.jsonl").write_text("".join(json.dumps(CHATS[name]) + "\n" for name in names))
    (folder / "chats.yaml").write_text(f"model: chat\ndata: chats.jsonl\noutput: out\n{SETTINGS}")
    train("--set", "max_steps=1", "--set", "max_length=512", method=method, config="chats.yaml")
    recipe = read_recipe((folder / "chats.yaml").read_text(), "chats.yaml", method)
    rows = rows_of(replace(recipe, max_length=512), tokenizer(chat_template=template, end="<|im_end|>"))
    assert rows.tokens[1][0].prompt_ids != rows.tokens[0][0].prompt_ids  # the tools are there


def test_an_adapter_keeps_its_base_as_reference(folder: Path) -> None:
    (folder / "lora.yaml").write_text(
        "model: sft\ndata: rows.jsonl\noutput: lora\nbeta: 0.25\n"
        f"adapter: {{r: 2, target_modules: [query_key_value]}}\n{SETTINGS}"
    )
    train("--set", "max_steps=1", config="lora.yaml")
    pair = load_pair("lora", loading=Loading(device="cpu"))
    assert pair.beta == 0.25 and pair.policy.module is pair.reference.module


def test_dpo_goes_on_with_an_adapter_and_keeps_it_as_ref(folder: Path) -> None:
    (folder / "lora.yaml").write_text(
        f"model: sft\ndata: rows.jsonl\noutput: lora\nadapter: {{r: 2, target_modules: [query_key_value]}}\n{SETTINGS}"
    )
    train("--set", "max_steps=1", method="sft", config="lora.yaml")
    (folder / "onward.yaml").write_text(f"model: lora\ndata: rows.jsonl\noutput: onward\nbeta: 0.25\n{SETTINGS}")
    train("--set", "max_steps=2", "--set", "save_steps=1", config="onward.yaml")

    def adapter(place: str) -> dict[str, torch.Tensor]:
        return load_file(folder / place / "adapter_model.safetensors")

    before, ref, after = adapter("lora"), adapter("onward/ref"), adapter("onward")
    assert all(torch.equal(before[name], ref[name]) for name in before) and before.keys() == ref.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    pair = load_pair("onward", loading=Loading(device="cpu"))
    assert pair.beta == 0.25 and pair.policy.module is pair.reference.module
    example = Example(ROWS[0]["prompt"], ROWS[0]["chosen"])
    (credit,) = score(pair, [example])
    (alone,) = score(load_pair("lora", loading=Loading(device="cpu")), [example])
    assert credit.reference_logps == pytest.approx(alone.policy_logps, abs=1e-5)
    assert credit.policy_logps != credit.reference_logps

    (folder / "onward/adapter_model.safetensors").unlink()
    shutil.rmtree(folder / "onward/checkpoint-2")
    train("--set", "max_steps=2", "--set", "save_steps=1", "--resume", config="onward.yaml")
    again = adapter("onward")
    assert all(torch.equal(after[name], again[name]) for name in after)

    train("--set", "max_steps=1", "--set", "model=onward", "--set", "output=further", config="onward.yaml")
    further = adapter("further/ref")
    assert all(torch.equal(ref[name], further[name]) for name in ref)
    wrong = run("train", "dpo", "-c", "onward.yaml", "--set", "output=x", "--set", "adapter={r: 2}")
    assert wrong.code == 2 and "Leave adapter out" in wrong.stderr


@pytest.mark.slow
def test_several_processes_train_one_model(folder: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    command = [
        *launch,
        "-m",
        "dpo_credit",
        "train",
        "dpo",
        "-c",
        "dpo.yaml",
        "--set",
        "max_steps=2",
        "--set",
        "trl.use_cpu=true",
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "dpo\n" and ended.stderr.count("12 preferences") == 1
    train("--set", "max_steps=2", "--set", "output=alone")
    both, alone = weights(folder / "dpo"), weights(folder / "alone")
    assert max(float((both[name] - alone[name]).abs().max()) for name in both) < 2e-3


def test_the_papers_settings_are_in_the_recipes() -> None:
    sft = read_recipe((EXAMPLES / "tldr/sft.yaml").read_text(), "sft.yaml", "sft")
    dpo = read_recipe((EXAMPLES / "tldr/dpo.yaml").read_text(), "dpo.yaml", "dpo")
    first, second = arguments(sft, processes=4), arguments(dpo, processes=4)
    assert (first["learning_rate"], first["num_train_epochs"]) == (0.5e-6, 1)
    assert (first["per_device_train_batch_size"], first["gradient_accumulation_steps"]) == (4, 8)
    assert (second["learning_rate"], second["warmup_steps"], second["max_grad_norm"]) == (0.5e-6, 150, 10)
    assert (second["beta"], second["max_length"], dpo.batch_size) == (0.1, 512, 32)
    assert dpo.model == sft.output


def test_the_dry_run_is_a_recipe_and_trains_nothing(folder: Path) -> None:
    ended = train("--dry-run", "--set", "trl.label_smoothing=0.1")
    again = read_recipe(ended.stdout, "printed.yaml", "dpo")
    assert again == read_recipe((folder / "dpo.yaml").read_text(), "dpo.yaml", "dpo", ["trl.label_smoothing=0.1"])
    assert not (folder / "dpo").exists() and "12 preferences" in ended.stderr


def test_rows_that_are_too_long_can_be_left_out(folder: Path) -> None:
    long = {**ROWS[0], "chosen": " word" * 200}
    with (folder / "rows.jsonl").open("a") as file:
        file.write(json.dumps(long) + "\n")
    assert "1 of 13 rows are longer" in run("train", "dpo", "-c", "dpo.yaml").stderr
    assert "1 of 13 rows are left out" in train("--set", "too_long=drop", "--dry-run").stderr


@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_rows_that_are_too_long_can_be_cut_as_trl_cuts_them(folder: Path, method: str, mode: str) -> None:
    long = [{**ROWS[0], "chosen": " word" * 60}, {**ROWS[0], "prompt": "word " * 60 + "TL;DR:"}]
    with (folder / "rows.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in long)
    settings = ("too_long=truncate", "max_length=50", "max_steps=1", f"trl.truncation_mode={mode}", "output=cut")
    ended = train(*(part for setting in settings for part in ("--set", setting)), method=method)
    # from the start nothing is kept of an answer whose prompt alone fills the room
    cut, left_out = (2, 0) if mode == "keep_end" else (1, 1)
    assert f"{cut} of 14 rows are cut to max_length 50 ({mode})" in ended.stderr
    assert ended.stderr.count("1 of 14 rows are left out: their prompts alone fill max_length 50") == left_out
    if method == "dpo":
        pair = load_pair("cut", loading=Loading(device="cpu"))
        assert pair.cut == Cut(50, keeps=mode)


def test_the_log_has_digits_of_small_rewards_too(folder: Path) -> None:
    said = train("--set", "max_steps=3", "--set", "learning_rate=1e-6").stderr
    lines = [line.partition(": ")[2] for line in said.splitlines() if line.startswith("step ")]
    logged = json.loads((folder / "dpo/checkpoint-3/trainer_state.json").read_text())["log_history"]
    for line, log in zip(lines, logged, strict=True):
        shown = {name: float(figure) for name, figure in (part.split() for part in line.split(", "))}
        theirs = {name: log[f"rewards/{name}"] for name in ("chosen", "rejected")}
        assert {name: shown[name] for name in theirs} == pytest.approx(theirs, rel=1e-3)  # four digits
        assert shown["accuracy"] == pytest.approx(log["rewards/accuracies"], rel=1e-3)
    assert 0 < abs(logged[-1]["rewards/chosen"]) < 5e-3  # three decimals would lose most of it


def test_the_model_card_names_what_was_trained_and_what_came_of_it(trained: Path) -> None:
    card = (trained / "dpo/README.md").read_text()
    assert 'model="dpo"' in card and "fine-tuned version of `sft`" in card and "None" not in card


def test_the_losses_are_those_of_trl() -> None:
    source = inspect.getsource(DPOTrainer)
    listed = re.search(r"Should be one of \[(.*?)\]", source, re.DOTALL)
    assert listed is not None
    assert tuple(re.findall(r"'(\w+)'", listed[1])) == LOSSES


def test_batches_divide_among_processes() -> None:
    recipe = Recipe(
        method="dpo", model="m", output="o", data=("d",), learning_rate=1.0, batch_size=32, per_device_batch_size=2
    )
    assert recipe.accumulation(4) == (2, 4)
    with pytest.raises(CreditError, match="no multiple"):
        recipe.accumulation(3)
