"""The example that makes the paper's Figure 3 (right): its labels, its loss, its checkpoints and its command."""

from __future__ import annotations

import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPT = EXAMPLES / "figure3_right.py"
simulated = pytest.mark.skipif(importlib.util.find_spec("metaworld") is None, reason="needs metaworld")


@pytest.fixture
def picking(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module("bin_picking")


@pytest.fixture
def script(picking: ModuleType) -> ModuleType:
    return importlib.import_module("figure3_right")


def test_regret_is_minus_the_discounted_sum_of_advantages(picking: ModuleType):
    random = np.random.default_rng(0)
    rewards, values, gamma = random.random(7), random.random(8), 0.9
    advantages = [rewards[t] + gamma * values[t + 1] - values[t] for t in range(7)]
    naive = -math.fsum(gamma**t * advantage for t, advantage in enumerate(advantages))
    assert picking.regret(rewards, values[0], values[-1], gamma) == pytest.approx(naive, abs=1e-12)


def test_of_each_pair_the_segment_of_less_regret_is_chosen(picking: ModuleType):
    regret = np.array([3.0, -1.0, 2.0, 0.5])
    chosen, rejected = picking.draw_pairs(regret, np.array([0, 1, 3]), 500, np.random.default_rng(0))
    assert (regret[chosen] < regret[rejected]).all()
    assert set(zip(chosen, rejected, strict=True)) == {(1, 3), (1, 0), (3, 0)}


def test_the_loss_is_the_naive_one(script: ModuleType):
    chosen, rejected, bias = [-2.0, -30.0, 1.5, -700.0], [-3.0, -2.0, 0.5, 900.0], 0.5
    naive = [math.log1p(math.exp(-(c - bias * r))) if c - bias * r > -500 else -(c - bias * r)
             for c, r in zip(chosen, rejected, strict=True)]  # fmt: skip
    loss = script.cpl_loss(torch.tensor(chosen).double(), torch.tensor(rejected).double(), bias)
    assert loss.item() == pytest.approx(math.fsum(naive) / 4, rel=1e-12)


def test_a_checkpoint_holds_the_policy_on_raw_observations(script: ModuleType, tmp_path: Path):
    network = script.new_network(0, (5, 8, 8, 2))
    random = torch.Generator().manual_seed(0)
    observations = 3 + 2 * torch.randn(2, 3, 6, 5, generator=random)  # (sides, pairs, L, d)
    actions = torch.rand(2, 3, 6, 2, generator=random) * 2 - 1
    shift, scale = observations.flatten(0, 2).mean(0), observations.flatten(0, 2).std(0)
    script.save_policy(network, shift, scale, tmp_path / "step-0.safetensors")
    with torch.no_grad():
        means = network((observations - shift) / scale)
    # the density of N(mean, 1/2) in each of two dimensions, from torch's own
    logps = torch.distributions.Normal(means, math.sqrt(script.VARIANCE)).log_prob(actions).sum(-1)
    found = script.rewards(tmp_path / "step-0.safetensors", observations, actions)
    # float32 means of order 1 and sums of six steps: rounding of some 1e-6
    np.testing.assert_allclose(found, (script.ALPHA * logps).sum(-1).numpy(), atol=1e-5)
    unscaled = script.unscaled_log_prob(means, actions)  # all that the loss sees: the same but for log(2 pi / 2)
    np.testing.assert_allclose((logps - unscaled).numpy(), -math.log(math.pi), atol=1e-5)


def test_checkpoints_are_kept_from_start_to_end(script: ModuleType):
    assert script.checkpoints(2) == [0, 1, 2]
    assert script.checkpoints(2000) == list(range(0, 2001, 100))


@simulated
def test_the_scripted_policy_regrets_nothing_and_noise_does(picking: ModuleType):
    world = picking.BinPicking()
    own, succeeded = world.episode(3, noise=0.0)
    assert succeeded and len(own) >= 1
    # Values of some tens come from states put back into the simulator, whose solver ends within 1e-8.
    assert [segment.regret for segment in own] == pytest.approx([0.0] * len(own), abs=1e-4)
    noisy, _ = world.episode(3, noise=picking.NOISE)
    assert max(segment.regret for segment in noisy) > 1
    for segment in noisy:
        assert segment.observations.shape == (picking.LENGTH, 39) and segment.actions.shape == (picking.LENGTH, 4)
        assert np.abs(segment.actions).max() <= 1 and segment.rewards.min() >= 0 and segment.rewards.max() <= 1


@simulated
def test_an_episode_is_that_of_its_seed(picking: ModuleType):
    world = picking.BinPicking()
    first, other = world.episode(0)[0], world.episode(1)[0]
    again = picking.BinPicking().episode(0)[0]
    assert [segment.regret for segment in again] == [segment.regret for segment in first]
    assert [segment.regret for segment in other] != [segment.regret for segment in first]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)


TINY = ("--episodes", "6", "--seeds", "2", "--cloning", "2", "--updates", "3", "--pairs", "2")


@simulated
@pytest.mark.slow  # two programs that import torch, roll out, train and measure: a minute or more
def test_the_script_makes_the_figure_and_goes_on(tmp_path: Path):
    ended = command("--out", tmp_path / "out", *TINY)
    assert ended.returncode == 0, ended.stderr
    runs = json.loads((tmp_path / "out" / "figure3_right.json").read_text(encoding="utf-8"))
    assert [(run["arm"], run["seed"]) for run in runs] == [(a, s) for s in (0, 1) for a in ("cloned", "uncloned")]
    assert all(len(run["held-out"]["chosen"]) == len(run["steps"]) == 4 for run in runs)
    assert (tmp_path / "out" / "figure3_right.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "out" / "held-out.npz") as pairs:
        assert pairs["chosen_observations"].shape == (100, 64, 39)
    (tmp_path / "out" / "uncloned-1" / "step-3.safetensors").unlink()
    (tmp_path / "out" / "figure3_right.json").unlink()
    ended = command("--out", tmp_path / "out", *TINY)
    assert ended.returncode == 0 and "episodes" not in ended.stderr, ended.stderr
    assert json.loads((tmp_path / "out" / "figure3_right.json").read_text(encoding="utf-8")) == runs


def test_help_and_a_bad_folder(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        script.main(["--help"])
    assert ended.value.code == 0 and "--episodes" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as ended:
        script.main(["--out", str(tmp_path / "file")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("figure3_right.py: ")
    with pytest.raises(SystemExit) as ended:
        script.main(["--out", str(tmp_path / "new"), "--seeds", "0"])
    assert ended.value.code == 2 and not (tmp_path / "new").exists()
    assert "0 is not at least 1" in capsys.readouterr().err


def test_a_run_goes_on_as_it_was_begun_alone(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "settings.json").write_text('{"episodes": 9, "cloning": 1000, "updates": 1000, "pairs": 8}')
    with pytest.raises(SystemExit) as ended:
        script.main(["--out", str(tmp_path)])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"figure3_right.py: {tmp_path} was begun with {{'episodes': 9, ")
    assert error.endswith("Give another --out, or the same again.\n")


@simulated
def test_too_few_episodes_are_said(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        script.main(["--out", str(tmp_path), "--episodes", "1"])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("figure3_right.py: 0 segments to train on and ")
    assert last.endswith("cannot be paired. Give more --episodes.")


def test_without_metaworld_it_says_what_to_install(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(SystemExit) as ended:
        script.main(["--out", str(tmp_path)])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "figure3_right.py: Bin-picking needs the package metaworld, which is not installed: "
        "pip install 'dpo-credit[robot]'\n"
    )
