"""What rewards are computed with: what is given, what a training left beside its policy, or a default that is said."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from program import run
from tiny import language_model, save, tokenizer
from transformers import AutoModelForCausalLM, TrainingArguments
from trl import DPOConfig, DPOTrainer, SFTConfig

from dpo_credit import CreditError, Example, Loading, load_pair, score
from dpo_credit.models.checkpoints import Checkpoint, Location, find
from dpo_credit.models.trained import Trained
from dpo_credit.models.training import Training, training_of

CPU = Loading(device="cpu")
ROWS = [
    {"prompt": f"Rent is {n} dollars a month.\n\nTL;DR:", "chosen": f" It is {n}.", "rejected": f" It is {n + 1} now."}
    for n in range(100, 104)
]
ASSUMED = "beta 0.1 assumed: nothing beside policy says otherwise"
READ = "beta 0.2, as policy was trained with (training_args.bin)"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`sft`, and what two steps of plain TRL make of it with beta 0.2: `policy`, and an adapter, `lora`."""
    folder = tmp_path_factory.mktemp("runs")
    save(language_model(), folder / "sft", tokenizer())
    for name, adapter in (("policy", None), ("lora", LoraConfig(r=2, target_modules=["query_key_value"]))):
        model, start = (AutoModelForCausalLM.from_pretrained(folder / "sft") for _ in range(2))
        made = DPOTrainer(
            model,
            ref_model=None if adapter else start,
            args=config(folder / name, learning_rate=1e-3, max_steps=2, save_steps=1),
            train_dataset=Dataset.from_list(ROWS),
            processing_class=tokenizer(),
            peft_config=adapter,
        )
        made.train()
        made.save_model(str(folder / name))
    (folder / "row.json").write_text(json.dumps(ROWS[0]))
    return folder


@pytest.fixture
def folder(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `runs` to work in."""
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config(output: Path | str, **arguments: object) -> DPOConfig:
    settings = {
        "beta": 0.2,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": 64,
    }
    return DPOConfig(str(output), **{**settings, **arguments})  # type: ignore[arg-type]


def trained_with(**arguments: object) -> None:
    """Let `policy` have been trained with these arguments."""
    torch.save(config("policy", **arguments), "policy/training_args.bin")


def of(policy: str = "policy", **given: object) -> Training:
    return training_of(find(policy, "policy", CPU), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["policy", "policy/checkpoint-1", "lora", "lora/checkpoint-2"])
def test_a_run_of_plain_trl_brings_its_beta(folder: Path, name: str) -> None:
    reference = () if "lora" in name else ("--reference", "sft")
    ended = run("score", "row.json", "--policy", name, *reference, "--json", "scored.json")
    assert f"note: beta 0.2, as {name} was trained with (training_args.bin)\n" in ended.stderr
    chosen = json.loads((folder / "scored.json").read_text())["credit"]["answers"][0]
    log_ratio = chosen["policy_logp"] - chosen["reference_logp"]
    # 1e-6: what is kept of the log-probabilities is float32's
    assert chosen["beta"] == 0.2 and chosen["reward"] == pytest.approx(0.2 * log_ratio, abs=1e-6)


def test_a_checkpoint_without_arguments_has_its_runs(folder: Path) -> None:
    (folder / "policy/checkpoint-1/training_args.bin").unlink()
    assert of("policy/checkpoint-1").beta == 0.2
    (folder / "policy/training_args.bin").unlink()
    assert of("policy/checkpoint-1").assumed.startswith("beta 0.1 assumed")


def test_what_is_given_comes_first_then_the_record_then_the_arguments_then_a_default(folder: Path) -> None:
    assert of() == Training(0.2, False, (READ,), cut=of().cut)
    Trained("dpo", "sft", "../sft", 0.3).write(folder / "policy")
    assert of() == Training(0.3, False, ("beta 0.3, as policy was trained with",))
    assert of(beta=0.5) == Training(0.5, False, ("beta 0.5 as given; policy was trained with 0.3",))
    assert of(beta=0.3) == Training(0.3, False)
    (folder / "policy/dpo_credit.json").unlink()
    assert of(beta=0.5).notes == ("beta 0.5 as given; policy was trained with 0.2 (training_args.bin)",)
    (folder / "policy/training_args.bin").unlink()
    assert of() == Training(0.1, False, (ASSUMED,), ASSUMED)
    assert of(beta=0.5) == Training(0.5, False)


def test_a_policy_on_the_hub_brings_its_beta_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cached_file(name: str, file: str, **_: object) -> str:
        if not (folder / name.partition("/")[2] / file).is_file():
            raise OSError(f"{name} does not appear to have a file named {file}.")
        return str(folder / name.partition("/")[2] / file)

    monkeypatch.setattr("transformers.utils.cached_file", cached_file)
    policy = Checkpoint("me/policy", "policy", Location("me/policy", local=False))
    assert training_of(policy).notes == ("beta 0.2, as me/policy was trained with (training_args.bin)",)
    (folder / "policy/training_args.bin").unlink()
    assert training_of(policy).assumed == "beta 0.1 assumed: nothing beside me/policy says otherwise"


def test_the_embedded_pair_needs_no_word() -> None:
    assert of("embedded") == Training(0.1, False)
    assert of("embedded", beta=0.2).notes == ("beta 0.2 as given; embedded policy was trained with 0.1",)


def test_a_beta_that_is_assumed_goes_with_every_answer(folder: Path) -> None:
    (folder / "policy/training_args.bin").unlink()
    pair = ("--policy", "policy", "--reference", "sft")
    for command in (("score", "row.json"), ("batch", "row.json"), ("diff", "row.json")):
        ended = run(*command, *pair, "--json", "-") if command[0] != "batch" else run(*command, *pair)
        assert ended.stderr.count(ASSUMED) == 1, ended.stderr
        (record,) = (json.loads(line) for line in ended.stdout.splitlines())
        assert record["credit"]["answers"][0]["notes"] == record["credit"]["answers"][1]["notes"] == [ASSUMED]


@pytest.mark.parametrize("command", ["verify", "localise", "search", "steer", "trajectory", "inspect"])
def test_every_command_says_what_it_assumes(folder: Path, command: str) -> None:
    for name in ("", "checkpoint-1", "checkpoint-2"):
        (folder / "policy" / name / "training_args.bin").unlink()
    label = {"start": 1, "end": 3, "text": "It", "kind": "word"}
    (folder / "labelled.json").write_text(json.dumps({**ROWS[0], "labels": [label]}))
    pair = ("--policy", "policy", "--reference", "sft", "--device", "cpu")
    arguments = {
        "verify": ("row.json", "--no-trl", "--trainer-log", "policy/checkpoint-2/trainer_state.json", *pair),
        "localise": ("labelled.json", *pair),
        "search": ("row.json", "--beams", "1", "--max-new-tokens", "2", *pair),
        "steer": ("row.json", "--max-new-tokens", "2", *pair),
        "trajectory": ("policy", "row.json", "--reference", "sft", "--device", "cpu", "--samples", "0"),
        "inspect": ("row.json", *pair),
    }
    ended = run(command, *arguments[command])
    assert "Traceback" not in ended.stderr
    said = " ".join((ended.stdout + ended.stderr).split())
    assert "beta 0.1 assumed: nothing beside policy" in said, ended.stderr
    named = run(command, *arguments[command], "--beta", "0.1")
    assert "assumed" not in named.stdout + named.stderr


OTHERS = {
    "SFT": (
        lambda: torch.save(SFTConfig("x", use_cpu=True, report_to="none"), ARGUMENTS),
        "is of SFTConfig, which is not",
    ),
    "Trainer": (lambda: torch.save(TrainingArguments("x", use_cpu=True), ARGUMENTS), "is of TrainingArguments"),
    "cut off": (lambda: ARGUMENTS.write_bytes(ARGUMENTS.read_bytes()[:1000]), "training_args.bin cannot be read: "),
    "no beta": (lambda: trained_with(beta=-1.0), "holds no beta above zero"),
    "record of SFT": (lambda: Trained("sft", "base").write(Path("policy")), "policy is of SFT, which has none"),
}
ARGUMENTS = Path("policy/training_args.bin")


@pytest.mark.parametrize("other", OTHERS)
def test_what_says_no_beta_is_named(folder: Path, other: str) -> None:
    make, said = OTHERS[other]
    make()
    assert of().beta == 0.1 and of().notes == (of().assumed,)
    assert of().assumed.startswith("beta 0.1 assumed: ") and said in of().assumed


def test_no_code_of_a_run_is_executed(folder: Path) -> None:
    class Command:
        def __reduce__(self) -> object:
            return os.system, ("touch ran",)

    arguments = config("policy")
    arguments.seed = Command()  # type: ignore[assignment]
    torch.save(arguments, ARGUMENTS)
    assert load_pair("policy", "sft", loading=CPU).beta == 0.2
    assert not (folder / "ran").exists()


def test_rewards_of_another_formula_are_refused_until_one_is_named(folder: Path) -> None:
    trained_with(f_divergence_type="js_divergence")
    pair = ("row.json", "--policy", "policy", "--reference", "sft")
    ended = run("score", *pair)
    assert ended.code == 2 and ended.stderr.startswith("dpo-credit: policy policy was trained with f-divergence js_div")
    named = run("score", *pair, "--no-length-normalised", "--json", "-")
    assert named.code == 0 and json.loads(named.stdout)["credit"]["answers"][0]["beta"] == 0.2
    assert "note: rewards are beta × log-ratio, as given; policy was trained with f-divergence js_div" in named.stderr
    looked = run("inspect", *pair, "--json", "-")
    (finding,) = (f for f in json.loads(looked.stdout)["findings"] if f["kind"] == "training")
    assert finding["level"] == "error" and finding["fix"].startswith("To score it all the same")


def test_a_loss_that_takes_means_is_scored_so(folder: Path) -> None:
    trained_with(loss_type="ipo")
    pair = load_pair("policy", "sft", loading=CPU)
    assert pair.length_normalised and any("trained with loss ipo: rewards are beta / T" in note for note in pair.notes)
    summed = of(length_normalised=False)
    assert not summed.length_normalised
    assert summed.notes[1:] == (
        "rewards are beta × log-ratio, as given; policy was trained with loss ipo (training_args.bin)",
    )


def test_the_losses_of_our_own_record_count_alike(folder: Path) -> None:
    recipe = {"loss": "sigmoid", "trl": {"ld_alpha": 0.5}}
    Trained("dpo", "sft", "../sft", 0.3, recipe=recipe).write(folder / "policy")
    with pytest.raises(CreditError, match=r"policy policy was trained with ld_alpha 0\.5"):
        of()
    assert of(length_normalised=False).beta == 0.3


def test_an_answer_that_training_would_have_cut_is_told(folder: Path) -> None:
    trained_with(max_length=32, truncation_mode="keep_start")
    pair = load_pair("policy", "sft", loading=CPU)
    short, long = Example("Rent is 120.", " It is 120."), Example("Rent is 120.", " It is 120, and it is rising." * 3)
    told, cut = score(pair, [short, long])
    size = len(cut.tokens.prompt_ids) + len(cut.tokens.answer_ids)
    assert told.tokens.notes == () and size > 32
    assert cut.tokens.notes == (
        f"the policy was trained on rows cut to 32 tokens (max_length, keep_start), and all {size} are scored here",
    )
