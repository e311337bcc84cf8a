"""encode: prompt and answer are tokenised jointly, every character has its token, and the end is what was asked."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from credits import segments
from tiny import CHATML, END, PAD, SENTENCES, tokenizer
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode, encode_answers, encode_prompt

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
ASTRONAUT, FLAG = "👩‍🚀", "🇦🇺"
ASKED = (Message("user", "Rent?"),)
LANDLORD = Example("My landlord", " raised the rent.", "x")


def byte_level(*, trim: bool, pattern: str | None = None) -> PreTrainedTokenizerFast:
    """GPT-2's kind. `trim` leaves spaces out of offsets, as GPT-NeoX does; `pattern` splits words, as Llama 3 does."""
    bpe = Tokenizer(models.BPE())
    if pattern is None:
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        words = pre_tokenizers.Split(Regex(pattern), "isolated")
        as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        bpe.pre_tokenizer = pre_tokenizers.Sequence([words, as_bytes])
    bpe.post_processor = processors.ByteLevel(trim_offsets=trim)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    settings = trainers.BpeTrainer(vocab_size=450, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator([*SENTENCES, *["a.\n  b:\n\n  c  "] * 3], settings)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=END)


def sentencepiece(prefix: str) -> PreTrainedTokenizerFast:
    """Llama 2's kind: "▁" for spaces, bytes for unknown characters, BOS first; `prefix`: how the first "▁" comes."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if prefix == "normalizer":
        bpe.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prefix, split=False)
    special = ["<unk>", "<s>", "</s>", *BYTES]
    bpe.train_from_iterator(SENTENCES, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False))
    bpe.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def words() -> PreTrainedTokenizerFast:
    """One that drops white space for good."""
    model = Tokenizer(models.WordLevel({"<unk>": 0, END: 1, "the": 2, "rent": 3}, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=model, eos_token=END, unk_token="<unk>")


def framed(single: str) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with PAD for a BOS, putting it and EOS around text by itself as `single` says."""
    made = tokenizer()
    made.bos_token = PAD
    tokens = [(PAD, made.bos_token_id), (END, made.eos_token_id)]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=tokens)
    return made


PUNCTUATION_WITH_BREAKS = r"[^\s\p{L}\p{N}]+[\r\n]*|\s?\p{L}+|\p{N}+|\s+"
KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level": lambda: byte_level(trim=False),
    "byte-level, trimmed offsets": lambda: byte_level(trim=True),
    "byte-level, words with breaks": lambda: byte_level(trim=False, pattern=PUNCTUATION_WITH_BREAKS),
    "byte-level, both": lambda: byte_level(trim=True, pattern=PUNCTUATION_WITH_BREAKS),
    "Metaspace always": lambda: sentencepiece("always"),
    "Metaspace first": lambda: sentencepiece("first"),
    "Metaspace never": lambda: sentencepiece("never"),
    "Prepend": lambda: sentencepiece("normalizer"),
}
ANSWERS = (
    *(" Canberra.", "Cairns", "  the  rent ", "\n\nthe rent.\n", "\tx \r\n y", "."),
    *(
        f" {ASTRONAUT} flew to {FLAG}",
        "日本語 한국어",
        " שלום \u202eabc",
        "e\u0301 ﬁ ½",
        "a\u00a0b\u3000 ",
        "\x1b[31m \x00",
    ),
)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return KINDS[request.param]()


def test_ids_are_those_of_prompt_and_answer_together(kind: PreTrainedTokenizerFast) -> None:
    for answer in ANSWERS:
        tokens = encode(kind, Example("The rent is up. TL;DR:", answer))
        joint = kind("The rent is up. TL;DR:" + answer)["input_ids"]
        assert [*tokens.prompt_ids, *tokens.answer_ids] == [*joint, kind.eos_token_id], answer
        assert len(tokens.pieces) == len(tokens.spans) == len(tokens.answer_ids)


@pytest.mark.parametrize("prompt", ["TL;DR:", "Rent.\n", ""])
def test_segments_concatenate_to_the_answer(kind: PreTrainedTokenizerFast, prompt: str) -> None:
    for answer in ANSWERS:
        tokens = encode(kind, Example(prompt, answer))
        assert tokens.answer == answer
        assert "".join(segments(tokens)) == answer, (answer, tokens.spans)


def test_segments_hold_white_space_that_a_tokenizer_drops() -> None:
    for answer in (" the rent", " the rent\n", "  the  rent  "):
        assert "".join(segments(encode(words(), Example("the", answer)))) == answer


def test_an_emoji_cut_into_tokens_is_one_segment() -> None:
    """The astronaut is two emoji of four bytes around a joiner of three; no merge joins any of the 11 bytes."""
    tokens = encode(tokenizer(), Example("My", ASTRONAUT + FLAG))
    assert len(tokens.answer_ids) == 11 + 2 * 4 + 1
    assert segments(tokens) == [ASTRONAUT, FLAG, ""]


@pytest.mark.parametrize("trim", [False, True])
def test_a_token_that_straddles_the_cut_is_counted_to_the_answer_and_said(trim: bool) -> None:
    """ "\\n" and the first of two spaces make one token in GPT-2's pattern: it owns a character on either side."""
    made = byte_level(trim=trim)
    joint = made("Rent.\n  the")["input_ids"]
    assert made.convert_ids_to_tokens(joint)[-2:] == ["ĊĠ", "Ġthe"]
    tokens = encode(made, Example("Rent.\n", "  the"))
    assert (*tokens.answer_ids,) == (*joint[-2:], made.eos_token_id)
    assert tokens.spans == ((0, 1), (1, 5), (5, 5))
    assert any(r"token '\n ' straddles the prompt's end; it is counted to the answer" in n for n in tokens.notes)


def test_answers_to_one_prompt_are_cut_at_the_same_token_and_that_is_said() -> None:
    """The prompt's "\\n" merges with the first answer's space: for the second, which it does not touch, it goes too."""
    made = byte_level(trim=False)
    merged, plain = encode_answers(made, [Example("Rent.\n", "  the"), Example("Rent.\n", "the")])
    assert merged.prompt_ids == plain.prompt_ids == tuple(made("Rent.")["input_ids"])
    assert [*plain.prompt_ids, *plain.answer_ids] == [*made("Rent.\nthe")["input_ids"], made.eos_token_id]
    assert (plain.pieces[0], plain.spans[0], "".join(segments(plain))) == ("Ċ", (0, 0), "the")
    assert any("merges with another answer's first token; it is counted to the answers" in n for n in plain.notes)


def test_answers_to_one_prompt_lose_as_much_of_it() -> None:
    """The longer answer, "xxxx" and EOS, leaves 10 - 5 = 5 tokens of the prompt to both."""
    short, long = Example("y" * 9, "x"), Example("y" * 9, "x" * 4)
    tokens = encode_answers(tokenizer(), [short, long], Conventions(max_length=10, truncate="prompt-start"))
    assert [len(each.prompt_ids) for each in tokens] == [5, 5]
    assert {note for each in tokens for note in each.notes if "cut to fit" in note} == {
        "the prompt's first 4 of 9 tokens were cut to fit 10"
    }


def test_a_clean_cut_says_nothing() -> None:
    assert encode(tokenizer(), LANDLORD).notes == ()


@pytest.mark.parametrize(
    ("prompt", "answer", "together"),
    [("The rent", "is up", "The rentis up"), ("Is it 5", "6 or 7?", "Is it 56 or 7?"), ("Rent:", "up", "Rent:up")],
)
def test_a_missing_space_between_prompt_and_answer_is_said(prompt: str, answer: str, together: str) -> None:
    (note,) = encode(tokenizer(), Example(prompt, answer)).notes
    found = re.fullmatch("no space between prompt and answer: they run together as '(.*)'", note)
    assert found is not None and found[1] in together and found[1].endswith(answer[:8])
    for apart in ((prompt + " ", answer), (prompt, f" {answer}"), (prompt + " (", answer), (prompt, f"\n{answer}")):
        assert not any("no space" in said for said in encode(tokenizer(), Example(*apart)).notes)


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("answer", ["the rent", "  the rent", " ", "\n"])
def test_without_a_prompt_every_token_is_the_answers_and_that_is_said(answer: str, trim: bool) -> None:
    made = byte_level(trim=trim)
    tokens = encode(made, Example("", answer))
    assert tokens.prompt_ids == (made.eos_token_id,)  # no BOS here: EOS starts texts, as in GPT-2
    assert list(tokens.answer_ids) == [*made(answer)["input_ids"], made.eos_token_id]
    assert any("no prompt: the answer is scored from the beginning-of-sequence token alone" in n for n in tokens.notes)


def test_without_a_prompt_and_any_first_token_there_is_nothing_to_start_from() -> None:
    made = tokenizer()
    made.eos_token = None
    with pytest.raises(CreditError, match=r"x: no prompt, and the tokenizer has no BOS or EOS .*Give a prompt"):
        encode(made, Example("", "the", "x"))


@pytest.mark.parametrize("single", [f"{PAD} $A", f"$A {END}", f"{PAD} $A {END}"])
def test_what_a_tokenizer_puts_around_text_itself_is_there_once(single: str) -> None:
    made = framed(single)
    for prompt in ("My landlord", ""):
        tokens = encode(made, Example(prompt, " raised"))
        ids = [*tokens.prompt_ids, *tokens.answer_ids]
        starts = PAD in single or not prompt  # without a prompt the first token comes from BOS in any case
        assert [ids.count(made.bos_token_id), ids.count(made.eos_token_id)] == [int(starts), 1]
        assert (tokens.answer_ids[-1], tokens.end) == (made.eos_token_id, "appended")
    bare = encode(made, LANDLORD, Conventions(eos="never"))
    assert (made.eos_token_id in bare.answer_ids, bare.end) == (False, "none")


@pytest.mark.parametrize(
    ("eos", "answer", "ending", "end"),
    [
        ("auto", " raised", END, "appended"),
        ("always", " raised", END, "appended"),
        ("never", " raised", "", "none"),
        ("auto", f" raised{END}", "", "in-text"),
        ("always", f" raised{END}", "", "in-text"),
        ("auto", f" raised{END}\n", END, "appended"),
    ],
)
def test_the_end_of_plain_text(eos: str, answer: str, ending: str, end: str) -> None:
    made = tokenizer()
    tokens = encode(made, Example("My landlord", answer), Conventions(eos=eos))  # type: ignore[arg-type]
    assert (made.decode(tokens.answer_ids), tokens.end) == (answer + ending, end)
    if ending:
        assert (tokens.pieces[-1], tokens.spans[-1]) == (END, (len(answer), len(answer)))


def test_a_tokenizer_without_eos_says_so_and_refuses_always() -> None:
    made = tokenizer()
    made.eos_token = None
    tokens = encode(made, LANDLORD)
    assert (tokens.end, made.decode(tokens.answer_ids)) == ("none", LANDLORD.answer)
    assert "the tokenizer has no EOS token: the answer's end is not scored" in tokens.notes
    with pytest.raises(CreditError, match=r"--eos always, but the tokenizer has no EOS token\. Use --eos never"):
        encode(made, LANDLORD, Conventions(eos="always"))


@pytest.mark.parametrize("limit", [20, 21])
def test_too_long_is_an_error_that_names_the_lengths(limit: int) -> None:
    """ "x" never merges: 15 prompt tokens and BOS, 4 answer tokens and EOS make 21."""
    made, example = framed(f"{PAD} $A"), Example("x" * 15, "x" * 4, "row")
    if limit == 21:
        assert len(encode(made, example, Conventions(max_length=limit)).answer_ids) == 5
        return
    with pytest.raises(CreditError, match=r"row: 16 prompt \+ 5 answer tokens are over the limit of 20\. --truncate"):
        encode(made, example, Conventions(max_length=limit))


def test_truncation_keeps_bos_and_the_prompts_end_and_says_how_much() -> None:
    made, limited = framed(f"{PAD} $A"), Conventions(max_length=10, truncate="prompt-start")
    tokens = encode(made, Example("abcdefghij" + "x" * 5, "x" * 4), limited)
    whole = encode(made, Example("abcdefghij" + "x" * 5, "x" * 4))
    assert tokens.prompt_ids == (made.bos_token_id, *whole.prompt_ids[-4:])
    assert tokens.answer_ids == whole.answer_ids
    cut = len(whole.prompt_ids) - 5
    assert f"the prompt's first {cut} of {len(whole.prompt_ids)} tokens were cut to fit 10" in tokens.notes


def test_an_answer_that_leaves_no_room_for_a_prompt_is_never_told_to_truncate() -> None:
    made = framed(f"{PAD} $A")
    for how in ("error", "prompt-start"):
        with pytest.raises(CreditError, match=r"4 prompt \+ 11 answer .*no room for a prompt.*aise --max-length"):
            encode(made, Example("xyx", "x" * 10), Conventions(max_length=12, truncate=how))  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", ["My", ASKED], ids=["text", "chat"])
def test_an_empty_answer_is_refused(prompt: str | tuple[Message, ...]) -> None:
    with pytest.raises(CreditError, match=r"x: the answer is empty"):
        encode(tokenizer(chat_template=CHATML), Example(prompt, "", "x"))


@pytest.mark.parametrize("answer", ["Canberra \ud800", "\udc00"])
def test_half_a_surrogate_pair_is_named_as_the_rows_fault(answer: str) -> None:
    with pytest.raises(CreditError, match=r"^x: .*surrogate"):
        encode(tokenizer(), Example("My", answer, "x"))


def test_a_tokenizer_that_is_not_fast_is_refused() -> None:
    made = tokenizer()
    slow = type("SlowTokenizer", (), {"is_fast": False, "bos_token_id": None})()
    assert made.is_fast
    with pytest.raises(CreditError, match=r"SlowTokenizer cannot say which characters .*Save a fast"):
        encode(slow, LANDLORD)


@pytest.mark.parametrize("prompt", ["My landlord", ASKED], ids=["text", "chat"])
@pytest.mark.parametrize("template", ["auto", "none"])
def test_a_prompt_by_itself_is_what_stands_before_an_answer(prompt: str | tuple[Message, ...], template: str) -> None:
    made, conventions = tokenizer(chat_template=CHATML), Conventions(chat_template=template)
    whole = encode(made, Example(prompt, " raised the rent."), conventions)
    assert encode_prompt(made, prompt, conventions) == (whole.prompt_ids, ())


def test_a_chat_without_a_template_is_said_to_be_a_transcript() -> None:
    (note,) = encode_prompt(tokenizer(), ASKED)[1]
    assert note.startswith("the tokenizer has no chat template")


def test_an_empty_prompt_is_the_token_that_texts_start_from() -> None:
    made = tokenizer()
    assert encode_prompt(made, "")[0] == encode(made, Example("", "rent")).prompt_ids


def test_half_a_surrogate_pair_in_a_prompt_is_named() -> None:
    with pytest.raises(CreditError, match=r"^row 3: .*surrogate"):
        encode_prompt(tokenizer(), "\ud800", name="row 3")
