"""What people read as one character, one word and one sentence, whatever the script and wherever a tokenizer cuts."""

from __future__ import annotations

import random
import re

import credits
import pytest
from transformers import PreTrainedTokenizerFast

from dpo_credit.credit import Example
from dpo_credit.segments import is_boundary, word_spans
from dpo_credit.text.encode import encode

FAMILY, THUMB, KEYCAP, SCOTLAND = (
    "👩‍👩‍👧‍👦",
    "👍🏽",
    "1️⃣",
    "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
)
CHARACTERS = (  # each is one character to its reader, and several code points
    *(FAMILY, THUMB, KEYCAP, SCOTLAND, "🇩🇪", "🧑‍🚀", "❤️‍🔥", "e\u0301"),
    *("क्ष", "र्थी", "ன்", "น้ำ", "ខ្មែ", "မာ", "\u1112\u1161\u11ab", "\r\n", "بّ"),
)


@pytest.mark.parametrize("character", CHARACTERS)
def test_a_character_is_whole_however_it_is_cut(character: str) -> None:
    assert len(character) > 1
    text = f"a{character}b"
    assert [at for at in range(len(text) + 1) if is_boundary(text, at)] == [0, 1, len(text) - 1, len(text)]
    assert credits.segments(credits.tokens(list(text))) == ["a", character, "b"]


@pytest.mark.parametrize("character", CHARACTERS)
def test_a_character_is_whole_in_a_tokenizer_of_bytes(tiny_tokenizer: PreTrainedTokenizerFast, character: str) -> None:
    tokens = encode(tiny_tokenizer, Example("It is:", f" {character}a"))
    assert credits.segments(tokens)[-3:] == [character, "a", ""] and len(tokens.answer_ids) > len(character)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("She said: “well-known”, 3.5 (ok)…", ["She", "said:", "“well-known”,", "3.5", "(ok)…"]),
        ("北京很好，2023年。", ["北", "京", "很", "好，", "2023", "年。"]),
        ("他说：「好！」（是的）", ["他", "说：", "「好！」", "（是", "的）"]),
        ("用iPhone拍的 (ok)", ["用", "iPhone", "拍", "的", "(ok)"]),
        ("東京タワーです。", ["東", "京", "タワー", "で", "す。"]),
        ("대한민국의 수도는", ["대한민국의", "수도는"]),
        ("น้ำท่วม ภาษาไทย", ["น้ำ", "ท่", "ว", "ม", "ภา", "ษา", "ไท", "ย"]),  # vowels and tones stay on their consonant
        ("ខ្ញុំ រាជ", ["ខ្ញុំ", "រា", "ជ"]),
        ("नमस्ते दुनिया।", ["नमस्ते", "दुनिया।"]),
        ("می‌خواهم بروم،", ["می‌خواهم", "بروم،"]),
        (f"好{FAMILY}吗 ok{THUMB}", ["好", FAMILY, "吗", f"ok{THUMB}"]),
        ("", []),
        (" \n", []),
    ],
)
def test_words_are_what_white_space_parts_and_else_characters(text: str, words: list[str]) -> None:
    assert [text[start:end] for start, end in word_spans(text)] == words
    if text.strip():  # a token a code point: the same words, each with the white space before it
        zeros = [0.0] * len(text)
        assert [unit.text.strip() for unit in credits.credit(list(text), zeros).by("word")] == words


def test_a_word_is_no_shorter_than_its_token() -> None:
    text = "北京很好 now"
    assert [text[a:b] for a, b in word_spans(text, [(0, 2), (2, 3), (3, 6), (6, 8)])] == ["北京", "很", "好", "now"]
    units = credits.credit(["北京", "很", "好 n", "ow"], [1.0, 2.0, 4.0, 8.0]).by("word")
    assert [(unit.text, unit.reward) for unit in units] == [("北京", 1.0), ("很", 2.0), ("好 now", 12.0)]


def test_words_without_such_scripts_are_what_white_space_parts() -> None:
    draw = random.Random(0)
    for _ in range(2000):
        text = "".join(draw.choices("abAéअि한א(「)」。،👍\u200d \n", k=draw.randrange(20)))
        assert word_spans(text) == [match.span() for match in re.finditer(r"\S+", text)], text


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("今天很好。明天呢？「是！」他说。", ["今天很好。", "明天呢？", "「是！」", "他说。"]),
        ("真的？！好。", ["真的？！", "好。"]),
        ("नमस्ते। आप कैसे हैं?", ["नमस्ते।", " आप कैसे हैं?"]),
        ("كيف حالك؟ بخير.", ["كيف حالك؟", " بخير."]),
        ("At 3.5 he left. So?", ["At 3.5 he left.", " So?"]),
    ],
)
def test_sentences_end_where_their_script_ends_them(text: str, sentences: list[str]) -> None:
    assert [unit.text for unit in credits.credit(list(text), [0.0] * len(text)).by("sentence")] == sentences
