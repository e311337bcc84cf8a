"""Chats with several turns, tools and thoughts: TRL's ids, whose token each is, and what counts."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from credits import segments
from tiny import CHATML, END, PAD, tokenizer
from transformers import PreTrainedTokenizerBase

from dpo_credit.credit import Credit, CreditError, Source, Tokens, margin
from dpo_credit.rows.records import parse_row
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_answers

trl = pytest.importorskip("trl")

TABLE = {
    "prompt": [{"role": "user", "content": "Book a table."}],
    "chosen": [
        {"role": "assistant", "content": "For how many?"},
        {"role": "user", "content": "Four."},
        {"role": "assistant", "content": "Done, four at seven."},
    ],
    "rejected": [
        {"role": "assistant", "content": "For how many?"},
        {"role": "user", "content": "Four."},
        {"role": "assistant", "content": "I cannot."},
    ],
}
CITY = {"type": "object", "properties": {"city": {"type": "string", "description": "Where"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "Rain?", "parameters": CITY}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Bern"}}}
ROWS: dict[str, dict[str, Any]] = {
    "one turn": {**TABLE, "chosen": TABLE["chosen"][:1], "rejected": TABLE["rejected"][2:]},
    "several turns": TABLE,
    "no prompt": {key: [*TABLE["prompt"], *TABLE[key]] for key in ("chosen", "rejected")},
    "the user speaks last": {**TABLE, "chosen": [*TABLE["chosen"], {"role": "user", "content": "Thanks."}]},
    "answers that part at the user's turn": {
        **TABLE,
        "rejected": [TABLE["rejected"][0], {"role": "user", "content": "Two."}, TABLE["rejected"][2]],
    },
    "tools": {**TABLE, "tools": [WEATHER]},
    "tools as JSON": {**TABLE, "tools": json.dumps([WEATHER])},
    "a call and its result": {
        "prompt": [{"role": "user", "content": "Rain in Bern?"}],
        "chosen": [
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "name": "weather", "content": "rain"},
            {"role": "assistant", "content": "Yes, it rains."},
        ],
        "rejected": [{"role": "assistant", "content": "", "tool_calls": [CALL]}],
        "tools": [WEATHER],
    },
    "thoughts in the text": {
        "prompt": TABLE["prompt"],
        "chosen": [{"role": "assistant", "content": "<think>Four seats?</think>For how many?"}],
        "rejected": [{"role": "assistant", "content": "For two."}],
    },
    "thoughts in a field": {
        "prompt": TABLE["prompt"],
        "chosen": [{"role": "assistant", "reasoning_content": "Four seats?", "content": "For how many?"}],
        "rejected": [{"role": "assistant", "content": "For two."}],
    },
    "thoughts of earlier turns": {
        **TABLE,
        "chosen": [{"role": "assistant", "content": "<think>Seats?</think>For how many?"}, *TABLE["chosen"][1:]],
    },
    "template arguments": {**TABLE, "chat_template_kwargs": {"enable_thinking": False, "unknown": 1}},
    "fields that no template reads": {
        **TABLE,
        "chosen": [{**message, "weight": 1} for message in TABLE["chosen"]],
    },
}
_FOLDER = Path(trl.__file__).parent / "chat_templates"
TEMPLATES = {"chatml": CHATML, **{path.stem: path.read_text() for path in sorted(_FOLDER.glob("*.jinja"))}}
VISION = ("diffusion", "idefics", "llava", "smolvlm", "_vl")


def ids_of(row: dict[str, Any], made: PreTrainedTokenizerBase) -> list[tuple[list[int], list[int]]]:
    """What TRL 1.16's `DPOTrainer._prepare_dataset` makes of a chat: its `tokenize_fn`, line by line."""
    from trl.data_utils import _tokenize, common_prefix_length, extract_prompt

    row = row if "prompt" in row else {**row, **extract_prompt(row)}
    tools = row.get("tools")
    kwargs = {"tools": json.loads(tools) if isinstance(tools, str) else tools, **row.get("chat_template_kwargs", {})}
    prompt = _tokenize(made, row["prompt"], add_generation_prompt=True, **kwargs)["input_ids"]
    both = [_tokenize(made, row["prompt"] + row[name], **kwargs)["input_ids"] for name in ("chosen", "rejected")]
    cut = min(common_prefix_length(prompt, whole) for whole in both)
    return [(prompt[:cut], whole[cut:]) for whole in both]


def tokens_of(row: dict[str, Any], made: PreTrainedTokenizerBase, **how: Any) -> list[Tokens]:
    return encode_answers(made, parse_row(row, "row").examples, Conventions(**how))


@pytest.mark.parametrize("template", [name for name in TEMPLATES if not any(word in name for word in VISION)])
def test_the_ids_of_a_chat_are_trls_under_every_template_that_trl_brings(template: str) -> None:
    made = tokenizer(chat_template=TEMPLATES[template])
    made.bos_token = PAD
    agreed = 0
    for name, row in ROWS.items():
        try:
            theirs = ids_of(row, made)
        except Exception:  # the template's own refusal, whatever it raises
            with pytest.raises(CreditError, match="template rejects this chat"):
                tokens_of(row, made)
            continue
        try:
            ours = [([*tokens.prompt_ids], [*tokens.answer_ids]) for tokens in tokens_of(row, made)]
        except CreditError as error:  # a template that leaves calls out writes an end alone
            assert name == "a call and its result" and "makes no token" in str(error)
            continue
        assert ours == theirs, name
        agreed += 1
    assert agreed >= 3


OPEN, CLOSED = "<|im_start|>assistant\n", "<|im_end|>\n"
ASKED = "<|im_end|>\n<|im_start|>user\nFour.<|im_end|>\n<|im_start|>assistant\n"  # between the two of TABLE's turns


def by_role(tokens: Tokens, made: PreTrainedTokenizerBase) -> list[tuple[str, str]]:
    runs = groupby(zip(tokens.roles, tokens.answer_ids, strict=True), key=lambda token: token[0])
    return [(role, made.decode([token_id for _, token_id in run])) for role, run in runs]


@pytest.mark.parametrize("template", ["chatml", "qwen3", "qwen3_training"])
def test_each_token_of_several_turns_has_the_role_of_its_turn(template: str) -> None:
    """Headers are nobody's; a turn's end is its own. Qwen3 drops earlier thoughts: its turns are found by content."""
    made = tokenizer(chat_template=TEMPLATES[template])
    tokens, _ = tokens_of(ROWS["thoughts of earlier turns"], made)
    said = [(role, text) for role, text in by_role(tokens, made) if role]
    thought = {"chatml": "<think>Seats?</think>", "qwen3": "", "qwen3_training": "<think>\nSeats?\n</think>\n\n"}
    last = {"chatml": "", "qwen3": "<think>\n\n</think>\n\n", "qwen3_training": "<think>\n\n</think>\n\n"}
    if template == "qwen3":  # found by their content: what the template writes before a content is nobody's
        last["qwen3"] = ""
    assert [(role, text.strip()) for role, text in said] == [
        ("assistant", f"{thought[template]}For how many?<|im_end|>"),
        ("user", "Four.<|im_end|>"),
        ("assistant", f"{last[template]}Done, four at seven.<|im_end|>"),
    ]


def test_all_turns_are_one_answer_and_its_segments_are_its_text() -> None:
    made = tokenizer(chat_template=CHATML)
    tokens, _ = tokens_of(TABLE, made)
    assert made.decode(tokens.prompt_ids).endswith(OPEN)
    assert tokens.answer == f"For how many?{ASKED}Done, four at seven."
    assert "".join(segments(tokens)) == tokens.answer
    assert (tokens.scored, tokens.end) == ("all", "template")
    assert all(tokens.counted)


def test_of_assistant_turns_alone_the_same_ids_are_read_and_the_users_do_not_count() -> None:
    made = tokenizer(chat_template=CHATML)
    tokens, _ = tokens_of(TABLE, made, turns="assistant")
    whole, _ = tokens_of(TABLE, made)
    assert (tokens.prompt_ids, tokens.answer_ids) == (whole.prompt_ids, whole.answer_ids)
    kept = [token_id for token_id, counts in zip(tokens.answer_ids, tokens.counted, strict=True) if counts]
    assert made.decode(kept) == f"For how many?{CLOSED}Done, four at seven.{CLOSED}"


def test_a_reward_is_the_sum_over_the_tokens_that_count_and_a_mean_divides_by_them() -> None:
    made = tokenizer(chat_template=CHATML)
    tokens, _ = tokens_of(TABLE, made, turns="assistant")
    length = len(tokens.answer_ids)
    policy, reference = tuple(-0.5 * t for t in range(length)), (-1.0,) * length
    credit = Credit(tokens, policy, reference, 0.5, Source("p", "r", "float32"))
    own = [t for t in range(length) if tokens.roles[t] == "assistant"]
    assert 0 < len(own) < length
    assert credit.reward == pytest.approx(0.5 * sum(1 - 0.5 * t for t in own))
    assert credit.policy_logp == pytest.approx(-0.5 * sum(own))
    assert credit.reference_logp == -len(own)
    assert all(credit.rewards[t] == 0 for t in range(length) if t not in own)
    mean = replace(credit, length_normalised=True)
    assert mean.reward == pytest.approx(credit.reward / len(own))


def test_the_last_turn_alone_follows_all_before_it_and_what_follows_it_is_said() -> None:
    made = tokenizer(chat_template=CHATML)
    row = ROWS["the user speaks last"]
    tokens, _ = tokens_of(row, made, turns="last")
    assert made.decode(tokens.prompt_ids).endswith(ASKED)
    assert made.decode(tokens.answer_ids) == f"Done, four at seven.{CLOSED}"
    assert (tokens.answer, tokens.roles) == ("Done, four at seven.", ())
    assert tokens.notes == ("1 turns after the last assistant's are left out (--turns last)",)


def test_answers_whose_last_turns_follow_different_prompts_do_not_compare() -> None:
    made = tokenizer(chat_template=CHATML)
    row = ROWS["answers that part at the user's turn"]
    credits = [
        Credit(tokens, (-1.0,) * len(tokens.answer_ids), (-2.0,) * len(tokens.answer_ids), 0.1, Source("p", "r", ""))
        for tokens in tokens_of(row, made, turns="last")
    ]
    with pytest.raises(CreditError, match="different prompts"):
        margin(*credits)


def test_turns_that_cannot_be_told_apart_are_all_or_none() -> None:
    made = tokenizer(chat_template=CHATML.replace("message['content']", "message['content'] | upper"))
    assert {"assistant", "user", ""} == set(tokens_of(TABLE, made)[0].roles)
    shuffled = "{% for message in messages %}{{ message['content'] | reverse }}{% endfor %}"
    scrambled = tokenizer(chat_template=shuffled + "{{ messages | length }}")
    assert tokens_of(TABLE, scrambled)[0].roles == ()
    with pytest.raises(CreditError, match=r"cannot be told apart. Count all of them with --turns all"):
        tokens_of(TABLE, scrambled, turns="assistant")


@pytest.mark.parametrize("eos", ["never", "always"])
@pytest.mark.parametrize("row", ["thoughts in the text", "thoughts in a field"])
def test_the_end_of_a_thinking_answer_is_found_and_both_answers_are_treated_alike(eos: str, row: str) -> None:
    made = tokenizer(chat_template=TEMPLATES["qwen3"], end="<|im_end|>")
    for tokens in tokens_of(ROWS[row], made, eos=eos):
        text = made.decode(tokens.answer_ids)
        assert text.startswith("<think>\n")
        assert text.count("<|im_end|>") == (eos == "always")
        assert tokens.end == ("template" if eos == "always" else "none")
    assert [tokens.end for tokens in tokens_of(ROWS[row], made)] == ["template", "template"]


DATED = "{{ strftime_now('%d %b %Y') }}\n" + CHATML


def test_a_template_that_writes_the_date_writes_the_one_of_the_run() -> None:
    made = tokenizer(chat_template=DATED)
    tokens, _ = tokens_of(TABLE, made, today="2024-02-29")
    assert made.decode(tokens.prompt_ids).startswith("29 Feb 2024\n")
    assert tokens.date == "2024-02-29"
    assert "the chat template writes the date 2024-02-29 (--date sets another)" in tokens.notes
    given, _ = tokens_of(TABLE, made, date="2025-01-02", today="2024-02-29")
    assert made.decode(given.prompt_ids).startswith("02 Jan 2025\n")


@pytest.mark.parametrize("format", ["%Y-%m-%d", "%A, %B %-d", "%H:%M", "%j %% ", "%b%y"])
def test_a_fixed_date_is_written_as_strftime_writes_it(format: str) -> None:
    made = tokenizer(chat_template=f"{{{{ strftime_now({format!r}) }}}}|" + CHATML)
    tokens, _ = tokens_of(TABLE, made, date="2024-02-29")
    expected = datetime.datetime(2024, 2, 29).strftime(format)
    assert made.decode(tokens.prompt_ids).partition("|")[0] == expected


def test_a_template_keeps_its_own_date_unless_one_is_given() -> None:
    """Llama 3.1 writes 26 Jul 2024 where no `date_string` comes with the row."""
    made = tokenizer(chat_template=TEMPLATES["llama3_1"])
    made.bos_token = PAD
    assert "26 Jul 2024" in made.decode(tokens_of(TABLE, made)[0].prompt_ids)
    assert tokens_of(TABLE, made)[0].date == ""
    given = tokens_of(TABLE, made, date="2025-01-02")[0]
    assert "02 Jan 2025" in made.decode(given.prompt_ids) and given.date == "2025-01-02"
    own = tokens_of({**TABLE, "chat_template_kwargs": {"date_string": "1 May 1999"}}, made, date="2025-01-02")[0]
    assert "1 May 1999" in made.decode(own.prompt_ids)


def test_a_template_without_a_date_has_none() -> None:
    assert tokens_of(TABLE, tokenizer(chat_template=CHATML), date="2025-01-02")[0].date == ""


@pytest.mark.parametrize("date", ["yesterday", "2024-13-01"])
def test_a_date_that_is_none_is_refused(date: str) -> None:
    with pytest.raises(CreditError, match=f"^--date {date} is no date; write it as 2024-07-26"):
        tokens_of(TABLE, tokenizer(chat_template=CHATML), date=date)


@pytest.mark.parametrize(
    ("part", "named"),
    [({"type": "image", "url": "x.png"}, "an image"), ({"type": "image_url", "image_url": {}}, "an image"),
     ({"type": "video"}, "a video"), ({"type": "input_audio"}, "an input_audio")],
)  # fmt: skip
def test_a_part_that_is_no_text_is_refused_by_name(part: dict[str, Any], named: str) -> None:
    row = {**TABLE, "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "See"}, part]}]}
    with pytest.raises(CreditError, match=rf"^row: vision rows are not scored yet: chosen\[0\] has {named}\."):
        parse_row(row, "row")


@pytest.mark.parametrize("column", ["images", "videos", "image"])
def test_a_row_with_pictures_is_refused_and_an_empty_column_is_none(column: str) -> None:
    with pytest.raises(CreditError, match=f"^row: vision rows are not scored yet: its field {column} holds"):
        parse_row({**TABLE, column: ["a.png"]}, "row")
    assert parse_row({**TABLE, column: []}, "row").kind == "preference"


def test_answers_that_repeat_their_prompt_are_scored_once_and_that_is_said() -> None:
    made = tokenizer(chat_template=CHATML)
    row = {**ROWS["no prompt"], "prompt": TABLE["prompt"]}
    parsed = parse_row(row, "row")
    assert "chosen and rejected repeat the prompt" in parsed.notes[0]
    assert encode_answers(made, parsed.examples)[0].answer_ids == tokens_of(TABLE, made)[0].answer_ids


def test_a_plain_transcript_has_turns_too_and_says_what_it_leaves_out() -> None:
    made = tokenizer()
    tokens, _ = tokens_of(ROWS["tools"], made, chat_template="none")
    assert tokens.answer == "For how many?\n\nHuman: Four.\n\nAssistant: Done, four at seven."
    assert tokens.notes == ("a plain transcript has no place for tools: left out",)
    assert [(role, text.strip()) for role, text in by_role(tokens, made) if role] == [
        ("assistant", "For how many?"), ("user", "Four."), ("assistant", f"Done, four at seven.{END}"),
    ]  # fmt: skip
