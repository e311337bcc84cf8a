"""What is scored, in the terminal: the prompt's end, the boundary, the tokens that count; then the pair, and findings.

Model and post text is data: it becomes `Text`, never markup. What a template or the tokenizer added is set in dim
italics and, where the terminal shows no styles, between angle quotes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.views.look import Look, visible

if TYPE_CHECKING:
    from dpo_credit.inspect.audit import Audit, ModelSummary
    from dpo_credit.inspect.findings import Finding
    from dpo_credit.inspect.footprint import Footprint, WeightChange
    from dpo_credit.inspect.memory import Need
    from dpo_credit.inspect.scored_text import Cell, ScoredText, Stretch

_HEAD, _TAIL = 120, 480  # characters of a long prompt that are shown: its start, and what stands before the boundary
_FIRST, _LAST = 120, 40  # tokens of a long answer
_MOVED = 5  # tensors named as the most moved
_BAR = 24  # columns
_STYLES = {"text": "", "added": "dim italic", "end": "bold"}
_LEVELS = {"error": ("✗", "bold red"), "warning": ("!", "bold yellow"), "note": ("·", "dim")}


def render(audit: Audit, look: Look, *, full: bool = False) -> RenderableType:
    """Each answer as it is scored, the two models, their weights, the memory, and what was found.

    `full` shows long prompts and answers whole.
    """
    parts: list[RenderableType] = []
    for n, text in enumerate(audit.texts):
        again = n > 0 and (text.prompt, text.cut_tokens) == (audit.texts[n - 1].prompt, audit.texts[n - 1].cut_tokens)
        parts += [*([] if again else [_prompt(text, look, full)]), _answer(text, look, full), Text()]
    if audit.texts:
        parts += [_key(look), Text()]
    parts += [_models(audit, look), Text(), *_memory(audit.needs, audit.shared, look), Text()]
    if audit.footprint is not None:
        parts += [*_footprint(audit.footprint, look), Text()]
    if audit.surprises:
        parts += [_surprises(audit, look), Text()]
    return Group(*parts, *_findings(audit.findings, look))


def _prompt(text: ScoredText, look: Look, full: bool) -> Text:
    """The prompt as the models see it, up to the boundary."""
    shown = Text.assemble(("prompt", "bold"), (f"  {text.prompt_tokens} tokens", "dim"), overflow="fold")
    if text.cut_tokens:
        shown.append(f", after the first {text.cut_tokens} were truncated", "bold")
    shown.append("\n")
    for stretch in text.prompt if full else _elided(text.prompt):
        quoted = stretch.origin == "added" and look.colours == "none"
        for line in visible(stretch.text, look).splitlines(keepends=True):
            words = line.removesuffix("\n")
            shown.append(look.plain(f"‹{words}›") if quoted and words else words, _STYLES[stretch.origin])
            shown.append(look.plain("↵") + "\n" if words != line else "", "dim")
    return shown


def _answer(text: ScoredText, look: Look, full: bool) -> Text:
    """The tokens that count, each in a cell; lines break between cells."""
    added = sum(cell.origin == "added" for cell in text.answer)
    ends = {"appended": "appended", "template": "written by the template", "in-text": "in the text"}
    more = [f"{added} of them added by the template"] * bool(added) + [f"end token: {ends.get(text.end, 'none')}"]
    shown = Text.assemble((visible(text.id, look), "bold"), overflow="fold")
    shown.append(f"  {len(text.answer)} tokens count; {', '.join(more)}\n", "dim")
    shown.append(look.plain("▶"), "bold")
    column = cell_len(look.plain("▶"))
    hidden = 0 if full or len(text.answer) <= _FIRST + _LAST else len(text.answer) - _FIRST - _LAST
    for n, cell in enumerate(text.answer):
        if hidden and _FIRST <= n < _FIRST + hidden:
            continue
        part = _cell(cell, look)
        if hidden and n == _FIRST + hidden:
            part = (
                Text(look.plain(f"… {hidden} tokens …"), style="dim").append(look.plain("│"), "dim").append_text(part)
            )
        if column + part.cell_len + 2 > look.width:
            shown.append(look.plain("│") + "\n ", "dim")
            column = 1
        shown.append(look.plain("│"), "dim").append_text(part)
        column += 1 + part.cell_len
    shown.append(look.plain("│"), "dim")
    for note in text.notes:
        shown.append("\n" + visible(f"note: {note}", look), "dim")
    return shown


def _cell(cell: Cell, look: Look) -> Text:
    text = visible(cell.text, look)
    for char, sign in ((" ", "␣"), ("\n", "↵"), ("\t", "→")):
        text = text.replace(char, look.plain(sign))
    if cell.origin == "added" and look.colours == "none":
        text = look.plain(f"‹{text}›")
    return Text(text, style=f"{_STYLES[cell.origin]} underline" if cell.straddles else _STYLES[cell.origin])


def _elided(prompt: Sequence[Stretch]) -> Iterator[Stretch]:
    """The prompt without its middle, if it is long."""
    length = sum(len(stretch.text) for stretch in prompt)
    over = length - _HEAD - _TAIL
    if over < _HEAD:  # not worth it
        yield from prompt
        return
    at = 0
    for stretch in prompt:
        start, at = at, at + len(stretch.text)
        if start < _HEAD:
            yield replace(stretch, text=stretch.text[: _HEAD - start])
        if start < _HEAD <= at:
            yield replace(stretch, text=f" […{over} characters…] ", origin="end")
        if at > length - _TAIL:
            yield replace(stretch, text=stretch.text[max(0, length - _TAIL - start) :])


def _key(look: Look) -> Text:
    key = Text(look.plain("▶"), style="bold")
    key.append(" the boundary: what follows is scored, a token a cell; ", "not bold dim")
    key.append(look.plain("‹added›") if look.colours == "none" else "added", "not bold dim italic")
    key.append(" by a template or the tokenizer; ", "not bold dim").append("end token", "bold")
    return key.append(look.plain("; ␣ is a space, ↵ a line break"), "not bold dim")


def _models(audit: Audit, look: Look) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for heading in ("policy", "reference"):
        table.add_column(heading, overflow="fold")
    for name, *values in zip(_ROWS, *(_facts(side) for side in (audit.policy, audit.reference)), strict=True):
        if any(values):
            table.add_row(Text(name, style="dim"), *(Text(visible(value, look)) for value in values))
    return table


_ROWS = ("name", "adapter on", "architecture", "parameters", "weights", "vocabulary", "context", "chat template")


def _facts(side: ModelSummary) -> tuple[str, ...]:
    size = side.size
    own = f", {_count(size.adapter)} of them the adapter's" if size.adapter else ""
    return (
        side.name,
        side.base or "",
        size.architecture,
        f"{_count(size.parameters)}{own}",
        f"{_amount(size.weights)}, {size.dtype} on {size.device}",
        f"{side.words:,} tokens, {size.vocabulary:,} embeddings",
        f"{side.max_length:,} tokens" if side.max_length else "no limit named",
        "yes" if side.has_template else "none",
    )


def _memory(needs: Sequence[Need], shared: bool, look: Look) -> list[Text]:
    lines = []
    for need in needs:
        both = f"about {_amount(need.both)}"
        sequential = "" if shared else f", {_amount(need.sequential)} with --sequential"
        verdict = {True: "fits", False: "does not fit", None: ""}[need.fits]
        has = "" if need.free is None else f"; {_amount(need.free)} free: {verdict}"
        text = f"memory to score on {need.device} {both} (weights and an estimated peak above them){sequential}{has}"
        lines.append(Text(look.plain(text)))
    return lines


def _footprint(footprint: Footprint, look: Look) -> list[RenderableType]:
    title = Text.assemble(("weights", "bold"), f"  {footprint.changed} of {len(footprint.tensors)} tensors differ")
    title.append(f"; ||policy - reference|| / ||reference||, median of the matrices {footprint.median:.2g}", "dim")
    parts: list[RenderableType] = [title]
    if footprint.changed:
        parts.append(_bars(footprint.layers, look))
        moved = ", ".join(f"{change.name} {change.relative:.2g}" for change in footprint.most_moved[:_MOVED])
        parts.append(Text(visible(f"most moved: {moved}", look), style="dim"))
    for what, names in (
        ("of other shapes", footprint.unlike),
        ("in one model only", footprint.only),
        ("quantised, not compared", footprint.skipped),
    ):
        if names:
            parts.append(Text(visible(f"{len(names)} {what}, such as {names[0]}", look), style="dim"))
    return parts


def _bars(layers: Sequence[WeightChange], look: Look) -> Table:
    finite = [change.relative for change in layers if change.relative != float("inf")]
    longest = max(finite, default=0.0) or 1.0
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(no_wrap=True)
    for change in layers:
        length = _BAR if change.relative == float("inf") else round(change.relative / longest * _BAR)
        bar = look.plain("█" * (length or bool(change.relative)))
        table.add_row(Text(visible(change.name, look)), f"{change.relative:.3g}", bar)
    return table


def _surprises(audit: Audit, look: Look) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(Text("perplexity", style="bold"), overflow="fold")
    for heading in ("policy", "reference", "P(end) policy", "P(end) reference"):
        table.add_column(heading, justify="right")
    for surprise in audit.surprises:
        ends = (
            "-" if logp is None else f"{_probability(logp):.3g}"
            for logp in (surprise.policy_end, surprise.reference_end)
        )
        table.add_row(Text(visible(surprise.id, look)), f"{surprise.policy:.3g}", f"{surprise.reference:.3g}", *ends)
    return table


def _findings(findings: Sequence[Finding], look: Look) -> Iterator[RenderableType]:
    if not findings:
        yield Text("nothing wrong found", style="bold")
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column()
    table.add_column(overflow="fold")
    for finding in findings:
        sign, style = _LEVELS[finding.level]
        line = Text(f"{finding.level}: ", style=style).append(visible(finding.said, look), "not bold not dim default")
        line.append("\n" + look.plain("→ ") + visible(finding.fix, look), "not bold dim default")
        table.add_row(Text(look.plain(sign), style=style), line)
    yield table


def _count(number: int) -> str:
    for size, name in ((10**9, "billion"), (10**6, "million")):
        if number >= size:
            return f"{number / size:.3g} {name}"
    return f"{number:,}"


def _amount(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB"


def _probability(logp: float) -> float:
    return math.exp(logp)
