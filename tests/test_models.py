"""Loading pairs: whole models and adapters, and what is refused."""

from __future__ import annotations

import copy
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig, PeftConfig, PeftModel, PromptTuningConfig, get_peft_model
from tiny import furthest, language_model, naive_logps, randomise, save, tokenizer
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from dpo_credit import Credit, CreditError, Example, Loading, ModelPair, load_pair, score
from dpo_credit.forward.logprobs import score_tokens
from dpo_credit.models.torch_side import TorchSide

CPU = Loading(device="cpu")
EXAMPLES = [
    Example("My landlord raised the rent.\n\nTL;DR:", " The rent went up by 120 dollars.", "rent"),
    Example("Where is the lake?", " 🇵🇹", "lake"),
]
# float32 models of this size against float64: 2e-6 nats, the project asks for 1e-5
EXACT = 1e-5


def credits(pair: ModelPair) -> list[Credit]:
    return list(score(pair, EXAMPLES))


def logps(pair: ModelPair) -> list[tuple[float, ...]]:
    return [logps for credit in credits(pair) for logps in (credit.policy_logps, credit.reference_logps)]


def naive(policy: nn.Module, reference: nn.Module, pair: ModelPair) -> list[list[float]]:
    """What `logps` should give, from two modules in float64."""
    sides = policy.double(), reference.double()
    return [naive_logps(side, credit.tokens) for credit in credits(pair) for side in sides]


def modules(pair: ModelPair) -> tuple[nn.Module, nn.Module]:
    assert isinstance(pair.policy, TorchSide) and isinstance(pair.reference, TorchSide)
    assert pair.policy.module is not None and pair.reference.module is not None
    return pair.policy.module, pair.reference.module


@pytest.fixture
def base(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> Path:
    """A directory with a whole model and its tokenizer, to break or to put an adapter on."""
    return save(language_model(seed=2), tmp_path / "base", tiny_tokenizer)


def lora(**settings: Any) -> LoraConfig:
    return LoraConfig(**{"r": 4, "target_modules": ["query_key_value"], "task_type": "CAUSAL_LM", **settings})


def adapter(base: Path, directory: Path, config: PeftConfig | None = None) -> PeftModel:
    """An adapter of random weights saved in `directory`; also returned on its base."""
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config or lora())
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            randomise(model, seed=7, scale=0.2, only=name)
    model.save_pretrained(directory)
    return model.eval()


# Whole models


def test_a_pair_of_directories_is_loaded_without_the_network(
    tiny_pair_dirs: tuple[Path, Path], connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # free to ask, but nobody should
    pair = load_pair(*tiny_pair_dirs, beta=0.3, loading=CPU)
    expected = naive(*(AutoModelForCausalLM.from_pretrained(path) for path in tiny_pair_dirs), pair)
    assert furthest(logps(pair), expected) < EXACT
    assert connections == []
    assert pair.beta == credits(pair)[0].beta == 0.3
    assert pair.max_length == 512
    assert pair.notes == ()


def test_the_guard_against_the_network_can_fail(connections: list[str]) -> None:
    with pytest.raises(OSError, match="a test asked for the network"):
        socket.create_connection(("198.51.100.1", 443))
    assert connections


def test_loading_one_at_a_time_gives_the_same_to_the_last_bit(tiny_pair_dirs: tuple[Path, Path]) -> None:
    eager = load_pair(*tiny_pair_dirs, loading=CPU)
    sequential = load_pair(*tiny_pair_dirs, loading=Loading(device="cpu", sequential=True))
    assert sequential.in_turn
    assert credits(sequential) == credits(eager)
    half = [Loading(device="cpu", dtype="bfloat16", sequential=sequential) for sequential in (False, True)]
    assert credits(load_pair(*tiny_pair_dirs, loading=half[0])) == credits(load_pair(*tiny_pair_dirs, loading=half[1]))


def test_two_devices_are_the_policys_and_the_references(tiny_pair_dirs: tuple[Path, Path]) -> None:
    pair = load_pair(*tiny_pair_dirs, loading=Loading(device="cpu,cpu"))
    assert credits(pair) == credits(load_pair(*tiny_pair_dirs, loading=CPU))


def test_a_device_map_gives_the_same(tiny_pair_dirs: tuple[Path, Path]) -> None:
    mapped = load_pair(*tiny_pair_dirs, loading=Loading(device="cpu", device_map="cpu"))
    # the same weights at other addresses: kernels may sum in another order
    assert furthest(logps(mapped), logps(load_pair(*tiny_pair_dirs, loading=CPU))) < 1e-5


@pytest.mark.parametrize(
    ("device", "said"),
    [
        ("cpu,cpu,cpu", r"^--device cpu,cpu,cpu names 3 devices; give one, or the policy's and the reference's\.$"),
        ("gpu", r"^--device gpu is no device; use auto, cpu, cuda, cuda:N or mps\.$"),
        ("meta", r"^--device meta is not supported; use auto, cpu, cuda, cuda:N or mps\.$"),
        ("cuda:99", r"^--device cuda:99: torch sees \d+ CUDA devices here\. Use --device cpu\.$"),
    ],
)
def test_a_device_that_is_not_there_is_refused(tiny_pair_dirs: tuple[Path, Path], device: str, said: str) -> None:
    with pytest.raises(CreditError, match=said):
        load_pair(*tiny_pair_dirs, loading=Loading(device=device))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_half_precision_dtype_holds_for_both_models(tiny_pair_dirs: tuple[Path, Path], dtype: str) -> None:
    pair = load_pair(*tiny_pair_dirs, loading=Loading(device="cpu", dtype=dtype))  # type: ignore[arg-type]
    assert {str(weight.dtype) for side in modules(pair) for weight in side.parameters()} == {f"torch.{dtype}"}
    assert credits(pair)[0].source.dtype == dtype
    assert credits(pair)[0].source.noise > 0


def test_equal_weights_are_noted(tiny_pair_dirs: tuple[Path, Path], tmp_path: Path) -> None:
    note = "policy and reference have equal weights, so every reward is zero: is one of the two names wrong?"
    copied = shutil.copytree(tiny_pair_dirs[0], tmp_path / "copy")
    pair = load_pair(tiny_pair_dirs[0], copied, beta=0.1, loading=CPU)
    assert pair.notes == (note,)
    assert {reward for credit in credits(pair) for reward in credit.rewards} == {0.0}


def test_padded_vocabularies_of_different_size_are_fine(
    tiny_pair_dirs: tuple[Path, Path], tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    wider = save(language_model(seed=2, vocab_size=448), tmp_path / "wider", tiny_tokenizer)
    pair = load_pair(tiny_pair_dirs[0], wider, beta=0.1, loading=CPU)
    expected = naive(*(AutoModelForCausalLM.from_pretrained(path) for path in (tiny_pair_dirs[0], wider)), pair)
    assert furthest(logps(pair), expected) < EXACT
    assert pair.notes == ()


# Adapters


def test_an_adapters_reference_is_its_base_with_the_adapter_off(base: Path, tmp_path: Path) -> None:
    expected = adapter(base, tmp_path / "adapter")
    pair = load_pair(tmp_path / "adapter", beta=0.1, loading=CPU)
    assert modules(pair)[0] is modules(pair)[1]  # one base in memory
    assert furthest(logps(pair), naive(expected, AutoModelForCausalLM.from_pretrained(base), pair)) < EXACT
    apart = load_pair(tmp_path / "adapter", base, loading=CPU)
    assert modules(apart)[0] is not modules(apart)[1]
    assert logps(apart) == logps(pair)
    assert min(abs(reward) for credit in credits(pair) for reward in credit.rewards) > 0
    assert pair.notes == ()
    assert pair.reference.name == f"{base} (adapter off)"  # type: ignore[union-attr]


def test_an_adapter_named_ref_is_the_reference(base: Path, tmp_path: Path) -> None:
    policy = adapter(base, tmp_path / "adapter")
    policy.add_adapter("ref", policy.peft_config["default"])
    randomise(policy, seed=8, scale=0.2, only=".ref.")
    policy.save_pretrained(tmp_path / "both")
    assert (tmp_path / "both" / "ref" / "adapter_config.json").is_file()
    pair = load_pair(tmp_path / "both", loading=CPU)
    assert modules(pair)[0] is modules(pair)[1]
    reference = adapter(base, tmp_path / "reference")
    reference.load_adapter(tmp_path / "both" / "ref", "ref")
    reference.set_adapter("ref")
    expected = naive(
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "both"), reference, pair
    )
    assert furthest(logps(pair), expected) < EXACT
    assert logps(pair) == logps(pair)  # the policy's adapter is back after the reference spoke
    assert pair.reference.name == f"{tmp_path / 'both'} (adapter ref)"  # type: ignore[union-attr]


def test_an_untrained_adapter_says_that_every_reward_is_zero(base: Path, tmp_path: Path) -> None:
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora()).save_pretrained(tmp_path / "adapter")
    pair = load_pair(tmp_path / "adapter", beta=0.1, loading=CPU)
    assert pair.notes == ("the adapter is untrained: policy and reference are equal, so every reward is zero",)
    assert {reward for credit in credits(pair) for reward in credit.rewards} == {0.0}


@pytest.mark.parametrize(
    "config",
    [
        lora(target_modules=["query_key_value", "lm_head"]),
        lora(modules_to_save=["lm_head"]),
        lora(target_modules=["embed_in", "dense"]),
        lora(use_dora=True),
        lora(use_rslora=True, trainable_token_indices=[300, 301]),
        IA3Config(
            target_modules=["query_key_value", "dense_4h_to_h"],
            feedforward_modules=["dense_4h_to_h"],
            task_type="CAUSAL_LM",
        ),
        PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    ],
    ids=["head", "saved head", "embeddings", "dora", "tokens", "ia3", "prompt"],
)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning")  # as it should
def test_adapters_of_many_kinds_are_scored_as_peft_runs_them(base: Path, tmp_path: Path, config: PeftConfig) -> None:
    saved = adapter(base, tmp_path / "adapter", copy.deepcopy(config))
    pair = load_pair(tmp_path / "adapter", loading=CPU)
    expected = naive(saved, AutoModelForCausalLM.from_pretrained(base), pair)
    assert furthest(logps(pair), expected) < EXACT
    assert furthest(expected[::2], expected[1::2]) > 0.1  # the adapter does something

    half = load_pair(tmp_path / "adapter", loading=Loading(device="cpu", dtype="bfloat16"))
    rounded = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    expected = naive(PeftModel.from_pretrained(rounded, tmp_path / "adapter").eval(), copy.deepcopy(rounded), half)
    policy = half.policy
    assert isinstance(policy, TorchSide)
    with policy.in_float32():
        precise = score_tokens(policy.logits, [credit.tokens for credit in credits(half)], policy.device)
    # float32 arithmetic on weights rounded to bf16, on both sides
    assert furthest([one.logps for one in precise], expected[::2]) < EXACT
    assert credits(half)[0].source.noise > 0


def test_biases_that_an_adapter_trained_are_not_taken_for_the_references(base: Path, tmp_path: Path) -> None:
    # PEFT turns off what it adds, not the biases of the base that it trained: the base as it was is gone
    saved = adapter(base, tmp_path / "adapter", lora(bias="all"))
    with pytest.raises(CreditError, match=r"--reference"):
        load_pair(tmp_path / "adapter", loading=CPU)
    pair = load_pair(tmp_path / "adapter", base, loading=CPU)
    assert furthest(logps(pair), naive(saved, AutoModelForCausalLM.from_pretrained(base), pair)) < EXACT


def test_an_adapter_scored_one_model_at_a_time_says_that_this_frees_nothing(base: Path, tmp_path: Path) -> None:
    adapter(base, tmp_path / "adapter")
    pair = load_pair(tmp_path / "adapter", beta=0.1, loading=Loading(device="cpu", sequential=True))
    assert pair.notes == ("--sequential frees nothing here: policy and reference share one base",)
    assert logps(pair) == logps(load_pair(tmp_path / "adapter", loading=CPU))


def test_an_adapter_takes_its_bases_tokenizer_unless_it_has_one(base: Path, tmp_path: Path) -> None:
    adapter(base, tmp_path / "adapter")
    assert load_pair(tmp_path / "adapter", loading=CPU).tokenizer.chat_template is None
    tokenizer(chat_template="{{ messages }}").save_pretrained(tmp_path / "adapter")
    assert load_pair(tmp_path / "adapter", loading=CPU).tokenizer.chat_template == "{{ messages }}"
