"""What is scored: prompts with several answers each, from any file of rows or made up from a few words."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from dpo_credit.rows.records import Row, parse_row

TEXT = "I earn $50K as an analyst in Denver and they offer a manager post for $90K but my sister says wait a month"
MADE_UP = 64  # prompts that `made_up` makes


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and its answers, which begin where a token does."""

    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A group's token ids; the answers' end with the end-of-sequence token."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...] = field(repr=False)


def made_up(count: int = MADE_UP) -> list[Group]:
    """Posts and pairs of summaries of varied length; what they say does not matter for speed."""
    words = TEXT.split()
    texts = [" ".join(words[(7 * n + k) % len(words)] for k in range(60 + n % 80)) for n in range(count)]
    return [Group(f"{t}\n\nTL;DR:", (f" {t[:90]}", f" {t[9:120].strip()}")) for t in texts]


def read(path: Path) -> list[Group]:
    """The rows of a JSONL in any shape that `dpo-credit score` reads; chats are flattened to text."""
    with path.open(encoding="utf-8") as file:
        return [_group(parse_row(json.loads(line), f"line {n}")) for n, line in enumerate(file, 1) if line.strip()]


def _group(row: Row) -> Group:
    prompt = row.examples[0].prompt
    if prompt is None:
        raise SystemExit(f"{row.id} has no prompt; the benchmark needs one.")
    answers = tuple(example.answer for example in row.examples)
    if isinstance(prompt, str):
        return Group(prompt, answers)
    turns = "\n\n".join(f"{message.role}: {message.content}" for message in prompt)
    return Group(f"{turns}\n\nassistant:", tuple(f" {answer.strip()}" for answer in answers))


def with_answers(groups: list[Group], count: int) -> list[Group]:
    """Each group with `count` answers: its own, then variants of these with one word replaced by another of them."""
    widened = []
    for n, group in enumerate(groups):
        draw = random.Random(n)
        answers = list(dict.fromkeys(group.answers))[:count]
        pool = [word for answer in answers for word in answer.split()]
        originals = tuple(answers)
        while len(answers) < count:
            words = originals[len(answers) % len(originals)].split(" ")
            words[draw.randrange(1, len(words)) if len(words) > 1 else 0] = draw.choice(pool)
            variant = " ".join(words)
            # the same answer twice would be free for whoever shares prefixes
            answers.append(variant if variant not in answers else f"{variant} {draw.choice(pool)} {len(answers)}")
        widened.append(Group(group.prompt, tuple(answers)))
    return widened


def encode(tokenizer: PreTrainedTokenizerBase, group: Group) -> Encoded | None:
    """Token ids; None where the peers' conventions part: some encode prompt and answer apart, some together."""
    prompt = tokenizer(group.prompt).input_ids
    answers = [tokenizer(answer, add_special_tokens=False).input_ids for answer in group.answers]
    together = [tokenizer(group.prompt + answer).input_ids for answer in group.answers]
    if any(prompt + apart != whole for apart, whole in zip(answers, together, strict=True)):
        return None
    end = tokenizer.eos_token_id
    if end in prompt[1:] or any(end in answer for answer in answers):
        return None
    return Encoded(tuple(prompt), tuple((*answer, end) for answer in answers))


def chosen(
    groups: list[Group], tokenizer: PreTrainedTokenizerBase, prompts: int, max_tokens: int
) -> list[tuple[Group, Encoded]]:
    """The first `prompts` groups that every contender encodes alike and takes whole."""

    def usable() -> Iterator[tuple[Group, Encoded]]:
        for group in groups:
            encoded = encode(tokenizer, group)
            # one token of room for the beginning-of-sequence token that RewardBench adds
            if encoded and len(encoded.prompt) + max(map(len, encoded.answers)) < max_tokens:
                yield group, encoded

    found = [pair for pair, _ in zip(usable(), range(prompts), strict=False)]
    if not found:
        raise SystemExit(f"no prompt fits: every row is over {max_tokens} tokens, or is encoded in different ways.")
    return found
