"""Loading a policy and its reference: diffusers pipelines, a policy's bare UNet, or a LoRA on the reference's.

The only place that loads pictures' models. Only safetensors load, no code from a model's repository runs, and nothing
asks the network unless a name is no directory here. Text encoders and VAE are the reference's, in memory once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn

from dpo_credit.credit import CreditError
from dpo_credit.image.denoiser import DEFAULT_BETA, Condition, DenoiserPair, Space, TorchDenoiser
from dpo_credit.image.lora import with_lora
from dpo_credit.image.pictures import Pixels
from dpo_credit.image.pipelines import Given, compare, find, scheduler_of
from dpo_credit.image.prompts import TextEncoder, clip, limit_of, sized_t5, t5, two_clips
from dpo_credit.models import trained
from dpo_credit.models.devices import devices
from dpo_credit.models.locations import Location, cannot_load
from dpo_credit.models.pair import Loading
from dpo_credit.models.published import EMBEDDED
from dpo_credit.models.silence import no_progress_bar
from dpo_credit.models.weights import fingerprint, notes_if_equal

SHAPES = EMBEDDED / "shapes"  # the pair that comes with the package
_T5_TOKENS = {"PixArtSigmaPipeline": 300}  # what a pipeline pads prompts to, where it is not its encoder that says so
_PIXART_TOKENS = 120
_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")
_TEXT_PARTS = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))


def load_denoisers(
    policy: str | Path | None = None,
    reference: str | Path | None = None,
    *,
    beta: float | None = None,
    loading: Loading = Loading(),
) -> DenoiserPair:
    """Load a Diffusion-DPO policy and its reference; the pair of the package where neither is named.

    Args:
        policy: a directory or a hub id: a pipeline, a UNet or transformer alone (Diffusion-DPO's published models), or
            a LoRA (of diffusers or PEFT, a directory or a file); NAME:FOLDER is a folder in one.
        reference: likewise, a whole pipeline. One without a VAE denoises pixels.
        beta: `beta_dpo` of its training; None is what that left beside it, else 5000, which is noted.
        loading: its device, dtype ("auto" is float32: rewards are small differences of errors) and revision.

    Raises:
        CreditError: a model cannot be loaded safely, is none that predicts noise or velocity, or the two differ in more
            than the denoiser's weights.
    """
    if (policy is None) != (reference is None):
        named, other = ("--policy", "--reference") if reference is None else ("--reference", "--policy")
        raise CreditError(
            f"{named} is named, and {other} is not. Give both: the reference is what training began with."
        )
    each = devices(loading.device)
    chosen = find(SHAPES / "policy" if policy is None else policy, "policy", loading)
    base = find(SHAPES / "reference" if reference is None else reference, "reference", loading)
    if policy is None:
        chosen, base = (replace(given, name=f"shapes {given.role}") for given in (chosen, base))
    if base.kind != "pipeline":
        raise CreditError(
            f"reference {base.name} is no whole pipeline: it has no model_index.json. Name the one that training "
            "began with, with its text encoder and scheduler."
        )
    dtype = torch.float32 if loading.dtype == "auto" else getattr(torch, loading.dtype)
    scheduler = scheduler_of(base)
    if chosen.kind == "pipeline":
        compare(chosen, base, scheduler)
    kind = base.denoiser
    module = _denoiser(base, base.place.inside(kind.part), each[1], dtype)
    space = _space(base, chosen, module, each[1], dtype)
    channels = space.channels
    if chosen.kind == "lora":
        adapted = with_lora(module, chosen)
        sides = (
            TorchDenoiser(chosen.name, "policy", adapted, channels),
            TorchDenoiser(base.name, "reference", adapted, channels, adapter=False),
        )
    else:
        place = chosen.place.inside(kind.part) if chosen.kind == "pipeline" else chosen.place
        ours = _denoiser(chosen, place, each[0], dtype)
        _compare_denoisers(chosen, ours, base, module)
        sides = (
            TorchDenoiser(chosen.name, "policy", ours, channels),
            TorchDenoiser(base.name, "reference", module, channels),
        )
    known = chosen.place.file(trained.NAME, "policy")
    was = None if known is None else trained.parse(known).beta
    notes = notes_if_equal(sides[0].module, sides[1].module)
    if beta is None and was is None:
        notes += (f"beta {DEFAULT_BETA:g} is assumed, that of Diffusion-DPO's published models; --beta names another",)
    chosen_beta = beta if beta is not None else DEFAULT_BETA if was is None else was
    return DenoiserPair(*sides, space, scheduler, chosen_beta, notes)


def _denoiser(given: Given, place: Location, device: torch.device, dtype: torch.dtype) -> nn.Module:
    name = given.denoiser.name
    return _module(getattr(diffusers, name), place, given, device, dtype)


def _module(kind: Any, place: Location, given: Given, device: torch.device, dtype: torch.dtype) -> Any:
    """A part of a pipeline, frozen; its weights are all there, and no other."""
    what, library = f"{given.role} {given.name}", kind.__module__.partition(".")[0]
    weights = "model" if library == "transformers" else "diffusion_pytorch_model"
    if place.local and not any(
        (Path(place.path) / f"{weights}.safetensors{end}").is_file() for end in ("", ".index.json")
    ):
        raise CreditError(
            f"{what} holds no {weights}.safetensors in {place.path}. Save it as safetensors: other files can run code "
            "when loaded."
        )
    options = {"dtype" if library == "transformers" else "torch_dtype": dtype, **place.place}
    try:
        with no_progress_bar():
            diffusers_logging.disable_progress_bar()
            module, info = kind.from_pretrained(
                place.path,
                use_safetensors=True,
                local_files_only=place.local,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # see cannot_load
        raise cannot_load(given.role, given.name, error) from error
    left_over = [name for name in info["unexpected_keys"] if not name.endswith("position_ids")]
    for keys, fault in ((info["missing_keys"], "lacks weights that its config asks for"), (left_over, "holds others")):
        if keys:
            raise CreditError(
                f"{what}: {place.subfolder or Path(place.path).name} {fault} ({len(keys)}; first: {min(keys)}). Save "
                "model and config together."
            )
    return module.to(device).eval().requires_grad_(False)


def _compare_denoisers(chosen: Given, ours: Any, base: Given, theirs: Any) -> None:
    """Make sure that the two take the same pictures and prompts."""
    for name in ("_class_name", "sample_size", "in_channels", "cross_attention_dim", "addition_embed_type"):
        values = (
            [type(ours).__name__, type(theirs).__name__]
            if name == "_class_name"
            else [module.config.get(name) for module in (ours, theirs)]
        )
        if values[0] != values[1]:
            raise CreditError(
                f"policy {chosen.name} and reference {base.name} differ in {name}: {values[0]} and {values[1]}. Name "
                "the pipeline that the policy was trained from."
            )


def _space(base: Given, chosen: Given, module: Any, device: torch.device, dtype: torch.dtype) -> Space:
    """What both sides denoise; the policy's own VAE and text encoders, if it has some, have to be the same."""
    kind = base.denoiser
    vae = _shared(base, chosen, "vae", diffusers.AutoencoderKL, device, torch.float32) if "vae" in base.parts else None
    encoders, parts = [], [vae] if vae is not None else []
    for tokenizer_part, part in _TEXT_PARTS:
        if part not in base.parts:
            continue
        if base.parts[part] not in _ENCODERS:
            raise CreditError(
                f"reference {base.name} has a {base.parts[part]} as its {part}; {' or '.join(_ENCODERS)} is read here."
            )
        encoder = _shared(base, chosen, part, getattr(transformers, base.parts[part]), device, dtype)
        tokenizer = _tokenizer(base, tokenizer_part)
        limit = _T5_TOKENS.get(base.class_name, _PIXART_TOKENS) if kind.part == "transformer" else None
        encoders.append(TextEncoder(tokenizer, encoder, limit or limit_of(tokenizer, encoder)))
        parts.append(encoder)
    factor = 1 if vae is None else 2 ** (len(vae.config.block_out_channels) - 1)
    channels = 3 if vae is None else vae.config.latent_channels
    if module.config.in_channels != channels:
        raise CreditError(
            f"reference {base.name} denoises {module.config.in_channels} channels, and its pictures have {channels}: "
            "it was made to fill in or change pictures. Name a model that makes them from text."
        )
    size = module.config.sample_size
    return Space(
        encode=_pixels if vae is None else partial(_latents, vae),
        condition=_condition(base, module, encoders),
        channels=channels,
        multiple=1 if vae is None else factor * module.config.get("patch_size", 1),
        native=(size if isinstance(size, int) else size[0]) * factor,
        latent=vae is not None,
        unknown=lambda prompt: tuple(dict.fromkeys(word for encoder in encoders for word in encoder.unknown(prompt))),
        fingerprint=lambda: " ".join(map(fingerprint, parts)),
    )


def _condition(base: Given, module: Any, encoders: list[TextEncoder]) -> Any:
    """How prompts condition the denoiser."""
    if base.denoiser.part == "transformer":
        how, wanted = (sized_t5 if module.use_additional_conditions else t5), 1
    elif module.config.addition_embed_type == "text_time":
        how, wanted = two_clips, 2
    else:
        how, wanted = clip, 1
    if len(encoders) != wanted:
        raise CreditError(
            f"reference {base.name} has {len(encoders)} text encoders, and its {base.denoiser.name} takes {wanted}. "
            "Name a whole pipeline."
        )

    def condition(prompt: str, width: int, height: int) -> Condition:
        return how(encoders, prompt, width, height)

    return condition


def _shared(base: Given, chosen: Given, part: str, kind: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """The reference's part, which has to be the policy's, too, where that brings one."""
    module = _module(kind, base.place.inside(part), base, device, dtype)
    if part in chosen.parts and not chosen.same_files(base, part):
        other = _module(kind, chosen.place.inside(part), chosen, torch.device("cpu"), dtype)
        ours, theirs = other.state_dict(), module.state_dict()
        different = [name for name in ours.keys() | theirs.keys() if not _equal(ours, theirs, name)]
        if different:
            raise CreditError(
                f"policy {chosen.name} and reference {base.name} have other weights in {part} ({len(different)}; "
                f"first: {min(different)}). Diffusion-DPO trains the denoiser alone: name what it was trained from."
            )
    return module


def _equal(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], name: str) -> bool:
    return name in ours and name in theirs and torch.equal(ours[name].cpu(), theirs[name].cpu())


def _tokenizer(given: Given, part: str) -> Any:
    name = given.parts.get(part, "")
    kind = getattr(transformers, name, None)
    place = given.place.inside(part)
    if kind is None or "Tokenizer" not in name:
        raise CreditError(f"{given.role} {given.name} has {name or 'nothing'} as its {part}, which is not loaded.")
    try:
        return kind.from_pretrained(place.path, local_files_only=place.local, **place.place)
    except Exception as error:  # see cannot_load
        raise cannot_load(given.role, given.name, error, f"Its {part} is at fault.") from error


def _pixels(pixels: Pixels) -> Tensor:
    """(H, W, 3) from 0 to 255 -> (3, H, W) from -1 to 1."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 127.5 - 1


def _latents(vae: Any, pixels: Pixels) -> Tensor:
    """(H, W, 3) -> (C, h, w): the mean of what the VAE makes of the picture, scaled as its models are trained."""
    with torch.inference_mode():
        mean = vae.encode(_pixels(pixels)[None].to(vae.device)).latent_dist.mode()[0]
    shift = vae.config.get("shift_factor") or 0.0
    return ((mean - shift) * vae.config.scaling_factor).float().cpu()
