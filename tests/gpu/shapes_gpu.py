"""Pairs of random weights in the shapes of known models, made where they are used."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, PreTrainedConfig

from dpo_credit.models.pair import ModelPair
from dpo_credit.models.torch_side import TorchSide, side_of

_ENDS = {"bos_token_id": 0, "eos_token_id": 0}
SHAPES: dict[str, PreTrainedConfig] = {
    "pythia-2.8b": GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=2560,
        num_hidden_layers=32,
        num_attention_heads=32,
        intermediate_size=10240,
        max_position_embeddings=2048,
        use_parallel_residual=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
        tie_word_embeddings=False,
        **_ENDS,
    ),
    "llama-3.2-1b": LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        intermediate_size=8192,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        **_ENDS,
    ),
    "smollm2-135m": LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=64,
        intermediate_size=1536,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        **_ENDS,
    ),
}
_TINY = {"num_hidden_layers": 2, "hidden_size": 96, "intermediate_size": 128, "num_attention_heads": 3}


def pair_of(config: PreTrainedConfig, tokenizer: Any, device: torch.device, *, tiny: bool = False) -> ModelPair:
    """Policy and reference in bf16; `tiny` keeps the vocabulary and little else."""
    if tiny:
        groups = {"num_key_value_heads": 3, "head_dim": 32} if hasattr(config, "num_key_value_heads") else {}
        config = type(config)(**{**config.to_dict(), **_TINY, **groups, "layer_types": None})
    return ModelPair(side(config, 1, device), side(config, 2, device), tokenizer, 0.1, max_length=2048)


def side(config: PreTrainedConfig, seed: int, device: torch.device) -> TorchSide:
    torch.manual_seed(seed)
    with device:
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return side_of(model.eval().requires_grad_(False), f"random {seed}")
