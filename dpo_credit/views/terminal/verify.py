"""A verification in the terminal: whose numbers, under which conventions, how many rows agree; then the verdict."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.verify.verdict import close
from dpo_credit.views.look import Look, visible

_SHOWN = 4  # conventions a comparison


def render(record: dict[str, Any], look: Look) -> RenderableType:
    """The table and a sentence for each comparison of a `dpo-credit/verify@1` record."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("compared with", overflow="fold")
    table.add_column("under", overflow="fold")
    table.add_column("agree", justify="right", no_wrap=True)
    table.add_column("largest difference", justify="right")
    few = False
    for comparison in record["comparisons"]:
        name, rows = comparison["target"], len(comparison["rows"])
        for item in _shown(comparison["conventions"]):
            under = Text(item["name"])
            under.append(f"  {item['flags']}" if item["flags"] else "", "cyan")
            agree = ("yes" if item["rows_agree"] else "no") if comparison["means"] else _agree(item)
            few |= item["rows"] < rows
            _add(table, [visible(name, look), under, agree, item], bold=item["agrees"])
            name = ""
    for peer in record["peers"]:
        _add(table, [f"{peer['name']} *", Text("the options given"), _agree(peer), peer], bold=False)
    most = max((peer["rows"] for peer in record["peers"]), default=0)
    notes = [f"* by its conventions, computed here on {most} row{'s' * (most != 1)}"] if most else []
    notes += ["what fails on a few rows is not tried on all"] if few else []
    sentences = [Text(look.plain(visible(item["sentence"], look)), style="bold") for item in record["comparisons"]]
    return Group(
        table, *(Text(note, style="dim") for note in notes), *(part for item in sentences for part in (Text(), item))
    )


def _agree(counts: dict[str, Any]) -> str:
    return f"{counts['rows_agree']} of {counts['rows']}"


def _shown(conventions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The best ones, and the options given wherever they stand."""
    shown = conventions[:_SHOWN]
    given = [convention for convention in conventions[_SHOWN:] if convention["name"] == "the options given"]
    return [*shown[: _SHOWN - len(given)], *given]


def _add(table: Table, cells: list[Any], *, bold: bool) -> None:
    name, under, agree, counts = cells
    table.add_row(Text(name), under, Text(agree), Text(close(counts["largest_difference"])), style="bold" * bold)
