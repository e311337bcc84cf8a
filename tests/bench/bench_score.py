"""Answers per second against peers, on the embedded pair: one interleaved run, medians and ratios.

Peers: plain transformers, one answer at a time; TRL's DPOTrainer evaluation.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

from dpo_credit import Example, load_pair, score
from dpo_credit.checkpoints import EMBEDDED

TEXT = "I earn $50K as an analyst in Denver and they offer a manager post for $90K but my sister says wait a month"


def rows(count: int) -> list[dict[str, str]]:
    """Preference rows of varied length; what they say does not matter for speed."""
    words = TEXT.split()
    texts = [" ".join(words[(7 * n + k) % len(words)] for k in range(60 + n % 80)) for n in range(count)]
    return [{"prompt": t + "\n\nTL;DR:", "chosen": " " + t[:90], "rejected": " " + t[9:120]} for t in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=64)
    arguments = parser.parse_args()
    data = rows(arguments.rows)
    pair = load_pair()
    examples = [Example(row["prompt"], row[side]) for row in data for side in ("chosen", "rejected")]
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "policy")
    models = [
        AutoModelForCausalLM.from_pretrained(EMBEDDED / side, dtype=torch.float32).eval()
        for side in ("policy", "reference")
    ]

    def ours() -> float:
        return sum(credit.reward for credit in score(pair, examples))

    @torch.no_grad()
    def plain() -> float:
        total = 0.0
        for example in examples:
            prompt = len(tokenizer(example.prompt).input_ids)
            ids = torch.tensor([[*tokenizer(example.prompt + example.answer).input_ids, tokenizer.eos_token_id]])
            policy, reference = (
                model(ids).logits.log_softmax(-1)[0, :-1].gather(-1, ids[0, 1:, None]) for model in models
            )
            total += pair.beta * float((policy - reference)[prompt - 1 :].sum())
        return total

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config = DPOConfig(
            folder,
            per_device_eval_batch_size=8,
            beta=pair.beta,
            report_to=[],
            bf16=False,
            use_cpu=True,
            disable_tqdm=True,
        )
        trainer = DPOTrainer(
            *models,
            args=config,
            train_dataset=Dataset.from_list(data),
            eval_dataset=Dataset.from_list(data),
            processing_class=tokenizer,
        )

        def trl() -> float:
            metrics = trainer.evaluate()
            return arguments.rows * (metrics["eval_rewards/chosen"] + metrics["eval_rewards/rejected"])

        peers: dict[str, Callable[[], float]] = {"dpo-credit": ours, "plain transformers": plain, "TRL evaluate": trl}
        sums = {name: run() for name, run in peers.items()}  # a warm-up, and the check that all agree
        seconds: dict[str, list[float]] = {name: [] for name in peers}
        for _ in range(arguments.rounds):
            for name, run in peers.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    best = statistics.median(seconds["dpo-credit"])
    for name, times in seconds.items():
        ratios = [t / o for t, o in zip(times, seconds["dpo-credit"], strict=True)]
        rate, ratio = 2 * arguments.rows / statistics.median(times), statistics.median(times) / best
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{name:20}{rate:8.1f} answers/s  {ratio:.2f} times our time ({spread})  sum {sums[name]:+.4f}")
        assert abs(sums[name] - sums["dpo-credit"]) < 1e-3 * len(examples), "the peers disagree"


if __name__ == "__main__":
    main()
