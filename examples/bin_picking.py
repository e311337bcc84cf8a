"""Bin-picking in MetaWorld: noisy rollouts of the scripted policy, cut into segments, each with its regret.

Regret is what a segment's actions lost in the eyes of the scripted policy pi: minus the discounted sum of advantages
(Hejna et al. 2024, Eq. 2), which telescopes to V(s_0) - sum_t gamma^t r_t - gamma^L V(s_L). The simulator and pi are
deterministic, so V of a state is one more rollout of pi from that state: measured, not learnt.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dpo_credit.extras import optional

LENGTH = 64  # steps of a segment
PART = 25  # episodes a file
GAMMA = 0.99
NOISE = 0.6  # standard deviation, in units of actions, which lie in [-1, 1]; about half of the episodes succeed
EPISODE_STEPS, AFTER_SUCCESS, VALUE_STEPS = 250, 20, 300
BEST = 10.0  # the environment's reward of a step with the cube in the bin; ours are divided by it


class Segment(NamedTuple):
    """Consecutive steps of an episode: observations (L, 39), actions (L, 4) in [-1, 1], rewards (L,) in [0, 1]."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    regret: float
    episode: int


def regret(rewards: np.ndarray, start: float, end: float, gamma: float = GAMMA) -> float:
    """Minus the discounted sum of advantages r_t + gamma V(s_t+1) - V(s_t), of which only the ends' values remain.

    Args:
        rewards: (L,).
        start: V of the state before the first step.
        end: V of the state after the last one.
        gamma: discount a step.
    """
    discounts = gamma ** np.arange(len(rewards) + 1)
    return float(start - discounts[:-1] @ rewards - discounts[-1] * end)


class BinPicking:
    """The environment, its scripted policy, and the states between steps.

    Raises:
        CreditError: metaworld is not installed.
    """

    def __init__(self) -> None:
        optional("metaworld", "Bin-picking", "robot")
        import mujoco
        from metaworld.envs import SawyerBinPickingEnvV3
        from metaworld.policies import SawyerBinPickingV3Policy

        self._mujoco = mujoco
        self._state = mujoco.mjtState.mjSTATE_INTEGRATION
        self._policy = SawyerBinPickingV3Policy()
        self._environment = environment = SawyerBinPickingEnvV3()
        environment._set_task_called, environment._freeze_rand_vec, environment.seeded_rand_vec = True, False, True

    def reset(self, seed: int) -> np.ndarray:
        """Put the cube where the seed says; the observation (39,)."""
        self._environment.seed(seed)
        return self._environment.reset()[0]

    def scripted(self, observation: np.ndarray) -> np.ndarray:
        """The scripted policy's action (4,), clipped as the environment clips it."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Constant.* may be too high")
            return np.clip(self._policy.get_action(observation), -1, 1)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Observation, reward in [0, 1], and whether the cube is in the bin."""
        self._environment.curr_path_length = 0  # the environment's own limit is not ours
        observation, reward, _, _, info = self._environment.step(action.astype(np.float32))
        return observation, float(reward) / BEST, bool(info["success"])

    def state(self) -> np.ndarray:
        """All that the simulator needs to go on from here."""
        model = self._environment.model
        state = np.empty(self._mujoco.mj_stateSize(model, self._state))
        self._mujoco.mj_getState(model, self._environment.data, state, self._state)
        return state

    def value(self, state: np.ndarray) -> float:
        """V of the scripted policy in a state of the episode that was reset last, by a rollout from there.

        It ends at success, after which every reward is 1, or after 300 steps, with the last reward for ever after.
        """
        model, data = self._environment.model, self._environment.data
        self._mujoco.mj_setState(model, data, state, self._state)
        self._mujoco.mj_forward(model, data)
        self._mujoco.mj_setState(model, data, state, self._state)  # the forward pass moved the solver's warm start
        observation = self._environment._get_obs()
        total = 0.0
        for step in range(VALUE_STEPS):
            observation, reward, success = self.step(self.scripted(observation))
            total += GAMMA**step * reward
            if success:
                break
        return total + GAMMA ** (step + 1) * reward / (1 - GAMMA)

    def episode(self, seed: int, noise: float = NOISE) -> tuple[list[Segment], bool]:
        """A rollout of the scripted policy under Gaussian noise, cut into segments, and whether it succeeded.

        It ends some steps after success, or there would be many segments in which nothing is left to do.
        """
        random = np.random.default_rng(seed)
        observation = self.reset(seed)
        observations, actions, rewards, states = [], [], [], [self.state()]
        left = EPISODE_STEPS
        succeeded = False
        while left:
            action = np.clip(self.scripted(observation) + noise * random.standard_normal(4), -1, 1)
            observations.append(observation)
            actions.append(action)
            observation, reward, success = self.step(action)
            rewards.append(reward)
            states.append(self.state())
            if success and not succeeded:
                left, succeeded = min(left, AFTER_SUCCESS + 1), True
            left -= 1
        count = len(rewards) // LENGTH
        first = int(random.integers(len(rewards) - count * LENGTH + 1))
        cuts = [first + n * LENGTH for n in range(count + 1)]
        values = [self.value(states[cut]) for cut in cuts]
        return [
            Segment(
                np.array(observations[a:b], dtype=np.float32),
                np.array(actions[a:b], dtype=np.float32),
                np.array(rewards[a:b], dtype=np.float32),
                regret(np.array(rewards[a:b]), start, end),
                seed,
            )
            for a, b, start, end in zip(cuts, cuts[1:], values, values[1:], strict=False)
        ], succeeded


class Data(NamedTuple):
    """All segments: observations (n, L, 39), actions (n, L, 4), rewards (n, L), regret (n,), episode (n,)."""

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    regret: np.ndarray
    episode: np.ndarray


def collect(out: Path, episodes: int) -> Data:
    """Roll out the episodes that OUT lacks, and read all of them."""
    files = {first: out / f"episodes-{first:04}.npz" for first in range(0, episodes, PART)}
    world: BinPicking | None = None
    for first, file in files.items():
        if file.exists():
            continue
        world = world or BinPicking()
        rollouts = [world.episode(seed) for seed in range(first, min(first + PART, episodes))]
        segments = [segment for cut, _ in rollouts for segment in cut]
        save_arrays(file, {name: np.stack([getattr(s, name) for s in segments]) for name in Segment._fields})
        say(f"episodes {first} to {first + len(rollouts) - 1}: {sum(success for _, success in rollouts)} succeeded")
    parts = [np.load(file) for file in files.values()]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in Segment._fields}
    return Data(**columns)


def draw_pairs(regret: np.ndarray, among: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """(2, count) numbers of segments `among` these: the chosen ones, with less regret, and the rejected ones."""
    places = random.integers(len(among), size=count)
    others = (places + random.integers(1, len(among), size=count)) % len(among)  # never the same segment twice
    first, second = among[places], among[others]
    return np.where(regret[first] <= regret[second], (first, second), (second, first))


def save_pairs(path: Path, numbers: np.ndarray, data: Data) -> None:
    """Write pairs of segments as `dpo-credit mdp` reads them."""
    arrays = {"ids": np.array([f"{a}-{b}" for a, b in numbers.T])}
    for side, at in zip(("chosen", "rejected"), numbers, strict=True):
        arrays[f"{side}_observations"] = data.observations[at]
        arrays[f"{side}_actions"] = data.actions[at]
        arrays[f"{side}_rewards"] = data.rewards[at]
    save_arrays(path, arrays)


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write an npz that is whole as soon as it is there."""
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(partial, **arrays)
    partial.replace(path)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
