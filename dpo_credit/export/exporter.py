"""The lines that a form makes of scored rows, and how many they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from dpo_credit.export.columns import columns_row
from dpo_credit.export.form import Form
from dpo_credit.export.rollouts import prime_records, rollout_records
from dpo_credit.export.tokens import token_records, unit_records
from dpo_credit.export.trl import ANSWERS, reference_row
from dpo_credit.export.weights import Keep, weights_row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.segments import Unit


class Exporter:
    """Makes lines of scored rows.

    Args:
        form: which.
        keep: which tokens "token-weights" keeps.
        by: what "tokens" has a line of.

    `rows` and `lines` count; of token weights, `kept` of `tokens` have one. `longest` is the most tokens of a row's
    prompt and answer.
    """

    def __init__(self, form: Form, keep: Keep | None = None, by: Unit = "token") -> None:
        self.form, self._keep, self._by = form, keep, by
        self.rows = self.lines = self.kept = self.tokens = self.longest = 0

    def lines_of(self, row: ScoredRow) -> list[dict[str, Any]]:
        """The lines of a row, all or none.

        Raises:
            CreditError: the form has none for it.
        """
        lines = list(self._made(row))
        self.rows += 1
        self.lines += len(lines)
        self.longest = max(
            self.longest, *(len(credit.tokens.prompt_ids) + len(credit.tokens.answer_ids) for credit in row.credits)
        )
        for name in ANSWERS[row.kind] if self.form == "token-weights" else ():
            weights = lines[0][f"{name}_weights"]
            self.kept, self.tokens = self.kept + int(sum(weights)), self.tokens + len(weights)
        return lines

    def _made(self, row: ScoredRow) -> Iterator[dict[str, Any]]:
        if self.form == "columns":
            yield columns_row(row)
        elif self.form == "trl-reference":
            yield reference_row(row)
        elif self.form == "token-weights":
            assert self._keep is not None
            yield weights_row(row, self._keep)
        elif self.form == "tokens":
            records = token_records(row) if self._by == "token" else unit_records(row, self._by)
            yield from map(asdict, records)  # type: ignore[arg-type]
        elif self.form == "prime-rl":
            yield from map(asdict, prime_records(row, self.lines))
        else:
            yield from map(asdict, rollout_records(row))
