"""Fingerprints: of the weights that count, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from sides import unshared
from tiny import language_model, save
from transformers import PreTrainedTokenizerFast

from dpo_credit.models.loading import load_pair
from dpo_credit.models.pair import Loading
from dpo_credit.models.torch_side import TorchSide

CPU = Loading(device="cpu")


def model(seed: int) -> TorchSide:
    module = language_model(seed=seed)
    return unshared(module)


def test_one_changed_bit_changes_the_fingerprint() -> None:
    one, same, other = model(1), model(1), model(2)
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert same.module is not None
    weight = next(same.module.parameters())
    weight.data.view(-1).view(torch.int32)[-1] ^= 1
    assert one.fingerprint() != same.fingerprint()


@pytest.mark.parametrize(
    ("family", "changed"),
    [
        ("GPTNeoXConfig", {"layer_norm_eps": 0.1}),
        ("GPTNeoXConfig", {"hidden_act": "relu"}),
        ("LlamaConfig", {"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}),
    ],
)
def test_what_is_made_of_the_weights_counts(family: str, changed: dict[str, Any]) -> None:
    """The same weights under another configuration give other numbers."""
    one, other = unshared(language_model(family, seed=1)), unshared(language_model(family, seed=1, **changed))
    ours, theirs = one.module.state_dict(), other.module.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert one.fingerprint() != other.fingerprint()


def test_where_a_model_lies_does_not_count(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    places = [save(language_model(seed=1), tmp_path / name, tiny_tokenizer) for name in ("here", "there")]
    here, there = (load_pair(place, place, loading=CPU).policy.fingerprint() for place in places)
    assert here == there


def test_an_adapters_alpha_counts(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    base = save(language_model(seed=1), tmp_path / "base", tiny_tokenizer)
    torch.manual_seed(0)
    lora = LoraConfig(r=2, target_modules=["query_key_value"], init_lora_weights=False)
    adapted = get_peft_model(language_model(seed=1), lora)  # type: ignore[arg-type]
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(tmp_path / "adapter")
    settings = tmp_path / "adapter/adapter_config.json"
    prints = []
    for alpha in (8, 16):
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "lora_alpha": alpha}))
        pair = load_pair(tmp_path / "adapter", loading=CPU)
        prints.append((pair.policy.fingerprint(), pair.reference.fingerprint()))
    assert prints[0][0] != prints[1][0] and prints[0][1] == prints[1][1]


def test_precision_counts() -> None:
    half = model(1)
    assert half.module is not None
    half.module.bfloat16()
    assert half.fingerprint() != model(1).fingerprint()


def test_a_base_with_its_adapter_off_is_the_base(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    base = save(language_model(seed=1), tmp_path / "base", tiny_tokenizer)
    adapters = []
    for n in range(2):
        module = language_model(seed=1)
        torch.manual_seed(n)  # what the adapter is drawn from
        adapted = get_peft_model(
            module,  # type: ignore[arg-type]
            LoraConfig(r=2, target_modules=["query_key_value"], init_lora_weights=False),
        )
        adapted.peft_config["default"].base_model_name_or_path = str(base)
        adapted.save_pretrained(tmp_path / f"adapter{n}")
        adapters.append(load_pair(tmp_path / f"adapter{n}", loading=CPU))
    whole = load_pair(base, base, loading=CPU).reference
    assert isinstance(whole, TorchSide)
    policies = [pair.policy.fingerprint() for pair in adapters]
    references = [pair.reference.fingerprint() for pair in adapters]
    assert references == [whole.fingerprint()] * 2
    assert len({*policies, *references}) == 3
