"""The joint objective of `examples/joint_refiner.py` is Eq. 18, term by term in float64."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import denoisers
import pytest
import torch
from tiny import language_model

from dpo_credit.demo.refiner import Case, cases
from dpo_credit.demo.refiner_train import make_tokenizer
from dpo_credit.image.loading import load_denoisers
from dpo_credit.models.pair import Loading

BETA, GAMMA = 0.3, 50.0


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / "joint_refiner.py"
    spec = importlib.util.spec_from_file_location("joint_refiner", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_loss_is_equation_18(example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoisers, "LONGEST", 120)  # tokens: a caption of three shapes in pieces of bytes
    rows = list(cases(0, 3, "train", clips=0.0))
    texts = [text for row in rows for text in (row.request, *row.chosen.captions, *row.rejected.captions)]
    tokenizer = make_tokenizer(texts)
    refiners = [language_model("LlamaConfig", seed=seed, vocab_size=len(tokenizer)).double() for seed in (1, 2)]
    folders = [
        denoisers.pixels_pipeline(tmp_path / str(seed), seed, unet=denoisers.unet(seed, sample_size=32))
        for seed in (1, 2)
    ]
    images = load_denoisers(*folders, beta=GAMMA, loading=Loading(device="cpu"))
    for module in example._modules(images):
        module.double()
    joint = example.Joint(*refiners, tokenizer, images)
    generator = torch.Generator().manual_seed(0)
    timesteps = torch.tensor([3, 40, 90])
    noise = torch.randn((3, 3, 32, 32), generator=generator, dtype=torch.float64)
    loss = example.joint_loss(joint, rows, timesteps, noise, beta=BETA, gamma=GAMMA)

    def reward(row: Case, chosen: bool, n: int) -> float:
        """Eq. 17, a token and a pixel at a time."""
        answer = row.chosen if chosen else row.rejected
        before = tokenizer(f"{row.request}<draw>", add_special_tokens=False)["input_ids"]
        after = tokenizer(f"{answer.captions[0]}<end>", add_special_tokens=False)["input_ids"]
        total = 0.0
        for at, token in enumerate(after):
            ids = torch.tensor([before + after[:at]])
            logps = [model(input_ids=ids).logits[0, -1].log_softmax(-1)[token].item() for model in refiners]
            total += BETA * (logps[0] - logps[1])
        clean = torch.from_numpy(answer.drawings[0].picture().copy()).permute(2, 0, 1).double() / 127.5 - 1
        kept = torch.cumprod(1 - images.scheduler.betas.double(), 0)[timesteps[n]].item()
        noisy = math.sqrt(kept) * clean + math.sqrt(1 - kept) * noise[n]
        condition = images.space.condition(answer.captions[0], 32, 32)["encoder_hidden_states"].double()
        errors = [
            (module(noisy[None], timestep=timesteps[n], encoder_hidden_states=condition).sample[0] - noise[n]).square()
            for module in example._modules(images)
        ]
        weight = GAMMA / (2 * 3 * 32 * 32)  # T * w of Eq. 17 is 1 / (2 C h w), see PictureCredit
        return total + weight * sum((errors[1] - errors[0]).flatten().tolist())

    with torch.no_grad():
        margins = [reward(row, True, n) - reward(row, False, n) for n, row in enumerate(rows)]
    expected = sum(math.log1p(math.exp(-margin)) for margin in margins) / len(margins)
    assert min(map(abs, margins)) > 0.01  # no row says nothing
    # the scheduler keeps its products in float32, so noisy pictures differ by some 1e-8
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_a_step_moves_both_models_and_the_table_says_by_how_much(
    example: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / "joint.png"
    example.main(["--steps", "2", "--batch", "2", "--held-out", "8", "--every", "2", "--png", str(figure)])
    step, words, pixels, *_ = capsys.readouterr().out.splitlines()[-1].split()
    assert step == "2" and float(words) != 0 and float(pixels) != 0
    assert figure.stat().st_size > 1000
