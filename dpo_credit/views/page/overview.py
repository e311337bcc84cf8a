"""What a page says of all its entries, gathered one after the other: small numbers, however many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from dpo_credit.credit import CreditError, margin
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.page.frame import Basis
from dpo_credit.views.page.text import visible
from dpo_credit.views.scale import Shading


class Overview:
    """How many entries there are under a shading, and what must be known of all before the first is shown.

    `labels` are those of the first entry with two answers, or (); `several` says whether any has more, `turns`
    whether an answer has several turns.
    """

    def __init__(self, shading: Shading = Shading()) -> None:
        self.shading = shading
        self.count = 0
        self.labels: tuple[str, ...] = ()
        self.several = False
        self.turns = False
        self.basis = Basis()
        self._decimals: Counter[int] = Counter()

    def add(self, entry: ScoredRow) -> None:
        """Take an entry in.

        Raises:
            CreditError: it has no answers, or two that do not compare.
        """
        if not entry.credits:
            raise CreditError("No answers to show. Give at least one scored answer.")
        if len(entry.credits) == 2:
            margin(*entry.credits)  # now, and not when half the page is written
            self.labels = self.labels or tuple(visible(label or "answer") for label in entry.labels)
        self.several |= len(entry.credits) > 2
        self.count += 1
        scales = replace(self.shading, unit="token").scales(entry.credits)
        self._decimals[max(scale.decimals for scale in scales)] += 1
        for credit in entry.credits:
            self.turns |= bool(credit.tokens.roles)
            self.basis.add(credit)

    @property
    def decimals(self) -> int:
        """Those that suit most entries; of equally many, the first."""
        return self._decimals.most_common(1)[0][0] if self._decimals else 2

    @property
    def columns(self) -> tuple[str, ...]:
        """What an index calls the rewards that it shows of each entry."""
        return ("highest", "lowest") if self.several else self.labels or ("reward",)


def overview_of(entries: Iterable[ScoredRow], shading: Shading = Shading()) -> Overview:
    """The overview of entries, one in memory at a time.

    Raises:
        CreditError: an entry has no answers, or two that do not compare.
    """
    overview = Overview(shading)
    for entry in entries:
        overview.add(entry)
    return overview
