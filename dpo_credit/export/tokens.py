"""One record a token: what a table of tokens has, ready for pandas and polars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dpo_credit.rows.scored import ScoredRow
from dpo_credit.text.token_class import CLASSES, token_classes


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """One token of an answer, log-probabilities in nats.

    `row` is the row's id, `answer` counts its answers from 0, `label` is what the row calls it, and `index` counts the
    answer's tokens from 0. `token` is the text that it shows, or its name; `start` and `end` are characters of the
    answer. `counted` says whether its reward is part of the answer's; `reward` is 0 where it is not.
    """

    row: str
    answer: int
    label: str
    index: int
    token_id: int
    token: str
    start: int
    end: int
    token_class: str
    counted: bool
    policy_logp: float
    reference_logp: float
    log_ratio: float
    reward: float


def token_records(row: ScoredRow) -> Iterator[TokenRecord]:
    """The tokens of all answers of a row, in order."""
    for answer, (label, credit) in enumerate(zip(row.labels, row.credits, strict=True)):
        tokens = credit.tokens
        classes, counted, rewards = token_classes(tokens), tokens.counted, credit.rewards
        for t, (policy, reference) in enumerate(zip(credit.policy_logps, credit.reference_logps, strict=True)):
            yield TokenRecord(
                row=row.id,
                answer=answer,
                label=label,
                index=t,
                token_id=tokens.answer_ids[t],
                token=tokens.pieces[t],
                start=tokens.spans[t][0],
                end=tokens.spans[t][1],
                token_class=CLASSES[classes[t]],
                counted=counted[t],
                policy_logp=policy,
                reference_logp=reference,
                log_ratio=policy - reference,
                reward=rewards[t],
            )
