"""Search for likelihood is search for the reward (Eqs. 12, 13), and wide beams find what an exhaustive search finds."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from random import Random

import pytest
import torch
from program import run
from sides import unshared
from tiny import language_model, tokenizer

from dpo_credit.models.pair import ModelPair
from dpo_credit.search.search import Beams, search

EXAMPLES = Path(__file__).parents[1] / "examples"
BETA, HORIZON, ACTIONS = 0.3, 4, range(3)


def world(seed: int) -> tuple[dict, dict, dict, dict]:
    """Rewards, log pi_ref, V* and log pi* of all states up to the horizon, by dynamic programming (Eqs. 5-7)."""
    rng = Random(seed)
    reward, prior, value, policy = {}, {}, {}, {}
    for length in reversed(range(HORIZON + 1)):
        for state in itertools.product(ACTIONS, repeat=length):
            if length == HORIZON:
                value[state] = 0.0
                continue
            weights = [rng.random() + 0.05 for _ in ACTIONS]
            for a in ACTIONS:
                reward[state, a] = rng.gauss(0, 1)
                prior[state, a] = math.log(weights[a] / sum(weights))
            q = [reward[state, a] + BETA * prior[state, a] + value[(*state, a)] for a in ACTIONS]
            value[state] = BETA * math.log(sum(math.exp(x / BETA) for x in q))
            for a in ACTIONS:
                policy[state, a] = (q[a] - value[state]) / BETA
    return reward, prior, value, policy


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("steps", range(1, HORIZON + 1))
def test_reward_search_and_likelihood_search_rank_alike(seed: int, steps: int):
    reward, prior, value, policy = world(seed)
    by_reward, by_likelihood = {}, {}
    for sequence in itertools.product(ACTIONS, repeat=steps):
        path = [(sequence[:t], a) for t, a in enumerate(sequence)]
        by_reward[sequence] = sum(reward[p] + BETA * prior[p] for p in path) + value[sequence]  # Eq. 12
        by_likelihood[sequence] = value[()] + BETA * sum(policy[p] for p in path)  # Eq. 13
        assert by_reward[sequence] == pytest.approx(by_likelihood[sequence], abs=1e-12)
    assert sorted(by_reward, key=by_reward.__getitem__) == sorted(by_likelihood, key=by_likelihood.__getitem__)


def test_wide_beams_find_what_an_exhaustive_search_finds():
    module = language_model(seed=6, scale=0.3)
    pair = ModelPair(unshared(module, "p"), unshared(language_model(seed=7), "r"), tokenizer())
    ids, eos = [5, 9, 3], pair.tokenizer.eos_token_id
    with torch.no_grad():
        first = module(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1)
        second = module(torch.tensor([[*ids, a] for a in range(len(first))])).logits[:, -1].double().log_softmax(-1)
    best = {(a, b): float(first[a] + second[a, b]) for a in range(len(first)) if a != eos for b in range(len(first))}
    best[(eos,)] = float(first[eos])
    # As many beams as tokens: no first token is lost, so two steps are searched exhaustively.
    (found,) = search(pair, "x", ids, Beams((len(first),), max_new_tokens=2))
    assert found.tokens.answer_ids == max(best, key=best.__getitem__)
    assert found.policy_logp == pytest.approx(max(best.values()), abs=1e-4)  # float32 against float64


def test_the_command_shows_each_width_and_writes_them():
    asked = ("search", EXAMPLES / "travel.json", "--beams", "1,3", "--max-new-tokens", "8", "--device", "cpu")
    ended = run(*asked)
    assert ended.code in (0, None), ended.stderr
    assert "1 beam" in ended.stdout and "3 beams" in ended.stdout
    row = json.loads(run(*asked, "--json", "-").stdout)
    assert row["beams"] == [1, 3] and row["length_penalty"] == 0.0
    for one in row["credit"]["answers"]:
        assert 0 < len(one["token_ids"]) <= 8
        assert one["reward"] == pytest.approx(0.1 * (one["policy_logp"] - one["reference_logp"]))


@pytest.mark.parametrize("beams", ["0", "1,x", "", "1,1001", "1" + "0" * 23])
def test_widths_that_are_none_are_refused(beams: str):
    ended = run("search", EXAMPLES / "travel.json", "--beams", beams, "--device", "cpu")
    assert ended.code == 2 and "give numbers from 1 to 1000" in ended.stderr


@pytest.mark.parametrize("penalty", ["nan", "1e308", "-11"])
def test_a_length_penalty_whose_power_is_no_number_is_refused(penalty: str):
    asked = ("search", EXAMPLES / "travel.json", "--beams", "2", "--length-penalty", penalty, "--device", "cpu")
    ended = run(*asked)
    assert ended.code == 2 and "give a number from -10 to 10" in ended.stderr
