"""What `export` writes for TRL, with the installed TRL at the other end: the same tokens, the same losses."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from program import run
from test_trl import CHAT, TEXT
from tiny import CHATML, language_model, save, tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from dpo_credit.export.weights import Keep

datasets = pytest.importorskip("datasets", reason="the train extra is not installed")
trl = pytest.importorskip("trl", reason="the train extra is not installed")

EXAMPLE = Path(__file__).parents[1] / "examples" / "selective_training.py"
# TRL sums in float32 in another order: near 1,000 nats, where steps are 6e-5, as in test_trl
CLOSE = 2e-4


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The example, as a module."""
    spec = importlib.util.spec_from_file_location("selective_training", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.STEPS = 3
    return module


@pytest.fixture(autouse=True)
def no_bars() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def directories(folder: Path, *, chat: bool) -> tuple[Path, Path]:
    with_template = tokenizer(chat_template=CHATML if chat else None)
    policy, reference = (
        save(language_model(seed=seed), folder / name, with_template)
        for seed, name in ((1, "policy"), (2, "reference"))
    )
    return policy, reference


def exported(rows: list[dict[str, Any]], models: tuple[Path, Path], folder: Path, *arguments: str) -> Any:
    """The rows scored and exported, as a dataset."""
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    policy, reference = models
    pair = ("--policy", policy, "--reference", reference, "--beta", "0.1", "--device", "cpu")
    assert run("batch", folder / "rows.jsonl", "-o", folder / "scored.jsonl", *pair).code == 0
    ended = run("export", folder / "scored.jsonl", *arguments, "-o", f"{folder}/made/")
    assert ended.code == 0, ended.stderr
    return datasets.load_from_disk(str(folder / "made"))


def trainer(kind: Any, rows: Any, models: tuple[Path, Path], example: ModuleType, folder: Path, **more: Any) -> Any:
    """A trainer of the policy."""
    return kind(
        AutoModelForCausalLM.from_pretrained(models[0]),
        args=example.arguments(str(folder / "trl"), 0.1),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(models[0]),
        **more,
    )


@pytest.mark.parametrize("chat", [False, True], ids=["text", "chats"])
def test_a_training_on_exported_sums_has_the_losses_of_one_that_computes_them(
    chat: bool, tmp_path: Path, example: ModuleType
) -> None:
    given = CHAT if chat else TEXT
    models = directories(tmp_path, chat=chat)
    rows = exported(given, models, tmp_path, "--to", "trl-reference")
    kept = trainer(example.KeptReference, rows, models, example, tmp_path)
    assert kept.ref_model is None
    reference = AutoModelForCausalLM.from_pretrained(models[1])
    computed = trainer(
        trl.DPOTrainer, datasets.Dataset.from_list(given), models, example, tmp_path, ref_model=reference
    )
    for name in ("ref_chosen_logps", "ref_rejected_logps"):
        assert kept.train_dataset[name][:] == pytest.approx(computed.train_dataset[name][:], abs=CLOSE)
    losses = example.losses(computed)
    assert len(losses) == 3 and len({round(loss, 3) for loss in losses}) > 1  # it does train
    assert example.losses(kept) == pytest.approx(losses, abs=CLOSE)


def test_weights_stand_at_the_tokens_that_trl_trains_on(tmp_path: Path, example: ModuleType) -> None:
    models = directories(tmp_path, chat=False)
    rows = exported(TEXT, models, tmp_path, "--to", "token-weights", "--keep", "top:0.5")
    collator = example.WeightCollator(1)
    made = trainer(example.KeyTokens, rows, models, example, tmp_path, data_collator=collator)
    for row in made.train_dataset:
        assert row["chosen_token_ids"] == row["chosen_ids"] and row["rejected_token_ids"] == row["rejected_ids"]
        assert sum(row["chosen_weights"]) == math.ceil(len(row["chosen_ids"]) / 2)
    batch = collator([made.train_dataset[0], made.train_dataset[6]])
    assert batch["weights"].shape == batch["input_ids"].shape
    assert not batch["weights"][batch["completion_mask"] == 0].any()


def test_the_loss_of_key_tokens_is_the_naive_one(tmp_path: Path, example: ModuleType) -> None:
    """-log sigmoid(gamma * (the kept chosen tokens' mean log-probability - the rejected ones')), mean over two rows."""
    models = directories(tmp_path, chat=False)
    rows = exported(TEXT[:2], models, tmp_path, "--to", "token-weights", "--keep", "sign")
    made = trainer(example.KeyTokens, rows, models, example, tmp_path, data_collator=example.WeightCollator(1))
    model, values = AutoModelForCausalLM.from_pretrained(models[0]), []
    for row in made.train_dataset:
        means = []
        for name in ("chosen", "rejected"):
            ids = torch.tensor([[*row["prompt_ids"], *row[f"{name}_ids"]]])
            with torch.no_grad():
                logps = model(ids).logits[0].log_softmax(-1)
            at = len(row["prompt_ids"])
            kept = [t for t, weight in enumerate(row[f"{name}_weights"]) if weight]
            means.append(sum(float(logps[at + t - 1, row[f"{name}_ids"][t]]) for t in kept) / len(kept))
        values.append(-math.log(1 / (1 + math.exp(-0.1 * (means[0] - means[1])))))
    assert example.losses(made)[0] == pytest.approx(sum(values) / 2, abs=1e-4)  # the trainer logs four digits


@pytest.mark.slow  # the embedded pair is larger than these
def test_the_example_trains_on_both(tmp_path: Path, example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    scored = tmp_path / "scored.jsonl"
    asked = ("batch", EXAMPLE.parent / "posts.jsonl", "--pair", "embedded", "--device", "cpu", "-o", scored)
    assert run(*asked).code == 0
    for form in ("token-weights", "trl-reference"):
        assert run("export", scored, "--to", form, "-o", f"{tmp_path}/{form}/").code == 0
    example.main(f"{tmp_path}/token-weights/", f"{tmp_path}/trl-reference/")
    key_tokens, kept = capsys.readouterr().out.splitlines()
    assert key_tokens.startswith("KeyTokens ")
    assert kept.startswith("KeptReference 0.693 ")  # log 2: at its start the policy is the reference


def test_other_tokens_than_the_scored_ones_are_refused_by_the_collator(example: ModuleType) -> None:
    row = {"prompt_ids": [5], "chosen_weights": [1.0, 0.0], "rejected_weights": [1.0]}
    row |= {"chosen_ids": [6, 7], "rejected_ids": [8], "chosen_token_ids": [6, 7], "rejected_token_ids": [8]}
    batch = example.WeightCollator(1)([row])
    assert batch["weights"].tolist() == [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]
    with pytest.raises(ValueError, match=r"\[9\] was scored, and TRL reads \[8\]"):
        example.WeightCollator(1)([{**row, "rejected_token_ids": [9]}])


@pytest.mark.parametrize(
    ("row", "flags", "said"),
    [
        (TEXT[0], ["--eos", "never"], "its end is not scored"),
        (CHAT[0], ["--eos", "never"], "its end is not scored"),
        (CHAT[0], ["--chat-template", "none"], "an end token was appended to a chat"),
        (TEXT[6], ["--max-length", "300", "--truncate", "prompt-start"], "its prompt was cut"),
        ({**TEXT[0], "rejected": None, "completions": [" a", " b"], "chosen": None}, [], "is a list of answers"),
    ],
)
def test_rows_that_trl_would_read_otherwise_are_refused(
    row: dict[str, Any], flags: list[str], said: str, tmp_path: Path
) -> None:
    policy, reference = directories(tmp_path, chat="prompt" in row and isinstance(row["prompt"], list))
    row = {name: value for name, value in row.items() if value is not None}
    (tmp_path / "row.jsonl").write_text(json.dumps(row) + "\n")
    pair = ("--policy", policy, "--reference", reference, "--beta", "0.1", "--device", "cpu")
    scored = run("batch", tmp_path / "row.jsonl", *pair, *flags)
    assert scored.code == 0, scored.stderr
    ended = run("export", "-", "--to", "token-weights", stdin=scored.stdout.encode())
    assert ended.code == 2 and said in ended.stderr and ended.stdout == ""


def test_the_share_that_is_kept_is_rounded_up_and_of_equal_rewards_takes_the_first() -> None:
    from credits import credit

    even = credit(["a", "b", "c", "d"], [0.5, 0.5, 0.5, 0.5])
    assert Keep("top", 0.3).weights(even) == [1, 1, 0, 0]  # 0.3 * 4 = 1.2
    assert Keep("top", 0.5).weights(even) == [1, 1, 0, 0]
    mixed = credit(["a", "b", "c", "d"], [0.5, -0.5, 0.2, -0.1])
    assert Keep("top", 0.25).weights(mixed) == [1, 0, 0, 0]
    assert Keep("top", 0.25).weights(mixed, rejected=True) == [0, 1, 0, 0]
    assert Keep("above", 0.2).weights(mixed) == [1, 0, 0, 0]
    assert Keep("above", 0.2).weights(mixed, rejected=True) == [0, 1, 0, 0]
    assert Keep("above", 0.0).weights(mixed, rejected=True) == [0, 1, 0, 1]
