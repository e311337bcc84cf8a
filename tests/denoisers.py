"""Tiny diffusers pipelines with random weights, saved as Stable Diffusion, SDXL and PixArt are; no download."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from diffusers import AutoencoderKL, DDPMScheduler, PixArtTransformer2DModel, UNet2DConditionModel
from PIL import Image
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from dpo_credit.image.pictures import Picture

PROMPT = "a red circle"
LONGEST = 24  # tokens of a prompt
WIDTH = 16  # of the text encoders' states


def noisy(module: nn.Module, seed: int, scale: float = 0.3) -> nn.Module:
    """The module with every weight random, norms and biases too, so that each one counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * scale / max(1, weight[0].numel()) ** 0.5)
            if weight.ndim == 1:
                weight += 0.5
    return module.eval()


def tokenizer() -> PreTrainedTokenizerFast:
    made = tiny.tokenizer()
    made.model_max_length = LONGEST
    return made


def unet(seed: int, channels: int = 3, **settings: Any) -> UNet2DConditionModel:
    made = UNet2DConditionModel(
        **{
            "sample_size": 8,
            "in_channels": channels,
            "out_channels": channels,
            "block_out_channels": (8, 16),
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "cross_attention_dim": WIDTH,
            "attention_head_dim": 4,
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
            **settings,
        }
    )
    return noisy(made, seed)  # type: ignore[return-value]


def clip(seed: int, kind: Any = CLIPTextModel) -> Any:
    config = CLIPTextConfig(
        vocab_size=tiny.VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LONGEST,
        projection_dim=WIDTH,
        eos_token_id=0,
    )
    return noisy(kind(config), seed)


def vae(seed: int) -> AutoencoderKL:
    made = AutoencoderKL(
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=0.7,
        shift_factor=0.1,
    )
    return noisy(made, seed, scale=1.0)  # type: ignore[return-value]


def pipeline(folder: Path, class_name: str = "StableDiffusionPipeline", **parts: Any) -> Path:
    """Save parts as a pipeline's folder."""
    folder.mkdir(parents=True)
    index: dict[str, Any] = {"_class_name": class_name, "safety_checker": [None, None]}
    for name, part in parts.items():
        index[name] = [type(part).__module__.partition(".")[0], type(part).__name__]
        part.save_pretrained(folder / name)
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def scheduler(**settings: Any) -> DDPMScheduler:
    return DDPMScheduler(
        **{
            "num_train_timesteps": 100,
            "beta_schedule": "scaled_linear",
            "steps_offset": 1,
            "clip_sample": False,
            **settings,
        }
    )


def pixels_pipeline(folder: Path, seed: int, **parts: Any) -> Path:
    """8 x 8 pixels, one CLIP; parts with a random seed of their own where that is given."""
    given = {"unet": unet(seed), "text_encoder": clip(7), "tokenizer": tokenizer(), "scheduler": scheduler(), **parts}
    return pipeline(folder, **given)


def latent_pipeline(folder: Path, seed: int, **parts: Any) -> Path:
    """16 x 16 pixels, 8 x 8 latent cells of 4 channels."""
    return pixels_pipeline(folder, seed, **{"vae": vae(5), "unet": unet(seed, channels=4), **parts})


def xl_pipeline(folder: Path, seed: int) -> Path:
    """As SDXL: two text encoders, and a UNet that is told the picture's size."""
    more = {
        "cross_attention_dim": 2 * WIDTH,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": WIDTH + 6 * 4,
    }
    return pipeline(
        folder,
        "StableDiffusionXLPipeline",
        unet=unet(seed, channels=4, **more),
        vae=vae(5),
        text_encoder=clip(7),
        text_encoder_2=clip(8, CLIPTextModelWithProjection),
        tokenizer=tokenizer(),
        tokenizer_2=tokenizer(),
        scheduler=scheduler(),
    )


def pixart_pipeline(folder: Path, seed: int, **settings: Any) -> Path:
    """As PixArt: a transformer that predicts a variance, too, and a T5."""
    transformer = PixArtTransformer2DModel(
        **{
            "num_attention_heads": 2,
            "attention_head_dim": 8,
            "in_channels": 4,
            "out_channels": 8,
            "num_layers": 1,
            "cross_attention_dim": 16,
            "sample_size": 8,
            "caption_channels": WIDTH,
            "use_additional_conditions": False,
            **settings,
        }
    )
    t5 = T5EncoderModel(T5Config(vocab_size=tiny.VOCABULARY, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2))
    return pipeline(
        folder,
        "PixArtAlphaPipeline",
        transformer=noisy(transformer, seed),
        vae=vae(5),
        text_encoder=noisy(t5, 9),
        tokenizer=tokenizer(),
        scheduler=scheduler(),
    )


def picture(seed: int, size: tuple[int, int] = (8, 8), name: str = "picture.png") -> Picture:
    """Random pixels, (width, height)."""
    return Picture(name, np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def png(given: Picture) -> bytes:
    data = io.BytesIO()
    Image.fromarray(given.pixels).save(data, "PNG")
    return data.getvalue()
