"""The share of a pass that is spent outside torch's operators: Python, ours and transformers', and tokenisation."""

from __future__ import annotations

import time

import torch
from contender import Contender
from torch.profiler import ProfilerActivity, profile


def outside_operators(contender: Contender, answers: int, batch: int) -> float:
    """0 to 1, by torch's profiler: an upper bound on our own Python's share, since a model's is in it too."""
    contender.run(answers, batch)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU]) as recorded:
        start = time.perf_counter()
        contender.run(answers, batch)
        seconds = time.perf_counter() - start
    operators = sum(event.self_cpu_time_total for event in recorded.key_averages()) / 1e6
    return max(0.0, 1 - operators / seconds)
