"""The tables of what `localise` found, as CSV for programs and as LaTeX (booktabs) for papers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dpo_credit.credit import CreditError
from dpo_credit.estimates.statistics import Estimate
from dpo_credit.localise.localised import LocaliseReport
from dpo_credit.localise.wording import drawn_by, label

Cell = Estimate | int | float | None
_SPECIAL = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # which \\ and \midrule would take for their option
    "*": "{*}",
    "−": "$-$",
    "π": r"$\pi$",
    "π_ref": r"$\pi_{\mathrm{ref}}$",
}


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its rows' names and their cells, one for each heading; `of` is what the names are of."""

    name: str
    caption: str
    of: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    decimals: int = 3
    gains: bool = False  # numbers whose sign says who is ahead


def tables(report: LocaliseReport) -> list[Table]:
    """Every score, the reward against each baseline, groups of answers, whole answers, and the parts of the units."""
    made = [
        _scores(report),
        *_several(report),
        *_begins(report),
        _comparisons(report),
        *_groups(report),
        *_answers(report),
    ]
    present = {part.by for part in report.groups}
    return made + [_parts(report, by) for by in ("kind", "position", "class") if by in present]


def _scores(report: LocaliseReport) -> Table:
    headings = ("AUROC within", "AUROC", "AP within", "AP", "top 1", f"top {report.top_k}")
    rows = tuple(
        (
            one.name,
            (
                *(one.auroc_within, one.auroc, one.average_precision_within, one.average_precision),
                *(one.top_1, one.top_k),
            ),
        )
        for one in report.findings
    )
    about = (
        f"AUROC and average precision (AP), within answers and pooled; whether a wrong {report.unit} is suspected most"
    )
    return Table("scores", f"How well each score finds the wrong {report.unit}s: {about}", "score", headings, rows)


def _several(report: LocaliseReport) -> list[Table]:
    if not report.answers_with_several_errors:
        return []
    rows = tuple((one.name, (one.first_error, one.later_errors, one.all_errors)) for one in report.findings)
    caption = (
        f"Of {report.answers_with_several_errors} answers with several errors, how often the first, each later one, "
        f"and all are among the {report.top_k} most suspicious {report.unit}s"
    )
    return [Table("several", caption, "score", ("first error", "later errors", "all errors"), rows)]


def _begins(report: LocaliseReport) -> list[Table]:
    if not report.errors_of_several_units:
        return []
    rows = tuple((one.name, (one.first_unit, one.later_units)) for one in report.findings)
    caption = (
        f"The first {report.unit} of an error beside the later ones, of {report.errors_of_several_units} errors of "
        f"several {report.unit}s: AUROC within answers, each against the right {report.unit}s"
    )
    return [Table("begins", caption, "score", (f"first {report.unit}", f"later {report.unit}s"), rows)]


def _comparisons(report: LocaliseReport) -> Table:
    headings = ("AUROC within", "p", "AUROC", "top 1", "p of top 1")
    rows = tuple(
        (one.baseline, (one.difference, one.p, one.auroc_difference, one.top_1_difference, one.top_1_p))
        for one in report.comparisons
    )
    caption = (
        "Gains of the reward over each baseline, paired by answer; the first p is of a sign-flip permutation test, the "
        "second of McNemar's exact test"
    )
    return Table("comparisons", caption, "baseline", headings, rows, gains=True)


def _groups(report: LocaliseReport) -> list[Table]:
    if report.group_by is None:
        return []
    rows = tuple(
        (
            one.name,
            (
                *(one.answers, one.prompts, one.errors, one.reward, one.baseline, one.difference, one.p),
                *(one.reward_top_1, one.baseline_top_1, one.top_1_p),
            ),
        )
        for one in report.answer_groups
    )
    headings = ("answers", "prompts", "errors", "reward AUROC", "baseline AUROC", "gain", "p")
    tops = ("reward top 1", "baseline top 1", "p of top 1")
    caption = f"By {report.group_by}: the reward and the best baseline, {label(report.best)}; AUROC within answers"
    return [Table("groups", caption, report.group_by, headings + tops, rows)]


def _answers(report: LocaliseReport) -> list[Table]:
    if (whole := report.preference) is None:
        return []
    measures = {
        "right answer preferred": whole.accuracy,
        "margin": whole.margin,
        "Brier score": whole.brier,
        "log loss, nats": whole.log_loss,
        "expected calibration error": whole.calibration_error,
        "what an edit earns": whole.edit,
        "echo": whole.echo,
    }
    rows = tuple((name, (value,)) for name, value in measures.items())
    return [Table("answers", f"Whole answers: {whole.answers} pairs", "measure", ("value",), rows, decimals=4)]


def _parts(report: LocaliseReport, by: str) -> Table:
    of = {"kind": "kind of error", "position": "place in the answer", "class": f"class of {report.unit}"}[by]
    headings: tuple[str, ...] = (f"{report.unit}s", "wrong", "errors", "reward AUROC", "baseline AUROC")
    parts = [part for part in report.groups if part.by == by]
    rows = [(one.name, (one.units, one.wrong_units, one.errors, one.reward, one.baseline)) for one in parts]
    caption = f"By {of}: the reward and the best baseline, {label(report.best)}; pooled AUROC"
    if by != "kind":
        return Table(by, caption, of, headings, tuple(rows))
    found = tuple((name, (*cells, one.found)) for (name, cells), one in zip(rows, parts, strict=True))
    return Table(by, caption, of, (*headings, f"in top {report.top_k}"), found)


def to_csv(report: LocaliseReport) -> str:
    """All tables in one, a line a cell: its table, row and column, the number unrounded, and its 95 % interval."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("table", "row", "column", "value", "low", "high"))
    for table in tables(report):
        for name, cells in table.rows:
            for heading, cell in zip(table.headings, cells, strict=True):
                value = (cell.value, cell.low, cell.high) if isinstance(cell, Estimate) else (cell, None, None)
                carried = name.encode(errors="backslashreplace").decode()  # half a surrogate pair is no UTF-8
                writer.writerow((table.name, carried, heading, *value))
    return text.getvalue()


def to_latex(report: LocaliseReport) -> str:
    r"""Each table as a `table` float for \usepackage{booktabs}, intervals in small print below their numbers."""
    return "\n".join(_float(table, report) for table in tables(report))


_FORMATS: dict[str, Callable[[LocaliseReport], str]] = {".csv": to_csv, ".tex": to_latex}


def format_of(name: str) -> Callable[[LocaliseReport], str]:
    """What writes a file of this name.

    Raises:
        CreditError: its end is neither .csv nor .tex.
    """
    for end, write in _FORMATS.items():
        if name.lower().endswith(end):
            return write
    raise CreditError(f"--table {name} must end in .csv or .tex (LaTeX).")


def _float(table: Table, report: LocaliseReport) -> str:
    estimated = any(isinstance(cell, Estimate) and cell.low is not None for _, cells in table.rows for cell in cells)
    below = f"; below each number its 95 % bootstrap interval by {drawn_by(report)}" if estimated else ""
    lines = [
        r"\begin{table}",
        r"  \centering\small",
        rf"  \caption{{{_escaped(table.caption + below)}.}}",
        rf"  \label{{tab:localise-{table.name}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(table.headings)}}}",
        r"    \toprule",
        _line((table.of, *table.headings)),
        r"    \midrule",
    ]
    for name, cells in table.rows:
        shown = label(name) if table.of in ("score", "baseline") else name
        lines.append(_line((shown, *(_number(cell, table) for cell in cells))))
        if any(ends := [_interval(cell, table) for cell in cells]):
            lines.append(
                "    " + " & ".join(("", *(rf"{{\scriptsize {end}}}" if end else "" for end in ends))) + r" \\"
            )
    return "\n".join((*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""))


def _line(cells: Iterable[str]) -> str:
    return "    " + " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    """Text as LaTeX prints it, on one line."""
    shown = "".join(char for char in " ".join(text.split()) if char.isprintable())
    return re.sub("π_ref|.", lambda match: _SPECIAL.get(match[0], match[0]), shown)


def _number(cell: Cell, table: Table) -> str:
    if isinstance(cell, Estimate):
        return "--" if cell.value is None else _decimal(cell.value, table)
    if cell is None or isinstance(cell, int):
        return "--" if cell is None else f"{cell}"
    return f"{cell:.4f}" if cell >= 1e-4 else "<0.0001"  # a p


def _interval(cell: Cell, table: Table) -> str:
    """An interval without the zeros before the points."""
    if not isinstance(cell, Estimate) or cell.low is None or cell.high is None:
        return ""
    low, high = (re.sub(r"^([+−]?)0\.", r"\1.", _decimal(end, table)) for end in (cell.low, cell.high))
    return f"[{_escaped(low)}, {_escaped(high)}]"


def _decimal(value: float, table: Table) -> str:
    return f"{value:{'+' if table.gains else ''}.{table.decimals}f}".replace("-", "−")
