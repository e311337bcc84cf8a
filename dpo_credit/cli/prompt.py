"""The prompt that a command answers: read from a file, and as the tokens that an answer continues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpo_credit.cli.files import record
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError
from dpo_credit.rows.records import Prompt, stem

if TYPE_CHECKING:
    from dpo_credit.models.pair import ModelPair


def prompt_in(file: str, talk: Talk) -> Prompt:
    """The prompt that a file holds; answers in it play no part. What there is to say about it is said.

    Raises:
        CreditError: there is none.
    """
    given = record(file)
    row = given.row(answers="optional", default_id=stem(given.source))
    talk.notes(row.notes)
    return row.prompt


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
