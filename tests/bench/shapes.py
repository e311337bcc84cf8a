"""Pairs of random weights in the shape of a known model, with a tokenizer learned from the data: no download."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, GPTNeoXConfig, PreTrainedConfig, PreTrainedTokenizerFast, Qwen2Config

END, PAD = "<|endoftext|>", "<|padding|>"
LEARNED = 6000  # entries learned from the data; the rest of the vocabulary stays empty, the LM head's cost is the same

SHAPES: dict[str, PreTrainedConfig] = {
    "pythia-70m": GPTNeoXConfig(
        vocab_size=50304,
        hidden_size=512,
        num_hidden_layers=6,
        num_attention_heads=8,
        intermediate_size=2048,
        max_position_embeddings=2048,
        use_parallel_residual=True,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
    ),
    "qwen2": Qwen2Config(  # Qwen2-0.5B with 6 of its 24 layers
        vocab_size=151936,
        hidden_size=896,
        num_hidden_layers=6,
        num_attention_heads=14,
        num_key_value_heads=2,
        intermediate_size=4864,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    ),
}


def tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE learned from the texts."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LEARNED,
        special_tokens=[END, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, clean_up_tokenization_spaces=False
    )


def make(config: PreTrainedConfig, texts: Iterable[str], folder: Path) -> tuple[Path, Path]:
    """Write a random policy and reference, float32; returns their directories."""
    learned = tokenizer(texts)
    sides = folder / "policy", folder / "reference"
    for seed, side in enumerate(sides, 1):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.save_pretrained(side)
        learned.save_pretrained(side)
    return sides
