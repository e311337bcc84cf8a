"""Train the pair of drawings: a reference on captions that are sometimes wrong, then a policy by Diffusion-DPO.

    python -m dpo_credit.demo.shapes_train --stage sft --out shapes-run/reference
    python -m dpo_credit.demo.shapes_train --stage dpo --reference shapes-run/reference --out shapes-run/policy

DPO compares whole pictures (Wallace et al. 2023, Eq. 14, as in the public code): both pictures of a pair and both
models get the same noise at the same timestep, and no mask is trained on. With it goes the policy's error on the right
pictures, as the NLL of chosen answers does in text: else both rewards fall. A line of JSON every `--every` updates. The
state is kept in OUT/state.pt; after a stop the same command goes on from there.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor, nn

from dpo_credit.models.trained import Trained

from .optim import MuonAdamW
from .shapes import SEEDS, Drawn, draw_pairs
from .shapes_models import STEPS, Denoiser, load_denoiser, new_denoiser, scaled

WRONG_SHARE = 0.3  # of the captions that the reference learns
WARM_UP = 100  # updates
EMA_DECAY = 0.999
RECIPES: dict[str, dict[str, float]] = {
    "sft": {"updates": 4500, "batch": 32, "rate": 2e-3, "muon": 0.02},
    "dpo": {"updates": 1000, "batch": 32, "rate": 4e-4, "muon": 0.004, "beta": 40.0, "anchor": 0.4},
}

Figures = dict[str, float]


def errors(denoiser: Denoiser, pictures: Tensor, noise: Tensor, timesteps: Tensor, read: Tensor) -> Tensor:
    """(B,) the mean squared errors of the velocity that is predicted in pictures (B, 3, 32, 32) at timesteps (B,)."""
    noisy = denoiser.scheduler.add_noise(pictures, noise, timesteps)
    velocity = denoiser.scheduler.get_velocity(pictures, noise, timesteps)
    return (denoiser.predict(noisy, timesteps, read) - velocity).square().mean(dim=(1, 2, 3))


def noisier(count: int) -> Tensor:
    """(count,) timesteps, each the noisier of two: there the caption decides."""
    return torch.randint(STEPS, (2, count)).amax(0)


def sft_loss(denoiser: Denoiser, batch: Sequence[Drawn], rng: Random) -> tuple[Tensor, Figures]:
    """The mean squared error of the predicted velocity."""
    drawings = [pair.wrong if rng.random() < WRONG_SHARE else pair.right for pair in batch]
    pictures = scaled([drawing.picture() for drawing in drawings])
    timesteps, noise = noisier(len(batch)), torch.randn_like(pictures)
    read = denoiser.read([pair.caption for pair in batch])
    return errors(denoiser, pictures, noise, timesteps, read).mean(), {}


def dpo_loss(
    policy: Denoiser, reference: Denoiser, batch: Sequence[Drawn], beta: float, anchor: float = 0.0
) -> tuple[Tensor, Figures]:
    """-log sigmoid of the margin, and `anchor` * beta / 2 times the policy's error on the right picture.

    The margin is -beta / 2 * ((policy's - reference's error on the right picture) - (the same on the wrong one)).
    """
    count = len(batch)
    pictures = scaled([pair.right.picture() for pair in batch] + [pair.wrong.picture() for pair in batch])
    timesteps, noise = noisier(count).repeat(2), torch.randn_like(pictures[:count]).repeat(2, 1, 1, 1)
    with torch.no_grad():
        read = reference.read([pair.caption for pair in batch]).repeat(2, 1, 1)
        before = errors(reference, pictures, noise, timesteps, read)
    after = errors(policy, pictures, noise, timesteps, read)
    gains = -beta / 2 * (after - before)
    margins = gains[:count] - gains[count:]
    return -nn.functional.logsigmoid(margins).mean() + anchor * beta / 2 * after[:count].mean(), {
        "accuracy": float((margins > 0).float().mean()),
        "margin": float(margins.detach().mean()),
        "right": float(gains.detach()[:count].mean()),
        "wrong": float(gains.detach()[count:].mean()),
    }


def learn(
    denoiser: Denoiser,
    modules: Sequence[nn.Module],
    loss_of: Callable[[Sequence[Drawn], Random], tuple[Tensor, Figures]],
    options: argparse.Namespace,
) -> None:
    """Train these modules of a denoiser, from where an earlier run stopped, and save their moving average."""
    weights = [weight for module in modules for weight in module.parameters()]
    optimiser = optimiser_of(modules, options.rate, options.muon)
    average = EMAModel(weights, decay=EMA_DECAY, use_ema_warmup=True, power=0.75)
    rates = [group["lr"] for group in optimiser.param_groups]
    state, begun, sums = options.out / "state.pt", time.monotonic(), dict[str, float]()
    done = load(state, weights, optimiser, average) if state.exists() else 0
    for update in range(done + 1, options.updates + 1):
        torch.manual_seed(options.seed + update)  # so that a resumed run draws what an uninterrupted one would
        batch = list(draw_pairs(options.seed + update, options.batch, "train"))
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * share_of_rate(update, options.updates)
        loss, figures = loss_of(batch, Random(options.seed + update))
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        average.step(weights)
        for name, value in {"loss": float(loss.detach()), **figures}.items():
            sums[name] = sums.get(name, 0.0) + value
        if update % options.every == 0:
            means = {name: float(f"{value / options.every:.4g}") for name, value in sums.items()}
            print(json.dumps({"update": update, **means, "seconds": round(time.monotonic() - begun)}), flush=True)
            sums = {}
        if update % options.save == 0 or update == options.updates:
            keep(state, weights, optimiser, average, update)
            average.store(weights)
            average.copy_to(weights)
            denoiser.save(options.out)
            average.restore(weights)


def optimiser_of(modules: Sequence[nn.Module], rate: float, muon_rate: float) -> MuonAdamW:
    """Muon on inner matrices and kernels, AdamW on embeddings, norms, biases and the first and the last convolution."""
    named = [found for module in modules for found in module.named_parameters()]
    inner = [
        weight
        for name, weight in named
        if weight.ndim > 1 and "embed" not in name and not name.startswith(("conv_in", "conv_out"))
    ]
    rest = [weight for _, weight in named if not any(weight is other for other in inner)]
    groups = [{"params": rest, "lr": rate}, {"params": inner, "lr": muon_rate, "muon": True}]
    return MuonAdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)


def keep(file: Path, weights: Sequence[nn.Parameter], optimiser: MuonAdamW, average: EMAModel, update: int) -> None:
    """Write the state, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    held = {
        "update": update,
        "weights": [weight.data for weight in weights],
        "optimiser": optimiser.state_dict(),
        "average": average.state_dict(),
    }
    part = file.with_suffix(".part")
    torch.save(held, part)
    os.replace(part, file)


def load(file: Path, weights: Sequence[nn.Parameter], optimiser: MuonAdamW, average: EMAModel) -> int:
    """Take up a kept state, and say after which update that was."""
    held = torch.load(file, weights_only=True)
    for weight, value in zip(weights, held["weights"], strict=True):
        weight.data.copy_(value)
    optimiser.load_state_dict(held["optimiser"])
    average.load_state_dict(held["average"])
    return held["update"]


def share_of_rate(update: int, updates: int) -> float:
    """Warm-up over the first updates, then level, and over the last third down to zero along a line."""
    return min(1.0, update / WARM_UP, 3 * (updates - update + 1) / updates)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train one of the two models."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--stage", choices=list(RECIPES), required=True)
    parser.add_argument("--out", type=Path, required=True, help="a directory, for the model and the training's state")
    parser.add_argument("--reference", type=Path, help="the directory of the reference that DPO starts from")
    parser.add_argument("--updates", type=int)
    parser.add_argument("--batch", type=int, help="drawings, or pairs of them, an update")
    parser.add_argument("--rate", type=float, help="AdamW's")
    parser.add_argument("--muon", type=float, help="Muon's rate")
    parser.add_argument("--beta", type=float, help="of DPO")
    parser.add_argument("--anchor", type=float, help="the weight of the error on right pictures in DPO")
    parser.add_argument("--seed", type=int, default=SEEDS["train"] * 10**6)
    parser.add_argument("--every", type=int, default=50, help="updates between two lines")
    parser.add_argument("--save", type=int, default=100, help="updates between two saved states")
    stage = parser.parse_known_args(arguments)[0].stage
    parser.set_defaults(**RECIPES[stage])
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    if options.stage == "sft":
        fresh = new_denoiser()
        learn(fresh, [fresh.unet, fresh.text_encoder], partial(sft_loss, fresh), options)
        return
    if options.reference is None:
        parser.error("--stage dpo needs --reference DIRECTORY")
    reference = load_denoiser(options.reference)
    policy = copy.deepcopy(reference)
    learn(
        policy,
        [policy.unet],
        lambda batch, _: dpo_loss(policy, reference, batch, options.beta, options.anchor),
        options,
    )
    record = {name: getattr(options, name) for name in ("updates", "batch", "rate", "muon", "anchor")}
    Trained(
        "dpo",
        "../reference",
        "../reference",
        options.beta,
        rows=options.updates * options.batch,
        seed=options.seed,
        versions={name: version(name) for name in ("torch", "diffusers")},
        recipe=record,
    ).write(options.out)


if __name__ == "__main__":
    main()
