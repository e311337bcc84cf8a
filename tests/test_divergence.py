"""Eq. 16: the KL of policy and reference from answers that are drawn from it."""

from __future__ import annotations

import math
import statistics
from itertools import product

import pytest
import torch
from sides import unshared
from tiny import language_model, naive_logps, tokenizer

from dpo_credit.credit import CreditError, Tokens
from dpo_credit.models.generate import generate
from dpo_credit.models.torch_side import TorchSide
from dpo_credit.trajectory.divergence import divergence, draw, look


def model(seed: int, vocabulary: int = 5) -> TorchSide:
    module = language_model(seed=seed, scale=0.5, vocab_size=vocabulary).double()
    return unshared(module, dtype="float64")


def test_the_divergence_of_samples_is_unbiased_and_exact_where_all_tokens_are_likely() -> None:
    """On a tiny vocabulary every answer of two tokens is enumerated: the mean of the estimates is the KL itself."""
    policy, reference, prompt = model(1), model(2), (3, 1)
    answers = [Tokens(prompt, answer, ("",) * 2, ((0, 0),) * 2, "") for answer in product(range(5), repeat=2)]
    under = {
        side: [math.fsum(naive_logps(one.module, tokens)) for tokens in answers]  # type: ignore[arg-type]
        for side, one in (("policy", policy), ("reference", reference))
    }
    exact = math.fsum(math.exp(r) * (r - p) for p, r in zip(under["policy"], under["reference"], strict=True))
    for likeliest in (1, 3, 64):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dpo_credit.trajectory.divergence.LIKELIEST", likeliest)
            each = [divergence(policy, look(reference, [tokens])).kl for tokens in answers]
        mean = math.fsum(math.exp(r) * kl for r, kl in zip(under["reference"], each, strict=True))
        assert mean == pytest.approx(exact, abs=1e-9)


def test_knowing_the_likeliest_tokens_exactly_lessens_the_noise() -> None:
    policy, reference = model(1, 40), model(2, 40)
    drawn = draw(reference, tokenizer(), [(3, 1, n % 7, n % 40) for n in range(64)], max_new_tokens=12)
    ours = divergence(policy, drawn)
    plain = [
        math.fsum(naive_logps(reference.module, one)) - math.fsum(naive_logps(policy.module, one))  # type: ignore[arg-type]
        for one in drawn.tokens
    ]
    mean = math.fsum(plain) / 64
    error = math.sqrt(math.fsum((one - mean) ** 2 for one in plain) / 63 / 64)
    assert ours.error < error and abs(ours.kl - mean) < 3 * (ours.error + error) and ours.kl > 0


def test_answers_to_one_prompt_are_no_independent_draws() -> None:
    policy, reference = model(1, 40), model(2, 40)
    drawn = draw(reference, tokenizer(), [(3, 1, n % 7) for n in range(21)], max_new_tokens=4)
    found = divergence(policy, drawn)
    alone = [divergence(policy, look(reference, [tokens])).kl for tokens in drawn.tokens]
    means = [math.fsum(alone[n::7]) / 3 for n in range(7)]  # of each prompt; all have three answers
    assert found.kl == pytest.approx(math.fsum(means) / 7, rel=1e-9)  # rounding
    assert found.error == pytest.approx(statistics.stdev(means) / math.sqrt(7), rel=1e-9)
    assert (found.samples, found.prompts) == (21, 7)


def test_the_reference_does_not_diverge_from_itself() -> None:
    reference = model(2, 40)
    drawn = draw(reference, tokenizer(), [(3, 1), (5, 2, 9)], max_new_tokens=5)
    assert divergence(reference, drawn).kl == pytest.approx(0.0, abs=1e-12)


def test_prompts_of_other_lengths_change_nothing_that_is_generated() -> None:
    one, prompts = model(4, 40), [(3, 1), (5, 2, 9, 7, 7), (8,)]
    together = dict(generate(one, tokenizer(), prompts, max_new_tokens=6, do_sample=False))
    for n, prompt in enumerate(prompts):
        assert dict(generate(one, tokenizer(), [prompt], max_new_tokens=6, do_sample=False))[0] == together[n]


def test_a_draw_is_from_the_reference_whatever_its_generation_config_says() -> None:
    reference = model(2, 40)

    def drawn() -> list[tuple[int, ...]]:
        found = draw(reference, tokenizer(), [(3, 1, n) for n in range(8)], max_new_tokens=8)
        return [one.answer_ids for one in found.tokens]

    plain, config = drawn(), reference.module.generation_config  # type: ignore[union-attr]
    for name, value in (("repetition_penalty", 3.0), ("min_p", 0.5), ("num_beams", 2), ("num_return_sequences", 2)):
        setattr(config, name, value)
    assert drawn() == plain
    assert reference.module.generation_config is config and config.min_p == 0.5  # type: ignore[union-attr]


def test_a_draw_leaves_the_random_numbers_of_a_training_alone() -> None:
    reference = model(2, 40)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    draw(reference, tokenizer(), [(3, 1)], max_new_tokens=4)
    assert torch.equal(torch.rand(3), expected)


def test_a_policy_without_a_number_for_a_likely_token_is_refused() -> None:
    drawn = look(model(2, 40), [Tokens((3,), (1, 2), ("",) * 2, ((0, 0),) * 2, "")])
    with pytest.raises(CreditError, match="m has 30 vocabulary entries, but the reference may say token 39"):
        divergence(model(1, 30), drawn)
