"""Text -> ids by any `Way`: by the spine where it goes that way too, else by hand, as other programs do it."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from dpo_credit.credit import CreditError, Example, Message, Tokens
from dpo_credit.rows.chats import is_chat, messages_of
from dpo_credit.rows.records import Row
from dpo_credit.text.chat import render
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_answers
from dpo_credit.verify.conventions import Way

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # a message's fields, as transformers names them


@dataclass(frozen=True, slots=True)
class _Text:
    """A prompt and what follows it; the characters from `end` on are the template's, not the answer's."""

    prompt: str
    answer: str
    end: int
    templated: bool


def encode_as(tokenizer: PreTrainedTokenizerBase, row: Row, way: Way, limit: int | None = None) -> list[Tokens]:
    """The chosen and the rejected answer's tokens, by the given way.

    Args:
        limit: the most tokens that the models take.

    Raises:
        CreditError: this row cannot go that way, or is longer than the limit.
    """
    examples = _examples(row, way)
    ours = way.encoding == "joint" and way.bos == "auto" and way.eos != "again" and not way.everywhere
    if ours and way.max_prompt is None and way.cut in ("error", "prompt-start"):
        encoded = encode_answers(tokenizer, examples, _conventions(way, way.max_length or limit))
        _check(row, [(tokens.prompt_ids, tokens.answer_ids) for tokens in encoded], limit)
        return encoded
    if way.turns == "assistant" and any(example.turns for example in examples):
        raise CreditError(f"{row.id}: that way its turns are not told apart.")
    if way.encoding == "joint" and not way.everywhere:
        prompts, answers = _jointly(tokenizer, examples, way)
    else:
        prompts, answers = _apart(tokenizer, [_text(tokenizer, example, way) for example in examples], way)
    cut = _cut(prompts, answers, way)
    _check(row, cut, limit)
    return [_tokens(prompt, answer) for prompt, answer in cut]


def _check(row: Row, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], limit: int | None) -> None:
    if not all(prompt and answer for prompt, answer in pairs):
        raise CreditError(f"{row.id}: that way nothing is left to score.")
    if limit is not None and max(len(prompt) + len(answer) for prompt, answer in pairs) > limit:
        raise CreditError(f"{row.id}: that way it is longer than the models' {limit} tokens.")


def common_prefix(chosen: str, rejected: str) -> int:
    """Where TRL ends the prompt of two texts that name none (`trl.extract_prompt`): where they differ first.

    A space before it goes to the answers; of two texts of which one begins the other, the last character does too.
    """
    at = next(
        (n for n, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b),
        min(len(chosen), len(rejected)) - 1,
    )
    parted = chosen[at] != rejected[at]
    return at - 1 if parted and at and chosen[at - 1] == " " else at


def _examples(row: Row, way: Way) -> Sequence[Example]:
    examples = row.examples
    if row.is_chat:
        if way.prompt == "repeated":
            examples = tuple(map(partial(_repeated, row), examples, row.answer_keys))
        if way.tools == "none":
            examples = tuple(replace(example, template_kwargs={}) for example in examples)
        return tuple(map(_without_thoughts, examples)) if way.thoughts == "none" else examples
    if way.prompt == "common prefix" and row.implicit_prompt:
        chosen, rejected = (f"{example.prompt}{example.answer}" for example in examples)
        at = common_prefix(chosen, rejected)
        examples = tuple(
            replace(example, prompt=text[:at], answer=text[at:])
            for example, text in zip(examples, (chosen, rejected), strict=True)
        )
    if way.template == "turn":
        return tuple(replace(example, prompt=(Message("user", str(example.prompt)),)) for example in examples)
    return examples


def _repeated(row: Row, example: Example, key: str) -> Example:
    """An answer with the prompt that its chat brings though the row has it already."""
    given = row.fields[key]
    turns = messages_of(given, key) if "prompt" in row.prompt_keys and is_chat(given) else ()
    assert isinstance(example.prompt, tuple)
    return replace(example, turns=turns) if turns[: len(example.prompt)] == example.prompt else example


def _without_thoughts(example: Example) -> Example:
    def quiet(message: Message) -> Message:
        more = {name: value for name, value in message.more.items() if name not in _THOUGHTS}
        content = message.content
        if isinstance(content, str) and message.role == "assistant":
            content = content.rpartition("</think>")[2]
        return Message(message.role, content, more)

    assert not isinstance(example.prompt, str)
    turns = example.turns or (Message("assistant", example.answer),)
    return replace(example, prompt=tuple(map(quiet, example.prompt)), turns=tuple(map(quiet, turns)))


def _conventions(way: Way, limit: int | None) -> Conventions:
    template = "auto" if way.template == "turn" else way.template
    eos = "auto" if way.eos == "again" else way.eos
    cut: Literal["error", "prompt-start"] = "prompt-start" if way.cut == "prompt-start" else "error"
    today = way.today or datetime.date.today().isoformat()
    return Conventions(eos, template, limit, cut, way.turns, way.date, today)


Ids = list[int]


def _jointly(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], way: Way) -> tuple[list[Ids], list[Ids]]:
    encoded = encode_answers(tokenizer, examples, _conventions(way, None))
    templated = render(_conventions(way, None).template(tokenizer), examples[0]).templated
    prompts = [_with_bos(tokenizer, list(answer.prompt_ids), way, added=not templated) for answer in encoded]
    answers = [[*answer.answer_ids, *([_eos(tokenizer)] if way.eos == "again" else ())] for answer in encoded]
    return prompts, answers


def _with_bos(tokenizer: PreTrainedTokenizerBase, prompt: Ids, way: Way, *, added: bool) -> Ids:
    """Joint ids with more or less BOS; `added` says that a BOS at their start is the tokenizer's."""
    bos = tokenizer.bos_token_id
    if way.bos in ("none", "put") and added and prompt[0] == bos:
        prompt = prompt[1:]
    if way.bos in ("more", "put"):
        prompt = [_bos(tokenizer, way), *prompt]
    return prompt


def _bos(tokenizer: PreTrainedTokenizerBase, way: Way) -> int:
    bos = tokenizer.bos_token_id
    if bos is None and way.bos == "put":  # RewardBench's script sets it so
        bos = tokenizer.eos_token_id
    if bos is None:
        raise CreditError("the tokenizer has no BOS token.")
    return bos


def _eos(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise CreditError("the tokenizer has no EOS token.")
    return tokenizer.eos_token_id


def _text(tokenizer: PreTrainedTokenizerBase, example: Example, way: Way) -> _Text:
    template = _conventions(way, None).template(tokenizer)
    rendered = render(template, example, way.turns)
    text, prompt = rendered.text, rendered.text[: rendered.cut]
    if way.everywhere:
        if rendered.templated:
            assert not isinstance(example.prompt, str)
            prompt = template.render(example.prompt, example.template_kwargs)
        if not prompt:
            raise CreditError(f"{example.id}: it has no prompt to remove.")
        answer = text.replace(prompt, "")
        return _Text(prompt, answer, len(answer), rendered.templated)
    return _Text(prompt, text[rendered.cut :], rendered.stop - rendered.cut, rendered.templated)


def _apart(tokenizer: PreTrainedTokenizerBase, texts: Sequence[_Text], way: Way) -> tuple[list[Ids], list[Ids]]:
    prompts, answers = [], []
    for text in texts:
        special = way.bos not in ("none", "put") and not text.templated
        shown = text.answer[: text.end] if way.eos == "never" else text.answer
        prompt = _ids(tokenizer, text.prompt, special)
        if way.encoding == "separate":
            answer = _ids(tokenizer, shown, way.bos == "both")
        else:
            whole = _ids(tokenizer, text.prompt + shown, special)
            start = len(prompt) - (whole[: len(prompt)] != prompt)
            prompt, answer = whole[:start], whole[start:]
        if way.bos in ("more", "put"):
            prompt = [_bos(tokenizer, way), *prompt]
        if way.eos == "again" or (way.eos != "never" and not _ended(tokenizer, text, answer, way)):
            answer = [*answer, _eos(tokenizer)]
        prompts.append(prompt)
        answers.append(answer)
    return prompts, answers


def _ended(tokenizer: PreTrainedTokenizerBase, text: _Text, answer: Ids, way: Way) -> bool:
    """Whether an answer needs no EOS any more."""
    if text.templated and way.eos == "auto":
        return True
    return _eos(tokenizer) in (*answer[-1:], *_ids(tokenizer, text.answer[text.end :], special=False))


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> Ids:
    """A text's ids; with `special`, after what the tokenizer puts before every text (not what it puts behind)."""
    plain = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    if not special:
        return plain
    whole = list(tokenizer(text, verbose=False)["input_ids"])
    before = next((n for n in range(len(whole)) if whole[n : n + len(plain)] == plain), 0)
    return whole[:before] + plain


def _cut(prompts: list[Ids], answers: list[Ids], way: Way) -> list[tuple[Ids, Ids]]:
    pairs = list(zip(prompts, answers, strict=True))
    limit, longest = way.max_length, max(map(len, answers))
    if way.max_prompt is not None:
        return [_cut_prompt(prompt, answer, longest, way) for prompt, answer in pairs]
    if limit is None or way.cut == "error":
        return pairs
    if way.cut in ("start", "end"):
        return [_cut_sequence(prompt, answer, limit, way.cut) for prompt, answer in pairs]
    over = max(0, max(map(len, prompts)) + longest - limit)
    return [
        (prompt[over:] if way.cut == "prompt-start" else prompt[: len(prompt) - over], answer)
        for prompt, answer in pairs
    ]


def _cut_prompt(prompt: Ids, answer: Ids, longest: int, way: Way) -> tuple[Ids, Ids]:
    """First the prompt; the answer too, where that is not enough."""
    assert way.max_prompt is not None
    if way.max_length is None or len(prompt) + longest > way.max_length:
        prompt = prompt[-way.max_prompt :] if way.cut == "prompt-start" else prompt[: way.max_prompt]
    if way.max_length is not None and len(prompt) + longest > way.max_length:
        answer = answer[: way.max_length - way.max_prompt]
    return prompt, answer


def _cut_sequence(prompt: Ids, answer: Ids, limit: int, side: str) -> tuple[Ids, Ids]:
    if side == "end":
        return prompt[:limit], answer[: max(0, limit - len(prompt))]
    over = max(0, len(prompt) + len(answer) - limit)
    if over < len(prompt):
        return prompt[over:], answer
    kept = [*prompt, *answer][over:]
    return kept[:1], kept[1:]  # nothing predicts the first token that is left


def _tokens(prompt: Ids, answer: Ids) -> Tokens:
    """Tokens for the sums alone: which characters they show does not matter there."""
    count = len(answer)
    return Tokens(tuple(prompt), tuple(answer), ("",) * count, ((0, 0),) * count, "")
