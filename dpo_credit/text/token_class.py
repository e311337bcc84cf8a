"""What kind of text a token is: the end, Markdown, white space, digits, a word, punctuation, or something else."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal, get_args

from dpo_credit.credit import Tokens

TokenClass = Literal["end", "white space", "punctuation", "digits", "Markdown", "words", "other"]
CLASSES: tuple[TokenClass, ...] = get_args(TokenClass)

# What makes Markdown Markdown and not text; the groups named m... are its signs. CommonMark 0.31, with GitHub's tables.
_MARKDOWN = re.compile(
    r"""
    ^[ \t]*+(?P<m0>\#{1,6})(?=[ \t]|$)                            # a heading
    | ^[ \t]*+(?P<m1>(?:[-*_][ \t]*+){3,}+)$                        # a rule
    | ^[ \t]*+(?P<m2>[-*+>]|\d{1,9}[.)])(?=[ \t])                 # a list item, a quotation
    | ^[ \t]*+(?P<m3>\|?(?:[ \t]*:?-+:?[ \t]*\|)+[ \t:-]*)$       # the line below a table's head
    | (?P<m4>`+)                                                 # code
    | (?P<m5>\*\*+|~~)                                           # bold, struck out
    | (?P<m6>(?<![\w*])\*(?=[^\s*][^*\n]*\*)|(?<=[^\s*])\*(?![\w*]))           # italics
    | (?P<m7>(?<!\w)_{1,3}(?=[^\s_][^\n]*?_)|(?<=[^\s_])_{1,3}(?![\w_]))
    | (?P<m8>!?\[)[^\]\[\n]*(?P<m9>\]\([^()\s]*\))               # a link or a picture: all but its text
    | (?P<m10>\|)                                                # a table's cells
    """,
    re.MULTILINE | re.VERBOSE,
)
_SIGNS = re.compile(r"[#*_`~\[|]|^[ \t]*+(?:[-+>]|\d{1,9}[.)])[ \t]", re.MULTILINE)  # without these, no Markdown


def token_classes(tokens: Tokens) -> list[int]:
    """(T,) the class of each token, as an index into `CLASSES`.

    A token is Markdown where all it shows is; tokens that share a character have the class of that character. Of the
    rest, one with a digit is digits (" 65K"), one with a letter a word, and one of signs alone punctuation. The end is
    what shows no text after the last token that does: an end token, or how a chat template closes the turn.
    """
    answer, length = tokens.answer, len(tokens.spans)
    classes = [
        plain_class(answer[start:end] if start < end else piece)
        for (start, end), piece in zip(tokens.spans, tokens.pieces, strict=True)
    ]
    closing = next((n for n, (start, end) in enumerate(reversed(tokens.spans)) if start < end), length)
    classes[length - closing :] = [CLASSES.index("end")] * closing
    if _SIGNS.search(answer):
        signs = markdown_signs(answer)
        for t, (start, end) in enumerate(tokens.spans):
            visible = [n for n in range(start, end) if not answer[n].isspace()]
            if visible and signs.issuperset(visible):
                classes[t] = CLASSES.index("Markdown")
    return classes


def markdown_signs(text: str) -> set[int]:
    """Where in a text the characters stand that are Markdown's own."""
    places: set[int] = set()
    for match in _MARKDOWN.finditer(text):
        for name, sign in match.groupdict().items():
            if sign:
                places.update(range(*match.span(name)))
    return places


@lru_cache(maxsize=1 << 16)
def plain_class(text: str) -> int:
    """The class of a token's text, Markdown aside, as an index into `CLASSES`."""
    shown = text.strip()
    kinds = {unicodedata.category(char)[0] for char in shown}
    name: TokenClass
    if not shown:
        name = "white space"
    elif "N" in kinds:
        name = "digits"
    elif "L" in kinds:
        name = "words"
    elif all(unicodedata.category(char) != "So" for char in shown) and kinds <= {"P", "S"}:
        name = "punctuation"
    else:
        name = "other"  # emoji, marks, control characters, half a character
    return CLASSES.index(name)
