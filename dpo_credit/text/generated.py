"""Generated ids -> Tokens: where an answer ends, and which characters each of its tokens wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dpo_credit.credit import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokens_of(tokenizer: PreTrainedTokenizerBase, prompt_ids: Sequence[int], ids: Sequence[int]) -> Tokens:
    """Generated ids (T,), up to and with the first end token, and the characters that each of them wrote.

    Tokens that only together make a character share its span.
    """
    eos = tokenizer.eos_token_id
    ended = eos in ids
    kept = list(ids[: ids.index(eos)]) if ended else list(ids)  # type: ignore[attr-defined]
    spans: list[tuple[int, int]] = []
    text, waiting = "", 0
    for t in range(1, len(kept) + 1):
        so_far = str(tokenizer.decode(kept[:t], clean_up_tokenization_spaces=False))
        waiting += 1
        if so_far.endswith("\ufffd") and t < len(kept):
            continue
        spans += [(len(text), len(so_far))] * waiting
        text, waiting = so_far, 0
    pieces = [str(tokenizer.decode([i])) for i in kept]
    if ended:
        kept, spans, pieces = [*kept, eos], [*spans, (len(text), len(text))], [*pieces, str(tokenizer.eos_token)]  # type: ignore[list-item]
    return Tokens(tuple(prompt_ids), tuple(kept), tuple(pieces), tuple(spans), text, "appended" if ended else "none")
