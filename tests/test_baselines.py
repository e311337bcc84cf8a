"""The baselines beside the reward: entropy and gradient attribution, against naive computations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from sides import FromLogits
from tiny import furthest, naive_logps, random_tokens

from dpo_credit import ModelPair
from dpo_credit.credit import Tokens
from dpo_credit.forward.budget import Budget
from dpo_credit.localise.attribution import attribute
from dpo_credit.localise.entropy import entropies
from dpo_credit.models.torch_side import TorchSide

BATCH = random_tokens([(5, 4), (9, 2), (3, 7)], seed=3)
UNIFORM = 8


def naive_entropy(model: TorchSide, tokens: Tokens) -> list[float]:
    ids = torch.tensor([[*tokens.prompt_ids, *tokens.answer_ids]])
    with torch.no_grad():
        logps = model.module(input_ids=ids).logits[0].double().log_softmax(-1)  # type: ignore[misc]
    start = len(tokens.prompt_ids)  # row t predicts ids[t + 1]
    return [float(-(row.exp() * row).sum()) for row in logps[start - 1 : -1]]


@pytest.mark.parametrize("budget", [1, 30, 2048])
def test_entropy_is_that_of_the_prediction_before_the_token(tiny_pair: ModelPair, budget: int) -> None:
    model = tiny_pair.policy
    assert isinstance(model, TorchSide)
    found = entropies(replace(model, budget=Budget(budget)), BATCH)
    assert furthest(found, [naive_entropy(model, tokens) for tokens in BATCH]) < 1e-4  # float32 sums over 400 words


def test_a_model_that_knows_nothing_is_unsure_by_the_log_of_its_vocabulary() -> None:
    flat = FromLogits("flat", lambda ids, mask, rows: torch.zeros(int(rows.sum()), UNIFORM))
    (found,) = entropies(flat, [Tokens((1,), (2, 3), ("a", "b"), ((0, 1), (1, 2)), "ab")])
    assert found == pytest.approx([math.log(UNIFORM)] * 2)


def test_attribution_is_input_times_gradient_of_the_answers_reward(tiny_pair: ModelPair) -> None:
    pytest.importorskip("captum")
    policy, reference = tiny_pair.policy, tiny_pair.reference
    assert isinstance(policy, TorchSide) and isinstance(reference, TorchSide)
    beta = 0.3

    def naive(tokens: Tokens) -> list[float]:
        total = torch.zeros(len(tokens.prompt_ids) + len(tokens.answer_ids), dtype=torch.float64)
        for model, sign in ((policy, 1), (reference, -1)):
            ids = torch.tensor([[*tokens.prompt_ids, *tokens.answer_ids]])
            inputs = model.module.get_input_embeddings()(ids).detach().requires_grad_()  # type: ignore[union-attr,operator]
            logps = model.module(inputs_embeds=inputs).logits[0].log_softmax(-1)  # type: ignore[misc]
            start = len(tokens.prompt_ids)
            said = sum(logps[start - 1 + t, token] for t, token in enumerate(tokens.answer_ids))
            said.backward()  # type: ignore[union-attr]
            total += sign * beta * (inputs * inputs.grad)[0].sum(-1).double().detach()
        return total[len(tokens.prompt_ids) :].tolist()

    found = attribute(policy, reference, BATCH, beta)
    assert furthest(found, [naive(tokens) for tokens in BATCH]) < 1e-4  # float32 gradients, of about 1
    assert all(values[-1] == 0 for values in found)  # the last token is never read
    assert max(abs(value) for values in found for value in values) > 1e-3


def test_attribution_leaves_the_models_as_they_were(tiny_pair: ModelPair) -> None:
    pytest.importorskip("captum")
    policy, reference = tiny_pair.policy, tiny_pair.reference
    assert isinstance(policy, TorchSide) and isinstance(reference, TorchSide)
    before = naive_logps(policy.module, BATCH[0])  # type: ignore[arg-type]
    attribute(policy, reference, BATCH[:1], 0.1)
    assert naive_logps(policy.module, BATCH[0]) == before  # type: ignore[arg-type]
    assert not any(weight.grad is not None for weight in policy.module.parameters())  # type: ignore[union-attr]
