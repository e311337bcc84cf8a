"""Which pictures' models load, as what, and the one line about those that do not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import denoisers
import numpy as np
import pytest
import torch
from denoisers import PROMPT, picture
from safetensors.torch import load_file, save_file

from dpo_credit.credit import CreditError
from dpo_credit.demo.shapes_models import new_denoiser
from dpo_credit.image.denoiser import DenoiserPair
from dpo_credit.image.loading import load_denoisers
from dpo_credit.image.scoring import Sampling, score_pictures
from dpo_credit.models.pair import Loading

CPU = Loading(device="cpu")
FEW = Sampling(steps=2, draws=1)


def errors(pair: DenoiserPair, size: tuple[int, int] = (8, 8)) -> tuple[np.ndarray, np.ndarray]:
    (credit,) = score_pictures(pair, PROMPT, [picture(1, size)], FEW).credits
    return credit.policy, credit.reference


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return denoisers.pixels_pipeline(tmp_path / "reference", 2)


def test_a_policy_may_be_a_unet_alone_in_a_folder_or_as_one(reference: Path, tmp_path: Path) -> None:
    """As Diffusion-DPO's authors publish theirs: a repository with the folder unet and no pipeline."""
    whole = denoisers.pixels_pipeline(tmp_path / "policy", 1)
    expected = errors(load_denoisers(whole, reference, loading=CPU))
    bare = tmp_path / "bare"
    shutil.copytree(whole / "unet", bare / "unet")
    for name in (bare, bare / "unet", f"{bare}:unet"):
        np.testing.assert_array_equal(errors(load_denoisers(name, reference, loading=CPU)), expected)


def test_the_beta_is_what_training_left_else_assumed_and_said(reference: Path, tmp_path: Path) -> None:
    policy = denoisers.pixels_pipeline(tmp_path / "policy", 1)
    pair = load_denoisers(policy, reference, loading=CPU)
    assert pair.beta == 5000 and any(note.startswith("beta 5000 is assumed") for note in pair.notes)
    record = {"schema": "dpo-credit/trained@1", "method": "dpo", "model": "reference", "beta": 250.0}
    (policy / "dpo_credit.json").write_text(json.dumps(record))
    pair = load_denoisers(policy, reference, loading=CPU)
    assert (pair.beta, pair.notes) == (250, ())
    assert load_denoisers(policy, reference, beta=3, loading=CPU).beta == 3


def change(folder: Path, name: str, **values: Any) -> None:
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def flow(folder: Path) -> None:
    change(folder, "model_index.json", scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"])


def other_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace('"rent"', '"mint"', 1) + " ")


def other_weights(folder: Path, part: str = "text_encoder", name: str = "model") -> None:
    path = folder / part / f"{name}.safetensors"
    weights = load_file(path)
    first = min(weights)
    save_file({**weights, first: weights[first] + 1}, path, {"format": "pt"})


def lacks_weights(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    del weights["conv_in.bias"]
    save_file(weights, path, {"format": "pt"})


def pickled(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")


def remade(**settings: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        shutil.rmtree(folder / "unet")
        denoisers.unet(1, **settings).save_pretrained(folder / "unet")

    return change


DIFFERENCES: dict[str, tuple[Callable[[Path], None], str]] = {
    "betas": (
        lambda folder: change(folder, "scheduler/scheduler_config.json", beta_end=0.03),
        r"differ in the scheduler's betas: .* of the picture are left at the last timestep\. Name the pipeline that",
    ),
    "steps": (
        lambda folder: change(folder, "scheduler/scheduler_config.json", num_train_timesteps=50),
        r"were trained on 50 and 100 timesteps\. Name",
    ),
    "what is predicted": (
        lambda folder: change(folder, "scheduler/scheduler_config.json", prediction_type="v_prediction"),
        r"predict v_prediction and epsilon\. Name the pipeline that the policy was trained from\.",
    ),
    "sample": (
        lambda folder: change(folder, "scheduler/scheduler_config.json", prediction_type="sample"),
        r"^policy .* predicts sample; epsilon or v_prediction is read here\.$",
    ),
    "no betas": (
        lambda folder: (folder / "scheduler/scheduler_config.json").write_text("{}"),
        r"^policy .* has DDPMScheduler, which names no betas: UNet2DConditionModel with it is not read\.$",
    ),
    "flow matching": (
        flow,
        r"^policy .* is trained by flow matching \(StableDiffusionPipeline, FlowMatchEulerDiscreteScheduler\), and",
    ),
    "tokenizer": (other_tokenizer, r"differ in their tokenizer: tokenizer\.json is another\. Name the pipeline"),
    "text encoder": (
        other_weights,
        r"have other weights in text_encoder \(1; first: .*Diffusion-DPO trains the denoiser",
    ),
    "sample size": (remade(sample_size=16), r"differ in sample_size: 16 and 8\. Name the pipeline that the policy was"),
    "width": (remade(cross_attention_dim=32), r"differ in cross_attention_dim: 32 and 16\. Name"),
    "missing weights": (
        lacks_weights,
        r"^policy .*: unet lacks weights that its config asks for \(1; first: conv_in\.b",
    ),
    "pickles": (
        pickled,
        r"^policy .* holds no diffusion_pytorch_model\.safetensors in .*unet\. Save it as safetensors: ",
    ),
    "another class": (
        lambda folder: change(folder, "model_index.json", unet=["diffusers", "UNet2DModel"]),
        r"^policy .* is a UNet2DModel, which is not read here: UNet2DConditionModel and PixArtTransformer2DModel are",
    ),
    "broken index": (
        lambda folder: (folder / "model_index.json").write_text("["),
        r"^policy .*model_index\.json cannot",
    ),
    "nothing": (
        lambda folder: (shutil.rmtree(folder), folder.mkdir())[1],
        r"^policy .* holds no diffusion model: no model_index\.json of a pipeline, no unet/config\.json, no",
    ),
    "no folder": (shutil.rmtree, r"^policy .* does not exist\. Give a model's directory or its name on the hub\.$"),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_sides_that_do_not_belong_together_are_refused(what: str, reference: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(reference, policy)
    break_it, message = DIFFERENCES[what]
    break_it(policy)
    with pytest.raises(CreditError, match=message) as refused:
        load_denoisers(policy, reference, loading=CPU)
    assert "\n" not in str(refused.value)


def test_vaes_that_differ_are_refused(tmp_path: Path) -> None:
    reference = denoisers.latent_pipeline(tmp_path / "reference", 2)
    policy = tmp_path / "policy"
    shutil.copytree(reference, policy)
    change(policy, "vae/config.json", scaling_factor=0.5)
    with pytest.raises(CreditError, match=r"differ in the VAE's scaling_factor: 0\.5 and 0\.7\. Name the pipeline"):
        load_denoisers(policy, reference, loading=CPU)
    pixels = denoisers.pixels_pipeline(tmp_path / "pixels", 2)
    with pytest.raises(CreditError, match=r"denoise pixels and latent cells\. Name the pipeline"):
        load_denoisers(pixels, reference, loading=CPU)


def test_both_models_or_neither_are_named_and_the_reference_is_whole(reference: Path) -> None:
    with pytest.raises(CreditError, match=r"^--policy is named, and --reference is not\. Give both: the reference is"):
        load_denoisers(reference, loading=CPU)
    with pytest.raises(CreditError, match=r"^reference .*unet is no whole pipeline: it has no model_index\.json\."):
        load_denoisers(reference, reference / "unet", loading=CPU)


PICTURES: dict[str, tuple[tuple[int, int], str]] = {
    "pixels": (
        (9, 8),
        r"^picture\.png is 9 x 8, and the models take 8 x 8 pixels\. Scale and crop it with --resize\.$",
    ),
    "latents": (
        (16, 15),
        r"^picture\.png is 16 x 15, and the models take widths and heights that are multiples of 2\. Crop it, or let "
        r"--resize scale and crop it to 16 x 16\.$",
    ),
    "PixArt": ((18, 16), r"^picture\.png is 18 x 16, and the models take .* that are multiples of 4\. Crop it"),
}
MAKERS = {
    "pixels": denoisers.pixels_pipeline,
    "latents": denoisers.latent_pipeline,
    "PixArt": denoisers.pixart_pipeline,
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_of_another_size_is_refused_or_resized(kind: str, tmp_path: Path) -> None:
    folder = MAKERS[kind](tmp_path / "pipeline", 1)
    pair = load_denoisers(folder, folder, loading=CPU)
    size, message = PICTURES[kind]
    with pytest.raises(CreditError, match=message):
        score_pictures(pair, PROMPT, [picture(1, size)], FEW)
    (credit,) = score_pictures(pair, PROMPT, [picture(1, size)], Sampling(1, 1, resize=True)).credits
    assert (credit.width, credit.height) == (pair.space.native,) * 2
    assert f"picture.png was {size[0]} x {size[1]} and is scaled and cropped to" in credit.notes[0]


def test_latent_pictures_of_one_other_size_are_scored_and_of_two_refused(tmp_path: Path) -> None:
    folder = denoisers.latent_pipeline(tmp_path / "pipeline", 1)
    pair = load_denoisers(folder, folder, loading=CPU)
    (credit,) = score_pictures(pair, PROMPT, [picture(1, (12, 8))], FEW).credits
    assert credit.policy.shape == (2, 1, 4, 6)
    assert "the models were trained on 16 x 16 pixels, and this is 12 x 8" in credit.notes
    message = r"^picture\.png is 12 x 8 and b\.png is 8 x 8: only pictures of one size get the same noise\. Crop one"
    with pytest.raises(CreditError, match=message):
        score_pictures(pair, PROMPT, [picture(1, (12, 8)), picture(1, (8, 8), "b.png")], FEW)


def test_a_prompt_that_is_too_long_or_empty_is_refused(reference: Path) -> None:
    pair = load_denoisers(reference, reference, loading=CPU)
    prompt = "rent " * 50
    count = len(denoisers.tokenizer()(prompt)["input_ids"])
    with pytest.raises(
        CreditError, match=rf"^the prompt is {count} tokens long and the text encoder takes 24\. Shorten"
    ):
        score_pictures(pair, prompt, [picture(1)], FEW)
    with pytest.raises(CreditError, match=r"^the prompt is empty\."):
        score_pictures(pair, " ", [picture(1)], FEW)
    for beta in (0.0, float("nan")):
        bad = load_denoisers(reference, reference, beta=beta, loading=CPU)
        with pytest.raises(CreditError, match=r"^beta is .*; it must be a positive number"):
            score_pictures(bad, PROMPT, [picture(1)], FEW)


def test_numbers_that_are_not_finite_name_the_side(reference: Path, tmp_path: Path) -> None:
    unet = denoisers.unet(1)
    with torch.no_grad():
        unet.conv_out.bias[0] = float("nan")
    unet.save_pretrained(tmp_path / "policy")
    pair = load_denoisers(tmp_path / "policy", reference, loading=CPU)
    message = (
        r"^policy .* predicts noise that is no finite number at timestep 25\. Its weights are broken: its training"
    )
    with pytest.raises(CreditError, match=message):
        score_pictures(pair, PROMPT, [picture(1)], FEW)


def test_words_that_the_text_encoder_has_no_token_for_are_named(tmp_path: Path) -> None:
    shapes = new_denoiser()
    for side in ("policy", "reference"):
        shapes.save(tmp_path / side)
    pair = load_denoisers(tmp_path / "policy", tmp_path / "reference", beta=1, loading=CPU)
    given = [picture(1, (32, 32))]
    (known,) = score_pictures(pair, "a red circle at the top left", given, Sampling(1, 1)).credits
    (credit,) = score_pictures(pair, "a pink star, a lion and a pink cat", given, Sampling(1, 1)).credits
    assert not any("no token" in note for note in known.notes)
    assert "the text encoder has no token for 'pink', 'star', 'lion', ...: it reads <unk> there" in credit.notes
