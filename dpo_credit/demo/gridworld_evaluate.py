"""Measure the grid's policies on held-out walks: is their credit the optimal advantage, and does it find wrong steps?

python -m dpo_credit.demo.gridworld_evaluate
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from dpo_credit.mdp.policies import Mlp, load_mlp
from dpo_credit.mdp.segments import Floats

from .gridworld import ALPHA, Walk, detour, preferences, regret, solved
from .gridworld_train import HERE

SEED = 1_000_000  # of walks that no training drew
PAIRS, DETOURS = 1_000, 500


def credits(policy: Mlp, walk: Walk) -> Floats:
    """ALPHA log pi of each step."""
    segment = walk.segment()
    return ALPHA * policy.log_prob(segment.observations, segment.actions)


def measure(policy: Mlp, reference: Mlp) -> dict[str, dict[str, float]]:
    """Figures by score.

    Of all steps of noisy walks: the score's correlation with the advantage under the entropy bonus and without, its
    slope on the former, and the AUROC of -score for steps that are not optimal. Of walks that are optimal but for one
    step: the AUROC for that step, and how often it is the lowest. Of pairs of noisy walks: how often the one of lesser
    regret has the higher sum.
    """
    pairs = preferences(PAIRS, SEED)
    walks = [walk for pair in pairs for walk in pair]
    soft = np.concatenate([walk.advantages(solved().soft) for walk in walks])
    hard = np.concatenate([walk.advantages(solved().hard) for walk in walks])
    random = np.random.default_rng(SEED)
    detours = [detour(random)[1:] for _ in range(DETOURS)]
    wrong = np.concatenate([np.arange(len(walk.actions)) == step for walk, step in detours])
    scores: dict[str, Callable[[Walk], Floats]] = {
        "credit, CPL": lambda walk: credits(policy, walk),
        "the same for the cloned behaviour": lambda walk: credits(reference, walk),
        "CPL - cloned": lambda walk: credits(policy, walk) - credits(reference, walk),
    }
    figures = {}
    for name, score in scores.items():
        each = np.concatenate([score(walk) for walk in walks])
        alone = [score(walk) for walk, _ in detours]
        lowest = [int(values.argmin()) == step for values, (_, step) in zip(alone, detours, strict=True)]
        agree = [(score(a).sum() > score(b).sum()) == (regret(a) < regret(b)) for a, b in pairs]
        figures[name] = {
            "r, soft advantage": float(np.corrcoef(each, soft)[0, 1]),
            "slope": float(np.polyfit(soft, each, 1)[0]),
            "r, hard advantage": float(np.corrcoef(each, hard)[0, 1]),
            "AUROC, noisy walks": float(roc_auc_score(hard < -1e-9, -each)),
            "AUROC, one detour": float(roc_auc_score(wrong, -np.concatenate(alone))),
            "lowest is the detour": float(np.mean(lowest)),
            "pairs": float(np.mean(agree)),
        }
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures as a Markdown table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--grid", type=Path, default=HERE, help="a directory with policy and reference")
    grid = parser.parse_args(arguments).grid
    figures = measure(load_mlp(grid / "policy.safetensors"), load_mlp(grid / "reference.safetensors"))
    names = list(next(iter(figures.values())))
    print(f"| score | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    for score, values in figures.items():
        print(f"| {score} | {' | '.join(f'{values[name]:.3f}' for name in names)} |")


if __name__ == "__main__":
    main()
