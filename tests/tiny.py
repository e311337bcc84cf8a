"""Tiny models, tokenizers and tokens for the tests: randomly initialised in memory, so nothing is downloaded."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from dpo_credit.credit import Tokens

END, PAD, TURN, TURN_END = "<|endoftext|>", "<|padding|>", "<|im_start|>", "<|im_end|>"
VOCABULARY = 400  # 256 bytes, 4 special tokens and some merges: any emoji is split into several tokens
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SENTENCES = (
    "My landlord raised the rent by 120 dollars and gave me ten days to answer.",
    "I was offered a job in Lisbon at 54000 a year, and I have to decide by Friday.",
    "TL;DR: I got a better offer, my boss found out, and now nobody talks to me.",
    "The capital of Australia is Canberra. Is it not Sydney? No, it is Canberra.",
    "She has lived with her sister for three years, and they never argued about the rent.",
    "We drove to the lake on Sunday, and the car broke down after two hours.",
)


def tokenizer(*, chat_template: str | None = None, end: str = END) -> PreTrainedTokenizerFast:
    """A byte-level BPE learned from `SENTENCES`; the same ids whatever the arguments."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, PAD, TURN, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=end, pad_token=PAD, clean_up_tokenization_spaces=False, model_max_length=512
    )
    made.chat_template = chat_template
    return made


def language_model(
    config: str = "GPTNeoXConfig", *, seed: int = 0, scale: float = 0.2, **settings: object
) -> nn.Module:
    """A causal LM of the named transformers config, every weight random: norms and biases too, so that each one counts.

    `scale` is the standard deviation of the weights, wide enough that log-probabilities differ between tokens.
    """
    torch.manual_seed(seed)  # some families draw more than their matrices
    made = getattr(transformers, config)(
        **{
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": 512,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": 1,
            **settings,
        }
    )
    model = AutoModelForCausalLM.from_config(made, dtype=torch.float32).eval().requires_grad_(False)
    return randomise(model, seed=seed, scale=scale)


def randomise(model: nn.Module, *, seed: int, scale: float, only: str = "") -> nn.Module:
    """Draw matrices from N(0, scale) and shift vectors by as much, in place; `only` where the name holds this."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():  # tied weights come once, and stay tied
        if only in name:
            noise = torch.randn(parameter.shape, generator=generator) * scale
            parameter.data = noise if parameter.dim() > 1 else parameter.data + noise
    return model


def save(model: nn.Module, directory: Path, with_tokenizer: PreTrainedTokenizerFast | None = None) -> Path:
    """Write a model as safetensors, with a tokenizer beside it if one is given."""
    model.save_pretrained(directory)  # type: ignore[operator]
    if with_tokenizer is not None:
        with_tokenizer.save_pretrained(directory)
    return directory


def random_tokens(lengths: list[tuple[int, int]], *, seed: int = 0, vocabulary: int = VOCABULARY) -> list[Tokens]:
    """Random ids, one Tokens for each (prompt, answer) pair of lengths; every token shows one character."""
    draw = random.Random(seed)
    return [
        Tokens(
            prompt_ids=tuple(draw.randrange(vocabulary) for _ in range(prompt)),
            answer_ids=tuple(draw.randrange(vocabulary) for _ in range(answer)),
            pieces=("x",) * answer,
            spans=tuple((t, t + 1) for t in range(answer)),
            answer="x" * answer,
        )
        for prompt, answer in lengths
    ]


def naive_logps(model: nn.Module, tokens: Tokens) -> list[float]:
    """log pi of each answer token: one sequence alone, no padding, all logits, log-softmax, in its own dtype."""
    ids = torch.tensor([[*tokens.prompt_ids, *tokens.answer_ids]])
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, -ids.shape[1] :]  # prompt tuning puts its own first
    log_probabilities = logits.log_softmax(-1)
    start = len(tokens.prompt_ids)  # row t predicts ids[t + 1]
    return [float(log_probabilities[start - 1 + t, token_id]) for t, token_id in enumerate(tokens.answer_ids)]


def furthest(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> float:
    """The largest absolute difference of two ragged tables of numbers, which must have the same shape."""
    return max(abs(a - b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True))


# Families that differ in what can go wrong: norms, biases, grouped heads, tied heads, windows, caps, states, scales.
FAMILIES: dict[str, dict[str, object]] = {
    "gpt-neox": {"config": "GPTNeoXConfig"},
    "llama": {"config": "LlamaConfig", "num_key_value_heads": 2},
    "qwen2": {"config": "Qwen2Config", "num_key_value_heads": 2},
    "qwen3": {"config": "Qwen3Config", "num_key_value_heads": 2, "head_dim": 8},
    "gemma": {"config": "GemmaConfig", "num_key_value_heads": 1, "head_dim": 8},
    "gemma2": {
        "config": "Gemma2Config",
        "num_key_value_heads": 2,
        "head_dim": 8,
        "sliding_window": 4,
        "attn_logit_softcapping": 5.0,
        "final_logit_softcapping": 3.0,
    },
    "gpt2": {"config": "GPT2Config"},
    "mistral": {"config": "MistralConfig", "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4},
    "mamba": {"config": "MambaConfig", "state_size": 4, "conv_kernel": 3, "time_step_rank": 4},
    "falcon-h1": {  # attention and Mamba 2 side by side
        "config": "FalconH1Config",
        "num_key_value_heads": 2,
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_chunk_size": 8,
    },
    "lfm2": {  # short convolutions, then attention
        "config": "Lfm2Config",
        "num_key_value_heads": 2,
        "layer_types": ["conv", "full_attention"],
        "conv_L_cache": 3,
    },
    "cohere": {"config": "CohereConfig", "num_key_value_heads": 2, "logit_scale": 0.25},
    "granite": {"config": "GraniteConfig", "num_key_value_heads": 2, "logits_scaling": 4.0},
    "phi": {"config": "PhiConfig"},  # a bias in the LM head
    "mixtral": {"config": "MixtralConfig", "num_key_value_heads": 2, "num_local_experts": 4},
}


def of_family(family: str, seed: int = 5, **settings: object) -> nn.Module:
    """A random model of one of the FAMILIES."""
    model = language_model(seed=seed, **FAMILIES[family] | settings)  # type: ignore[arg-type]
    if family == "mixtral":
        model.set_experts_implementation("eager")  # type: ignore[operator]  # the fused one has no float64
    return model
