"""A literal "Ġ" in the text, which byte-level tokenizers write for a space: whose character is it?"""

from __future__ import annotations

import pytest
from tiny import tokenizer as byte_level
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from dpo_credit.credit import Example
from dpo_credit.text.encode import encode

PIECES = ("<unk>", "</s>", "▁", "▁a", "Ġ", "▁bĠ", "cĠ", "▁d", "a", "b", "c", "d", "▁Ġ")


def sentence_pieces() -> PreTrainedTokenizerFast:
    """A Unigram of whole pieces where there are some, with "▁" for a space, as SentencePiece has it."""
    scores = [(piece, -1.0 if len(piece) > 1 else -3.0) for piece in PIECES]
    unigram = Tokenizer(models.Unigram(scores, unk_id=0))
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=unigram, eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize(
    ("prompt", "answer", "pieces"),
    [
        # ▁a ▁bĠ ▁d
        ("a bĠ", " d", [" d"]),
        ("a", " bĠ d", [" bĠ", " d"]),
        # ▁a ▁ cĠ Ġ ▁d
        ("a", " cĠĠ d", [" ", "cĠ", "Ġ", " d"]),
        # ▁a ▁Ġ ▁d
        ("a Ġ", " d", [" d"]),
        ("a", " Ġ d", [" Ġ", " d"]),
        # ▁a Ġ
        ("a", "Ġ", ["Ġ"]),
    ],
)
def test_a_piece_that_ends_in_a_literal_letter_owns_that_and_no_space(
    prompt: str, answer: str, pieces: list[str]
) -> None:
    tokens = encode(sentence_pieces(), Example(prompt, answer))
    assert [answer[start:end] for start, end in tokens.spans] == [*pieces, ""]  # and the end token
    assert list(tokens.pieces) == [*pieces, "</s>"]
    assert tokens.notes == ()


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("answer", [" Ġ is it.", " a  Ġ  b", " Ġ", " No   spaces   ", "ĠĠ Ġ "])
def test_byte_level_tokens_own_their_spaces_and_the_literal_letter_is_none(answer: str, nested: bool) -> None:
    """Byte-level pieces of these texts, decoded by hand: each byte stands for itself, "Ġ" alone for the space."""
    tokenizer = byte_level()
    if nested:
        backend = tokenizer.backend_tokenizer
        backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(), backend.pre_tokenizer])
        backend.decoder = decoders.Sequence([backend.decoder])
    tokens = encode(tokenizer, Example("Rent?", answer))
    letters = {letter: byte for byte, letter in _letters().items()}
    covered = 0
    for token_id, (start, end) in zip(tokens.answer_ids[:-1], tokens.spans, strict=False):
        data = bytes(letters[letter] for letter in tokenizer.convert_ids_to_tokens(token_id))
        before = len(answer.encode()[:covered].decode(errors="ignore"))
        after = answer.encode()[: covered + len(data)].decode(errors="replace")
        assert (start, end) == (before, len(after))
        covered += len(data)
    assert covered == len(answer.encode())


def test_an_added_token_is_what_it_says() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens(["xĠ"])
    tokens = encode(tokenizer, Example("Rent?", "xĠ No"))
    assert (tokens.pieces[0], tokens.spans[0]) == ("xĠ", (0, 2))


def _letters() -> dict[int, str]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the others follow from U+0100 on, in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + n) for n, byte in enumerate(others)}
