"""Credit in any MDP, against naive float64 formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonschema import Draft202012Validator
from mdps import categorical, gaussian, pair, segment

from dpo_credit.credit import CreditError
from dpo_credit.mdp.credit import Weights, score
from dpo_credit.mdp.policies import Mlp, load_mlp, save_mlp
from dpo_credit.mdp.saved import SHIPPED, json_schema, to_json
from dpo_credit.mdp.segments import Segment
from dpo_credit.mdp.training import as_credits, checkpoints

EXACT = 1e-12  # float64 on both sides: sums of a few numbers near 1


def naive_output(policy: Mlp, observation: np.ndarray) -> list[float]:
    """The network one unit at a time."""
    values = observation.tolist()
    for n, (weight, bias) in enumerate(policy.layers):
        if n:
            values = [math.tanh(v) if policy.activation == "tanh" else max(v, 0.0) for v in values]
        values = [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in zip(weight, bias, strict=True)]
    return values


def naive_logps(policy: Mlp, steps: Segment) -> list[float]:
    logps = []
    for observation, action in zip(steps.observations, steps.actions, strict=True):
        output = naive_output(policy, observation)
        if policy.log_std is None:
            logps.append(output[int(action)] - math.log(sum(math.exp(logit) for logit in output)))
            continue
        logp = 0.0
        for number, mean, log_std in zip(action, output, policy.log_std, strict=True):
            mean, std = math.tanh(mean) if policy.mean == "tanh" else mean, math.exp(log_std)
            logp += -0.5 * ((number - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))
        logps.append(logp)
    return logps


@pytest.mark.parametrize("policy", [categorical(), gaussian(), gaussian(mean="tanh")])
def test_log_probabilities_are_the_naive_ones(policy: Mlp) -> None:
    steps = segment(7, 3, discrete=policy.discrete)
    logps = policy.log_prob(steps.observations, steps.actions)
    assert logps.tolist() == pytest.approx(naive_logps(policy, steps), abs=EXACT)


def test_the_densities_are_torchs() -> None:
    policy, steps = gaussian(), segment(7, 3, discrete=False)
    means = torch.tensor([naive_output(policy, observation) for observation in steps.observations])
    normal = torch.distributions.Normal(means.double(), torch.from_numpy(np.exp(policy.log_std)))  # type: ignore[arg-type]
    expected = normal.log_prob(torch.from_numpy(steps.actions)).sum(-1)
    assert policy.log_prob(steps.observations, steps.actions) == pytest.approx(
        expected.numpy(), abs=1e-6
    )  # float32 means


@pytest.mark.parametrize("discrete", [True, False])
def test_credit_and_preference_are_cpls(discrete: bool) -> None:
    """Hejna et al. 2024, Eqs. 5 and 6, step by step."""
    policy, reference = (categorical(0), categorical(1)) if discrete else (gaussian(0), gaussian(1))
    both = pair(discrete=discrete)
    scored = score(both, policy, reference, Weights(alpha=0.2, gamma=0.9, bias=0.5))
    sums = []
    for steps, credit in ((both.chosen, scored.chosen), (both.rejected, scored.rejected)):
        logps, others = naive_logps(policy, steps), naive_logps(reference, steps)
        credits = [0.2 * 0.9**t * (ours - theirs) for t, (ours, theirs) in enumerate(zip(logps, others, strict=True))]
        assert credit.credits.tolist() == pytest.approx(credits, abs=EXACT)
        sums.append(sum(credits))
    assert scored.margin == pytest.approx(sums[0] - sums[1], abs=EXACT)
    probability = math.exp(sums[0]) / (math.exp(sums[0]) + math.exp(0.5 * sums[1]))
    assert scored.preference_probability == pytest.approx(probability, abs=EXACT)


def test_without_a_reference_credit_is_alpha_log_pi() -> None:
    both, policy = pair(), categorical()
    assert score(both, policy).chosen.credits == pytest.approx(0.1 * np.array(naive_logps(policy, both.chosen)))


def test_a_policy_that_is_its_reference_earns_nothing() -> None:
    scored = score(pair(), categorical(), categorical())
    assert not scored.chosen.credits.any() and scored.preference_probability == 0.5


def test_length_normalised_credit_is_a_mean_over_steps() -> None:
    whole, normalised = (score(pair(), categorical(), None, Weights(length_normalised=on)) for on in (False, True))
    assert normalised.chosen.credit == pytest.approx(whole.chosen.credit / 4, abs=EXACT)
    assert normalised.rejected.credit == pytest.approx(whole.rejected.credit / 6, abs=EXACT)


def test_densities_alone_are_coloured_from_their_mean() -> None:
    scored = score(pair(discrete=False), gaussian())
    credits = [*scored.chosen.credits, *scored.rejected.credits]
    assert scored.middle == pytest.approx(sum(credits) / 10, abs=EXACT)
    assert score(pair(discrete=False), gaussian(), gaussian(1)).middle == score(pair(), categorical()).middle == 0.0


def test_steps_are_tokens_of_a_trajectory() -> None:
    """With a discount, too: rewards are the credits, and a step is called by its number and action."""
    policy = categorical(action_names=("up", "right", "down", "left"))
    scored = score(pair(), policy, categorical(1), Weights(0.3, 0.8))
    chosen, rejected = as_credits(scored)
    assert chosen.rewards == pytest.approx(scored.chosen.credits, abs=EXACT)
    assert rejected.reward == pytest.approx(scored.rejected.credit, abs=EXACT)
    names = [policy.action_names[action] for action in scored.chosen.actions]
    assert chosen.tokens.answer == " ".join(f"{t}:{name}" for t, name in enumerate(names))
    assert [segment.text.strip() for segment in chosen.segments] == chosen.tokens.answer.split(" ")


@pytest.mark.parametrize("policy", [categorical(action_names=("a", "b", "c", "d")), gaussian(mean="tanh")])
def test_a_saved_network_is_read_back(policy: Mlp, tmp_path: Path) -> None:
    save_mlp(tmp_path / "policy.safetensors", policy)
    back = load_mlp(tmp_path / "policy.safetensors")
    steps = segment(5, 4, discrete=policy.discrete)
    logps = policy.log_prob(steps.observations, steps.actions)
    assert back.log_prob(steps.observations, steps.actions) == pytest.approx(logps, abs=1e-5)  # weights in float32
    assert (back.activation, back.mean, back.action_names) == (policy.activation, policy.mean, policy.action_names)


@pytest.mark.parametrize("numbers", [{"alpha": 0.0}, {"alpha": math.nan}, {"gamma": 1.5}, {"bias": 0.0}])
def test_numbers_of_the_loss_are_in_range(numbers: dict[str, float]) -> None:
    with pytest.raises(CreditError, match=next(iter(numbers))):
        Weights(**numbers)  # type: ignore[arg-type]


def test_a_line_is_valid_under_the_shipped_schema() -> None:
    schema = json.loads(SHIPPED.read_text(encoding="utf-8"))
    assert schema == json_schema(), "python -m dpo_credit.mdp.saved"
    for scored in (score(pair(), categorical(), categorical(1)), score(pair(discrete=False), gaussian())):
        record = json.loads(to_json(scored))
        Draft202012Validator(schema).validate(record)
        assert record["margin"] == scored.margin


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path: Path) -> None:
    for name in ("step-100", "step-20", "step-3"):
        (tmp_path / f"{name}.safetensors").touch()
    assert [at.step for at in checkpoints(f"{tmp_path}/step-*")] == [3, 20, 100]
    (tmp_path / "step-last.safetensors").touch()
    assert [at.step for at in checkpoints(f"{tmp_path}/step-*")] == [1, 2, 3, 4]
    with pytest.raises(CreditError, match="names no file"):
        checkpoints(f"{tmp_path}/nothing-*")
