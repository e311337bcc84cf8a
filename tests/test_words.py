"""words: what a word is, what it earned, and which words come first."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scored import credit

from dpo_credit.credit import Tokens
from dpo_credit.report.words import Place, Words, bare_words, word_at, word_rewards


def place(line: int) -> Place:
    return Place("scored.jsonl", line, f"row-{line}")


def collected(rows: list[tuple[list[str], list[float]]]) -> Words:
    words = Words()
    for line, (pieces, rewards) in enumerate(rows, 1):
        one = credit(pieces, rewards)
        words.add(line, [(one.tokens, np.array(one.rewards))], place(line))
    return words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("An offer, as supervisor.", ["an", "offer", "as", "supervisor"]),
        ('"Take it?" (she said)', ["take", "it", "she", "said"]),
        ("don't he'd rock-'n'-roll e.g. U.S.", ["don't", "he'd", "rock-'n'-roll", "e.g", "u.s"]),
        ("$90K, 5%, 3.5 and 10:30", ["$90k", "5%", "3.5", "and", "10:30"]),
        ("**bold** `code` [text](http://x.y)", ["bold", "code", "text", "http", "x.y"]),
        ("see—this…that/those", ["see", "this", "that", "those"]),
        ("#tag @name # - 👍 ...", ["#tag", "@name"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया"]),
        ("", []),
    ],
)
def test_words_lose_the_punctuation_around_them(text: str, words: list[str]) -> None:
    found = bare_words(text)
    assert [key for _, _, key in found] == words
    assert [text[start:end].casefold() for start, end, _ in found] == words


def test_a_word_earns_what_its_own_tokens_earn() -> None:
    one = credit([" super", "visor", ".", ' "', "Take", ' it"', "!"], [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    words, earned, firsts = word_rewards(one.tokens, np.array(one.rewards))
    assert [key for _, _, key in words] == ["supervisor", "take", "it"]
    assert earned.tolist() == [1 + 2, 16, 32]  # powers of two: exact
    assert firsts == [0, 4, 5]


def test_without_punctuation_words_earn_the_sums_of_credit_by_word() -> None:
    one = credit([" I", " can", "not", " 👍🏽", " go", "\n", "th", "ere"], [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    words, earned, _ = word_rewards(one.tokens, np.array(one.rewards))
    by_word = {unit.text.strip(): unit.reward for unit in one.by("word")}
    assert by_word["there"] - earned[-1] == 16  # the line break goes with the word after it there, and is none here
    assert [by_word[key] for _, _, key in words[1:-1]] == earned[1:-1].tolist()


def test_a_token_of_two_words_counts_for_the_first() -> None:
    one = credit(["of the", " lake"], [1.0, 2.0])
    words, earned, _ = word_rewards(one.tokens, np.array(one.rewards))
    assert [key for _, _, key in words] == ["of", "lake"] and earned.tolist() == [1.0, 2.0]


def test_tokens_that_share_a_character_count_for_its_word() -> None:
    tokens = Tokens((1,), (2,) * 4, ("a", "\ufffd", "\ufffd", "b"), ((0, 1), (1, 2), (1, 2), (2, 3)), "aéb")
    words, earned, _ = word_rewards(tokens, np.array([1.0, 2.0, 4.0, 8.0]))
    assert (words, earned.tolist()) == ([(0, 3, "aéb")], [15.0])


def test_a_word_shows_in_lower_case_if_it_ever_was() -> None:
    words = collected(
        [(["The", " lake", " in", " Boston"], [1.0] * 4), (["the", " Lake", " In", " Boston"], [1.1] * 4)]
    )
    assert {word.word for word in words.figures(9, 2).rewarded} == {"the", "lake", "in", "Boston"}


def test_a_few_lucky_occurrences_do_not_win() -> None:
    steady = [0.9, 1.0, 1.1, 1.0, 0.9, 1.1, 1.0, 1.0]
    lucky = [0.0, 0.1, 9.0]
    rows = [([" steady"], [reward]) for reward in steady] + [([" lucky"], [reward]) for reward in lucky]
    rows += [([" once"], [50.0])]
    figures = collected(rows).figures(9, 2)
    assert [word.word for word in figures.rewarded] == ["steady"]
    low, high = stats.t.interval(0.95, len(steady) - 1, np.mean(steady), stats.sem(steady))
    mean = figures.rewarded[0].reward
    assert (mean.low, mean.high) == pytest.approx((low, high), rel=1e-9)  # rounding
    assert (figures.distinct, figures.frequent, figures.clearly_rewarded, figures.clearly_punished) == (3, 2, 1, 0)


def test_occurrences_within_one_row_are_no_further_evidence() -> None:
    rows = [([" word"] * 20, [1.0] * 20), ([" word"], [-1.0])]
    assert collected(rows).figures(9, 2).clearly_rewarded == 0


def test_words_stand_in_the_order_of_the_nearer_end_and_lead_to_their_extremes() -> None:
    rows = [
        ([" well", " fine", " bad"], [2.0, 1.0, -1.0]),
        ([" fine", " well", " bad"], [1.1, 2.2, -1.5]),
        ([" bad", " fine", " well", " fine"], [-1.2, 1.0, 2.1, 1.3]),
    ]
    figures = collected(rows).figures(9, 3)
    assert [(word.word, word.example.line, word.example.token) for word in figures.rewarded] == [
        ("well", 2, 1),
        ("fine", 3, 3),
    ]
    assert [(word.word, word.example) for word in figures.punished] == [
        ("bad", Place("scored.jsonl", 2, "row-2", answer=0, token=2))
    ]
    assert figures.rewarded[1].reward.mean == pytest.approx((1.0 + 1.1 + 1.0 + 1.3) / 4, rel=1e-12)  # rounding
    assert [word.word for word in collected(rows).figures(1, 3).rewarded] == ["well"]
    assert collected(rows).figures(9, 4).frequent == 0


def test_thousands_of_words_keep_their_own_sums() -> None:
    words = Words()
    for line in range(1, 4):
        pieces = [f" w{n}" for n in range(3000)]
        one = credit(pieces, [float(n + line) for n in range(3000)])
        words.add(line, [(one.tokens, np.array(one.rewards))], place(line))
    figures = words.figures(1, 2)
    assert (figures.distinct, figures.rewarded[0].word, figures.rewarded[0].reward.mean) == (3000, "w2999", 3001.0)


def test_the_word_at_a_token_is_where_its_letters_are() -> None:
    tokens = credit([" Take", " it", "'s", "!"], [0.0] * 4).tokens
    assert [tokens.answer[slice(*word_at(tokens, n))] for n in range(4)] == ["Take", "it's", "it's", "!"]
