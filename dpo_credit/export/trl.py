"""Rows as TRL's DPOTrainer takes them, with the reference's sums that its `precompute_ref_log_probs` makes.

Written against TRL 1.16: `prompt`, `chosen` and `rejected`, all text or all messages, `tools` as JSON. Its own columns
are `ref_chosen_logps` and `ref_rejected_logps`: the sum of the reference's log-probabilities over the answer's tokens.
"""

from __future__ import annotations

import json
from typing import Any

from dpo_credit.credit import Credit, CreditError, Example
from dpo_credit.rows.chats import TEMPLATE_KEYS, answer_json, as_json
from dpo_credit.rows.output import own_fields
from dpo_credit.rows.scored import ScoredRow

ANSWERS = {"preference": ("chosen", "rejected"), "single": ("completion",)}
REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")


def reference_row(row: ScoredRow) -> dict[str, Any]:
    """A preference as TRL takes it, with both sums.

    Raises:
        CreditError: it is none, or TRL would score other tokens than were scored; see `trl_row`.
    """
    if row.kind != "preference":
        raise CreditError(f"{row.id} has no chosen and rejected, which TRL's reference columns are of. Leave it out.")
    sums = dict(zip(REFERENCE, (credit.reference_logp for credit in row.credits), strict=True))
    return {**trl_row(row), **sums}


def trl_row(row: ScoredRow) -> dict[str, Any]:
    """A row as TRL takes it: prompt and answers as they were scored, its other columns as they were given.

    Raises:
        CreditError: its own fields are not there any more, it is a list of answers, or it was scored under conventions
            that are not TRL's, so that token by token nothing would fit.
    """
    names = ANSWERS.get(row.kind)
    if names is None:
        raise CreditError(f"{row.id} is a list of answers, which TRL has no trainer for. Leave it out.")
    examples = row.row.examples
    if not examples:
        raise CreditError(
            f"{row.id} has no prompt and answers beside its credit, which TRL trains on. Score the row itself."
        )
    for credit, example in zip(row.credits, examples, strict=True):
        _refuse_other_tokens(credit, example)
    read = {*row.row.prompt_keys, *row.row.answer_keys, *TEMPLATE_KEYS, *REFERENCE, "prompt", *names}
    others = {name: value for name, value in own_fields(row.row).items() if name not in read}
    fields = {"prompt": as_json(examples[0].prompt), **dict(zip(names, map(answer_json, examples), strict=True))}
    kwargs = dict(examples[0].template_kwargs)
    if "tools" in kwargs:  # as text a table of all rows leaves them as they are
        fields["tools"] = json.dumps(kwargs.pop("tools"), ensure_ascii=False)
    return {**others, **fields, **({"chat_template_kwargs": kwargs} if kwargs else {})}


def _refuse_other_tokens(credit: Credit, example: Example) -> None:
    """Make sure that an answer was scored as TRL encodes it."""
    tokens, is_chat = credit.tokens, not isinstance(example.prompt, str)
    wrong = ""
    if any("were cut to fit" in note for note in tokens.notes):
        wrong = "its prompt was cut, where TRL cuts answers: raise --max-length"
    elif tokens.scored != "all" and len(example.turns) > 1:
        wrong = f"--turns {tokens.scored} counted, where TRL counts all: score it without"
    elif tokens.end == "none":
        wrong = "its end is not scored, where TRL scores one: score it with --eos auto"
    elif tokens.end == "appended" and is_chat:
        wrong = "an end token was appended to a chat, which TRL does not do: score it with --eos auto and its template"
    if wrong:
        raise CreditError(f"{credit.id} has other tokens than TRL would give it: {wrong}.")
