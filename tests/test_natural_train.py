"""DPO on packs of a post: its loss is TRL's on the same pairs, and training by it goes on from what was saved."""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from tiny import language_model, save, tokenizer
from trl import DPOConfig, DPOTrainer

from dpo_credit.demo import natural_train
from dpo_credit.demo.natural import drafts, draw
from dpo_credit.demo.natural_train import Choice, choices, learn, load, loss_of, share_of_rate

PROMPT = "The rent is 120 dollars and I have ten days.\n\nTL;DR:"
POSED = (
    Choice(
        " It is 120 dollars.", ((" It is 54 dollars.",), (" It is 120 euros.", " It is 120 cars.", " It is 120 days."))
    ),
    Choice(" I have ten days.", ((" I have two days.",),)),
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy's adapter with `ref/` beside it, on a tiny Llama."""
    folder = tmp_path_factory.mktemp("start")
    save(language_model("LlamaConfig"), folder / "base", tokenizer())
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(language_model("LlamaConfig"), config)
    adapted.add_adapter("ref", config)
    generator = torch.Generator().manual_seed(3)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    adapted.peft_config["default"].base_model_name_or_path = str(folder / "base")
    adapted.peft_config["ref"].base_model_name_or_path = str(folder / "base")
    adapted.save_pretrained(folder / "policy")
    return folder / "policy"


def merged(module: PeftModel, adapter: str) -> torch.nn.Module:
    """The base with one adapter's weights in its own."""
    alone = copy.deepcopy(module)
    alone.set_adapter(adapter)
    return alone.merge_and_unload(adapter_names=[adapter])


def sum_of(model: torch.nn.Module, answer: str) -> float:
    """The log-probability of an answer and the end token, from a pass over nothing else."""
    words = tokenizer()
    prompt, ids = words(PROMPT)["input_ids"], words(PROMPT + answer)["input_ids"] + [words.eos_token_id]
    with torch.no_grad():
        logps = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
    return sum(float(logps[n - 1, ids[n]]) for n in range(len(prompt), len(ids)))


@pytest.mark.parametrize("beta", [0.1, 0.4])
def test_the_loss_is_trls_with_the_wrong_answers_that_the_reference_finds_likeliest(
    beta: float, start: Path, tmp_path: Path
) -> None:
    module, words = load(str(start), str(start.parent / "base"))
    policy, reference = merged(module, "default"), merged(module, "ref")
    likeliest = max(POSED[0].rejected[1], key=lambda answer: sum_of(reference, answer))
    rows = [
        {"prompt": PROMPT, "chosen": POSED[0].chosen, "rejected": " It is 54 dollars."},
        {"prompt": PROMPT, "chosen": POSED[0].chosen, "rejected": likeliest},
        {"prompt": PROMPT, "chosen": POSED[1].chosen, "rejected": " I have two days."},
    ]
    config = DPOConfig(
        str(tmp_path), beta=beta, loss_type=["sigmoid", "sft"], loss_weights=[1.0, 0.2], use_cpu=True, bf16=False,
        gradient_checkpointing=False, report_to="none",
    )  # fmt: skip
    trainer = DPOTrainer(
        policy, ref_model=reference, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer()
    )
    trainer.model.eval()
    theirs = [
        float(trainer._compute_loss(trainer.model, trainer.data_collator([row]), return_outputs=False))
        for row in trainer.train_dataset
    ]
    loss, margins = loss_of(module, words, [(PROMPT, POSED)], beta)
    assert float(loss.detach()) == pytest.approx(sum(theirs) / 3, rel=1e-4)
    naive = [
        beta * (sum_of(policy, row["chosen"]) - sum_of(reference, row["chosen"]))
        - beta * (sum_of(policy, row["rejected"]) - sum_of(reference, row["rejected"]))
        for row in rows
    ]
    assert margins.tolist() == pytest.approx(naive, abs=1e-4)


def test_posts_together_have_the_mean_of_their_losses(start: Path) -> None:
    module, words = load(str(start), str(start.parent / "base"))
    prompts = (PROMPT, "We drove to the lake on Sunday.\n\nTL;DR:")
    apart = [loss_of(module, words, [(prompt, POSED)], 0.1) for prompt in prompts]
    loss, margins = loss_of(module, words, [(prompt, POSED) for prompt in prompts], 0.1)
    assert float(loss.detach()) == pytest.approx(sum(float(mean.detach()) for mean, _ in apart) / 2, rel=1e-5)
    assert margins.tolist() == pytest.approx([margin for _, both in apart for margin in both.tolist()], abs=1e-5)


def test_only_the_policy_learns_and_what_was_saved_goes_on(start: Path, tmp_path: Path, capsys) -> None:
    options = argparse.Namespace(
        posts=4, batch=2, rights=1, wrongs=1, together=None, rate=1e-2, beta=0.1, seed=1, save=1
    )
    options.out = tmp_path / "dpo"
    with patch.object(natural_train, "choices", lambda *_: POSED):
        learn(*load(str(start), str(start.parent / "base")), options)
        records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        learn(*load(str(options.out), str(start.parent / "base")), options)
        after = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["update"] for record in records] == [1, 2]
    assert after[0]["loss"] < records[0]["loss"] and after[0]["margin"] > records[0]["margin"]
    kept, began = (load_file(folder / "ref" / "adapter_model.safetensors") for folder in (options.out, start))
    assert all(torch.equal(kept[name], began[name]) for name in began)
    learnt, policy = (load_file(folder / "adapter_model.safetensors") for folder in (options.out, start))
    assert not any(torch.equal(learnt[name], policy[name]) for name in policy)


def test_a_post_gives_right_summaries_and_wrong_ones_of_each() -> None:
    for number, draft in enumerate(drafts("train")[::20]):
        rng = Random(number)
        posed = list(choices(draw(rng, draft), rng, 3, 5))
        assert len(posed) == 3
        for choice in posed:
            assert 1 <= len(choice.rejected) <= 5
            assert all(choice.chosen != text for like in choice.rejected for text in like)


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    shares = [share_of_rate(update, 90) for update in range(1, 91)]
    assert shares[0] == 0.1 and set(shares[9:60]) == {1.0} and shares[89] == pytest.approx(3 / 90)
