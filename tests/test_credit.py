"""Credit's arithmetic, and segments that own whole characters."""

from __future__ import annotations

import dataclasses
import math
import random
import re

import credits
import pytest
import regex
import torch
from credits import SOURCE
from transformers import PreTrainedTokenizerFast

from dpo_credit import Credit, CreditError, Example
from dpo_credit.credit import margin, preference_probability
from dpo_credit.text.encode import encode


def credit(policy: list[float], reference: list[float], *, beta: float = 0.1, prompt: int = 7, id: str = "a") -> Credit:
    tokens = dataclasses.replace(credits.tokens([f"piece{t}" for t in range(len(policy))]), prompt_ids=(prompt,))
    return Credit(tokens, tuple(policy), tuple(reference), beta, SOURCE, id)


def of_text(tokenizer: PreTrainedTokenizerFast, answer: str, seed: int = 0) -> Credit:
    """A credit with random log-probabilities for the answer's real tokens."""
    tokens = encode(tokenizer, Example("Question: ", answer))
    draw = random.Random(seed)
    policy, reference = ([draw.uniform(-9, 0) for _ in tokens.answer_ids] for _ in range(2))
    return Credit(tokens, tuple(policy), tuple(reference), 0.1, SOURCE)


def test_a_reward_is_beta_times_the_log_ratio() -> None:
    scored = credit([-1.0, -2.0, -0.5], [-3.0, -1.0, -0.5], beta=0.25)
    assert scored.rewards == (0.25 * 2.0, 0.25 * -1.0, 0.0)
    assert scored.reward == 0.5 - 0.25
    assert scored.policy_logp == -3.5
    assert scored.reference_logp == -4.5


def test_another_beta_scales_every_reward_without_a_model() -> None:
    scored = credit([-1.0, -2.0], [-3.0, -1.0], beta=0.5)
    again = dataclasses.replace(scored, beta=1.0)  # twice the beta: a power of two, so exact
    assert again.rewards == tuple(2 * reward for reward in scored.rewards)
    assert again.reward == 2 * scored.reward
    assert again.policy_logps == scored.policy_logps


def test_equal_log_probabilities_give_exactly_zero() -> None:
    logps = [-0.1, -7.3, -1e-9, -123.456]
    assert credit(logps, logps).rewards == (0.0,) * 4
    assert credit(logps, logps).reward == 0.0


def test_sums_lose_nothing_to_rounding() -> None:
    # adding left to right, 1e16 - 1 is lost: float64 holds 16 digits
    policy = [-1.0] * 10 + [-1e16]
    reference = [0.0] * 10 + [-1e16 + 2]
    assert sum(p - r for p, r in zip(policy, reference, strict=True)) == -12.0
    assert credit([-1e16, -1.0, -1.0], [0.0, 0.0, 0.0], beta=1).reward == -1e16 - 2
    assert -1e16 - 1.0 - 1.0 == -1e16  # what plain summing gives
    assert credit(policy, reference, beta=1).policy_logp == -1e16 - 10


def test_the_noise_floor_scales_with_beta() -> None:
    scored = dataclasses.replace(credit([-1.0], [-2.0], beta=0.5), source=dataclasses.replace(SOURCE, noise=0.25))
    assert scored.noise == 0.125


def test_a_length_normalised_reward_is_the_mean_over_the_tokens_and_each_holds_its_share() -> None:
    summed = credit([-1.0, -2.0, -0.5, -4.0], [-3.0, -1.0, -0.5, -2.0], beta=5.0)
    normalised = dataclasses.replace(summed, length_normalised=True)
    assert summed.weight == 5.0
    assert normalised.weight == 5.0 / 4  # four tokens
    assert normalised.rewards == (1.25 * 2.0, 1.25 * -1.0, 0.0, 1.25 * -2.0)
    assert normalised.reward == 5.0 * (2.0 - 1.0 + 0.0 - 2.0) / 4 == summed.reward / 4
    assert (normalised.policy_logp, normalised.reference_logp) == (summed.policy_logp, summed.reference_logp)


def test_the_end_token_counts_to_the_length(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = encode(tiny_tokenizer, Example("Hm.", "x"))
    assert len(tokens.answer_ids) == 2  # the letter and the end
    assert Credit(tokens, (-1.0, -1.0), (-2.0, -4.0), 1.0, SOURCE, length_normalised=True).rewards == (0.5, 1.5)


def test_the_noise_floor_is_normalised_with_the_rewards() -> None:
    scored = dataclasses.replace(
        credit([-1.0, -1.0], [-2.0, -2.0], beta=0.5), source=dataclasses.replace(SOURCE, noise=0.25)
    )
    assert dataclasses.replace(scored, length_normalised=True).noise == 0.5 * 0.25 / 2


def test_a_summed_and_a_length_normalised_reward_are_never_subtracted() -> None:
    summed = credit([-1.0], [-2.0])
    normalised = dataclasses.replace(summed, length_normalised=True, id="b")
    for pair in ((summed, normalised), (normalised, summed)):
        with pytest.raises(CreditError, match=r"^b has a length-normalised reward and a a summed one.*or both without"):
            margin(*pair)


def test_margins_of_length_normalised_answers_weigh_each_by_its_own_length() -> None:
    chosen, rejected = (
        dataclasses.replace(one, length_normalised=True)
        for one in (credit([-1.0, -1.0], [-2.0, -4.0], beta=3.0), credit([-1.0], [-3.0], beta=3.0))
    )
    # Lambert et al. 2024: beta / |y_c| * log ratio of y_c - beta / |y_r| * log ratio of y_r
    assert margin(chosen, rejected) == 3.0 / 2 * (1.0 + 3.0) - 3.0 / 1 * 2.0


def test_margin_is_the_logit_of_the_dpo_loss() -> None:
    beta = 0.3
    logps = {
        "policy_chosen": [-1.5, -0.25, -2.0],
        "policy_rejected": [-0.75, -3.0],
        "reference_chosen": [-2.5, -0.5, -1.0],
        "reference_rejected": [-0.5, -1.25],
    }
    sums = {name: torch.tensor(values, dtype=torch.float64).sum() for name, values in logps.items()}
    # Rafailov et al. 2023, Eq. 7
    loss = -torch.nn.functional.logsigmoid(
        beta * (sums["policy_chosen"] - sums["reference_chosen"])
        - beta * (sums["policy_rejected"] - sums["reference_rejected"])
    )
    logit = margin(
        credit(logps["policy_chosen"], logps["reference_chosen"], beta=beta),
        credit(logps["policy_rejected"], logps["reference_rejected"], beta=beta),
    )
    # float64 on both sides: a few units in the last of 16 digits
    assert preference_probability(logit) == pytest.approx(math.exp(-loss.item()), rel=1e-14)
    assert logit == pytest.approx(0.3 * ((-3.75 + 4.0) - (-3.75 + 1.75)), rel=1e-14)


def test_preference_probability_is_a_sigmoid_that_never_overflows() -> None:
    assert preference_probability(0.0) == 0.5
    assert preference_probability(math.log(3)) == pytest.approx(3 / 4, rel=1e-15)
    assert preference_probability(-math.log(3)) == pytest.approx(1 / 4, rel=1e-15)
    assert preference_probability(1e4) == 1.0
    assert preference_probability(-1e4) == 0.0


def test_margins_of_different_prompts_are_refused() -> None:
    with pytest.raises(CreditError, match=r"^a and b follow different prompts.*Give both answers the same prompt\.$"):
        margin(credit([-1.0], [-2.0], prompt=1), credit([-1.0], [-2.0], prompt=2, id="b"))


def test_margins_of_different_betas_or_models_are_refused() -> None:
    scored = credit([-1.0], [-2.0], id="a")
    other_beta = credit([-1.0], [-2.0], beta=0.2, id="b")
    other_model = dataclasses.replace(scored, id="b", source=dataclasses.replace(SOURCE, policy="another"))
    for rejected in (other_beta, other_model):
        with pytest.raises(CreditError, match=r"^a and b were scored with different models or betas; score them"):
            margin(scored, rejected)


def test_margins_compare_answers_whose_noise_was_measured_apart() -> None:
    # the same two bf16 models, asked twice: the noise floor is measured on each call's own tokens
    chosen, rejected = (
        dataclasses.replace(credit([logp], [-2.0], beta=0.5), source=dataclasses.replace(SOURCE, noise=noise))
        for logp, noise in ((-1.0, 0.011), (-3.0, 0.013))
    )
    assert margin(chosen, rejected) == 0.5 * 1.0 - 0.5 * -1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("side", ["policy", "reference"])
def test_a_log_probability_that_is_not_finite_names_model_and_token(side: str, bad: float) -> None:
    fine, broken = [-1.0, -1.0, -1.0], [-1.0, -1.0, bad]
    sides = (broken, fine) if side == "policy" else (fine, broken)
    with pytest.raises(CreditError, match=f"a: the {side} gives log-probability {bad} at answer token 2 .'piece2'."):
        credit(*sides)


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf, 1e308])
def test_a_beta_that_is_not_positive_is_refused(beta: float) -> None:
    with pytest.raises(CreditError, match=re.escape(f"beta is {beta}; it must be a positive number up to 1e+50")):
        credit([-1.0], [-1.0], beta=beta)


def test_lengths_that_differ_are_refused() -> None:
    scored = credit([-1.0, -2.0], [-1.0, -2.0], id="row 3")
    with pytest.raises(CreditError, match=r"^row 3: 1 reference log-probabilities for 2 answer tokens"):
        dataclasses.replace(scored, reference_logps=(-1.0,))


# one of each kind of text that a tokenizer can cut inside a character
ALPHABET = (
    *("a", "the ", " rent", "\n", "\n\n", "\t", "  ", ".", "54000", "<|im_end|>", "<"),
    *("é", "e\u0301", "n\u0303\u0323", "ก็", "שלום", "مرحبا", "\u202e", "\u200f", "漢字", "한국", "हिंदी", "\ufeff"),
    *(
        "🙂",
        "👩‍🚀",
        "👨‍👩‍👧‍👦",
        "👍🏽",
        "🏳️‍🌈",
        "❤️",
        "1️⃣",
        "🇵🇹",
        "🇵🇹🇩🇪",
        "🇯",
        "𝔘",
        "\x00",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\u2028",
    ),
)


def texts(count: int) -> list[str]:
    draw = random.Random(20)
    return ["".join(draw.choices(ALPHABET, k=draw.randint(1, 12))) for _ in range(count)]


def test_segments_concatenate_to_the_answer(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    for answer in texts(300):
        segments = of_text(tiny_tokenizer, answer).segments
        assert "".join(segment.text for segment in segments) == answer


def test_segments_partition_the_tokens_and_their_rewards(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    for answer in texts(100):
        scored = of_text(tiny_tokenizer, answer)
        segments = scored.segments
        assert [t for s in segments for t in range(s.start, s.stop)] == list(range(len(scored.rewards)))
        for s in segments:
            assert s.reward == math.fsum(scored.rewards[s.start : s.stop])
            assert s.policy_logp == math.fsum(scored.policy_logps[s.start : s.stop])
            assert s.reference_logp == math.fsum(scored.reference_logps[s.start : s.stop])
        # sums of sums: each is rounded once, at about 1e-16 of at most 10
        assert math.fsum(s.reward for s in segments) == pytest.approx(scored.reward, abs=1e-13)


def test_segments_meet_only_between_characters(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    for answer in texts(300):
        ends = {match.end() for match in regex.finditer(r"\X", answer)}  # extended grapheme clusters of Unicode
        at = 0
        for segment in of_text(tiny_tokenizer, answer).segments:
            at += len(segment.text)
            assert at == 0 or at in ends or answer[at - 1 : at + 1] == "\r\n", (answer, at)


@pytest.mark.parametrize(
    "emoji", ["🙂", "👩‍🚀", "👍🏽", "🇵🇹", "❤️", "1️⃣", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"]
)
def test_an_emoji_cut_into_several_tokens_is_one_segment(tiny_tokenizer: PreTrainedTokenizerFast, emoji: str) -> None:
    scored = of_text(tiny_tokenizer, f"no{emoji}no")
    picked = [segment for segment in scored.segments if emoji in segment.text]
    assert [segment.text for segment in picked] == [emoji]
    (segment,) = picked
    assert segment.stop - segment.start >= 2
    assert segment.reward == math.fsum(scored.rewards[segment.start : segment.stop])


def test_one_emoji_of_four_tokens_earns_their_sum(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = encode(tiny_tokenizer, Example("Hm.", "🙂"))
    assert len(tokens.answer_ids) == 5  # four bytes of UTF-8, none merged, and the end
    scored = Credit(tokens, (-1.0, -1.0, -1.0, -1.0, -1.0), (-2.0, -4.0, -8.0, -0.5, -9.0), 1.0, SOURCE)
    emoji, end = scored.segments
    assert (emoji.text, emoji.reward, emoji.start, emoji.stop) == ("🙂", 1 + 3 + 7 - 0.5, 0, 4)
    assert (end.text, end.reward, end.start, end.stop) == ("", 8.0, 4, 5)


def test_the_end_token_is_an_empty_segment_of_its_own(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    for answer in ("Friday.", "🇵🇹", "line\n", "e\u0301"):
        last = of_text(tiny_tokenizer, answer).segments[-1]
        assert (last.text, last.piece, last.stop - last.start) == ("", "<|endoftext|>", 1)


def test_words_and_sentences_sum_the_same_rewards(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    scored = of_text(tiny_tokenizer, "The rent is up. Nobody talks 🇵🇹!\nTen days")
    words = [unit.text for unit in scored.by("word")]
    assert words == ["The", " rent", " is", " up.", " Nobody", " talks", " 🇵🇹!", "\nTen", " days", ""]
    assert [unit.text for unit in scored.by("sentence")] == ["The rent is up.", " Nobody talks 🇵🇹!", "\nTen days", ""]
    assert scored.by("token") == scored.segments
    for unit in ("word", "sentence"):
        for one in scored.by(unit):  # type: ignore[arg-type]
            # a sum of sums of at most 40 rewards below 1: a few roundings of 1e-16
            assert one.reward == pytest.approx(math.fsum(scored.rewards[one.start : one.stop]), abs=1e-14)


def test_words_and_sentences_concatenate_to_the_answer(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    for answer in texts(100):
        scored = of_text(tiny_tokenizer, answer)
        for unit in ("word", "sentence"):
            units = scored.by(unit)  # type: ignore[arg-type]
            assert "".join(one.text for one in units) == answer
            assert [t for one in units for t in range(one.start, one.stop)] == list(range(len(scored.rewards)))
