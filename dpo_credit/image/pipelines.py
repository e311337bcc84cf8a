"""What a name stands for: a pipeline, a denoiser alone or a LoRA; and whether two belong together. Loads no weights."""

from __future__ import annotations

import filecmp
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import DDPMScheduler

from dpo_credit.credit import CreditError
from dpo_credit.models.locations import Location, cannot_load, json_object, locate, mending
from dpo_credit.models.pair import Loading

INDEX = "model_index.json"
LORA = "pytorch_lora_weights.safetensors"
PEFT = "adapter_config.json"
_TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "spiece.model")
_WEIGHTS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
_PREDICTIONS = ("epsilon", "v_prediction")


@dataclass(frozen=True, slots=True)
class Kind:
    """A class of diffusers that denoises, and the part of a pipeline that it is."""

    name: str
    part: Literal["unet", "transformer"]


DENOISERS = {
    kind.name: kind for kind in (Kind("UNet2DConditionModel", "unet"), Kind("PixArtTransformer2DModel", "transformer"))
}


@dataclass(frozen=True, slots=True)
class Given:
    """Where a side's files are. `parts`: of a pipeline, what each is an instance of; `weights`: a LoRA's file."""

    name: str
    role: str
    kind: Literal["pipeline", "denoiser", "lora"]
    place: Location
    class_name: str = ""
    parts: dict[str, str] = field(default_factory=dict)
    weights: Path | None = None

    @property
    def denoiser(self) -> Kind:
        """What denoises.

        Raises:
            CreditError: nothing that is known here.
        """
        names = (
            [self.class_name] if self.kind == "denoiser" else [self.parts.get(part) for part in ("unet", "transformer")]
        )
        kind = next((DENOISERS[name] for name in names if name in DENOISERS), None)
        if kind is None:
            what = next(filter(None, names), None) or self.class_name
            raise CreditError(
                f"{self.role} {self.name} is a {what}, which is not read here: {' and '.join(DENOISERS)} are (Stable "
                "Diffusion, SDXL, PixArt)."
            )
        return kind

    def same_files(self, other: Given, part: str) -> bool:
        """Whether a part's weights are the same here, byte by byte."""
        ours, theirs = self.place.inside(part), other.place.inside(part)
        if ours == theirs:
            return True
        return any(
            (file := ours.file(name, self.role)) is not None
            and (same := theirs.file(name, other.role)) is not None
            and filecmp.cmp(file, same, shallow=False)
            for name in _WEIGHTS
        )


def find(name: str | Path, role: Literal["policy", "reference"], loading: Loading) -> Given:
    """What a name stands for.

    Raises:
        CreditError: there is no such directory or file, or it holds nothing of a diffusion model.
    """
    path = Path(name).expanduser()
    if path.is_file():
        if path.suffix != ".safetensors":
            raise CreditError(f"{role} {name} is a file. Give a pipeline's directory, or a LoRA as .safetensors.")
        return Given(str(name), role, "lora", Location(str(path.parent), local=True), weights=path)
    place = locate(str(name), role, loading.of(role, "revision"))
    label = str(name)
    if (index := place.file(INDEX, role)) is not None:
        content = read_json(index, role, label)
        parts = {
            part: what[1] for part, what in content.items() if isinstance(what, list) and len(what) == 2 and what[1]
        }
        return Given(label, role, "pipeline", place, str(content.get("_class_name", "")), parts)
    if (config := place.file("config.json", role)) is not None:
        return Given(label, role, "denoiser", place, _class(config, role, label))
    for part in ("unet", "transformer"):
        inside = place.inside(part)
        if (config := inside.file("config.json", role)) is not None:
            return Given(label, role, "denoiser", inside, _class(config, role, label))
    if place.file(PEFT, role) is not None:
        weights = place.file("adapter_model.safetensors", role)
        return Given(label, role, "lora", place, weights=weights)
    if (weights := place.file(LORA, role)) is not None:
        return Given(label, role, "lora", place, weights=weights)
    raise CreditError(
        f"{role} {label} holds no diffusion model: no {INDEX} of a pipeline, no unet/config.json, no {LORA}, no {PEFT}."
    )


def _class(config: Path, role: str, name: str) -> str:
    return str(read_json(config, role, name).get("_class_name", "model without a _class_name"))


def read_json(file: Path, role: str, name: str) -> dict[str, Any]:
    """A settings file's object.

    Raises:
        CreditError: it holds none.
    """
    try:
        return json_object(file)
    except ValueError as error:
        raise CreditError(f"{role} {name}: {file.name} cannot be read: {error}. {mending(file)}") from error


def scheduler_of(given: Given) -> Any:
    """The `DDPMScheduler` that adds noise in training: a pipeline's schedule of it, whatever it samples with.

    Raises:
        CreditError: it is trained by flow matching, or its schedule is not that of a diffusion in so many steps.
    """
    name = given.parts.get("scheduler", "no scheduler")
    if name.startswith("FlowMatch"):
        raise CreditError(
            f"{given.role} {given.name} is trained by flow matching ({given.class_name}, {name}), and Diffusion-DPO's "
            "reward is about predicted noise. Name a model that predicts noise or velocity."
        )
    kind = given.denoiser  # what this is says more than its schedule would
    file = given.place.inside("scheduler").file("scheduler_config.json", given.role)
    if file is None:
        raise CreditError(f"{given.role} {given.name} has no scheduler/scheduler_config.json. Copy the whole pipeline.")
    config = read_json(file, given.role, given.name)
    if "beta_start" not in config and not config.get("trained_betas"):
        raise CreditError(
            f"{given.role} {given.name} has {name}, which names no betas: {kind.name} with it is not read."
        )
    try:
        scheduler = DDPMScheduler.from_config(config)
    except Exception as error:  # see cannot_load
        raise cannot_load(given.role, given.name, error, "Its scheduler_config.json is at fault.") from error
    predicts = scheduler.config["prediction_type"]
    if predicts not in _PREDICTIONS:
        raise CreditError(f"{given.role} {given.name} predicts {predicts}; {' or '.join(_PREDICTIONS)} is read here.")
    return scheduler


def compare(policy: Given, reference: Given, scheduler: Any) -> None:
    """Make sure that two pipelines differ in nothing but weights, as far as their settings say.

    Raises:
        CreditError: they do: in what is predicted, the noise schedule, the VAE's scale or a tokenizer.
    """
    both = f"policy {policy.name} and reference {reference.name}"
    advice = "Name the pipeline that the policy was trained from."
    ours = scheduler_of(policy)
    predictions = [one.config["prediction_type"] for one in (ours, scheduler)]
    if predictions[0] != predictions[1]:
        raise CreditError(f"{both} predict {predictions[0]} and {predictions[1]}. {advice}")
    if len(ours) != len(scheduler):
        raise CreditError(f"{both} were trained on {len(ours)} and {len(scheduler)} timesteps. {advice}")
    if not torch.equal(ours.alphas_cumprod, scheduler.alphas_cumprod):
        last = [float(one.alphas_cumprod[-1]) for one in (ours, scheduler)]
        raise CreditError(
            f"{both} differ in the scheduler's betas: {last[0]:.4g} and {last[1]:.4g} of the picture are left at the "
            f"last timestep. {advice}"
        )
    if ("vae" in policy.parts) != ("vae" in reference.parts):
        which = [("latent cells" if "vae" in given.parts else "pixels") for given in (policy, reference)]
        raise CreditError(f"{both} denoise {which[0]} and {which[1]}. {advice}")
    if "vae" in policy.parts:
        configs = [_settings(given, "vae/config.json") for given in (policy, reference)]
        for name in ("scaling_factor", "shift_factor", "latent_channels", "block_out_channels"):
            values = [config.get(name) for config in configs]
            if values[0] != values[1]:
                raise CreditError(f"{both} differ in the VAE's {name}: {values[0]} and {values[1]}. {advice}")
    for part in ("tokenizer", "tokenizer_2"):
        files = [
            [given.place.inside(part).file(name, given.role) for name in _TOKENIZER_FILES]
            for given in (policy, reference)
        ]
        for name, mine, other in zip(_TOKENIZER_FILES, *files, strict=True):
            if mine is not None and other is not None and mine.read_bytes() != other.read_bytes():
                raise CreditError(f"{both} differ in their {part}: {name} is another. {advice}")


def _settings(given: Given, name: str) -> dict[str, Any]:
    folder, _, file = name.rpartition("/")
    path = given.place.inside(folder).file(file, given.role)
    if path is None:
        raise CreditError(f"{given.role} {given.name} has no {name}. Copy the whole pipeline.")
    return read_json(path, given.role, given.name)
