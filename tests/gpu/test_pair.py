"""What only a CUDA device can show: `pytest -m gpu`."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from tiny import furthest

from dpo_credit import Example, Loading, ModelPair, load_pair, score
from dpo_credit.forward.packing import packs

pytestmark = pytest.mark.gpu
EXAMPLES = [Example("How many?\n\nTL;DR:", f" {n} days, and then {n + 1} more" + "!" * n, str(n)) for n in range(9)]


def rewards(pair: ModelPair) -> list[tuple[float, ...]]:
    return [credit.rewards for credit in score(pair, EXAMPLES)]


def test_float32_on_cuda_gives_the_cpus_rewards(tiny_pair: ModelPair, tiny_pair_dirs: tuple[Path, Path]):
    pair = load_pair(*tiny_pair_dirs, loading=Loading(device="cuda", dtype="float32"))
    # beta times a few 1e-5 nats: another order of summation, with TF32 off as torch has it
    assert furthest(rewards(pair), rewards(tiny_pair)) < 1e-5


def test_auto_is_bfloat16_on_cuda_with_a_measured_noise_floor(tiny_pair_dirs: tuple[Path, Path]):
    credits = list(score(load_pair(*tiny_pair_dirs), EXAMPLES))
    assert credits[0].source.dtype == "bfloat16"
    assert credits[0].noise > 0


def test_two_devices_take_a_model_each(tiny_pair: ModelPair, tiny_pair_dirs: tuple[Path, Path]):
    pair = load_pair(*tiny_pair_dirs, loading=Loading(device="cuda,cpu", dtype="float32"))
    assert furthest(rewards(pair), rewards(tiny_pair)) < 1e-5


def test_sequential_scoring_gives_the_memory_back(tiny_pair_dirs: tuple[Path, Path]):
    before = torch.cuda.memory_allocated()
    assert list(score(load_pair(*tiny_pair_dirs, loading=Loading(device="cuda", sequential=True)), EXAMPLES))
    packs([], 1)  # the packs that were made last are kept for another side
    gc.collect()  # modules and their hooks know each other
    assert torch.cuda.memory_allocated() == before


def test_a_device_map_spreads_a_model(tiny_pair: ModelPair, tiny_pair_dirs: tuple[Path, Path]):
    pair = load_pair(*tiny_pair_dirs, loading=Loading(device_map="auto", dtype="float32"))
    assert furthest(rewards(pair), rewards(tiny_pair)) < 1e-5
