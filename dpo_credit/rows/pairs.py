"""Two answers to compare: out of one row, out of two files, or two answers after a prompt of their own."""

from __future__ import annotations

from dataclasses import replace

from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.rows.records import TLDR, Row, load, messages_of, prompt_of, read_row, stem


def choose(row: Row, pick: str | None = None, every: bool = False) -> Row:
    """The row with the two answers to compare: chosen and rejected, the only two, those picked, or `every` one.

    Args:
        row: any row with two answers or more.
        pick: two numbers with a comma, counted from 0.
        every: keep all.

    Raises:
        CreditError: there are not two answers, or more and none picked.
    """
    count = len(row.examples)
    if count < 2:
        raise CreditError(
            f"{row.id} has one answer; a diff needs two. Name a second file, or give chosen and rejected."
        )
    if every or (pick is None and count == 2):
        return row
    if pick is None:
        raise CreditError(f"{row.id} has {count} answers. Name two with --pick 0,1 or compare all with --all.")
    numbers = [int(part) if part.strip().isdecimal() else count for part in pick.split(",")]
    if len(numbers) != 2 or numbers[0] == numbers[1] or max(numbers) >= count:
        raise CreditError(f"--pick {pick} does not name two of {row.id}'s answers, 0 to {count - 1}, such as 0,1.")
    return replace(
        row,
        examples=tuple(row.examples[n] for n in numbers),
        labels=tuple(row.labels[n] for n in numbers),
    )


def read_pair(
    first: bytes, name: str, second: bytes | None, other: str, prompt: str | tuple[Message, ...] | None
) -> Row:
    """Two files as one row: each a prompt and an answer, or an answer alone after `prompt`.

    Raises:
        CreditError: a file is missing or holds several answers, or the two prompts differ.
    """
    if second is None:
        raise CreditError("--prompt with one answer. Name a second file to compare it with, or use dpo-credit score.")
    examples = [_example(data, file, prompt) for data, file in ((first, name), (second, other))]
    if examples[0].prompt != examples[1].prompt:
        raise CreditError(
            f"{name} and {other} have different prompts, so their totals do not compare. Put the same post before "
            "both, or give answers alone and the post with --prompt."
        )
    labels = (stem(name), stem(other)) if stem(name) != stem(other) else (name, other)
    return Row(f"{labels[0]}-{labels[1]}", "preference", tuple(examples), labels)


def _example(data: bytes, name: str, prompt: str | tuple[Message, ...] | None) -> Example:
    if prompt is None:
        row = read_row(data, name)
        if len(row.examples) != 1:
            raise CreditError(f"{name} holds {len(row.examples)} answers: compare them with dpo-credit diff {name}.")
        return replace(row.examples[0], id=stem(name))
    answer = load(data, name)
    if not isinstance(answer, str):
        raise CreditError(f"{name} is JSON; with --prompt it must be text, the answer alone.")
    if isinstance(prompt, str) and prompt.endswith(TLDR) and not answer[0].isspace():
        answer = f" {answer}"  # the public TL;DR format puts a space after the colon
    return Example(prompt, answer, stem(name))


def read_prompt(data: bytes, name: str) -> str | tuple[Message, ...]:
    """A prompt of its own: text, up to its last "TL;DR:" if it has one; or JSON with a prompt, a post or messages.

    Raises:
        CreditError: the JSON has no prompt.
    """
    content = load(data, name)
    if isinstance(content, str):
        before, found, _ = content.rpartition(TLDR)
        return before + found or content
    if "messages" in content:
        messages = messages_of(content["messages"], "messages")
        return messages[:-1] if messages[-1].role == "assistant" else messages
    prompt, _ = prompt_of(content)
    if prompt is None:
        raise CreditError(f"{name} has no prompt, messages or post. A prompt is one of these.")
    return prompt
