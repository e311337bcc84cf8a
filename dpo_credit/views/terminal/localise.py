"""What `localise` found, in the terminal: the sentence, every score's numbers with their intervals, and the parts."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.estimates.statistics import Estimate
from dpo_credit.localise.localised import Group as Part
from dpo_credit.localise.localised import LocaliseReport, PreferenceMeasures
from dpo_credit.localise.wording import drawn_by, label, paraphrased, sentence, to_prompts
from dpo_credit.views.look import Look, visible
from dpo_credit.views.terminal.tables import table as table_of
from dpo_credit.views.terminal.tables import whole

_KINDS = 12  # rows of kinds of errors, and of groups of answers; the most frequent are kept
_TOGETHER = re.compile(r"\[[^\[\]]{0,40}\]|\([^()]{0,16}\)|\(p = [^()]{0,40}\)|p = [\d.e-]+|[+−-][\d.]+ points?")


def render(report: LocaliseReport, look: Look) -> RenderableType:
    """The whole report, but for the answers themselves."""
    parts: list[RenderableType] = [
        Text(look.plain(_title(report)), style="bold"),
        _wrapped(sentence(report), look),
        Text(),
        _findings(report, look),
        Text(look.plain(_legend(report)), style="dim"),
        *_several(report),
        *_begins(report, look),
        Text(),
        _comparisons(report, look),
        Text(),
    ]
    if report.preference is not None:
        parts += [_preference(report.preference, look), Text()]
    if report.group_by is not None:
        parts += [_answer_groups(report, look), Text()]
    if report.paraphrased is not None:
        parts += [_wrapped(paraphrased(report.paraphrased), look), Text()]
    return Group(*parts, _groups(report, look))


def _wrapped(text: str, look: Look) -> Text:
    """A paragraph; a number stands on one line with what belongs to it, such as its interval."""
    kept = _TOGETHER.sub(lambda match: match[0].replace(" ", "\u00a0"), look.plain(text))  # which textwrap leaves whole
    return Text(textwrap.fill(kept, look.width, break_on_hyphens=False).replace("\u00a0", " "))


def _title(report: LocaliseReport) -> str:
    several = report.answers_with_several_errors
    return (
        f"{report.answers} wrong answers{to_prompts(report)}, {report.errors} errors ({several} answers with several); "
        f"{report.wrong_units} of {report.units} {report.unit}s are wrong"
    )


def _legend(report: LocaliseReport) -> str:
    hits = f"top {report.top_k}: a wrong {report.unit} is among the {report.top_k} most suspicious"
    below = "below each number: 95 % bootstrap intervals by " + drawn_by(report)
    if report.prompts == 1 < report.answers:
        below = "no intervals: all answers stand on one prompt"
    elif report.prompts < report.answers:
        below += ", so all answers to a prompt are drawn together, and permuted together in the tests"
    lines = [f"{below}; {hits}; all errors: each is, of several"]
    if any(finding.sees_right_answer for finding in report.findings):
        lines.append(
            "right − wrong is told the right answer, so it is no rival: how far it leads is what that is worth"
        )
    return "\n".join(lines)


def _findings(report: LocaliseReport, look: Look) -> Table:
    headings = ("within answers", "average precision", "top 1", f"top {report.top_k}", "all errors")
    table = table_of("score", f"AUROC of {report.unit}s", *headings)
    for finding in report.findings:
        style = "bold" if finding.name == "-reward" else "dim" if finding.sees_right_answer else ""
        columns = (
            finding.auroc,
            finding.auroc_within,
            finding.average_precision,
            finding.top_1,
            finding.top_k,
            finding.all_errors,
        )
        table.add_row(
            Text(look.plain(label(finding.name)), style=style), *(_cell(value, look, style) for value in columns)
        )
    return whole(table, look)


def _several(report: LocaliseReport) -> list[Text]:
    """The paper's stitching: is a second error found, too, in the context of the first?"""
    ours = report.finding("-reward")
    if not report.answers_with_several_errors:
        return []
    first, later, all_found = (
        estimate.value or 0.0 for estimate in (ours.first_error, ours.later_errors, ours.all_errors)
    )
    return [
        Text(
            f"of {report.answers_with_several_errors} answers with several errors, the {report.top_k} {report.unit}s "
            f"that the reward suspects most hold the first error in {first:.0%}, a later one in {later:.0%}, all in "
            f"{all_found:.0%}"
        )
    ]


def _begins(report: LocaliseReport, look: Look) -> list[RenderableType]:
    """Whether a score finds more of an error than its first unit."""
    if not report.errors_of_several_units:
        return []
    table = table_of("within answers", f"first {report.unit} of an error", f"later {report.unit}s")
    for finding in report.findings:
        style = "bold" if finding.name == "-reward" else "dim" if finding.sees_right_answer else ""
        cells = (_cell(value, look, style) for value in (finding.first_unit, finding.later_units))
        table.add_row(Text(look.plain(label(finding.name)), style=style), *cells)
    about = (
        f"AUROC, against the right {report.unit}s, of {report.errors_of_several_units} errors of several {report.unit}s"
    )
    return [Text(), whole(table, look), Text(about, style="dim")]


def _comparisons(report: LocaliseReport, look: Look) -> Table:
    table = table_of("reward against", "within", "95 % interval", "p", "top 1", "95 % interval", "p")
    for comparison in report.comparisons:
        style = "bold" if comparison.baseline == report.best else ""
        cells = [
            label(comparison.baseline),
            *_gain(comparison.difference),
            _p(comparison.p),
            *_gain(comparison.top_1_difference),
            _p(comparison.top_1_p),
        ]
        table.add_row(*(Text(look.plain(cell), style=style) for cell in cells))
    return whole(table, look)


def _preference(preference: PreferenceMeasures, look: Look) -> Table:
    table = table_of(f"whole answers ({preference.answers} pairs)", "value", "95 % interval")
    rows = (
        ("right answer preferred", preference.accuracy),
        ("margin", preference.margin),
        ("Brier score (a coin: 0.25)", preference.brier),
        ("log loss, nats (a coin: 0.693)", preference.log_loss),
        ("expected calibration error", preference.calibration_error),
        ("what an edit earns", preference.edit),
        ("echo: what an untouched token moves", preference.echo),
    )
    for name, value in rows:
        decimals = 4 if value is preference.echo else 3
        table.add_row(name, look.plain(_number(value.value, decimals)), look.plain(_range(value, " to ", decimals)))
    return whole(table, look)


def _answer_groups(report: LocaliseReport, look: Look) -> RenderableType:
    """The reward and the best baseline on each group of answers alone."""
    assert report.group_by is not None
    heading = visible(f"by {report.group_by}", look)
    rival = look.plain(label(report.best))
    table = table_of(heading, "answers", look.plain("−reward"), rival, "gain", "p", "top 1")
    for group in report.answer_groups[:_KINDS]:
        gain = "\n".join(_gain(group.difference)).strip()
        table.add_row(
            Text(visible(group.name, look)),
            f"{group.answers:,}",
            *(_cell(value, look, "") for value in (group.reward, group.baseline)),
            Text(look.plain(gain)),
            _p(group.p),
            _cell(group.reward_top_1, look, ""),
        )
    about = f"AUROC within answers; gain of the reward over {rival} in it; top 1 of the reward"
    if (more := len(report.answer_groups) - _KINDS) > 0:
        about += f"; {more} smaller groups are in --json and --table"
    return Group(whole(table, look), Text(about, style="dim"))


def _groups(report: LocaliseReport, look: Look) -> Table:
    rival = look.plain(label(report.best))
    table = table_of(
        "part", f"{report.unit}s", "wrong", look.plain("−reward AUROC"), f"{rival} AUROC", f"in top {report.top_k}"
    )
    shown: dict[str, int] = {}
    for part in report.groups:
        shown[part.by] = shown.get(part.by, 0) + 1
        if part.by == "kind" and shown["kind"] > _KINDS:
            continue
        if shown[part.by] == 1:
            table.add_row(Text(f"by {part.by}", style="dim"), *[""] * 5)
        table.add_row(*_group(part, look))
    return whole(table, look)


def _group(part: Part, look: Look) -> Sequence[RenderableType]:
    share = "" if part.found.value is None else f"{part.found.value:.2f} of {part.errors}"
    return (
        Text(visible(f"  {part.name}", look)),
        str(part.units),
        str(part.wrong_units),
        *(
            Text(look.plain(f"{_number(estimate.value)} {_range(estimate)}".strip()))
            for estimate in (part.reward, part.baseline)
        ),
        share,
    )


def _cell(value: Estimate, look: Look, style: str) -> Text:
    text = Text(look.plain(_number(value.value)), style)
    return text.append(f"\n{look.plain(_range(value))}", "not bold dim") if value.low is not None else text


def _number(value: float | None, decimals: int = 3) -> str:
    return "-" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def _gain(value: Estimate) -> tuple[str, str]:
    if value.value is None:
        return "-", ""
    shown = f"{value.value:+.3f}".replace("0.", ".").replace("-", "−")
    if value.low is None or value.high is None:
        return shown, ""
    low, high = (f"{end:+.3f}".replace("0.", ".").replace("-", "−") for end in (value.low, value.high))
    return shown, f"[{low}, {high}]"


def _p(p: float) -> str:
    return f"{p:.4f}".replace("0.", ".", 1) if p >= 1e-4 else "<.0001"


def _range(value: Estimate, between: str = "–", decimals: int = 3) -> str:
    """An interval without the zeros before the points."""
    if value.low is None or value.high is None:
        return ""
    return between.join(_end(end, decimals) for end in (value.low, value.high))


def _end(end: float, decimals: int) -> str:
    """An interval's end; one that is 1 takes no more columns than one that is .999."""
    shown = f"{end:.{decimals}f}"
    if float(shown) == 1:
        return shown[:-1]
    return shown.replace("0.", ".", 1).replace("-", "−") if abs(float(shown)) < 1 else shown.replace("-", "−")
