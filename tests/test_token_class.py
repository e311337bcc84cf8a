"""token_class: which characters are Markdown's own, and what kind each token is."""

from __future__ import annotations

import time

import pytest

from dpo_credit.credit import Tokens
from dpo_credit.text.token_class import CLASSES, markdown_signs, token_classes


def classes(*pieces: str, spans: tuple[tuple[int, int], ...] | None = None) -> list[str]:
    answer = "".join(pieces)
    ends = [len("".join(pieces[: n + 1])) for n in range(len(pieces))]
    found = tuple(zip([0, *ends], ends, strict=False))
    tokens = Tokens((1,), (2,) * len(pieces), pieces, spans or found, answer)
    return [CLASSES[n] for n in token_classes(tokens)]


@pytest.mark.parametrize(
    ("piece", "kind"),
    [
        (" Boston", "words"),
        ("n't", "words"),
        (" é", "words"),
        (" 東京", "words"),
        (" 65K", "digits"),
        ("½", "digits"),
        (".", "punctuation"),
        (" $", "punctuation"),
        ("—", "punctuation"),
        (' "(', "punctuation"),
        ("\n", "white space"),
        (" ", "white space"),
        ("👍", "other"),
        ("\u200d", "other"),
    ],
)
def test_a_token_is_what_it_shows(piece: str, kind: str) -> None:
    assert classes("x", piece, "x")[1] == kind


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("# Title", "#"),
        ("#hashtag and C# and # 1", ""),
        ("a\n- one\n  * two\n+ three", "-*+"),
        ("well-known - really", ""),
        ("1. one\n10) two\n3.5 three", "1.10)"),
        ("He is 5. Really", ""),
        ("> quoted\na > b", ">"),
        ("some **bold** text", "****"),
        ("an *italic* word, 2 * 3 * 4", "**"),
        ("an _italic_ word, snake_case_name", "__"),
        ("call `f(x)` now", "``"),
        ("```python\nx\n```", "``````"),
        ("see [the page](http://x.y/z) now", "[](http://x.y/z)"),
        ("an array a[0] (first)", ""),
        ("~~gone~~", "~~~~"),
        ("a\n---\nb", "---"),
        ("| a | b |\n|---|:-:|", "||||---|:-:|"),
    ],
)
def test_markdowns_own_characters_are_told_from_text(text: str, signs: str) -> None:
    assert "".join(text[n] for n in sorted(markdown_signs(text)) if not text[n].isspace()) == signs


def test_a_token_is_markdown_where_all_it_shows_is() -> None:
    assert classes("-", " one", "\n", "- ", "two", " -", " **", "b", "**.") == [
        *("Markdown", "words", "white space", "Markdown", "words", "punctuation", "Markdown", "words"),
        "punctuation",  # bold ends, and so does the sentence: the full stop is text
    ]


def test_tokens_that_share_a_character_share_its_class() -> None:
    assert classes("👍", "", "!", spans=((0, 1), (0, 1), (1, 2))) == ["other", "other", "punctuation"]


def test_the_end_is_what_shows_nothing_after_the_last_text() -> None:
    end = classes("a", "<|im_end|>", "\n", spans=((0, 1), (1, 1), (1, 1)))
    assert end == ["words", "end", "end"]
    assert classes("<|end|>", spans=((0, 0),)) == ["end"]  # an empty answer
    assert classes("a", " ", "b", spans=((0, 1), (1, 1), (1, 3))) == ["words", "white space", "words"]


@pytest.mark.parametrize("unit", [" ", "\n", "- ", "* ", "_ ", "|:-", "[a]("])
def test_signs_of_a_long_hostile_text_take_no_time(unit: str) -> None:
    began = time.thread_time()
    markdown_signs(unit * 20_000 + "!")
    assert time.thread_time() - began < 2  # linear: hundredths of a second; where it was not, minutes
