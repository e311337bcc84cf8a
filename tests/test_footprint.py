"""How far weights moved: relative Frobenius norms, by tensor and by layer, adapters included."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from sides import unshared
from tiny import language_model, randomise, save, tokenizer
from torch import nn
from transformers import AutoModelForCausalLM

from dpo_credit import Loading, load_pair
from dpo_credit.inspect.footprint import Footprint, footprint, without_adapters
from dpo_credit.models.torch_side import TorchSide

EMBEDDING = "gpt_neox.embed_in.weight"
QUERIES = "gpt_neox.layers.1.attention.query_key_value.weight"


def compare(policy: nn.Module, reference: nn.Module) -> Footprint:
    sides = (unshared(module, name) for name, module in (("p", policy), ("r", reference)))
    found = footprint(*sides)
    assert found is not None
    return found


def moved(found: Footprint) -> dict[str, float]:
    return {change.name: change.relative for change in found.most_moved}


def test_equal_models_moved_nowhere() -> None:
    found = compare(language_model(seed=3), language_model(seed=3))
    assert (found.changed, found.median, found.most_moved) == (0, 0.0, ())


def test_a_tensor_scaled_by_a_tenth_moved_by_a_tenth_and_its_layer_by_its_share() -> None:
    policy, reference = language_model(seed=3), language_model(seed=3)
    weights = dict(policy.named_parameters())
    weights[QUERIES].data *= 1.1
    found = compare(policy, reference)
    assert moved(found) == {QUERIES: pytest.approx(0.1, rel=1e-5)}  # float32
    layer = {name: weight for name, weight in reference.named_parameters() if ".layers.1." in name}
    share = 0.1 * float(layer[QUERIES].norm()) / sqrt(sum(float(weight.norm()) ** 2 for weight in layer.values()))
    (change,) = [change for change in found.layers if change.relative]
    assert (change.name, change.relative) == ("layer 1", pytest.approx(share, rel=1e-5))


def test_two_draws_of_a_model_are_about_the_square_root_of_two_apart() -> None:
    assert compare(language_model(seed=1), language_model(seed=2)).median == pytest.approx(sqrt(2), rel=0.1)


def test_the_rows_that_a_padded_vocabulary_shares_are_compared() -> None:
    policy, reference = language_model(seed=3), language_model(seed=3)
    policy.resize_token_embeddings(448)  # type: ignore[operator]
    found = compare(policy, reference)
    assert (found.changed, found.unlike) == (0, ())
    dict(policy.named_parameters())[EMBEDDING].data[5] += 1.0
    assert set(moved(compare(policy, reference))) == {EMBEDDING}


def test_other_shapes_are_named() -> None:
    found = compare(language_model(seed=1), language_model(seed=1, intermediate_size=48))
    assert "gpt_neox.layers.0.mlp.dense_h_to_4h.weight" in found.unlike


def test_an_adapter_counts_as_what_it_adds_to_the_weights_it_sits_on(tmp_path: Path) -> None:
    base = save(language_model(seed=1), tmp_path / "base", tokenizer())
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        LoraConfig(r=2, lora_alpha=4, target_modules=["query_key_value"], task_type="CAUSAL_LM"),
    )
    randomise(adapted, seed=7, scale=0.2, only="lora_")
    adapted.save_pretrained(tmp_path / "adapter")
    pair = load_pair(tmp_path / "adapter", loading=Loading(device="cpu"))
    assert isinstance(pair.policy, TorchSide) and isinstance(pair.reference, TorchSide)
    found = footprint(pair.policy, pair.reference)
    assert found is not None
    layer = adapted.base_model.model.gpt_neox.layers[1].attention.query_key_value
    added = 2.0 * layer.lora_B.default.weight @ layer.lora_A.default.weight  # lora_alpha / r
    expected = float((added.norm() / layer.base_layer.weight.norm()).detach())
    assert moved(found)[QUERIES] == pytest.approx(expected, rel=1e-5)
    assert {name for name in moved(found) if "query_key_value.weight" not in name} == set()
    bases = footprint(without_adapters(pair.policy), pair.reference)
    assert bases is not None and bases.changed == 0


def test_a_reference_of_zeros_is_infinitely_far() -> None:
    policy, reference = language_model(seed=3), language_model(seed=3)
    dict(reference.named_parameters())[QUERIES].data.zero_()
    assert moved(compare(policy, reference)) == {QUERIES: torch.inf}
