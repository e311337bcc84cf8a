"""One record a token, or a larger unit: what a table of these has, ready for pandas and polars."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dpo_credit.rows.scored import ScoredRow
from dpo_credit.segments import Unit
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


@dataclass(frozen=True, slots=True)
class UnitRecord:
    """One word (sentence, line, step or turn) of an answer, with the sums over its `tokens`.

    Log-probabilities are in nats. `row`, `answer`, `label`, `start` and `end` are a `TokenRecord`'s, and `index` counts
    the answer's units from 0. `text` is a unit's own, white space and all; of a token that shows none, its name.
    """

    row: str
    answer: int
    label: str
    index: int
    text: str
    start: int
    end: int
    tokens: int
    policy_logp: float
    reference_logp: float
    log_ratio: float
    reward: float


def unit_records(row: ScoredRow, unit: Unit) -> Iterator[UnitRecord]:
    """The units of all answers of a row, in order; see `Credit.by`."""
    for answer, (label, credit) in enumerate(zip(row.labels, row.credits, strict=True)):
        start = 0
        for index, segment in enumerate(credit.by(unit)):
            end = start + len(segment.text)
            yield UnitRecord(
                row=row.id,
                answer=answer,
                label=label,
                index=index,
                text=segment.text or segment.piece,
                start=start,
                end=end,
                tokens=segment.stop - segment.start,
                policy_logp=segment.policy_logp,
                reference_logp=segment.reference_logp,
                log_ratio=segment.policy_logp - segment.reference_logp,
                reward=segment.reward,
            )
            start = end


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
