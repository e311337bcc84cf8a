"""Train a prompt refiner and its image model together by one preference loss, and see both parts of the margin move.

    python examples/joint_refiner.py --png joint.png

Rafailov et al. 2024, Appendix D, Eq. 18, on the embedded world: both models start from their references, the rows are
requests with a right and a wrong answer, and nothing says whether words or pixels of the wrong one are at fault.
About eight minutes of a core.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from transformers import PreTrainedTokenizerBase

from dpo_credit.demo.refiner import Case, cases
from dpo_credit.demo.refiner_train import batch, log_ratio_margins
from dpo_credit.image.denoiser import DenoiserPair
from dpo_credit.image.loading import SHAPES, load_denoisers
from dpo_credit.models.loading import load_pair
from dpo_credit.models.published import named

BETA, GAMMA = 0.1, 2000.0
REFINER_LR, IMAGE_LR = 3e-4, 1e-4
HELD_OUT_STEPS = (100, 300, 500, 700)  # at which held-out pictures are made noisy, the same noise every time


@dataclass(frozen=True)
class Joint:
    """A refiner and an image model with their references. Only the policies are trained."""

    policy: nn.Module
    reference: nn.Module
    tokenizer: PreTrainedTokenizerBase
    images: DenoiserPair


def joint_loss(
    joint: Joint, rows: Sequence[Case], timesteps: Tensor, noise: Tensor, *, beta: float, gamma: float
) -> Tensor:
    """-log sigmoid of the margin (Eq. 18), the mean over rows; the mean over steps in it is estimated by one of them.

    Args:
        joint: the models.
        rows: B stills, the chosen answer and the rejected one of each.
        timesteps: (B,) of the scheduler, one a row: the same for both of its pictures and both models.
        noise: (B, C, h, w), likewise.
        beta: what a nat of the refiner's log-ratio weighs; not the pixels.
        gamma: what the image model's gain weighs; see `PictureCredit`.
    """
    return -logsigmoid(beta * words(joint, rows) + gamma * pixels(joint.images, rows, timesteps, noise)).mean()


def words(joint: Joint, rows: Sequence[Case]) -> Tensor:
    """(B,) the log-ratio of the chosen refined prompt less that of the rejected one, nats (Eq. 17's first part)."""
    answers = [(row.request, row.chosen.captions[0]) for row in rows]
    answers += [(row.request, row.rejected.captions[0]) for row in rows]
    return log_ratio_margins(joint.policy, joint.reference, *batch(joint.tokenizer, answers))


def pixels(images: DenoiserPair, rows: Sequence[Case], timesteps: Tensor, noise: Tensor) -> Tensor:
    """(B,) by how much more the policy gains on the chosen picture: half of mean squared errors (its second part)."""
    answers = [row.chosen for row in rows] + [row.rejected for row in rows]
    clean = torch.stack([images.space.encode(answer.drawings[0].picture()) for answer in answers]).to(noise.dtype)
    size = clean.shape[3], clean.shape[2]
    conditions = [images.space.condition(answer.captions[0], *size)["encoder_hidden_states"] for answer in answers]
    captions = torch.cat(conditions).to(noise.dtype)
    both, steps = torch.cat((noise, noise)), torch.cat((timesteps, timesteps))
    noisy = images.scheduler.add_noise(clean, both, steps)
    target = both if images.prediction == "epsilon" else images.scheduler.get_velocity(clean, both, steps)
    policy, reference = (
        (model(noisy, timestep=steps, encoder_hidden_states=captions).sample - target).square().mean((1, 2, 3))
        for model in _modules(images)
    )
    chosen, rejected = ((reference - policy) / 2).chunk(2)
    return chosen - rejected


def _modules(images: DenoiserPair) -> tuple[nn.Module, nn.Module]:
    return images.policy.module, images.reference.module  # type: ignore[attr-defined]  # TorchDenoisers, as loaded


def held_out(joint: Joint, rows: Sequence[Case]) -> Iterator[tuple[str, float, float]]:
    """Of each row what is at fault in its wrong answer, and what words and pixels add to its margin."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        nats = words(joint, rows)
        gains = torch.zeros(len(rows))
        for step in HELD_OUT_STEPS:
            noise = torch.randn((len(rows), 3, 32, 32), generator=generator)
            gains += pixels(joint.images, rows, torch.full((len(rows),), step), noise) / len(HELD_OUT_STEPS)
    for row, nat, gain in zip(rows, nats.tolist(), gains.tolist(), strict=True):
        yield row.fault, BETA * nat, GAMMA * gain


def load() -> Joint:
    """Both references, twice: what is trained starts from them."""
    folder = named("embedded-refiner").embedded
    assert folder is not None
    text = load_pair(folder / "reference", folder / "reference", beta=BETA)
    images = load_denoisers(SHAPES / "reference", SHAPES / "reference", beta=GAMMA)
    joint = Joint(text.policy.module, text.reference.module, text.tokenizer, images)  # type: ignore[attr-defined]
    for trained in (joint.policy, _modules(images)[0]):
        trained.requires_grad_(True)
    return joint


def train(joint: Joint, steps: int, size: int, every: int, rows: Sequence[Case]) -> list[tuple[int, list]]:
    """What is held out, before the first of so many steps, every so many, and at the end."""
    groups = [
        {"params": list(joint.policy.parameters()), "lr": REFINER_LR},
        {"params": list(_modules(joint.images)[0].parameters()), "lr": IMAGE_LR},
    ]
    optimizer, generator = torch.optim.AdamW(groups, weight_decay=0.0), torch.Generator().manual_seed(1)
    fresh = cases(11, steps * size, "train", clips=0.0)
    found = [(0, list(held_out(joint, rows)))]
    trained = len(joint.images.scheduler.alphas_cumprod)
    for step in range(1, steps + 1):
        picked = [next(fresh) for _ in range(size)]
        timesteps = torch.randint(trained, (size,), generator=generator)
        noise = torch.randn((size, 3, 32, 32), generator=generator)
        optimizer.zero_grad()
        joint_loss(joint, picked, timesteps, noise, beta=BETA, gamma=GAMMA).backward()
        for group in groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        optimizer.step()
        if step % every == 0 or step == steps:
            found.append((step, list(held_out(joint, rows))))
            print(line(*found[-1]), flush=True)
    return found


def mean(rows: Sequence[tuple[str, float, float]], fault: str, part: int) -> float:
    """Of the rows with this fault, the mean of words (1) or pixels (2)."""
    values = [row[part] for row in rows if row[0] == fault]
    return sum(values) / len(values)


def line(step: int, rows: Sequence[tuple[str, float, float]]) -> str:
    """A row of the table."""
    parts = [mean(rows, fault, part) for fault in ("words", "pixels") for part in (1, 2)]
    right = sum(words + pixels > 0 for _, words, pixels in rows) / len(rows)
    return f"{step:>6}" + "".join(f"{value:>+9.3f}" for value in parts) + f"{right:>10.0%}"


def draw(found: Sequence[tuple[int, list]], path: Path) -> None:
    """Two panels, by what is at fault: words and pixels over the steps of the training."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.75, 2.4), layout="constrained")
    for panel, (axes, fault) in enumerate(zip(figure.subplots(1, 2, sharey=True), ("words", "pixels"), strict=True)):
        for name, part, style in (("words", 1, "-"), ("pixels", 2, "--")):
            axes.plot([step for step, _ in found], [mean(rows, fault, part) for _, rows in found], style, label=name)
        axes.axhline(0, color="#626262", linewidth=0.5)
        axes.set_title(f"wrong {fault}", fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        if not panel:
            axes.set_ylabel("adds to the margin", fontsize=8)
            axes.legend(frameon=False, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=300)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, print a table of held-out margins, and draw them."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--png", type=Path, help="where to draw, .png, .svg or .pdf")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--every", type=int, default=50, help="steps between two measurements")
    parser.add_argument("--held-out", type=int, default=80, help="rows that are measured")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    rows = list(cases(12, options.held_out, "held_out", clips=0.0))
    print("         wrong words       wrong pixels")
    print("  step    words   pixels    words   pixels    chosen preferred", flush=True)
    found = train(load(), options.steps, options.batch, options.every, rows)
    if options.png:
        draw(found, options.png)


if __name__ == "__main__":
    main()
