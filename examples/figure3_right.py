"""The paper's Figure 3, right: rewards of segments over a training with CPL on bin-picking, cloned before it or not.

    python examples/figure3_right.py --out my-figure3        # ten minutes on two cores; run again, it goes on

CPL (Hejna et al. 2024) takes preferences by regret for logits of sums of alpha log pi(a|s), with alpha 0.1 and a bias
of 0.5 on the rejected sum. As in its authors' code the policy is a Gaussian of fixed variance 1/2 about the output of
two layers of 512, bounded by tanh, and the density's constant is left out of the loss.

OUT holds the segments (episodes-*.npz), 100 pairs of training and of held-out segments (training.npz, held-out.npz), a
folder of checkpoints a run, and at last figure3_right.png and .json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from bin_picking import LENGTH, Data, collect, draw_pairs, save_pairs, say
from torch import Tensor, nn

from dpo_credit.credit import CreditError

ALPHA, BIAS, HIDDEN, LEARNING_RATE = 0.1, 0.5, 512, 3e-4
VARIANCE = 0.5  # log N(a; mean, 1/2) = -|a - mean|^2 - (4 / 2) log(2 pi VARIANCE)
HELD_OUT = 5  # every so many-th episode gives no segment for training
PAIRS = 100  # that curves are drawn of
CHECKPOINTS = 20
ARMS = {"cloned": "with cloning", "uncloned": "without cloning"}
SETS = {"training": "training pairs", "held-out": "held-out pairs"}


def new_network(seed: int, sizes: Sequence[int]) -> nn.Sequential:
    """Means of the actions: orthogonal weights, ReLU between the layers, tanh at the end."""
    torch.manual_seed(seed)
    linear = [nn.Linear(a, b) for a, b in pairwise(sizes)]
    for layer in linear:
        nn.init.orthogonal_(layer.weight)
        nn.init.zeros_(layer.bias)
    hidden = [module for layer in linear[:-1] for module in (layer, nn.ReLU())]
    return nn.Sequential(*hidden, linear[-1], nn.Tanh())


def unscaled_log_prob(means: Tensor, actions: Tensor) -> Tensor:
    """log N(a; mean, 1/2) without its constant: -|a - mean|^2, over the last axis."""
    return -(actions - means).square().sum(-1)


def cpl_loss(chosen: Tensor, rejected: Tensor, bias: float = BIAS) -> Tensor:
    """-log sigmoid(chosen - bias * rejected), mean over pairs, of sums of alpha log pi (Hejna et al. 2024, Eq. 6)."""
    return -nn.functional.logsigmoid(chosen - bias * rejected).mean()


class Run:
    """A training: an arm and a seed. It keeps checkpoints in its folder, and is done when the last one is there."""

    def __init__(self, out: Path, arm: str, seed: int) -> None:
        self.arm, self.seed, self.folder = arm, seed, out / f"{arm}-{seed}"

    def checkpoint(self, step: int) -> Path:
        return self.folder / f"step-{step}.safetensors"

    def train(self, data: Data, options: argparse.Namespace) -> None:
        """Clone all training segments if that is the arm, then CPL on pairs drawn anew for each update."""
        steps = checkpoints(options.updates)
        if self.checkpoint(steps[-1]).exists():
            return
        self.folder.mkdir(exist_ok=True)
        among = np.flatnonzero(data.episode % HELD_OUT)
        observations, actions = torch.from_numpy(data.observations), torch.from_numpy(data.actions)
        shift, scale = observations[among].mean((0, 1)), observations[among].std((0, 1))
        scale[scale < 1e-3] = 1.0  # what never moves stays 0
        observations = (observations - shift) / scale
        network = new_network(self.seed, (len(shift), HIDDEN, HIDDEN, actions.shape[-1]))
        random = np.random.default_rng(self.seed)
        began = time.monotonic()
        for phase, updates in (("cloning", options.cloning if self.arm == "cloned" else 0), ("CPL", options.updates)):
            optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
            for step in range(updates + 1):
                if phase == "CPL" and step in steps:
                    save_policy(network, shift, scale, self.checkpoint(step))
                if step == updates:
                    break
                pairs = draw_pairs(data.regret, among, options.pairs, random)
                logps = unscaled_log_prob(network(observations[pairs]), actions[pairs])  # (2, pairs, L)
                loss = -logps.mean() if phase == "cloning" else cpl_loss(*(ALPHA * logps).sum(-1))
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                if (step + 1) % 100 == 0:
                    spent = time.monotonic() - began
                    say(f"{self.folder.name}: {phase} {step + 1}/{updates}, loss {loss.item():.3f}, {spent:.0f} s")


def checkpoints(updates: int) -> list[int]:
    """After which updates the policy is kept: at the start, at the end, and evenly between."""
    return sorted({round(updates * n / CHECKPOINTS) for n in range(CHECKPOINTS + 1)})


def save_policy(network: nn.Sequential, shift: Tensor, scale: Tensor, path: Path) -> None:
    """Write what `dpo-credit mdp` reads: layers on raw observations, whose scaling the first one takes in."""
    from safetensors.torch import save_file

    linear = [module for module in network if isinstance(module, nn.Linear)]
    tensors = {}
    for n, layer in enumerate(linear):
        weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
        if n == 0:
            weight /= scale
            bias -= weight @ shift
        tensors |= {f"layers.{n}.weight": weight, f"layers.{n}.bias": bias}
    tensors["log_std"] = torch.full((linear[-1].out_features,), 0.5 * math.log(VARIANCE))
    sizes = ",".join(str(size) for size in (linear[0].in_features, *(layer.out_features for layer in linear)))
    metadata = {"family": "gaussian-mlp", "sizes": sizes, "activation": "relu", "mean": "tanh"}
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata)
    partial.replace(path)  # a checkpoint that is there is whole


def rewards(path: Path, observations: Tensor, actions: Tensor) -> np.ndarray:
    """(2, n) alpha * sum log pi(a|s) under a checkpoint, constant included, of (2, n, L) steps."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    values = observations
    layers = (len(tensors) - 1) // 2
    for n in range(layers):
        values = nn.functional.linear(values, tensors[f"layers.{n}.weight"], tensors[f"layers.{n}.bias"])
        values = values.relu() if n + 1 < layers else values.tanh()
    constant = 0.5 * actions.shape[-1] * math.log(2 * math.pi * VARIANCE)
    return (ALPHA * (unscaled_log_prob(values, actions) - constant)).sum(-1).numpy()


def curves(run: Run, pairs: dict[str, np.ndarray], data: Data, updates: int) -> dict:
    """Mean rewards of both segments of the pairs, and accuracy, at each checkpoint of a run."""
    steps = checkpoints(updates)
    summary: dict = {"arm": run.arm, "seed": run.seed, "steps": steps}
    for name, numbers in pairs.items():
        observations, actions = torch.from_numpy(data.observations[numbers]), torch.from_numpy(data.actions[numbers])
        values = np.array([rewards(run.checkpoint(step), observations, actions) for step in steps])  # (steps, 2, n)
        summary[name] = {
            "chosen": values[:, 0].mean(-1).tolist(),
            "rejected": values[:, 1].mean(-1).tolist(),
            "accuracy": (values[:, 0] > values[:, 1]).mean(-1).tolist(),
        }
    return summary


def draw(trainings: Sequence[dict], path: Path) -> None:
    """A column for each arm, a row for each set of pairs: means over seeds, shaded by their standard error.

    The dotted lines are where they began.
    """
    from matplotlib.figure import Figure

    from dpo_credit.views.figure.trajectory import CHOSEN, INK, QUIET, REJECTED, save

    figure = Figure(figsize=(6.75, 4.4), layout="constrained")
    panels = figure.subplots(len(SETS), len(ARMS), sharex=True, sharey="row")
    for axes, label in zip(panels[0], ARMS.values(), strict=True):
        axes.set_title(label, fontsize=9, color=INK)
    for row, (pairs, title) in zip(panels, SETS.items(), strict=True):
        row[0].set_ylabel(f"implicit reward, {title}", fontsize=8)
        for axes, arm in zip(row, ARMS, strict=True):
            runs = [run for run in trainings if run["arm"] == arm]
            for side, name, colour, dash in (
                ("chosen", "chosen: less regret", CHOSEN, "-"),
                ("rejected", "rejected: more regret", REJECTED, (0, (4, 1.5))),
            ):
                values = np.array([run[pairs][side] for run in runs])
                steps, mean = runs[0]["steps"], values.mean(0)
                axes.axhline(mean[0], color=colour, linewidth=0.6, linestyle=(0, (1, 2)), zorder=0)
                axes.plot(steps, mean, color=colour, linewidth=1.5, linestyle=dash, label=name)
                if len(runs) > 1:
                    error = values.std(0, ddof=1) / math.sqrt(len(runs))
                    axes.fill_between(steps, mean - error, mean + error, color=colour, alpha=0.14, linewidth=0)
            accuracy = np.mean([run[pairs]["accuracy"][-1] for run in runs])
            axes.text(0.97, 0.3, f"accuracy {100 * accuracy:.0f} %", transform=axes.transAxes, ha="right",
                      fontsize=7, color=QUIET)  # fmt: skip
            axes.tick_params(labelsize=7.5, colors=INK, width=0.6, length=3)
            axes.spines[["top", "right"]].set_visible(False)
            axes.spines[["left", "bottom"]].set_linewidth(0.6)
    for axes in panels[-1]:
        axes.set_xlabel("update of CPL", fontsize=8)
    handles, names = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=7.5, frameon=False)
    save(figure, path)


def begin(options: argparse.Namespace) -> None:
    """Make OUT, or hold a run that goes on to what it was begun with.

    Raises:
        CreditError: it was begun with other settings.
        OSError: it cannot be written.
    """
    settings = {name: value for name, value in vars(options).items() if name not in ("out", "seeds")}
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "settings.json"
    if not kept.exists():
        kept.write_text(json.dumps(settings) + "\n", encoding="utf-8")
    elif (known := json.loads(kept.read_text(encoding="utf-8"))) != settings:
        raise CreditError(
            f"{options.out} was begun with {known}, not {settings}. Give another --out, or the same again."
        )


def work(data: Data, options: argparse.Namespace) -> None:
    """Train what is not trained, and draw the curves."""
    held_out = data.episode % HELD_OUT == 0
    training, kept = (~held_out).sum(), held_out.sum()
    if min(training, kept) < 2:
        raise CreditError(
            f"{training} segments to train on and {kept} held out cannot be paired. Give more --episodes."
        )
    random = np.random.default_rng(0)
    pairs = {
        name: draw_pairs(data.regret, np.flatnonzero(mask), PAIRS, random)
        for name, mask in (("training", ~held_out), ("held-out", held_out))
    }
    for name, numbers in pairs.items():
        save_pairs(options.out / f"{name}.npz", numbers, data)
    say(f"{len(data.regret)} segments of {LENGTH} steps, {held_out.sum()} of them held out; labels: less regret")
    trainings = []
    for seed in range(options.seeds):
        for arm in ARMS:
            run = Run(options.out, arm, seed)
            run.train(data, options)
            trainings.append(curves(run, pairs, data, options.updates))
    (options.out / "figure3_right.json").write_text(json.dumps(trainings) + "\n", encoding="utf-8")
    draw(trainings, options.out / "figure3_right.png")
    say(f"wrote {options.out / 'figure3_right.png'} and .json")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Collect, train, measure and draw; whatever is in OUT already is kept."""
    parser = argparse.ArgumentParser(
        prog="figure3_right.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    for name, default, meaning in (
        ("episodes", 200, "rollouts"),
        ("seeds", 3, "trainings of each kind"),
        ("cloning", 1000, "updates of cloning, where there is any"),
        ("updates", 1000, "updates of CPL"),
        ("pairs", 8, "pairs of segments an update"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, help=f"{meaning} ({default})")
    options = parser.parse_args(arguments)
    try:
        begin(options)
        data = collect(options.out, options.episodes)
        work(data, options)
    except (OSError, CreditError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted; the same command goes on.\n")


if __name__ == "__main__":
    main()
