"""Fingerprints: of the weights that count, and nothing else."""

from __future__ import annotations

from pathlib import Path

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
