"""Which tokens to train on: weights by token reward, beside the ids that they are of, as TRL encodes the answers.

SePO (Yang et al. 2024, arXiv 2408.13518) keeps the tokens with the highest rewards of a chosen answer and those with
the lowest of a rejected one, 30 % of them; TIS-DPO (Liu et al. 2024, arXiv 2410.04350) and TGDPO weigh each token by
its reward, which is there too.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from dpo_credit.credit import Credit, CreditError
from dpo_credit.export.trl import ANSWERS, trl_row
from dpo_credit.rows.output import beside
from dpo_credit.rows.scored import ScoredRow

_KEEP = re.compile(r"(top|above):([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")


@dataclass(frozen=True, slots=True)
class Keep:
    """Which of an answer's tokens count: the `top` share of them, those with a reward `above` a limit.

    Of a rejected answer it is the lowest share, and those below minus the limit.
    """

    rule: Literal["top", "above"]
    value: float

    def weights(self, credit: Credit, *, rejected: bool = False) -> list[float]:
        """(T,) 1 for a token that is kept, 0 for another; a token whose reward does not count is never kept."""
        sign = -1.0 if rejected else 1.0
        speaks = [sign * reward for reward in credit.rewards]
        counted = [t for t, counts in enumerate(credit.tokens.counted) if counts]
        if self.rule == "top":
            best = sorted(counted, key=lambda t: -speaks[t])  # of equal rewards the first
            kept = set(best[: math.ceil(self.value * len(counted) - 1e-9)])
        else:
            kept = {t for t in counted if speaks[t] > self.value}
        return [float(t in kept) for t in range(len(speaks))]


def keep_of(text: str) -> Keep:
    """What `--keep` says: "top:0.3", "above:0.1", or "sign", which is "above:0".

    Raises:
        CreditError: it is none of these.
    """
    if text == "sign":
        return Keep("above", 0.0)
    match = _KEEP.fullmatch(text)
    value = float(match[2]) if match else 0.0
    if match is None or (match[1] == "top" and not 0 < value <= 1):
        raise CreditError(
            f"--keep {text!r} is no rule. Give top:0.3 (a share of the tokens, up to 1), above:0.1 (a reward) or sign."
        )
    return Keep(match[1], value)  # type: ignore[arg-type]


def weights_row(row: ScoredRow, keep: Keep) -> dict[str, Any]:
    """A row as TRL takes it, with each answer's token ids, weights and rewards, (T,) each.

    They are called `chosen_token_ids`, `chosen_weights`, `chosen_rewards` and so on; of a single answer, `completion_`.
    A column of the row with such a name becomes `input_<name>`.

    Raises:
        CreditError: see `trl_row`.
    """
    fields = trl_row(row)
    added: dict[str, Any] = {}
    for name, credit in zip(ANSWERS[row.kind], row.credits, strict=True):
        added |= {
            f"{name}_token_ids": list(credit.tokens.answer_ids),
            f"{name}_weights": keep.weights(credit, rejected=name == "rejected"),
            f"{name}_rewards": list(credit.rewards),
        }
    return beside(fields, added)
