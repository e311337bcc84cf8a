"""encode: a chat becomes what its template writes, cut where the answer begins; whatever the template changes is said.

The templates are written out here, so that what each renders can be read off.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from credits import segments
from tiny import CHATML, END, PAD, TURN_END, tokenizer
from tokenizers import processors

from dpo_credit.credit import CreditError, Example, Message, Tokens
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode

ASKED = (Message("user", "Rent?"),)
OPENED = "<|im_start|>user\nRent?<|im_end|>\n<|im_start|>assistant\n"  # ASKED in ChatML
CLOSED = "<|im_end|>\n"
CHAT = Example(ASKED, "Canberra", "x")
CONTENT = "message['content']"
TRIMS = CHATML.replace(CONTENT, f"({CONTENT} | trim)")  # as Llama 3 does
FORGETS_THINKING = CHATML.replace(CONTENT, f"{CONTENT}.split('</think>')[-1]")  # as DeepSeek-R1 does
SHOUTS = CHATML.replace(CONTENT, f"({CONTENT} | upper)")
ADDS_THINKING = CHATML.replace(CONTENT, f"('<think></think>' if message['role'] == 'assistant' else '') + {CONTENT}")
OPENS_THINKING = CHATML.replace("assistant\n'", "assistant\n<think>'")  # only where it asks for an answer
DATED = "{{ 'done' if messages[-1]['role'] == 'assistant' else 'open' }}" + CHATML
ALTERNATES = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}{{ message['content'] }}{% endfor %}"
)


def text_of(tokens: Tokens) -> str:
    return "".join(segments(tokens))


def test_the_templates_of_these_tests_say_what_their_names_say() -> None:
    changed = [TRIMS, FORGETS_THINKING, SHOUTS, ADDS_THINKING, OPENS_THINKING, DATED]
    assert len({CHATML, *changed}) == 7


def test_a_chat_that_the_assistant_opens_is_scored_after_the_templates_header() -> None:
    """The header is the template's, not the policy's choice: no answer token, no reward."""
    made = tokenizer(chat_template=CHATML)
    tokens = encode(made, Example((), "the rent"))
    assert made.decode(tokens.prompt_ids).endswith("<|im_start|>assistant\n")
    assert made.decode(tokens.answer_ids) == "the rent<|im_end|>\n"


@pytest.mark.parametrize(
    ("eos_token", "eos", "ending", "end"),
    [
        (TURN_END, "auto", "<|im_end|>\n", "template"),  # ChatML's newline is kept: TRL scores it too
        (TURN_END, "always", "<|im_end|>\n", "template"),
        (TURN_END, "never", "", "none"),
        (END, "auto", "<|im_end|>\n", "template"),
        (END, "always", f"<|im_end|>\n{END}", "appended"),
        (END, "never", "", "none"),
    ],
)
def test_the_end_of_a_chat(eos_token: str, eos: str, ending: str, end: str) -> None:
    made = tokenizer(chat_template=CHATML, end=eos_token)
    tokens = encode(made, CHAT, Conventions(eos=eos))  # type: ignore[arg-type]
    assert made.decode(tokens.prompt_ids) == OPENED
    assert (made.decode(tokens.answer_ids), tokens.answer, tokens.end) == ("Canberra" + ending, "Canberra", end)
    assert text_of(tokens) == "Canberra"


def test_a_template_with_bos_is_not_given_another() -> None:
    made = tokenizer(chat_template="{{ bos_token }}" + CHATML)
    made.bos_token = PAD
    special = [(PAD, made.bos_token_id)]
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(single=f"{PAD} $A", special_tokens=special)
    for prompt in (ASKED, ()):
        tokens = encode(made, Example(prompt, "Canberra"))
        assert [*tokens.prompt_ids, *tokens.answer_ids].count(made.bos_token_id) == 1
        assert tokens.prompt_ids[0] == made.bos_token_id


def test_auto_is_the_tokenizers_own_template_and_a_text_is_one_to_use_instead() -> None:
    made = tokenizer(chat_template=CHATML)
    assert encode(made, CHAT) == encode(tokenizer(), CHAT, Conventions(chat_template=CHATML))
    other = encode(made, CHAT, Conventions(chat_template=CHATML.replace("<|im_start|>", "#")))
    assert made.decode(other.prompt_ids) == OPENED.replace("<|im_start|>", "#")


@pytest.mark.parametrize("chat_template", [CHATML, None])
def test_none_is_a_plain_transcript(chat_template: str | None) -> None:
    made = tokenizer(chat_template=chat_template)
    tokens = encode(made, CHAT, Conventions(chat_template="none"))
    assert made.decode(tokens.prompt_ids) == "\n\nHuman: Rent?\n\nAssistant:"
    assert made.decode(tokens.answer_ids) == f" Canberra{END}"
    assert (tokens.answer, text_of(tokens), tokens.end, tokens.notes) == ("Canberra", "Canberra", "appended", ())


def test_a_missing_template_is_said() -> None:
    tokens = encode(tokenizer(), CHAT)
    (note,) = tokens.notes
    assert replace(tokens, notes=()) == encode(tokenizer(), CHAT, Conventions(chat_template="none"))
    assert note.startswith("the tokenizer has no chat template: the chat is scored as a plain Human/Assistant")
    assert "--chat-template FILE" in note


def test_earlier_turns_belong_to_the_prompt() -> None:
    turns = (Message("system", "Be kind."), *ASKED, Message("assistant", "Sydney"), Message("user", "Sure?"))
    made = tokenizer(chat_template=CHATML)
    tokens = encode(made, Example(turns, "Canberra"))
    written = "".join(
        f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in ((turn.role, turn.text) for turn in turns)
    )
    assert made.decode(tokens.prompt_ids) == f"{written}<|im_start|>assistant\n"
    assert made.decode(tokens.answer_ids) == "Canberra" + CLOSED


def test_what_a_template_writes_before_the_content_is_scored_but_shows_no_text() -> None:
    """TRL scores it too: everything after the generation prompt is the completion."""
    made = tokenizer(chat_template=ADDS_THINKING)
    tokens = encode(made, CHAT)
    assert made.decode(tokens.prompt_ids) == OPENED
    assert made.decode(tokens.answer_ids) == "<think></think>Canberra" + CLOSED
    header = len(made("<think></think>")["input_ids"])
    assert tokens.spans[:header] == ((0, 0),) * header
    assert "".join(tokens.pieces[:header]) == "<think></think>"
    assert (tokens.answer, text_of(tokens), tokens.end) == ("Canberra", "Canberra", "template")


@pytest.mark.parametrize(
    ("template", "answer", "shown"),
    [(TRIMS, "  Canberra\n", "Canberra"), (FORGETS_THINKING, "<think>Sydney?</think>Canberra", "Canberra")],
    ids=["trims", "forgets thinking"],
)
def test_an_answer_that_a_template_shortens_is_shown_as_rendered_and_that_is_said(
    template: str, answer: str, shown: str
) -> None:
    made = tokenizer(chat_template=template)
    tokens = encode(made, Example(ASKED, answer, "x"))
    assert made.decode(tokens.answer_ids) == shown + CLOSED
    assert (tokens.answer, text_of(tokens)) == (shown, shown)
    assert "the chat template rewrites the answer; it is shown as rendered" in tokens.notes


def test_an_answer_that_a_template_rewrites_is_shown_as_rendered_and_that_is_said() -> None:
    made = tokenizer(chat_template=SHOUTS)
    tokens = encode(made, CHAT)
    assert made.decode(tokens.answer_ids) == "CANBERRA" + CLOSED
    assert text_of(tokens) == tokens.answer == "CANBERRA"  # its end is where the template would close another content
    assert "the chat template rewrites the answer; it is shown as rendered" in tokens.notes


def test_an_answer_that_a_template_trims_to_nothing_is_refused() -> None:
    """Only the template's own end would be scored."""
    with pytest.raises(CreditError, match=r"x: the answer .*no token"):
        encode(tokenizer(chat_template=TRIMS), Example(ASKED, "  \n", "x"))


@pytest.mark.parametrize(
    ("template", "before", "after"),
    [
        (OPENS_THINKING, OPENED, "Canberra" + CLOSED),  # the prompt alone goes on with "<think>"
        (DATED, END, "done" + OPENED + "Canberra" + CLOSED),  # nothing in common: scored from the first token alone
    ],
    ids=["opens thinking", "dated"],
)
def test_a_prompt_that_a_template_renders_otherwise_is_cut_where_the_two_part_and_that_is_said(
    template: str, before: str, after: str
) -> None:
    made = tokenizer(chat_template=template)
    tokens = encode(made, CHAT)
    assert made.decode(tokens.prompt_ids) == before
    assert made.decode(tokens.answer_ids) == after
    assert text_of(tokens) == "Canberra"
    (note,) = (note for note in tokens.notes if "differently" in note)
    assert note == "the chat template renders the prompt differently once the answer follows; cut where the two part"


@pytest.mark.parametrize(
    ("template", "turns", "said"),
    [
        (ALTERNATES, (*ASKED, *ASKED), "Roles must alternate user/assistant"),
        ("{{ a.b.c }}", ASKED, "'a' is undefined"),
        ("{% for %}", ASKED, "Expected an expression"),
    ],
    ids=["role order", "undefined name", "not Jinja"],
)
def test_a_template_that_fails_is_one_line_with_its_own_words(
    template: str, turns: tuple[Message, ...], said: str
) -> None:
    with pytest.raises(CreditError, match=f"^x: the chat template rejects this chat: {said}") as caught:
        encode(tokenizer(chat_template=template), Example(turns, "Canberra", "x"))
    assert "\n" not in str(caught.value)
    assert isinstance(encode(tokenizer(chat_template=ALTERNATES), CHAT), Tokens)  # it can also accept


def test_a_template_without_the_answer_leaves_nothing_to_score() -> None:
    with pytest.raises(CreditError, match=r"x: the answer 'Canberra' makes no token"):
        encode(tokenizer(chat_template="always the same"), CHAT)
