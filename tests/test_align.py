"""Two answers compared: edits, their shares of the margin, and the echo."""

from __future__ import annotations

import math
import random
import re
from dataclasses import replace
from itertools import accumulate, pairwise

import credits
import pytest

from dpo_credit import align
from dpo_credit.align import cumulative, diff
from dpo_credit.credit import Credit, CreditError

WORDS = [
    "salary",
    "$50K",
    "is",
    "née",
    "日本語",
    "🧑‍🚀",
    "שלום",
    "e\u0301t\u0301e",
    "\n\n",
    "(28F)",
    "🇩🇪",
    "a",
    "a",
    "the",
    "...",
]


def credit(answer: str, cuts: list[str], rewards: list[float], end: bool = True) -> Credit:
    """An answer cut into these pieces, with these rewards under beta 1 (the reference gives 0 everywhere)."""
    assert "".join(cuts) == answer
    return credits.credit(cuts, rewards, end=0.5 if end else None)


def by_words(answer: str, rewards: list[float] | None = None) -> Credit:
    cuts = re.findall(r"\s*\w+|\s*[^\w\s]|\s+$", answer)
    return credit(answer, cuts, rewards or [0.0] * len(cuts))


def test_one_changed_word_is_one_edit_with_its_text_and_rewards_before_and_after():
    chosen = by_words(" They pay 50 now", [0.1, 0.2, 0.3, 0.4])
    rejected = by_words(" They pay 90 now", [0.1, 0.2, -3.0, 0.4])
    (edit,) = diff(chosen, rejected).edits
    assert (edit.chosen_text, edit.rejected_text) == (" 50", " 90")
    assert (edit.chosen_span, edit.rejected_span) == ((9, 12), (9, 12))
    assert (edit.chosen_reward, edit.rejected_reward) == (0.3, -3.0)
    assert edit.delta == 0.3 - -3.0


def test_the_echo_is_how_far_the_untouched_tokens_after_the_first_edit_moved():
    chosen = by_words(" They pay 50 now ok", [0.1, 0.2, 0.3, 0.4, 0.5])
    rejected = by_words(" They pay 90 now ok", [0.1, 0.2, -3.0, 0.1, 0.6])
    compared = diff(chosen, rejected)
    # after the edit: now moved by 0.3, ok by -0.1, the end token by 0
    assert compared.echo_mean_abs == pytest.approx((0.3 + 0.1 + 0.0) / 3)
    assert compared.echo_max_abs == pytest.approx(0.3)


def test_an_inserted_word_is_an_edit_with_nothing_on_the_other_side():
    (edit,) = diff(by_words(" I like it"), by_words(" I do not like it")).edits
    assert (edit.chosen_text, edit.rejected_text) == ("", " do not")
    assert edit.chosen_span == (2, 2)


def test_tokens_align_although_the_cuts_shift_around_an_edit():
    chosen = credit(" pay 50K now", [" pay", " 50", "K", " now"], [0.0] * 4)
    rejected = credit(" pay 9K now", [" p", "ay", " 9K", " now"], [0.0] * 4)
    compared = diff(chosen, rejected)
    # " pay" is the same word but cut differently, so its tokens do not compare: it joins the edit
    assert [(e.chosen_text, e.rejected_text) for e in compared.edits] == [(" pay 50K", " pay 9K")]
    assert compared.pairs == ((3, 3), (4, 4))  # " now" and the end token


def test_equal_answers_have_no_edits_no_echo_and_no_margin():
    answer = by_words(" the same words", [0.3, -0.2, 0.1])
    compared = diff(answer, answer)
    assert (compared.edits, compared.margin, compared.echo_max_abs) == ((), 0.0, 0.0)


def test_an_answer_that_is_cut_short_differs_at_its_end_only():
    (edit,) = diff(by_words(" yes and no"), by_words(" yes")).edits
    assert (edit.chosen_text, edit.rejected_text) == (" and no", "")


@pytest.mark.parametrize(
    ("ours", "theirs", "edits"),
    [
        ("明天会下雨，别忘了带伞。", "明天会下雪，别忘了带伞。", [("雨", "雪")]),
        ("東京タワーは赤い", "東京スカイツリーは赤い", [("タワー", "スカイツリー")]),  # a run of katakana is a word
        ("서울은 수도다", "부산은 수도다", [("서울은", "부산은")]),  # Korean has white space
        ("भारत की राजधानी", "भारत का राजधानी", [(" की", " का")]),  # not the vowel sign alone
        ("กรุงเทพสวยมาก", "กรุงเทพสวยน้อย", [("มาก", "น้อย")]),
        ("ok 👩‍👩‍👧‍👦 go", "ok 👩‍👩‍👦 go", [(" 👩‍👩‍👧‍👦", " 👩‍👩‍👦")]),
        ("🇩🇪🇫🇷🇮🇹", "🇩🇪🇯🇵🇮🇹", [("🇫🇷", "🇯🇵")]),  # F+J and R+P would make no flag
        ("👍🏽!", "👍🏿!", [("👍🏽", "👍🏿")]),
        ("It can't be 3.14", "It can't be 3.15", [("14", "15")]),  # punctuation stays apart from what it joins
    ],
)
def test_words_are_cut_as_each_script_writes_them(ours: str, theirs: str, edits: list[tuple[str, str]]) -> None:
    """The finest tokens that there are: one a code point."""
    sides = [credit(text, list(text), [0.0] * len(text)) for text in (ours, theirs)]
    assert [(edit.chosen_text, edit.rejected_text) for edit in diff(*sides).edits] == edits


def test_english_is_cut_at_white_space_and_punctuation() -> None:
    draw = random.Random(0)
    plain = re.compile(r"\s*(?:\w+|[^\w\s]|$)")
    for _ in range(2000):
        text = "".join(draw.choices("abAé1 ,.'\"()-_$\n\t", k=draw.randrange(20)))
        assert align._WORD.findall(text) == plain.findall(text), text


def test_different_prompts_do_not_compare():
    one, other = by_words(" a"), by_words(" b")
    moved = replace(other, tokens=replace(other.tokens, prompt_ids=(2,)))
    with pytest.raises(CreditError, match="different prompts"):
        diff(one, moved)


def test_a_shared_token_has_one_delta_in_both_answers_and_an_edits_tokens_speak_for_or_against_the_chosen_one():
    chosen = by_words(" They pay 50 now", [0.1, 0.2, 0.3, 0.5])
    rejected = by_words(" They pay 90 right now", [0.1, 0.2, -3.0, 0.5, 0.25])
    ours, theirs = diff(chosen, rejected).deltas()
    # They, pay: the same prefix, the same reward; 50: its own; now: 0.5 - 0.25; the end token: 0.5 - 0.5
    assert ours == (0.0, 0.0, 0.3, 0.25, 0.0)
    # 90, right: what they cost the rejected answer, the other way round
    assert theirs == (0.0, 0.0, 3.0, -0.5, 0.25, 0.0)


def test_deltas_of_words_are_the_sums_over_their_tokens():
    chosen = credit(" un kind", [" u", "n", " kind"], [0.25, 0.5, 1.0])
    rejected = credit(" un kin", [" u", "n", " kin"], [0.125, 0.25, 2.0])
    ours, theirs = diff(chosen, rejected).deltas("word")
    # un: (0.25 - 0.125) + (0.5 - 0.25); then the edit, each side for itself; and the end token
    assert (ours, theirs) == ((0.375, 1.0, 0.0), (0.375, -2.0, 0.0))


def test_running_sums_wait_where_an_answer_has_less_and_part_by_the_margin_so_far():
    # one unit each, then two for none, one each, none for one
    curves = cumulative([1.0, 2.0, 3.0, 4.0], [0.5, 0.25, -8.0], [((1, 3), (1, 1)), ((4, 4), (2, 3))])
    assert curves.chosen == (0.0, 1.0, 3.0, 6.0, 10.0, 10.0)
    assert curves.rejected == (0.0, 0.5, 0.5, 0.5, 0.75, -7.25)
    assert curves.edits == ((1, 3), (4, 5))
    assert curves.margin == (0.0, 0.5, 2.5, 5.5, 9.25, 17.25)


@pytest.mark.parametrize("seed", range(40))
def test_margin_is_the_sum_of_the_edits_deltas_and_the_echo(seed: int):
    """On random edits of random Unicode, cut at random places (inside characters too)."""
    draw = random.Random(seed)
    words = [draw.choice(WORDS) for _ in range(draw.randint(1, 30))]
    changed = list(words)
    for _ in range(draw.randint(0, 5)):
        place = draw.randrange(len(changed) + 1)
        changed[place : place + draw.randint(0, 2)] = draw.choices(WORDS, k=draw.randint(0, 2))
    if not changed:
        changed = ["left"]
    pair = [_random_cuts(draw, " " + " ".join(side)) for side in (words, changed)]
    compared = diff(*pair)
    total = math.fsum([*(edit.delta for edit in compared.edits), *compared.echo])
    # each side sums about 100 numbers below 3: rounding is below 100 * 3 * 2**-53
    assert total == pytest.approx(compared.margin, abs=1e-12)
    for unit in ("token", "word", "sentence"):
        ours, theirs = map(math.fsum, compared.deltas(unit))
        assert ours == pytest.approx(math.fsum(edit.chosen_reward for edit in compared.edits) + compared.echo_sum)
        assert theirs == pytest.approx(compared.echo_sum - math.fsum(edit.rejected_reward for edit in compared.edits))
        assert ours + theirs - compared.echo_sum == pytest.approx(compared.margin, abs=1e-12)
    rewards = [[segment.reward for segment in side.segments] for side in pair]
    curves = cumulative(*rewards, [(edit.chosen, edit.rejected) for edit in compared.edits])
    assert curves.margin[-1] == pytest.approx(compared.margin, abs=1e-12)
    for side, spans in (
        (pair[0], [edit.chosen_span for edit in compared.edits]),
        (pair[1], [edit.rejected_span for edit in compared.edits]),
    ):
        texts = [side.tokens.answer[start:end] for start, end in spans]
        names = "chosen_text" if side is pair[0] else "rejected_text"
        assert texts == [getattr(edit, names) for edit in compared.edits]


def _random_cuts(draw: random.Random, answer: str) -> Credit:
    places = sorted(draw.sample(range(1, len(answer)), min(len(answer) - 1, draw.randint(0, len(answer)))))
    cuts = [answer[a:b] for a, b in zip([0, *places], [*places, len(answer)], strict=True)]
    return credit(answer, cuts, [draw.uniform(-3, 3) for _ in cuts])


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ([" b", " a"] * 1000, [" c", " a"] * 1000, 1000),
        ([" a"] * 4000, [" a"] * 4000, 4000),
        ([" a"] * 3000, [" a"] * 2000, 2000),
        ([" x", *([" b", " a"] * 900), " y"], [" z", *([" b", " a"] * 800), " w"], 1600),
    ],
    ids=["every other word", "all alike", "one longer", "loops within"],
)
def test_answers_that_loop_are_aligned_to_a_longest_common_subsequence(
    first: list[str], second: list[str], shared: int
) -> None:
    aligned = diff(credits.credit(first, [0.5] * len(first)), credits.credit(second, [0.25] * len(second)))
    assert len(aligned.pairs) == shared
    assert all(first[i] == second[j] for i, j in aligned.pairs)
    assert all(a < c and b < d for (a, b), (c, d) in pairwise(aligned.pairs))
    total = math.fsum(edit.delta for edit in aligned.edits) + math.fsum(aligned.echo)
    assert total == pytest.approx(aligned.margin)


def test_ten_thousand_words_a_side_need_no_cubic_matching(monkeypatch: pytest.MonkeyPatch) -> None:
    """difflib would compare some 10^12 pairs of words here; it is not asked."""
    monkeypatch.setattr("dpo_credit.align.SequenceMatcher", None)
    words = [" b", " a"] * 5000
    aligned = diff(credits.credit(words, [0.1] * 10_000), credits.credit([" c", " a"] * 5000, [0.1] * 10_000))
    assert len(aligned.pairs) == 5000


def test_tokens_without_text_are_untouched_at_either_end() -> None:
    def sided(shown: list[tuple[str, str]]) -> Credit:
        """An answer of (piece, its text), every token of reward 1."""
        made = credits.credit([text or "x" for _, text in shown], [1.0] * len(shown))
        places = [*accumulate((len(text) for _, text in shown), initial=0)]
        pieces = tuple(piece for piece, _ in shown)
        answer = "".join(text for _, text in shown)
        spans = tuple(pairwise(places))
        return replace(made, tokens=replace(made.tokens, pieces=pieces, spans=spans, answer=answer))

    first = sided([("_", ""), ("We", "We"), (" go", " go"), ("<pad>", ""), ("</s>", "")])
    second = sided([("_", ""), ("We", "We"), (" stay", " stay"), ("</s>", "")])
    compared = diff(first, second)
    assert compared.pairs == ((0, 0), (1, 1), (4, 3))
    assert [(edit.chosen, edit.rejected) for edit in compared.edits] == [((2, 4), (2, 3))]
    same = sided([("_", ""), ("</s>", "")])
    assert diff(same, same).pairs == ((0, 0), (1, 1))
