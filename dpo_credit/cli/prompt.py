"""The prompt that a command answers, as the tokens that an answer continues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError
from dpo_credit.rows.records import Row

if TYPE_CHECKING:
    from dpo_credit.models.pair import ModelPair


def prompt_ids(pair: ModelPair, row: Row, options: PairOptions, talk: Talk, *, max_new_tokens: int) -> tuple[int, ...]:
    """The prompt's tokens (P,), with room for an answer; what there is to say about them is said.

    Raises:
        CreditError: it cannot be encoded, or prompt and answer are over the models' limit.
    """
    from dpo_credit.text.encode import encode_prompt

    ids, notes = encode_prompt(pair.tokenizer, row.prompt, options.conventions(), given=row.template_kwargs)
    talk.notes(notes)
    if pair.max_length and len(ids) + max_new_tokens > pair.max_length:
        raise CreditError(
            f"{len(ids)} prompt tokens and --max-new-tokens {max_new_tokens} are over the models' limit of "
            f"{pair.max_length}. Shorten one of them."
        )
    return ids
