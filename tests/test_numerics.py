"""Adapters in another state and arithmetic in another dtype are recognised, and the models stay as they were."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from naive import reward
from peft import LoraConfig, get_peft_model
from test_conventions import PLAIN, TEXT, ended
from tiny import language_model, randomise, save
from torch import nn

from dpo_credit import Loading, load_pair
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.records import parse_row
from dpo_credit.verify.conventions import Way, table
from dpo_credit.verify.rewards import Rewards
from dpo_credit.verify.targets import Target, Trial
from dpo_credit.verify.verdict import sentence
from dpo_credit.verify.verify import verify

BETA = 0.3
ROWS = [parse_row(row, str(n)) for n, row in enumerate(TEXT)]
Forward = Callable[[torch.Tensor], torch.Tensor]


def script(policy: nn.Module | Forward, reference: nn.Module | Forward) -> Target:
    """What a script gives that runs these two models."""
    models: list[Any] = [policy, reference]
    numbers = tuple(
        tuple(reward(*models, ended(row["prompt"], row[side]), BETA) for side in ("chosen", "rejected")) for row in TEXT
    )
    return Target("a script", "the script", numbers)  # type: ignore[arg-type]


def best(pair: ModelPair, target: Target, own: Callable[[], ModelPair] | None = None) -> Trial:
    return verify(Rewards(pair, ROWS, Way(beta=BETA), own), [target]).comparisons[0].trials[0]


def loaded(policy: Path, reference: Path | None = None, dtype: Any = "float32") -> ModelPair:
    return load_pair(policy, reference, beta=BETA, loading=Loading(device="cpu", dtype=dtype))


def save_adapter(folder: Path) -> Path:
    """An adapter on a base, with the adapter named "ref" that TRL saves beside it."""
    base = save(language_model(seed=4), folder / "base", PLAIN)
    lora = LoraConfig(r=4, target_modules=["query_key_value"], lora_alpha=16, task_type="CAUSAL_LM")
    model: Any = get_peft_model(_read(base), lora)
    model.add_adapter("ref", lora)
    randomise(model, seed=7, scale=0.1, only="default")
    randomise(model, seed=8, scale=0.1, only=".ref.")
    model.save_pretrained(folder / "adapter")
    PLAIN.save_pretrained(folder / "adapter")
    return folder / "adapter"


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tmp_path_factory.mktemp("adapter"))


def _read(directory: Path, dtype: torch.dtype = torch.float32) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).eval().requires_grad_(False)


def _adapted(adapter: Path, name: str = "", dtype: torch.dtype = torch.float32) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(_read(adapter.parent / "base", dtype), adapter / name).eval()


def test_a_policy_without_its_adapter_is_recognised(adapter: Path) -> None:
    target = script(_read(adapter.parent / "base"), _adapted(adapter, "ref"))
    assert best(loaded(adapter), target).name == "adapter off"


def test_a_reference_without_its_adapter_is_recognised(adapter: Path) -> None:
    found = best(loaded(adapter), script(_adapted(adapter), _read(adapter.parent / "base")))
    assert (found.meets, found.name) == (True, "reference: adapter off")


def test_the_adapters_own_reference_is_recognised_where_another_was_named(adapter: Path) -> None:
    pair = loaded(adapter, adapter.parent / "base")
    found = best(pair, script(_adapted(adapter), _adapted(adapter, "ref")), partial(loaded, adapter))
    assert (found.meets, found.name, found.flags) == (True, "reference: adapter's own", "no --reference")


class Float32Head(nn.Module):
    """A model whose body runs as it is, and whose head in float32, as ours does."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> Any:
        hidden = self.model.gpt_neox(input_ids).last_hidden_state
        return type("Output", (), {"logits": hidden.float() @ self.model.get_output_embeddings().weight.float().T})


def test_an_adapter_merged_in_half_precision_is_recognised_and_leaves_the_weights_alone(adapter: Path) -> None:
    merged = _adapted(adapter, dtype=torch.bfloat16).merge_and_unload()
    reference = _adapted(adapter, "ref", dtype=torch.bfloat16)
    pair = loaded(adapter, dtype="bfloat16")
    before = copy.deepcopy(pair.policy.module.state_dict())  # type: ignore[union-attr]
    found = best(pair, script(Float32Head(merged), Float32Head(reference.get_base_model())))
    assert (found.meets, found.name) == (True, "adapter merged")
    after = pair.policy.module.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


@pytest.fixture(scope="module")
def pair_dirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    policy, reference = (save(language_model(seed=n), folder / str(n), PLAIN) for n in (5, 6))
    return policy, reference


class Float32Softmax(nn.Module):
    """A model that hands its logits over in float32."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> Any:
        return type("Output", (), {"logits": self.model(input_ids=input_ids).logits.float()})


class Autocast(Float32Softmax):
    """A float32 model under bfloat16 autocast, as bf16=True makes a Trainer run it."""

    def forward(self, input_ids: torch.Tensor) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return super().forward(input_ids)


@pytest.mark.parametrize(
    ("dtype", "name", "made"),
    [
        ("bfloat16", "LM head in the body's dtype", lambda path: Float32Softmax(_read(path, torch.bfloat16))),
        ("bfloat16", "log-softmax in the body's dtype", lambda path: _read(path, torch.bfloat16)),
        ("bfloat16", "float32", lambda path: _read(path, torch.bfloat16).float()),
        ("float16", "float32", lambda path: _read(path, torch.float16).float()),
        ("float32", "bfloat16 autocast", lambda path: Autocast(_read(path))),
        ("float32", "bfloat16 weights", lambda path: Float32Softmax(_read(path, torch.bfloat16))),
    ],
)
def test_an_arithmetic_is_recognised(
    dtype: str, name: str, made: Callable[[Path], nn.Module], pair_dirs: tuple[Path, Path]
) -> None:
    pair = loaded(*pair_dirs, dtype=dtype)
    before = copy.deepcopy(pair.policy.module.state_dict())  # type: ignore[union-attr]
    found = best(pair, script(*map(made, pair_dirs)))
    assert (found.meets, found.name) == (True, name), found
    after = pair.policy.module.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(weight, after[key]) and weight.dtype == after[key].dtype for key, weight in before.items())


def test_half_precision_explains_no_other_convention(pair_dirs: tuple[Path, Path]) -> None:
    # float32 numbers lie within bfloat16's error of bfloat16's, so its wider tolerance must not call them its own
    pair = loaded(*pair_dirs)
    target = script(*map(_read, pair_dirs))
    nudged = tuple((a + 3e-3, b - 3e-3) for a, b in target.numbers)  # type: ignore[misc]
    (comparison,) = verify(Rewards(pair, ROWS, Way(beta=BETA)), [replace(target, numbers=nudged)]).comparisons
    assert not any(one.meets for one in comparison.trials)
    # what can be said: 3e-3 / beta = 0.01 nats are less than what bfloat16 does to these models' sums
    assert comparison.within_bfloat16 and "bf16=True, TRL's default" in sentence(comparison)
    far = tuple((a + 30, b - 30) for a, b in target.numbers)  # type: ignore[misc]
    (comparison,) = verify(Rewards(pair, ROWS, Way(beta=BETA)), [replace(target, numbers=far)]).comparisons
    assert not comparison.within_bfloat16 and "bf16" not in sentence(comparison)


def test_every_convention_about_adapters_and_dtypes_has_its_case() -> None:
    named = {
        one.name
        for half in (True, False)
        for one in table(Way(), half=half, adapter=True, own_reference=True)
        if "adapter" in one.changes or "numerics" in one.changes
    }
    assert named == {
        *("adapter merged", "adapter off", "reference: adapter off", "reference: adapter's own"),
        *("LM head in the body's dtype", "log-softmax in the body's dtype", "float32"),
        *("bfloat16 autocast", "bfloat16 weights"),
    }
