"""Training on drawings: Diffusion-DPO's loss, steps that learn, and a stop that costs nothing."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import torch

from dpo_credit.demo.shapes import Drawn, Split, draw_pairs
from dpo_credit.demo.shapes_models import CAPTION_TOKENS, Denoiser, new_denoiser, new_tokenizer, scaled
from dpo_credit.demo.shapes_train import RECIPES, dpo_loss, main, sft_loss
from dpo_credit.models import trained

PAIRS = list(draw_pairs(11, 4, "train"))


@pytest.fixture
def fresh() -> Denoiser:
    torch.manual_seed(0)
    return new_denoiser()


def test_the_tokenizer_knows_every_word():
    tokenizer = new_tokenizer()
    captions = [pair.caption for pair in draw_pairs(12, 1000, "train")]
    ids = tokenizer(captions)["input_ids"]
    assert not any(tokenizer.unk_token_id in of_one for of_one in ids)
    assert max(map(len, ids)) <= CAPTION_TOKENS
    assert tokenizer.decode(ids[0], skip_special_tokens=True).replace(" ,", ",") == captions[0]


def test_at_the_start_of_dpo_nothing_is_preferred(fresh: Denoiser):
    with torch.no_grad():
        loss, figures = dpo_loss(copy.deepcopy(fresh), fresh, PAIRS, beta=1000.0)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-6)
    assert figures["margin"] == 0


def test_dpo_is_the_public_loss(fresh: Denoiser):
    # https://github.com/SalesforceAIResearch/DiffusionDPO, train.py: chosen in the first half, rejected in the second
    policy, beta, anchor = copy.deepcopy(fresh), 50.0, 0.25
    with torch.no_grad():
        for weight in policy.unet.parameters():
            weight.add_(0.01 * torch.randn_like(weight))
    torch.manual_seed(3)
    with torch.no_grad():
        loss, _ = dpo_loss(policy, fresh, PAIRS, beta)
        torch.manual_seed(3)
        anchored, _ = dpo_loss(policy, fresh, PAIRS, beta, anchor)
    torch.manual_seed(3)  # the same draws
    timesteps, noise = torch.randint(1000, (2, 4)).amax(0), torch.randn(4, 3, 32, 32)
    terms, on_right = [], []
    for number, pair in enumerate(PAIRS):
        read = fresh.read([pair.caption])
        kept = fresh.scheduler.alphas_cumprod[timesteps[number]]
        errors = []
        for model in (policy, fresh):
            for drawing in (pair.right, pair.wrong):
                clean, added = scaled([drawing.picture()]), noise[number : number + 1]
                noisy = kept.sqrt() * clean + (1 - kept).sqrt() * added
                velocity = kept.sqrt() * added - (1 - kept).sqrt() * clean
                errors.append((model.predict(noisy, timesteps[number], read) - velocity).square().mean())
        model_diff, ref_diff = errors[0] - errors[1], errors[2] - errors[3]
        on_right.append(errors[0])
        terms.append(-torch.nn.functional.logsigmoid(-0.5 * beta * (model_diff - ref_diff)))
    public = torch.stack(terms).mean().item()
    assert loss.item() == pytest.approx(public, rel=1e-4)  # float32, other batches
    held = anchor * beta / 2 * torch.stack(on_right).mean().item()
    assert anchored.item() == pytest.approx(public + held, rel=1e-4)


def test_steps_on_a_batch_lower_its_loss(fresh: Denoiser):
    def loss() -> torch.Tensor:
        torch.manual_seed(1)
        return sft_loss(fresh, PAIRS, Random(1))[0]

    optimiser = torch.optim.AdamW(fresh.parameters(), lr=1e-3)
    before = loss().item()
    for _ in range(5):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert loss().item() < 0.95 * before


def test_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def train(out: str) -> None:
        main(["--stage", "sft", "--out", str(tmp_path / out), "--batch", "2", "--updates", "3", "--save", "1"])

    def drawn(seed: int, count: int, split: Split) -> Iterator[Drawn]:
        if seed % 10 == 3:
            raise KeyboardInterrupt
        return draw_pairs(seed, count, split)

    train("whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("dpo_credit.demo.shapes_train.draw_pairs", drawn)
        train("parts")
    train("parts")
    for part in ("unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        assert (tmp_path / "parts" / part).read_bytes() == (tmp_path / "whole" / part).read_bytes()


def test_dpo_trains_the_denoiser_alone_and_leaves_a_record(tmp_path: Path):
    reference, policy = tmp_path / "reference", tmp_path / "policy"
    torch.manual_seed(0)
    new_denoiser().save(reference)
    main(["--stage", "dpo", "--reference", str(reference), "--out", str(policy), "--batch", "2", "--updates", "1"])
    record = trained.read(policy)
    assert record is not None and record.method == "dpo" and record.beta == RECIPES["dpo"]["beta"]
    unet, encoder = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"
    assert (policy / unet).read_bytes() != (reference / unet).read_bytes()
    assert (policy / encoder).read_bytes() == (reference / encoder).read_bytes()
