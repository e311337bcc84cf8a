"""A LoRA as the policy: it scores as its merged model, leaves the reference alone, and has to fit as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import denoisers
import numpy as np
import pytest
import torch
from denoisers import PROMPT, picture
from diffusers import UNet2DConditionModel
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from dpo_credit.credit import CreditError
from dpo_credit.image.denoiser import DenoiserPair
from dpo_credit.image.loading import load_denoisers
from dpo_credit.image.scoring import Sampling, score_pictures
from dpo_credit.models.pair import Loading

CPU = Loading(device="cpu")
FEW = Sampling(steps=2, draws=1)


def errors(pair: DenoiserPair) -> tuple[np.ndarray, np.ndarray]:
    (credit,) = score_pictures(pair, PROMPT, [picture(1)], FEW).credits
    return credit.policy, credit.reference


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return denoisers.pixels_pipeline(tmp_path / "reference", 2)


def adapted(reference: Path, **settings: Any) -> Any:
    """The reference with a LoRA of random weights."""
    unet = UNet2DConditionModel.from_pretrained(reference / "unet", local_files_only=True)
    config = LoraConfig(r=2, lora_alpha=6, target_modules=["to_q", "to_v"], **settings)
    model = get_peft_model(unet, config)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn_like(weight) * 0.3)
    return model.eval()


def merged(reference: Path, tmp_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What the LoRA's errors are, where its products are added to the weights."""
    adapted(reference).merge_and_unload().save_pretrained(tmp_path / "merged")
    return errors(load_denoisers(tmp_path / "merged", reference, loading=CPU))


def test_a_lora_of_peft_scores_as_its_merged_model_and_leaves_the_reference_alone(
    reference: Path, tmp_path: Path
) -> None:
    adapted(reference).save_pretrained(tmp_path / "lora")
    pair = load_denoisers(tmp_path / "lora", reference, loading=CPU)
    policy, base = errors(pair)
    expected, expected_base = merged(reference, tmp_path)
    np.testing.assert_allclose(policy, expected, rtol=1e-5, atol=1e-6)  # float32, products in another order
    np.testing.assert_array_equal(base, expected_base)
    assert np.abs(policy - base).max() > 1e-3
    assert pair.policy.fingerprint() != pair.reference.fingerprint()


@pytest.mark.parametrize("as_file", [True, False])
def test_a_lora_of_diffusers_keeps_its_scale(as_file: bool, reference: Path, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from diffusers.training_utils import _collate_lora_metadata

    model = adapted(reference)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path / "lora",
        unet_lora_layers={
            name.removeprefix("base_model.model."): weight for name, weight in get_peft_model_state_dict(model).items()
        },
        **_collate_lora_metadata({"unet": model}),
    )
    name = tmp_path / "lora" / ("pytorch_lora_weights.safetensors" if as_file else "")
    policy, _ = errors(load_denoisers(name, reference, loading=CPU))
    np.testing.assert_allclose(policy, merged(reference, tmp_path)[0], rtol=1e-5, atol=1e-6)


def test_a_lora_of_another_model_or_of_more_than_the_denoiser_is_refused(reference: Path, tmp_path: Path) -> None:
    adapted(reference).save_pretrained(tmp_path / "lora")
    file = tmp_path / "lora" / "adapter_model.safetensors"
    weights = load_file(file)
    half = len(weights) // 2  # of to_q: as many of to_p fit nothing, and the places of to_q stay empty
    other = {name.replace("to_q", "to_p"): weight for name, weight in weights.items()}
    save_file(other, file)
    with pytest.raises(
        CreditError,
        match=rf"^policy .* is a LoRA of {3 * half} weights, of which {half} fit the reference and are in its",
    ):
        load_denoisers(tmp_path / "lora", reference, loading=CPU)
    text = {
        "text_encoder.layers.0.q_proj.lora_A.weight": torch.ones(2, 4),
        **{f"unet.{n}": w for n, w in weights.items()},
    }
    save_file(text, tmp_path / "both.safetensors")
    with pytest.raises(CreditError, match=r"^policy .*both\.safetensors changes text_encoder too, which both sides"):
        load_denoisers(tmp_path / "both.safetensors", reference, loading=CPU)
    adapted(reference, bias="all").save_pretrained(tmp_path / "biased")
    with pytest.raises(CreditError, match=r"^policy .* is an adapter with bias 'all', which stays when it is off\."):
        load_denoisers(tmp_path / "biased", reference, loading=CPU)
