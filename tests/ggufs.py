"""GGUF files of tiny Llama models, written as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH, GGMLQuantizationType, GGUFWriter, TokenType, get_tensor_name_map
from gguf.quants import dequantize, quantize
from tiny import CHATML, language_model, tokenizer
from torch import nn

F32, F16, Q8 = GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.Q8_0


def llama(seed: int = 1, **settings: object) -> nn.Module:
    """A random Llama with two heads of keys for its four of queries."""
    return language_model("LlamaConfig", seed=seed, num_key_value_heads=2, **settings)


def write(
    file: Path,
    model: Any,
    kind: GGMLQuantizationType = F32,
    *,
    architecture: str = "llama",
    with_tokenizer: bool = True,
    leave_out: Callable[[str], bool] = lambda name: False,
) -> nn.Module:
    """Write a Llama's file; the model comes back with its matrices as the file has them, rounded to float16."""
    config = model.config
    writer = GGUFWriter(file, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    if with_tokenizer:
        _add_tokenizer(writer)
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in model.state_dict().items():
        values = weight.numpy()
        for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
            if part in name:
                values = _interleaved(values, heads)
        own = kind if values.ndim > 1 else F32  # llama.cpp keeps norms as they are
        stored = quantize(np.ascontiguousarray(values), own)
        if not leave_out(name):
            writer.add_tensor(names.get_name(name, (".weight",)), stored, raw_dtype=own)
        if own == Q8:
            _round(weight, own)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for weight in model.state_dict().values():
        weight.copy_(weight.half())
    return model


def _round(weight: torch.Tensor, kind: GGMLQuantizationType) -> None:
    """Each row in blocks of 32, so that the order of rows does not matter."""
    weight.copy_(torch.from_numpy(dequantize(quantize(weight.numpy(), kind), kind)))


def _interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """The rows of queries or keys as llama.cpp's rotary embedding has them: neighbours turn together, not halves."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, values.shape[1])
    return halves.swapaxes(1, 2).reshape(values.shape)


def _add_tokenizer(writer: GGUFWriter) -> None:
    own = tokenizer()
    vocabulary = json.loads(own.backend_tokenizer.to_str())["model"]
    pieces = sorted(vocabulary["vocab"], key=vocabulary["vocab"].__getitem__)
    special = {*own.added_tokens_decoder}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(pieces)
    writer.add_token_types([TokenType.CONTROL if i in special else TokenType.NORMAL for i in range(len(pieces))])
    writer.add_token_merges([" ".join(merge) for merge in vocabulary["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(1)
    writer.add_chat_template(CHATML)
