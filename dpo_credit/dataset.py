"""A scored data set in memory: rows in, credits out, which Python reports on, draws, keeps, or makes a table of.

What is too large for memory, or must survive a kill, is for `batch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from dpo_credit.credit import CreditError, margin
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.aside import BadRow, SetAside
from dpo_credit.rows.given import Given, rows_of
from dpo_credit.rows.output import to_json
from dpo_credit.rows.reader import read_records, read_rows
from dpo_credit.rows.records import Row
from dpo_credit.rows.saved import read_scored
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.rows.sources import expand
from dpo_credit.scoring import score_rows
from dpo_credit.shown import Kind, Shown, table
from dpo_credit.text.conventions import Conventions


@dataclass(frozen=True, slots=True)
class ScoredDataset(Shown, Sequence[ScoredRow]):
    """Scored rows in their order; `set_aside` are those that could not be scored, each with what is wrong with it.

    `report` and `page` take it as it is, and a notebook shows it.
    """

    rows: tuple[ScoredRow, ...]
    set_aside: tuple[BadRow, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> ScoredRow: ...
    @overload
    def __getitem__(self, index: slice) -> ScoredDataset: ...
    def __getitem__(self, index: int | slice) -> ScoredRow | ScoredDataset:
        return ScoredDataset(self.rows[index]) if isinstance(index, slice) else self.rows[index]

    def __iter__(self) -> Iterator[ScoredRow]:
        return iter(self.rows)

    def __repr__(self) -> str:
        aside = f", {len(self.set_aside):,} set aside" if self.set_aside else ""
        return f"<ScoredDataset: {len(self):,} {'row' if len(self) == 1 else 'rows'}{aside}>"

    def to_dataframe(self, kind: Kind = "auto", *, by: Literal["answer", "token"] = "answer") -> Any:
        """One row an answer, or a token of one.

        Both begin with the row's `id` and the answer's `label`, "chosen" say. An answer has its `text`, the number of
        its `tokens`, `policy_logp` and `reference_logp` (nats, summed), its `reward`, and the `margin` of its row, None
        where that is no preference. A token has the columns of `Credit.columns`.

        Args:
            kind: as for `Credit.to_dataframe`.
            by: which of the two.

        Raises:
            CreditError: the answers of a preference do not compare.
            ValueError: `kind` or `by` is none of these.
            ImportError: the package is not installed.
        """
        if by not in ("answer", "token"):
            raise ValueError(f"a table by {by!r} is not known: give answer or token")
        records = [record for row in self for record in (_answers(row) if by == "answer" else _tokens(row))]
        return table({name: [record[name] for record in records] for name in records[0]} if records else {}, kind)

    def save(self, path: str | Path) -> None:
        """Write JSONL, a row a line, as `batch` does: `load_scored` and commands that take scored rows read it."""
        Path(path).write_text("".join(to_json(row) + "\n" for row in self), encoding="utf-8", newline="\n")


def _answers(row: ScoredRow) -> Iterator[dict[str, Any]]:
    logit = margin(*row.credits) if row.kind == "preference" else None
    for label, credit in zip(row.labels, row.credits, strict=True):
        yield {
            "id": row.id,
            "label": label,
            "text": credit.tokens.answer,
            "tokens": len(credit.tokens.answer_ids),
            "policy_logp": credit.policy_logp,
            "reference_logp": credit.reference_logp,
            "reward": credit.reward,
            "margin": logit,
        }


def _tokens(row: ScoredRow) -> Iterator[dict[str, Any]]:
    for label, credit in zip(row.labels, row.credits, strict=True):
        for token in credit.to_dataframe("dicts"):
            yield {"id": row.id, "label": label, **token}


def score_dataset(
    pair: ModelPair,
    rows: str | Path | Given | Iterable[Given],
    *,
    conventions: Conventions = Conventions(),
    top_k: int = 0,
) -> ScoredDataset:
    """Score all rows of a data set and hold them.

    Args:
        pair: see `load_pair`.
        rows: a file of any kind that the program reads, or what `score` takes; a data frame has its rows.
        conventions: how text becomes tokens; without a `max_length`, the models' own limit holds.
        top_k: keep the k tokens that each model preferred at each position.

    Returns:
        The rows that could be scored, and with them those that could not.

    Raises:
        CreditError: the file cannot be read, or there is no row that can be scored.
    """
    aside = SetAside(strict=False)
    given = list(_rows_of(rows, aside))
    scored = []
    results = score_rows(pair, [row.examples for row in given], conventions=conventions, top_k=top_k)
    for row, result in zip(given, results, strict=True):
        if isinstance(result, CreditError):
            aside.add(row.id, row.place, result)
        else:
            scored.append(ScoredRow(row, result))
    aside.require(scored)
    return ScoredDataset(tuple(scored), tuple(aside.rows))


def _rows_of(rows: str | Path | Given | Iterable[Given], aside: SetAside) -> Iterator[Row]:
    if isinstance(rows, str | Path):
        return read_rows(read_records(expand([str(rows)])), aside=aside)
    return rows_of(rows, aside)


def load_scored(path: str | Path, beta: float | None = None) -> ScoredDataset:
    """Read scored rows back, as `batch`, `score --json` and `ScoredDataset.save` write them; no model is needed.

    Args:
        path: the file, or a pattern.
        beta: the rewards are as if this had been the policy's.

    Raises:
        CreditError: there is no such file, or a line of it is no scored row.
    """
    return ScoredDataset(tuple(read_scored(read_records(expand([str(path)])), beta)))
