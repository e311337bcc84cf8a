"""Train the policies of the grid: by behaviour cloning on all segments, and from scratch by CPL on preferences.

    python -m dpo_credit.demo.gridworld_train --out my-grid

Source: Hejna et al. 2024, Eqs. 5 and 6. Takes a minute on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dpo_credit.mdp.policies import Mlp, save_mlp

from .gridworld import ACTIONS, ALPHA, LENGTH, Walk, preferences

HERE = Path(__file__).parent / "grid"
HIDDEN = 32
PAIRS, BATCH, STEPS, RATE = 20_000, 256, 2_000, 3e-3
CLONING_STEPS = 300
KEPT = (0, 30, 100, 300, 1_000, STEPS)  # steps of CPL whose weights are kept


class Segments:
    """Walks as tensors: observations (N, LENGTH, d), actions (N, LENGTH), and which steps there are (N, LENGTH)."""

    def __init__(self, walks: Sequence[Walk]) -> None:
        segments = [walk.segment() for walk in walks]
        size = segments[0].observations.shape[1]
        self.observations = torch.zeros(len(walks), LENGTH, size)
        self.actions = torch.zeros(len(walks), LENGTH, dtype=torch.long)
        self.there = torch.zeros(len(walks), LENGTH)
        for n, segment in enumerate(segments):
            length = len(segment.actions)
            self.observations[n, :length] = torch.from_numpy(segment.observations).float()
            self.actions[n, :length] = torch.from_numpy(segment.actions)
            self.there[n, :length] = 1

    def logps(self, network: nn.Module, rows: Tensor) -> Tensor:
        """(rows, LENGTH) log pi(a|s), 0 where there is no step."""
        logps = network(self.observations[rows]).log_softmax(-1)
        return logps.gather(-1, self.actions[rows, :, None])[..., 0] * self.there[rows]


def new_network(inputs: int) -> nn.Sequential:
    """Random weights; observation to logits."""
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, len(ACTIONS))
    )


def save(network: nn.Sequential, path: Path) -> None:
    """Write it as a file that needs no code; see `save_mlp`."""
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    layers = tuple((layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()) for layer in linear)
    save_mlp(path, Mlp(path.name, layers, activation="tanh", action_names=ACTIONS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write reference.safetensors, policy.safetensors and step-N.safetensors, the policy on its way."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=HERE, help="a directory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bias", type=float, default=1.0, help="lambda of Eq. 6")
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    pairs = preferences(PAIRS, options.seed)
    chosen, rejected = (Segments([pair[side] for pair in pairs]) for side in (0, 1))
    drawn = np.random.default_rng(options.seed)

    def rows() -> Tensor:
        return torch.from_numpy(drawn.integers(PAIRS, size=BATCH))

    reference = new_network(chosen.observations.shape[-1])
    optimiser = torch.optim.Adam(reference.parameters(), RATE)
    for _ in range(CLONING_STEPS):
        batch = rows()
        loss = -sum(side.logps(reference, batch).sum() / side.there[batch].sum() for side in (chosen, rejected))
        _step(optimiser, loss)
    save(reference, options.out / "reference.safetensors")

    policy = new_network(chosen.observations.shape[-1])
    optimiser = torch.optim.Adam(policy.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, STEPS)
    for step in range(STEPS + 1):
        if step in KEPT:
            save(policy, options.out / f"step-{step}.safetensors")
        batch = rows()
        ours, theirs = (ALPHA * side.logps(policy, batch).sum(-1) for side in (chosen, rejected))
        loss = -nn.functional.logsigmoid(ours - options.bias * theirs).mean()
        if step % 500 == 0:
            print(f"step {step}: loss {loss:.4f}, accuracy {(ours > theirs).float().mean():.3f}")
        _step(optimiser, loss)
        schedule.step()
    (options.out / "policy.safetensors").write_bytes((options.out / f"step-{STEPS}.safetensors").read_bytes())


def _step(optimiser: torch.optim.Optimizer, loss: Tensor | int) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[union-attr]
    optimiser.step()


if __name__ == "__main__":
    main()
