"""Steering with KV caches against Eq. 14 at its word, with policy and reference run over the whole text at each step.

    python tests/bench/bench_steer.py

The embedded pair (reference as base), float32 on the CPU, interleaved rounds; ratios are taken within a round. Both
must write the same tokens.
"""

from __future__ import annotations

import random
import statistics
import time
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from dpo_credit import load_pair
from dpo_credit.steer.steering import Steering, steered

ROUNDS = 5
SETTINGS = ((64, 1), (256, 1), (64, 4))  # new tokens and beams


class Naive(LogitsProcessor):
    """Eq. 14 without caches."""

    def __init__(self, policy: Any, reference: Any, strength: float) -> None:
        self.sides, self.strength = (policy, reference), strength

    @torch.no_grad()
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        logits = [side(input_ids=input_ids, use_cache=False).logits[:, -1] for side in self.sides]
        policy, reference = (one.float().log_softmax(-1) for one in logits)
        return steered(scores, policy, reference, self.strength)


def main() -> None:
    """Print how many times faster the caches are."""
    pair = load_pair("embedded", "embedded")
    policy, reference = pair.policy.module, pair.reference.module  # type: ignore[union-attr]
    text = "SUBREDDIT: r/travel\n\nTITLE: Cancel or go?\n\nPOST: We fly from Oslo to Rome in May.\n\nTL;DR:"
    ids = pair.tokenizer(text, return_tensors="pt").input_ids
    for new, beams in SETTINGS:
        ratios = []
        for _ in range(ROUNDS):
            seconds, written = {}, {}
            for kind in random.sample((Steering, Naive), 2):
                began = time.perf_counter()
                written[kind] = reference.generate(  # type: ignore[union-attr, operator]
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    logits_processor=LogitsProcessorList([kind(policy, reference, 1.0)]),  # type: ignore[arg-type]
                    **{"max_new_tokens": new, "min_new_tokens": new, "num_beams": beams, "do_sample": False},
                )
                seconds[kind] = time.perf_counter() - began
            assert torch.equal(written[Steering], written[Naive])
            ratios.append(seconds[Naive] / seconds[Steering])
        low, high = min(ratios), max(ratios)
        print(f"{new} tokens, {beams} beams: {statistics.median(ratios):.1f} times as fast ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
