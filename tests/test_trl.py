"""The sum over tokens is TRL's implicit reward: the installed DPOTrainer evaluates the same rows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig, get_peft_model
from tiny import language_model, randomise, save
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from dpo_credit import Example, Loading, Message, ModelPair, load_pair, score
from dpo_credit.credit import margin

trl = pytest.importorskip("trl", reason="the train extra is not installed")
datasets = pytest.importorskip("datasets", reason="the train extra is not installed")

CPU = Loading(device="cpu")
BETA = 0.37
# TRL sums log-probabilities in float32 before it subtracts: the longest row's sum is near 1,000 nats, where steps are
# 6e-5, and beta times a few of these is 3e-5; the other rows agree to 4e-6
CLOSE = 1e-4

TEXT = [
    {"prompt": "POST: My landlord raised the rent.\n\nTL;DR:", "chosen": " Rent is up.", "rejected": " Rent is down."},
    {"prompt": "Where is the lake? ", "chosen": "In Lisbon.", "rejected": "In Canberra, in Australia."},  # straddles
    {"prompt": "Ends on a new line\n", "chosen": "\nso did this", "rejected": "\nand that"},
    {"prompt": "Closed already:", "chosen": " yes<|endoftext|>", "rejected": " no, by us"},
    {"prompt": "Emoji 👩‍🚀:", "chosen": " 🇵🇹👍🏽 e\u0301", "rejected": " 漢字 مرحبا"},
    {"prompt": "A tab\tand", "chosen": "  two spaces", "rejected": "\t\ttabs"},
    {"prompt": "Long. " * 40, "chosen": " Short.", "rejected": " Not so short. " * 12},
    {"prompt": "x", "chosen": "y", "rejected": "z"},
    {"prompt": "<|endoftext|>Starts closed.", "chosen": " Well", "rejected": " Unwell"},
    {"prompt": "Same answers:", "chosen": " 54000 a year", "rejected": " 54000 a year"},
    {"prompt": "Half of it:", "chosen": " I was offered a job", "rejected": " I was"},
    {"prompt": "Trailing:", "chosen": " space ", "rejected": " lines\n\n"},
]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


CHAT = [
    {
        "prompt": [turn("user", "Is Sydney the capital?")],
        "chosen": [turn("assistant", "No, it is Canberra.")],
        "rejected": [turn("assistant", "Yes. 🙂\n")],
    },
    {
        "prompt": [turn("system", "Be brief."), turn("user", "Rent?"), turn("assistant", "Up."), turn("user", "Much?")],
        "chosen": [turn("assistant", "120 dollars")],
        "rejected": [turn("assistant", "\nten days\n\n")],
    },
    {
        "prompt": [turn("user", "<|im_end|>  ")],
        "chosen": [turn("assistant", " spaces around ")],
        "rejected": [turn("assistant", "<|im_start|>user\nno<|im_end|>")],
    },
]


def trainer(
    folder: Path,
    model: Any,
    reference: Any,
    tokenizer: PreTrainedTokenizerFast,
    rows: list,
    *,
    peft: Any = None,
    loss: str = "sigmoid",
) -> Any:
    """A DPOTrainer that takes three large steps on the rows if it is told to train."""
    config = trl.DPOConfig(
        output_dir=str(folder / "trl"),
        beta=BETA,
        loss_type=[loss],
        per_device_train_batch_size=2,
        per_device_eval_batch_size=1,
        max_steps=3,
        learning_rate=0.02,
        max_length=None,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    rows = datasets.Dataset.from_list(rows)
    return trl.DPOTrainer(
        model, reference, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=peft
    )


def evaluations(trainer: Any, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """What a DPOTrainer logs when it evaluates each row on its own."""
    trainer.evaluate({str(n): datasets.Dataset.from_list([row]) for n, row in enumerate(rows)})
    logged = [entry for entry in trainer.state.log_history if "eval_rewards/chosen" in entry]
    assert len(logged) == len(rows)
    return logged


def assert_equal_to_trl(pair: ModelPair, rows: list[dict[str, Any]], logged: list[dict[str, float]]) -> None:
    examples = [example(row["prompt"], row[side]) for row in rows for side in ("chosen", "rejected")]
    credits = list(score(pair, examples))
    for n, theirs in enumerate(logged):
        chosen, rejected = credits[2 * n : 2 * n + 2]
        assert chosen.reward == pytest.approx(theirs["eval_rewards/chosen"], abs=CLOSE), rows[n]
        assert rejected.reward == pytest.approx(theirs["eval_rewards/rejected"], abs=CLOSE), rows[n]
        assert margin(chosen, rejected) == pytest.approx(theirs["eval_rewards/margins"], abs=CLOSE), rows[n]
        assert chosen.policy_logp == pytest.approx(theirs["eval_logps/chosen"], abs=CLOSE), rows[n]
    spread = [abs(credit.reward) for credit in credits]
    assert max(spread) > 1  # the two models really differ


def example(prompt: Any, answer: Any) -> Example:
    if isinstance(prompt, str):
        return Example(prompt, answer)
    return Example(tuple(Message(**message) for message in prompt), answer[0]["content"])


def test_rewards_of_plain_text_are_those_of_trl(
    tmp_path: Path, tiny_pair_dirs: tuple[Path, Path], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    models = [AutoModelForCausalLM.from_pretrained(directory) for directory in tiny_pair_dirs]
    logged = evaluations(trainer(tmp_path, *models, tiny_tokenizer, TEXT), TEXT)
    assert_equal_to_trl(load_pair(*tiny_pair_dirs, beta=BETA, loading=CPU), TEXT, logged)


def test_rewards_of_chats_are_those_of_trl(
    tmp_path: Path, tiny_pair_dirs: tuple[Path, Path], chat_tokenizer: PreTrainedTokenizerFast
) -> None:
    models = [AutoModelForCausalLM.from_pretrained(directory) for directory in tiny_pair_dirs]
    directories = [save(model, tmp_path / name, chat_tokenizer) for model, name in zip(models, "pr", strict=True)]
    logged = evaluations(trainer(tmp_path, *models, chat_tokenizer, CHAT), CHAT)
    assert_equal_to_trl(load_pair(*directories, beta=BETA, loading=CPU), CHAT, logged)


def test_length_normalised_margins_are_the_logits_of_the_loss_that_trl_calls_sigmoid_norm(
    tmp_path: Path, tiny_pair_dirs: tuple[Path, Path], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    models = [AutoModelForCausalLM.from_pretrained(directory) for directory in tiny_pair_dirs]
    logged = evaluations(trainer(tmp_path, *models, tiny_tokenizer, TEXT, loss="sigmoid_norm"), TEXT)
    pair = load_pair(*tiny_pair_dirs, beta=BETA, length_normalised=True, loading=CPU)
    for n, (row, theirs) in enumerate(zip(TEXT, logged, strict=True)):
        chosen, rejected = score(pair, [example(row["prompt"], row[side]) for side in ("chosen", "rejected")])
        # TRL logs the loss only, -log sigmoid(logit); its rewards are the summed ones whatever the loss
        assert math.log1p(math.exp(-margin(chosen, rejected))) == pytest.approx(theirs[f"eval_{n}_loss"], abs=CLOSE), (
            row
        )
        assert chosen.reward * len(chosen.rewards) == pytest.approx(theirs["eval_rewards/chosen"], abs=CLOSE), row
    summed = list(
        score(load_pair(*tiny_pair_dirs, beta=BETA, loading=CPU), [Example("x", "yes, by us"), Example("x", "z")])
    )
    assert abs(margin(*summed) - margin(*(replace(one, length_normalised=True) for one in summed))) > 1e-2  # it matters


@pytest.mark.parametrize("reference", ["adapter off", "adapter ref"])
def test_rewards_of_an_adapter_that_trl_trained_and_saved_are_those_of_trl(
    tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast, reference: str
) -> None:
    base = save(language_model(seed=2), tmp_path / "base", tiny_tokenizer)
    lora = LoraConfig(r=4, target_modules=["query_key_value"], lora_alpha=16, task_type="CAUSAL_LM")
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if reference == "adapter ref":  # an adapter that SFT trained: TRL keeps a copy of it as the reference
        model = randomise(get_peft_model(model, lora), seed=7, scale=0.1, only="lora_")
    peft = None if reference == "adapter ref" else lora
    trained = trainer(tmp_path, model, None, tiny_tokenizer, TEXT, peft=peft)
    trained.train()
    logged = evaluations(trained, TEXT)
    trained.save_model(str(tmp_path / "saved"))
    assert (tmp_path / "saved" / "ref").is_dir() == (reference == "adapter ref")
    pair = load_pair(tmp_path / "saved", beta=BETA, loading=CPU)
    assert reference in pair.reference.name
    assert_equal_to_trl(pair, TEXT, logged)
