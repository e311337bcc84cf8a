"""A scored row, just scored or read back: what every view draws and every writer writes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from dpo_credit.align import Diff, diff
from dpo_credit.credit import Credit, CreditError
from dpo_credit.optimal import OptimalValues
from dpo_credit.rows.chats import prompt_text
from dpo_credit.rows.records import Kind, Row
from dpo_credit.shift import Shift
from dpo_credit.shown import Shown


@dataclass(frozen=True)
class ScoredRow(Shown):
    """A row with a Credit for each of its answers, in the order of its labels.

    `values` are those of the policy as a Q-function, `shifts` what training changed at each position, one for each
    answer where they were asked for. A row that was read
    back has no examples and no prompt: only the answers are saved.
    """

    row: Row
    credits: tuple[Credit, ...]
    values: tuple[OptimalValues, ...] = ()
    shifts: tuple[Shift, ...] = ()

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def kind(self) -> Kind:
        return self.row.kind

    @property
    def labels(self) -> tuple[str, ...]:
        """What the answers are called."""
        return self.row.labels

    @property
    def prompt(self) -> str:
        """The prompt as people read it, or empty; of a chat's last turn, all before it."""
        prompt, examples = self.row.prompt, self.row.examples
        if examples and not isinstance(prompt, str) and self.credits[0].tokens.scored == "last":
            prompt += examples[0].turns[: examples[0].last_turn]
        return prompt_text(prompt)

    @cached_property
    def diff(self) -> Diff:
        """The two answers aligned, once for all who ask.

        Raises:
            CreditError: there are not two, or they do not compare.
        """
        if len(self.credits) != 2:
            raise CreditError(f"{self.id} has {len(self.credits)} answers; a diff needs two.")
        return diff(*self.credits)

    def by_reward(self) -> ScoredRow:
        """The same answers, the highest reward first."""
        ordered = sorted(zip(self.credits, self.labels, strict=True), key=lambda pair: -pair[0].reward)
        credits, labels = zip(*ordered, strict=True)
        return ScoredRow(replace(self.row, labels=labels), credits)
