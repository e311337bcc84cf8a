"""The prompt that a command answers: read from a file, and as the tokens that an answer continues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpo_credit.cli.files import read
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError, Message
from dpo_credit.rows.records import TLDR, load, prompt_of

if TYPE_CHECKING:
    from dpo_credit.models.pair import ModelPair

Prompt = str | tuple[Message, ...]


def prompt_in(file: str) -> Prompt:
    """The prompt that a file holds; answers in it play no part.

    Raises:
        CreditError: there is none.
    """
    return prompt_from(read(file), "stdin" if file == "-" else file)


def prompt_from(data: bytes, name: str) -> Prompt:
    """`prompt_in`, of a file's content."""
    content = load(data, name)
    if isinstance(content, str):
        before, found, _ = content.rpartition(TLDR)
        return before + found if found else content.rstrip("\n")
    prompt, _ = prompt_of(content)
    if prompt is None:
        raise CreditError(f"{name}: no prompt to answer. Give a prompt field (text or messages), or a post.")
    return prompt


def prompt_ids(
    pair: ModelPair, prompt: Prompt, options: PairOptions, talk: Talk, *, max_new_tokens: int
) -> tuple[int, ...]:
    """The prompt's tokens (P,), with room for an answer; what there is to say about them is said.

    Raises:
        CreditError: it cannot be encoded, or prompt and answer are over the models' limit.
    """
    from dpo_credit.text.encode import encode_prompt

    ids, notes = encode_prompt(pair.tokenizer, prompt, options.conventions())
    talk.notes(notes)
    if pair.max_length and len(ids) + max_new_tokens > pair.max_length:
        raise CreditError(
            f"{len(ids)} prompt tokens and --max-new-tokens {max_new_tokens} are over the models' limit of "
            f"{pair.max_length}. Shorten one of them."
        )
    return ids
