"""Prompts become what a denoiser is conditioned on, as diffusers' own pipelines encode them; none is cut.

Stable Diffusion takes the last states of one CLIP, SDXL the next-to-last of two with the second one's pooled state and
the picture's size, PixArt a T5's with their mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dpo_credit.credit import CreditError
from dpo_credit.image.denoiser import Condition

_ANY_LENGTH = 1_000_000  # a tokenizer whose limit is beyond it knows none


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """A tokenizer and the transformers model behind it. `limit`: the most tokens, which all prompts are padded to."""

    tokenizer: Any
    module: Any
    limit: int

    def ids(self, prompt: str) -> dict[str, Tensor]:
        """The prompt's ids and their mask, (1, limit) each, on the module's device.

        Raises:
            CreditError: the prompt is longer.
        """
        count = len(self.tokenizer(prompt)["input_ids"])
        if count > self.limit:
            raise CreditError(
                f"the prompt is {count} tokens long and the text encoder takes {self.limit}. Shorten it: training cut "
                "such a prompt, so its end would decide nothing."
            )
        given = self.tokenizer(prompt, padding="max_length", max_length=self.limit, return_tensors="pt")
        return {name: given[name].to(self.module.device) for name in ("input_ids", "attention_mask")}

    def unknown(self, prompt: str) -> tuple[str, ...]:
        """What of a prompt the tokenizer has no token for, each once."""
        if not self.tokenizer.is_fast:  # it does not tell where tokens stand
            return ()
        given = self.tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
        stretches = zip(given["input_ids"], given["offset_mapping"], strict=True)
        return tuple(dict.fromkeys(prompt[a:b] for token, (a, b) in stretches if token == self.tokenizer.unk_token_id))


def limit_of(tokenizer: Any, module: nn.Module) -> int:
    """The most tokens of a CLIP text encoder, as its tokenizer has it or its positions.

    Raises:
        CreditError: neither says one.
    """
    config: Any = module.config
    positions = getattr(config, "max_position_embeddings", None)
    limit = min(n for n in (tokenizer.model_max_length, positions or tokenizer.model_max_length))
    if limit > _ANY_LENGTH:
        raise CreditError("the text encoder's tokenizer names no model_max_length. Save the pipeline with one.")
    return int(limit)


def clip(encoders: Sequence[TextEncoder], prompt: str, width: int, height: int) -> Condition:
    """For a UNet of Stable Diffusion: `encoder_hidden_states` (1, L, D)."""
    (encoder,) = encoders
    given = encoder.ids(prompt)
    masked = getattr(encoder.module.config, "use_attention_mask", False)
    with torch.inference_mode():
        states = encoder.module(given["input_ids"], attention_mask=given["attention_mask"] if masked else None)[0]
    return {"encoder_hidden_states": states}


def two_clips(encoders: Sequence[TextEncoder], prompt: str, width: int, height: int) -> Condition:
    """For a UNet of SDXL: the states of both side by side, the second one's pooled state, and what size the picture is.

    The size that it had, the corner that it was cropped at and the size that it has: the picture is scored as it is.
    """
    with torch.inference_mode():
        given = [encoder.module(encoder.ids(prompt)["input_ids"], output_hidden_states=True) for encoder in encoders]
    states = torch.cat([one.hidden_states[-2] for one in given], dim=-1)
    sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=states.dtype)
    return {
        "encoder_hidden_states": states,
        "added_cond_kwargs": {"text_embeds": given[-1].text_embeds, "time_ids": sizes},
    }


def t5(encoders: Sequence[TextEncoder], prompt: str, width: int, height: int) -> Condition:
    """For a transformer of PixArt: the states and their mask; its pipelines write prompts in small letters."""
    (encoder,) = encoders
    given = encoder.ids(prompt.lower().strip())
    with torch.inference_mode():
        states = encoder.module(given["input_ids"], attention_mask=given["attention_mask"])[0]
    return {
        "encoder_hidden_states": states,
        "encoder_attention_mask": given["attention_mask"],
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


def sized_t5(encoders: Sequence[TextEncoder], prompt: str, width: int, height: int) -> Condition:
    """For a transformer of PixArt that is told the picture's size."""
    sizes = {"resolution": torch.tensor([[height, width]]).float(), "aspect_ratio": torch.tensor([[height / width]])}
    return {**t5(encoders, prompt, width, height), "added_cond_kwargs": sizes}
