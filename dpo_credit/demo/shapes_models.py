"""The denoiser of drawings with its reader of captions: their sizes, and how diffusers has them saved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from .shapes import COLOURS, KINDS, RADII, SIZE

_SAYING = "a and , at in on the of to above below left right top bottom centre middle corner"
WORDS = [*_SAYING.split(), *RADII, *COLOURS, *KINDS]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
CAPTION_TOKENS = 36
WIDTH = 64  # of the caption's states
CHANNELS = (8, 24, 64)  # at 32, 16 and 8 pixels: most of the time goes to the finest of them
GROUPS = 4
STEPS = 1000
_LOADED_FROM = "_name_or_path"  # diffusers keeps in a model's config where it was read


@dataclass(frozen=True)
class Denoiser:
    """What predicts the velocity of noisy drawings from their captions."""

    unet: Any  # a UNet2DConditionModel; diffusers' types say little
    text_encoder: CLIPTextModel
    tokenizer: PreTrainedTokenizerFast
    scheduler: Any  # a DDPMScheduler

    def parameters(self) -> Iterator[nn.Parameter]:
        """The denoiser's, then the caption reader's."""
        yield from self.unet.parameters()
        yield from self.text_encoder.parameters()

    def read(self, captions: Sequence[str]) -> Tensor:
        """(B, 36, 64) the captions' states."""
        ids = self.tokenizer(list(captions), padding="max_length", max_length=CAPTION_TOKENS, return_tensors="pt")
        return self.text_encoder(ids["input_ids"]).last_hidden_state

    def predict(self, noisy: Tensor, timesteps: Tensor, read: Tensor) -> Tensor:
        """(B, 3, 32, 32) the velocity that is predicted in pictures of that shape, at timesteps (B,)."""
        return self.unet(noisy, timesteps, read).sample

    def save(self, directory: Path) -> None:
        """Write float16 weights and what is needed to load them; a pipeline without `vae/` works on pixels."""
        self.unet.half().save_pretrained(directory / "unet")
        config = directory / "unet" / "config.json"
        fields = {name: value for name, value in json.loads(config.read_text("utf-8")).items() if name != _LOADED_FROM}
        config.write_text(json.dumps(fields, indent=2) + "\n", "utf-8")
        self.text_encoder.half().save_pretrained(directory / "text_encoder")
        self.unet.float(), self.text_encoder.float()
        self.tokenizer.save_pretrained(directory / "tokenizer")
        self.scheduler.save_pretrained(directory / "scheduler")
        parts = {
            "scheduler": ["diffusers", "DDPMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
            "unet": ["diffusers", "UNet2DConditionModel"],
        }
        index = {"_class_name": "DiffusionPipeline", "_diffusers_version": diffusers.__version__, **parts}
        (directory / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")


def new_denoiser() -> Denoiser:
    """An untrained one, with weights from torch's random state."""
    unet = UNet2DConditionModel(
        sample_size=SIZE,
        in_channels=3,
        out_channels=3,
        block_out_channels=CHANNELS,
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=GROUPS,
        cross_attention_dim=WIDTH,
        time_embedding_dim=2 * WIDTH,
        addition_embed_type="text",  # the whole caption beside the timestep: words get a meaning before places do
        addition_embed_type_num_heads=4,
        attention_head_dim=4,  # how many heads: diffusers took this name for it
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(SPECIAL) + len(WORDS),
            hidden_size=WIDTH,
            intermediate_size=2 * WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=CAPTION_TOKENS,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    scheduler = DDPMScheduler(
        num_train_timesteps=STEPS,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        # so small a model copies noise too coarsely to show, as a part of it, what is drawn at the noisiest steps
        prediction_type="v_prediction",
    )
    return Denoiser(unet, text_encoder, new_tokenizer(), scheduler)


def new_tokenizer() -> PreTrainedTokenizerFast:
    """A token a word; commas stand alone."""
    words = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", words["<s>"]), ("</s>", words["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=CAPTION_TOKENS,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )


def load_denoiser(directory: Path) -> Denoiser:
    """A saved one, in float32."""
    return Denoiser(
        UNet2DConditionModel.from_pretrained(directory, subfolder="unet", torch_dtype=torch.float32),
        CLIPTextModel.from_pretrained(directory / "text_encoder", dtype=torch.float32),
        PreTrainedTokenizerFast.from_pretrained(directory / "tokenizer"),
        DDPMScheduler.from_pretrained(directory, subfolder="scheduler"),
    )


def scaled(pictures: Sequence[NDArray[np.uint8]]) -> Tensor:
    """(B, 3, 32, 32) float32 from -1 to 1, of B pictures (32, 32, 3)."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous() / 127.5 - 1


def sample(denoiser: Denoiser, captions: Sequence[str], steps: int, generator: torch.Generator) -> NDArray[np.uint8]:
    """(B, 32, 32, 3) pictures drawn for captions, by DDIM."""
    scheduler = diffusers.DDIMScheduler.from_config(denoiser.scheduler.config, clip_sample=True)
    scheduler.set_timesteps(steps)
    with torch.no_grad():
        read = denoiser.read(captions)
        noisy = torch.randn(len(captions), 3, SIZE, SIZE, generator=generator)
        for timestep in scheduler.timesteps:
            noise = denoiser.predict(noisy, timestep.expand(len(captions)), read)
            noisy = scheduler.step(noise, int(timestep), noisy).prev_sample
    return ((noisy.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
