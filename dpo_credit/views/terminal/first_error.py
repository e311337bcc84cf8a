"""What `localise --first-error` found, in the terminal: a sentence, and every score's accuracies and F1."""

from __future__ import annotations

import textwrap

from rich.console import Group, RenderableType
from rich.text import Text

from dpo_credit.estimates.statistics import Estimate
from dpo_credit.estimates.wording import to_prompts
from dpo_credit.localise.scores import REWARD
from dpo_credit.localise.stepwise import FirstErrorReport
from dpo_credit.localise.wording import label
from dpo_credit.views.look import Look
from dpo_credit.views.terminal.tables import table as table_of
from dpo_credit.views.terminal.tables import whole

_OF_TOKENS = {"sum": "the sum over its tokens", "mean": "their mean", "lowest": "that of its lowest token"}


def render(report: FirstErrorReport, look: Look) -> RenderableType:
    """The whole report, but for the solutions themselves."""
    count = report.wrong + report.right
    title = (
        f"{count} solutions{to_prompts(count, report.prompts)}, {report.wrong} with a wrong step and {report.right} "
        f"without; thresholds chosen on {report.tuned_on} others"
    )
    table = table_of(
        "score", "wrong: the first step", "right: none named", "F1", look.plain("reward − it"), "F1, swept"
    )
    for finding in report.findings:
        style = "bold" if finding.name == REWARD else ""
        numbers = (finding.wrong_accuracy, finding.right_accuracy, finding.f1)
        table.add_row(
            Text(look.plain(label(finding.name)), style),
            *(_cell(value, look, style) for value in numbers),
            Text("") if finding.gain is None else _cell(finding.gain, look, style, "+"),
            Text(f"{finding.swept_f1:.3f}", style),
        )
    legend = (
        f"A step's score is {_OF_TOKENS[report.step_score]}; the first step that reaches the threshold is named. Below "
        "each number: 95 % bootstrap intervals by problem. F1: harmonic mean of both accuracies, as ProcessBench has "
        "it. Swept: at the best threshold for these very solutions, so too high."
    )
    parts: list[RenderableType] = [
        Text(title, "bold"),
        Text(look.plain(_filled(_sentence(report), look))),
        Text(),
        whole(table, look),
    ]
    return Group(*parts, Text(_filled(legend, look), "dim"))


def _sentence(report: FirstErrorReport) -> str:
    ours, theirs = report.finding(REWARD), report.finding(report.best)
    gain = theirs.gain
    assert gain is not None and gain.value is not None
    between = "" if gain.low is None else f" [{100 * gain.low:+.1f}, {100 * (gain.high or 0):+.1f}]"
    return (
        f"The reward names the first wrong step with an F1 of {ours.f1.value:.1%}, the best baseline "
        f"({label(report.best)}) of {theirs.f1.value:.1%} ({100 * gain.value:+.1f} points{between})."
    )


def _filled(text: str, look: Look) -> str:
    return textwrap.fill(text, look.width, break_on_hyphens=False)


def _cell(value: Estimate, look: Look, style: str, sign: str = "") -> Text:
    text = Text(look.plain(f"{value.value:{sign}.3f}".replace("-", "−")), style)
    if value.low is None:
        return text
    between = f"[{value.low:+.3f}, {value.high:+.3f}]" if sign else f"{value.low:.3f}–{value.high:.3f}"
    return text.append("\n" + look.plain(between.replace("-", "−")), "not bold dim")
