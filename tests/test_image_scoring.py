"""The rewards of pictures against naive loops in float64, and against Diffusion-DPO's public loss on the same noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import denoisers
import numpy as np
import pytest
import torch
from denoisers import PROMPT, picture
from diffusers import PixArtAlphaPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline

from dpo_credit.credit import CreditError
from dpo_credit.image import scoring
from dpo_credit.image.denoiser import DenoiserPair
from dpo_credit.image.loading import load_denoisers
from dpo_credit.image.scoring import Sampling, score_pictures, timesteps_of
from dpo_credit.models.pair import Loading

CPU = Loading(device="cpu")
SAMPLING = Sampling(steps=3, draws=2, seed=11)
FLOAT32 = 1e-5  # relative: the models run in float32, whose last digit is 6e-8, and sum some hundred products
MAKERS: dict[str, Callable[..., Path]] = {
    "pixels": denoisers.pixels_pipeline,
    "latents": denoisers.latent_pipeline,
    "SDXL": denoisers.xl_pipeline,
    "PixArt": denoisers.pixart_pipeline,
}


def pair_of(folder: Path, make: Callable[..., Path], beta: float | None = 2000, **parts: Any) -> DenoiserPair:
    return load_denoisers(
        make(folder / "policy", 1, **parts), make(folder / "reference", 2, **parts), beta=beta, loading=CPU
    )


@pytest.fixture(params=MAKERS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> DenoiserPair:
    return pair_of(tmp_path, MAKERS[request.param])


def pictures_for(pair: DenoiserPair) -> list[Any]:
    size = (pair.space.native,) * 2
    return [picture(1, size, "chosen.png"), picture(2, size, "rejected.png")]


def naive(pair: DenoiserPair, given: Any, predicts_v: bool) -> tuple[np.ndarray, np.ndarray]:
    """Policy's and reference's errors (S, N, h, w): one picture, step and draw at a time, noise made by hand."""
    betas = pair.scheduler.betas.double()
    kept = torch.cumprod(1 - betas, 0)
    clean = pair.space.encode(given.pixels).double()
    condition = pair.space.condition(PROMPT, given.width, given.height)
    generator = torch.Generator().manual_seed(SAMPLING.seed)
    errors: tuple[list[Any], list[Any]] = [], []
    for step in (16, 50, 83):  # the middles of thirds of 100
        for _ in range(SAMPLING.draws):
            noise = torch.randn(clean.shape, generator=generator).double()
            noisy = kept[step].sqrt() * clean + (1 - kept[step]).sqrt() * noise
            target = kept[step].sqrt() * noise - (1 - kept[step]).sqrt() * clean if predicts_v else noise
            for side, into in zip((pair.policy, pair.reference), errors, strict=True):
                predicted = side.predict(noisy[None].float(), torch.tensor([step]), condition)[0].double()
                into.append(sum((target[c] - predicted[c]) ** 2 for c in range(len(target))).numpy())
    shape = (3, SAMPLING.draws, *errors[0][0].shape)
    return tuple(np.stack(side).reshape(shape) for side in errors)  # type: ignore[return-value]


def agree(pair: DenoiserPair, predicts_v: bool = False) -> None:
    given = pictures_for(pair)
    scored = score_pictures(pair, PROMPT, given, SAMPLING)
    for credit, one in zip(scored.credits, given, strict=True):
        policy, reference = naive(pair, one, predicts_v)
        assert credit.timesteps == (16, 50, 83)
        np.testing.assert_allclose(credit.policy, policy, rtol=FLOAT32, atol=1e-6)
        np.testing.assert_allclose(credit.reference, reference, rtol=FLOAT32, atol=1e-6)
        assert np.abs(policy - reference).max() > 0.01  # or nothing would be told apart
        assert credit.channels == pair.space.channels and credit.latent == pair.space.latent


def test_errors_are_those_of_a_naive_loop(pair: DenoiserPair) -> None:
    agree(pair)


@pytest.mark.parametrize("make", ["pixels", "latents"])
def test_of_models_that_predict_velocity_too(make: str, tmp_path: Path) -> None:
    agree(pair_of(tmp_path, MAKERS[make], scheduler=denoisers.scheduler(prediction_type="v_prediction")), True)


def test_the_error_of_the_velocity_is_that_of_the_noise_over_what_is_left_of_the_picture(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, denoisers.pixels_pipeline, scheduler=denoisers.scheduler(prediction_type="v_prediction"))
    kept = float(pair.scheduler.alphas_cumprod[50])
    clean, noise, v = (torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(n)) for n in (1, 2, 3))
    x = kept**0.5 * clean + (1 - kept) ** 0.5 * noise
    target = kept**0.5 * noise - (1 - kept) ** 0.5 * clean
    predicted_noise = kept**0.5 * v + (1 - kept) ** 0.5 * x
    torch.testing.assert_close((target - v).square(), (noise - predicted_noise).square() / kept, rtol=1e-4, atol=1e-5)


def test_the_margin_is_the_logit_of_the_public_loss(pair: DenoiserPair) -> None:
    """`train_diffusion_dpo.py` of diffusers: chosen and rejected in one batch, on the same noise and timesteps."""
    given = pictures_for(pair)
    scored = score_pictures(pair, PROMPT, given, SAMPLING)
    clean = torch.stack([pair.space.encode(one.pixels) for one in given])
    condition = pair.space.condition(PROMPT, given[0].width, given[0].height)
    generator = torch.Generator().manual_seed(SAMPLING.seed)
    logits = []
    for step in (16, 50, 83):
        for _ in range(SAMPLING.draws):
            noise = torch.randn(clean.shape[1:], generator=generator).repeat(2, 1, 1, 1)
            timesteps = torch.tensor([step, step])
            noisy = pair.scheduler.add_noise(clean, noise, timesteps)
            diffs = []
            for side in (pair.policy, pair.reference):
                predicted = side.predict(noisy, timesteps, condition)
                losses = (predicted - noise).pow(2).mean(dim=[1, 2, 3])
                chosen, rejected = losses.chunk(2)
                diffs.append(chosen - rejected)
            logits.append(-0.5 * pair.beta * (diffs[0] - diffs[1]))
    assert scored.diff is not None
    expected = float(torch.stack(logits).double().mean())
    assert scored.diff.margin == pytest.approx(expected, rel=FLOAT32, abs=1e-3)  # of 1,000 times a mean of float32
    loss = -torch.nn.functional.logsigmoid(torch.tensor(scored.diff.margin, dtype=torch.float64))
    assert scored.diff.preference_probability == pytest.approx(float(torch.exp(-loss)), abs=1e-9)


@pytest.mark.parametrize("cells", [1, 64 * 5, 1 << 20])
def test_batches_of_any_size_give_the_same(cells: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(tmp_path, denoisers.latent_pipeline)
    expected = score_pictures(pair, PROMPT, pictures_for(pair), SAMPLING)
    monkeypatch.setattr(scoring, "BATCH_CELLS", cells)
    steps: list[tuple[int, int]] = []
    other = score_pictures(pair, PROMPT, pictures_for(pair), SAMPLING, show=lambda *done: steps.append(done))
    for one, two in zip(expected.credits, other.credits, strict=True):
        np.testing.assert_allclose(one.policy, two.policy, rtol=FLOAT32, atol=1e-6)
    assert steps[-1] == (12, 12) and len(steps) == {1: 12, 320: 3}.get(cells, 1)


def test_a_picture_earns_alone_what_it_earns_beside_another(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, denoisers.pixels_pipeline)
    both = score_pictures(pair, PROMPT, pictures_for(pair), SAMPLING)
    (alone,) = score_pictures(pair, PROMPT, pictures_for(pair)[1:], SAMPLING).credits
    np.testing.assert_allclose(alone.policy, both.credits[1].policy, rtol=FLOAT32, atol=1e-6)


def test_equal_models_earn_nothing_and_that_is_said(tmp_path: Path) -> None:
    folder = denoisers.pixels_pipeline(tmp_path / "one", 1)
    pair = load_denoisers(folder, folder, loading=CPU)
    (credit,) = score_pictures(pair, PROMPT, [picture(1)], SAMPLING).credits
    assert (credit.map == 0).all()
    assert any("equal weights" in note for note in pair.notes)


def test_the_seed_decides(tmp_path: Path) -> None:
    pair = pair_of(tmp_path, denoisers.pixels_pipeline)
    rewards = [score_pictures(pair, PROMPT, [picture(1)], Sampling(2, 1, seed)).credits[0].reward for seed in (0, 0, 1)]
    assert rewards[0] == rewards[1] != rewards[2]


def test_memory_that_runs_short_halves_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = pair_of(tmp_path, denoisers.pixels_pipeline)
    expected = score_pictures(pair, PROMPT, [picture(1)], SAMPLING).credits[0]
    forward = pair.reference.module.forward  # type: ignore[attr-defined]

    def short(sample: torch.Tensor, **rest: Any) -> Any:
        if len(sample) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return forward(sample, **rest)

    monkeypatch.setattr(pair.reference.module, "forward", short)  # type: ignore[attr-defined]
    credit = score_pictures(pair, PROMPT, [picture(1)], SAMPLING).credits[0]
    np.testing.assert_allclose(credit.policy, expected.policy, rtol=FLOAT32, atol=1e-6)
    assert credit.notes == (
        "out of memory: now 3 noisy pictures at a time",
        "out of memory: now 1 noisy pictures at a time",
    )
    monkeypatch.setattr(pair.reference.module, "forward", lambda *_, **__: 1 / 0)  # type: ignore[attr-defined]
    with pytest.raises(CreditError, match=r"^reference .* loads and cannot run: .* Compare its config\.json"):
        score_pictures(pair, PROMPT, [picture(1)], SAMPLING)


def test_timesteps_are_the_middles_of_equal_parts() -> None:
    assert timesteps_of(1000, 10) == (50, 150, 250, 350, 450, 550, 650, 750, 850, 950)
    assert timesteps_of(1000, 1) == (500,)
    assert timesteps_of(4, 4) == (0, 1, 2, 3)
    for steps in (0, 5):
        with pytest.raises(CreditError, match=rf"^--steps {steps}: the models were trained on 4\. Ask for 1 to 4\.$"):
            timesteps_of(4, steps)


PIPELINES: dict[str, tuple[Any, dict[str, Any]]] = {
    "pixels": (StableDiffusionPipeline, {"unet": None, "safety_checker": None, "feature_extractor": None, "vae": None}),
    "SDXL": (StableDiffusionXLPipeline, {"unet": None, "vae": None}),
    "PixArt": (PixArtAlphaPipeline, {"transformer": None, "vae": None}),
}


@pytest.mark.parametrize("kind", PIPELINES)
def test_prompts_are_encoded_as_the_pipelines_of_diffusers_do(kind: str, tmp_path: Path) -> None:
    folder = MAKERS[kind](tmp_path / "pipeline", 1)
    pair = load_denoisers(folder, folder, loading=CPU)
    given = pair.space.condition("A Red Circle", 16, 8)
    made, without = PIPELINES[kind]
    pipe = made.from_pretrained(folder, local_files_only=True, **without)
    more = (
        {"clean_caption": False, "device": "cpu"} if kind == "PixArt" else {"device": "cpu", "num_images_per_prompt": 1}
    )
    encoded = pipe.encode_prompt("A Red Circle", do_classifier_free_guidance=False, **more)
    torch.testing.assert_close(given["encoder_hidden_states"], encoded[0])
    if kind == "SDXL":
        torch.testing.assert_close(given["added_cond_kwargs"]["text_embeds"], encoded[2])
        assert given["added_cond_kwargs"]["time_ids"].tolist() == [[8, 16, 0, 0, 8, 16]]
    if kind == "PixArt":
        torch.testing.assert_close(given["encoder_attention_mask"], encoded[1])
