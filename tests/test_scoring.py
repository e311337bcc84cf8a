"""Examples to Credits: identical models, sides one at a time, several windows, and the noise floor."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from sides import FromLogits, one_at_a_time, unshared
from tiny import VOCABULARY, furthest, language_model, naive_logps
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from dpo_credit import Conventions, Credit, CreditError, Example, Message, ModelPair, score
from dpo_credit.credit import margin
from dpo_credit.forward.noise import NOISE_TOKENS
from dpo_credit.models.torch_side import TorchSide
from dpo_credit.scoring import WINDOW
from dpo_credit.text.encode import encode

EXAMPLES = [
    Example("My landlord raised the rent.\n\nTL;DR:", " The rent went up by 120 dollars.", "rent"),
    Example("Where is the lake?", " 🇵🇹", "lake"),
    Example("", "No prompt at all.", "none"),
    Example("Long. " * 30, " Short", "long"),
    Example("Name three cities:", " Lisbon, Canberra, Sydney" * 4, "cities"),
]


def model(module: nn.Module, name: str = "tiny") -> TorchSide:
    dtype = str(next(module.parameters()).dtype).removeprefix("torch.")
    return unshared(module, name, dtype)


def pair_of(tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype = torch.float32, beta: float = 0.1) -> ModelPair:
    """Two models as DPO leaves them: the policy is the reference, moved a little."""
    reference = language_model(seed=2)
    policy, moved = copy.deepcopy(reference), language_model(seed=1)
    for weight, other in zip(policy.parameters(), moved.parameters(), strict=True):
        weight.data = 0.9 * weight.data + 0.1 * other.data
    return ModelPair(model(policy.to(dtype), "policy"), model(reference.to(dtype), "reference"), tokenizer, beta)


def rewards(credits: list[Credit]) -> list[tuple[float, ...]]:
    return [credit.rewards for credit in credits]


def test_a_credit_holds_each_models_log_probabilities_of_the_same_ids(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    pair = pair_of(tiny_tokenizer, beta=0.25)
    exact = [copy.deepcopy(side.module).double() for side in (pair.policy, pair.reference)]  # type: ignore[union-attr]
    for example, credit in zip(EXAMPLES, score(pair, EXAMPLES), strict=True):
        assert credit.tokens == encode(tiny_tokenizer, example)
        policy, reference = (naive_logps(side, credit.tokens) for side in exact)
        # float32 models of this size are within 2e-6 of float64; the project asks for 1e-5
        assert furthest([credit.policy_logps, credit.reference_logps], [policy, reference]) < 1e-5
        assert credit.reward == pytest.approx(0.25 * (sum(policy) - sum(reference)), abs=1e-4)
        assert (credit.id, credit.beta) == (example.id, 0.25)
        assert (credit.source.policy, credit.source.reference) == ("policy", "reference")


def test_identical_models_give_zero_credit(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        sides = [model(language_model(seed=3).to(dtype)) for _ in range(2)]
        for credit in score(ModelPair(*sides, tiny_tokenizer), EXAMPLES):
            assert set(credit.rewards) == {0.0}
            assert credit.reward == 0.0
            assert credit.noise == 0.0


def test_shifting_all_logits_leaves_credit_unchanged(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    logits = torch.randn(2, VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def pair(shift: float) -> ModelPair:
        return ModelPair(
            FromLogits("policy", lambda ids, mask, rows: logits[0][ids[rows]] + shift),
            FromLogits("reference", lambda ids, mask, rows: logits[1][ids[rows]]),
            tiny_tokenizer,
        )

    plain, shifted = (rewards(list(score(pair(shift), EXAMPLES))) for shift in (0.0, 100.0))
    assert furthest(plain, shifted) < 1e-12  # float64 near 100 has steps of 1e-14


def test_padding_side_and_order_do_not_change_credit(tiny_pair: ModelPair) -> None:
    expected = rewards(list(score(tiny_pair, EXAMPLES)))
    left = copy.deepcopy(tiny_pair.tokenizer)
    left.padding_side = left.truncation_side = "left"
    assert rewards(list(score(replace(tiny_pair, tokenizer=left), EXAMPLES))) == expected
    alone = [credit for example in EXAMPLES for credit in score(tiny_pair, [example])]
    assert furthest(rewards(alone), expected) < 1e-6  # beta times 1e-5 nats
    backwards = rewards(list(score(tiny_pair, EXAMPLES[::-1])))
    assert furthest(backwards[::-1], expected) < 1e-6


def test_several_windows_come_out_in_order_as_they_are_done(tiny_pair: ModelPair) -> None:
    count = WINDOW + 6
    asked: list[int] = []

    def examples() -> Iterator[Example]:
        for n in range(count):
            asked.append(n)
            yield Example(f"How many of {n}?", f" {n} days" + "!" * (n % 7), str(n))

    credits = score(tiny_pair, examples())
    first = next(credits)
    assert len(asked) == WINDOW + 1  # one more is read to see that it follows another prompt
    everything = [first, *credits]
    assert [credit.id for credit in everything] == [str(n) for n in range(count)]
    last = count - 1
    alone = next(score(tiny_pair, [Example(f"How many of {last}?", f" {last} days" + "!" * (last % 7))]))
    assert furthest([everything[-1].rewards], [alone.rewards]) < 1e-6


def test_answers_to_one_prompt_share_a_window_and_a_cut(tiny_pair: ModelPair) -> None:
    answers = [Example("Where is it? ", answer) for answer in ["42"] * WINDOW + ["the lake"]]  # " the" is one token
    credits = list(score(tiny_pair, [Example("First?", " yes"), *answers]))
    assert len({credit.tokens.prompt_ids for credit in credits[1:]}) == 1
    assert margin(credits[1], credits[-1]) == credits[1].reward - credits[-1].reward


def test_no_examples_give_no_credits(tiny_pair: ModelPair) -> None:
    assert list(score(tiny_pair, [])) == []
    assert list(score(replace(tiny_pair, in_turn=True), [])) == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("windows", [1, 2])
def test_one_model_at_a_time_gives_the_same_to_the_last_bit(
    tiny_tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype, windows: int
) -> None:
    pair = pair_of(tiny_tokenizer, dtype)
    policy, reference = pair.policy, pair.reference
    assert isinstance(policy, TorchSide) and isinstance(reference, TorchSide)
    sequential = one_at_a_time(pair, lambda: policy, lambda: reference)
    examples = EXAMPLES if windows == 1 else [Example(f"How many of {n}?", f" {n}") for n in range(WINDOW + 20)]
    assert list(score(sequential, examples, top_k=2)) == list(score(pair, examples, top_k=2))


def test_the_first_model_is_freed_before_the_second_is_loaded(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    loaded: list[weakref.ref[nn.Module]] = []
    alive_at_load: list[int] = []

    def load() -> TorchSide:
        gc.collect()
        alive_at_load.append(sum(one() is not None for one in loaded))
        module = language_model(seed=len(loaded)).bfloat16()
        loaded.append(weakref.ref(module))
        return model(module)

    pair = one_at_a_time(ModelPair(load(), load(), tiny_tokenizer), load, load)
    del loaded[:], alive_at_load[:]
    credits = list(score(pair, EXAMPLES))
    assert alive_at_load == [0, 0]
    del pair
    gc.collect()
    assert [one() for one in loaded] == [None, None]
    assert len(credits) == len(EXAMPLES)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_noise_floor_is_the_measured_error_of_a_log_ratio(
    tiny_tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype
) -> None:
    pair = pair_of(tiny_tokenizer, dtype, beta=0.2)
    credits = list(score(pair, EXAMPLES))
    # naively: both models converted whole to float32, one answer at a time, without padding
    exact = [copy.deepcopy(side.module).float() for side in (pair.policy, pair.reference)]  # type: ignore[union-attr]
    errors: list[float] = []
    for credit in credits:
        policy, reference = (naive_logps(side, credit.tokens) for side in exact)
        ours = zip(credit.policy_logps, credit.reference_logps, strict=True)
        errors += [abs((p - r) - (a - b)) for (p, r), a, b in zip(ours, policy, reference, strict=True)]
    assert len(errors) < NOISE_TOKENS  # so all of them were measured
    expected = float(torch.tensor(errors, dtype=torch.float64).quantile(0.95))
    assert expected > 1e-4
    # the same numbers but for float32's rounding, about 1e-6
    assert credits[0].source.noise == pytest.approx(expected, abs=1e-5)
    assert credits[0].noise == 0.2 * credits[0].source.noise
    assert len({credit.source for credit in credits}) == 1
    assert credits[0].source.dtype == str(dtype).removeprefix("torch.")


def test_float32_models_have_no_noise_floor(tiny_pair: ModelPair) -> None:
    assert [credit.noise for credit in score(tiny_pair, EXAMPLES)] == [0.0] * len(EXAMPLES)


def test_models_of_different_dtypes_say_so(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    sides = model(language_model(seed=1).bfloat16()), model(language_model(seed=1))
    source = next(score(ModelPair(*sides, tiny_tokenizer), EXAMPLES)).source
    assert source.dtype == "bfloat16/float32"
    assert source.noise > 0


def test_nan_logits_name_the_model_and_the_token(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    def broken(ids: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        logits = torch.zeros(int(rows.sum()), VOCABULARY)
        logits[1] = torch.nan
        return logits

    def fine(ids: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        return torch.zeros(int(rows.sum()), VOCABULARY)

    pair = ModelPair(FromLogits("policy", fine), FromLogits("reference", broken), tiny_tokenizer)
    with pytest.raises(CreditError, match=r"^lake: the reference gives log-probability nan at answer token 1 "):
        list(score(pair, [EXAMPLES[1]]))


def test_alternatives_are_what_each_model_preferred(tiny_pair: ModelPair) -> None:
    credit = next(score(tiny_pair, EXAMPLES, top_k=3))
    assert [len(top) for top in credit.policy_top] == [3] * len(credit.rewards)
    for top, logp, token_id in zip(credit.policy_top, credit.policy_logps, credit.tokens.answer_ids, strict=True):
        assert [one.logp for one in top] == sorted((one.logp for one in top), reverse=True)
        assert top[0].logp >= logp - 1e-6  # the two sums round apart
        names = {one.piece: one.logp for one in top}
        name = tiny_pair.tokenizer.decode([token_id])
        if "\ufffd" not in name and name in names:
            assert names[name] == pytest.approx(logp, abs=1e-5)
    assert credit.reference_top != credit.policy_top
    assert next(score(tiny_pair, EXAMPLES)).policy_top == ()


def test_the_models_own_length_holds_unless_another_is_given(tiny_pair: ModelPair) -> None:
    assert tiny_pair.max_length == 512
    long = Example("Long. " * 300, " Short", "long")
    with pytest.raises(CreditError, match=r"^long: .* are over the limit of 512\."):
        list(score(tiny_pair, [long]))
    with pytest.raises(CreditError, match=r"^rent: .* are over the limit of 9\."):
        list(score(tiny_pair, EXAMPLES, conventions=Conventions(max_length=9)))
    cut = next(score(tiny_pair, [long], conventions=Conventions(truncate="prompt-start")))
    assert len(cut.tokens.prompt_ids) + len(cut.tokens.answer_ids) == 512


def test_a_chat_is_scored_with_its_template(tiny_pair: ModelPair, chat_tokenizer: PreTrainedTokenizerFast) -> None:
    chat = Example((Message("user", "Rent?"),), "Up.", "chat")
    credit = next(score(replace(tiny_pair, tokenizer=chat_tokenizer), [chat]))
    text = chat_tokenizer.decode([*credit.tokens.prompt_ids, *credit.tokens.answer_ids])
    assert text == "<|im_start|>user\nRent?<|im_end|>\n<|im_start|>assistant\nUp.<|im_end|>\n"
    assert credit.tokens.end == "template"
