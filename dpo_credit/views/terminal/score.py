"""A Credit in the terminal: the answer as running text, each token shaded by its reward, with sums and a table.

Model and post text is data: it becomes `Text`, never markup, and control characters in it become visible.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from dpo_credit.credit import Alternative, Credit, margin, preference_probability
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.segments import Segment, Unit, ends, is_boundary
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Scale, Shading
from dpo_credit.views.terminal.colours import legend, mark, models, signed, style
from dpo_credit.views.wording import extent

_SIDE_BY_SIDE = 140  # columns from which the two tables stand beside each other
_INLINE = 120  # columns from which what the models would say stands in the table itself
_PROMPT = 1000  # characters of a prompt's end that are looked at
_CONTEXT, _BEFORE = 32, 14  # columns of a token with its neighbours, and of those before it


def render(
    scored: ScoredRow,
    look: Look,
    *,
    rows: int | None = None,
    shading: Shading = Shading(),
) -> RenderableType:
    """Answers to one prompt, their sums, and the `rows` lowest and highest tokens (or words, or sentences) of each.

    `rows` is 5 for one or two answers and 0 for more, if not given. Two answers labelled "chosen" and "rejected" are
    compared as well (Rafailov et al. 2024, Eq. 8).
    """
    credits, labels = scored.credits, scored.labels
    if rows is None:
        rows = 5 if len(credits) <= 2 else 0
    text = in_text(shading, look)
    scales = text.scales(credits)
    parts: list[RenderableType] = prompt_end(scored.prompt, look)
    for label, credit, scale in zip(labels, credits, scales, strict=True):
        if label:
            parts.append(Text(label, style="bold"))
        parts += [answer(credit, scale, look, text.unit), sums(credit, look)]
        parts += [legend(scale, credit, look, text.unit), Text()] if shading.limit == "per-answer" else [Text()]
    if tuple(labels) == ("chosen", "rejected"):
        parts += [comparison(credits[0], credits[1], look), Text()]
    if shading.limit != "per-answer":
        parts.append(legend(scales[0], credits[0], look, text.unit))
    parts += [models(credits[0], look), Text()]
    for label, credit, scale in zip(labels, credits, shading.scales(credits), strict=True) if rows else ():
        parts += [tables(credit, scale, look, shading.unit, rows, label), Text()]
    return Group(*parts[:-1])


def prompt_end(prompt: str, look: Look) -> list[RenderableType]:
    """The end of the prompt in one dim line, and an empty one; nothing where there is none."""
    shown = " ".join(visible(prompt[-_PROMPT:], look).split())
    if not shown:
        return []
    line = Text("prompt  ", style="dim")
    room = max(_CONTEXT, look.width - line.cell_len) - 1
    cut = next(n for n in range(len(shown)) if is_boundary(shown, n) and cell_len(shown[n:]) <= room)
    line.append((look.plain("…") if cut or len(prompt) > _PROMPT else "") + shown[cut:])
    line.truncate(look.width)
    return [line, Text()]


def in_text(shading: Shading, look: Look) -> Shading:
    """How running text is shaded: by colours, or by signs where there are none."""
    return shading.in_signs if look.colours == "none" else shading


def answer(
    credit: Credit,
    scale: Scale,
    look: Look,
    unit: Unit = "token",
    marked: Sequence[tuple[int, int]] = (),
    values: Sequence[float] | None = None,
) -> Text:
    """The answer as running text; the characters [start, end) of `marked` stand in brackets, empty ones too.

    `values` are what is coloured, one a unit: the rewards, if none are given.
    """
    text = Text(overflow="fold")
    opening, closing = look.plain("⟦"), look.plain("⟧")
    offset, inside, aside = 0, False, credit.tokens.aside
    units = credit.by(unit)
    if values is None:
        values = [segment.reward for segment in units]
    for segment, value in zip(units, values, strict=True):
        start, offset = offset, offset + len(segment.text)
        was_inside, inside = inside, any(start < b and a < offset for a, b in marked)
        before, cell, after = _cell(segment, look)
        text.append(closing if was_inside and not inside else "", "bold")
        nothing = (opening + closing) * ((start, start) in marked)
        text.append(nothing if "\n" in before else "", "bold")  # at the end of the line that it would have gone on
        text.append(before if text else before.removeprefix(" "))  # no gap where the prompt ended
        text.append("" if "\n" in before else nothing, "bold")
        text.append(opening if inside and not was_inside else "", "bold")
        apart = Style(dim=True) if aside[segment.start] else Style.null()
        text.append(cell, style(value, scale, look) + apart)
        text.append(mark(value, scale, look) + after)
    text.append(closing if inside else "", "bold")
    return text


def _cell(segment: Segment, look: Look) -> tuple[str, str, str]:
    """What is shown for a segment, between the white space around it; a line break gets a sign to be shaded."""
    if not segment.text:
        return " ", visible(segment.piece, look), ""
    shown = visible(segment.text, look)
    cell = shown.strip(" \t\n")
    if cell:
        before, _, after = shown.partition(cell)
        return before, cell, after
    return ("", look.plain("↵"), shown) if "\n" in shown else ("", shown, "")


def sums(credit: Credit, look: Look) -> Text:
    """The answer's reward and the two log-probabilities behind it."""
    tokens = credit.tokens
    end = {"appended": ", end token appended", "template": ", closed by the chat template"}.get(tokens.end, "")
    line = Text(f"reward {signed(credit.reward, look)}", style="bold")
    logps = f"   log π {credit.policy_logp:.2f}   log π_ref {credit.reference_logp:.2f}".replace("-", "−")
    line.append(look.plain(f"{logps}   {extent(tokens)}{end}"), style="not bold dim")
    return line


def comparison(chosen: Credit, rejected: Credit, look: Look, label: str = "chosen") -> Text:
    """The margin, and the preference probability that DPO reads from it."""
    logit = margin(chosen, rejected)
    probability = preference_probability(logit)
    shown = "> 0.999" if probability >= 0.9995 else "< 0.001" if probability < 0.0005 else f"= {probability:.3f}"
    return Text.assemble((f"margin {signed(logit, look)}", "bold"), f"  P({label} is preferred) {shown}")


def tables(credit: Credit, scale: Scale, look: Look, unit: Unit, rows: int, label: str = "") -> RenderableType:
    """The lowest and the highest of an answer's units with their log-probabilities; see `ends`."""
    known = bool(credit.policy_top) and unit == "token"  # what else a model would have said
    beside = look.width >= _SIDE_BY_SIDE and not known
    made: list[RenderableType] = []
    for title, picked in zip(("lowest", "highest"), ends(credit.by(unit), rows), strict=True):
        if not picked:
            continue
        made.append(_table((f"{title} {unit}s" + f" in {label}" * bool(label), unit), credit, picked, scale, look))
        if known and look.width < _INLINE:
            made.append(instead([(credit, segment) for segment in picked], look))
        if not beside:
            made.append(Text())
    if not beside:
        return Group(*made[:-1])
    both = Table.grid(padding=(0, 4, 0, 0))
    both.add_row(*made)
    return both


def _table(named: tuple[str, Unit], credit: Credit, picked: Sequence[Segment], scale: Scale, look: Look) -> Table:
    title, unit = named
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    columns = context(look, 3 * 11 + 2)
    table.add_column(Text(unit, style="bold"), overflow="fold", min_width=columns, max_width=columns)
    for heading in ("log π", "log π_ref", "reward"):
        table.add_column(look.plain(heading), justify="right", no_wrap=True, min_width=9)
    inline = bool(credit.policy_top) and unit == "token" and look.width >= _INLINE
    if inline:
        table.add_column("policy would say", overflow="fold")
        table.add_column("reference would say", overflow="fold")
    for segment in picked:
        cells: list[RenderableType] = [
            in_context(credit, segment, scale, look, columns),
            look.plain(f"{segment.policy_logp:.3f}".replace("-", "−")),
            look.plain(f"{segment.reference_logp:.3f}".replace("-", "−")),
            Text(
                signed(segment.reward, look, scale.decimals), style="bold" if scale.strength(segment.reward) > 1 else ""
            ),
        ]
        if inline:
            cells += [_alternatives(top[segment.start], look) for top in (credit.policy_top, credit.reference_top)]
        table.add_row(*cells)
    return table


def instead(picked: Sequence[tuple[Credit, Segment]], look: Look) -> Table:
    """What each model would rather have said at these places, where the table has no room for it."""
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True)
    table.add_column("instead of", overflow="fold", max_width=14)
    table.add_column("policy would say", overflow="fold", ratio=1)
    table.add_column("reference would say", overflow="fold", ratio=1)
    for credit, segment in picked:
        tops = (_alternatives(top[segment.start], look) for top in (credit.policy_top, credit.reference_top))
        table.add_row(Text(visible(segment.text.strip() or segment.piece, look), style="bold"), *tops)
    return table


def context(look: Look, beside: int) -> int:
    """Columns of a token with its neighbours: what stands beside it leaves them, at most `_CONTEXT`."""
    return max(10, min(_CONTEXT, look.width - beside))


def in_context(
    credit: Credit, segment: Segment, scale: Scale, look: Look, columns: int, *, value: float | None = None
) -> Text:
    """The token among its neighbours in so many columns, what comes before it flush right: the tokens line up.

    `value` is what is coloured: its reward, if none is given.
    """
    full, (start, _) = credit.tokens.answer, credit.tokens.spans[segment.start]
    end = start + len(segment.text)
    value = segment.reward if value is None else value
    shown = visible(segment.text.strip(), look)
    if not shown:
        shown = visible(segment.piece, look).replace(" ", look.plain("␣")).replace("\n", look.plain("↵"))
    if look.colours == "none":
        shown = look.plain(f"‹{shown}›")
    start += len(segment.text) - len(segment.text.lstrip())
    room, first = columns * _BEFORE // _CONTEXT, max(0, start - 4 * _BEFORE)
    while first < start and not (is_boundary(full, first) and cell_len(visible(full[first:start], look)) <= room):
        first += 1
    before = visible(full[first:start].replace("\n", " "), look)
    text = Text(" " * (room - cell_len(before))).append(before, style="dim")
    text.append(shown, style(value, scale, look) + Style(bold=True))
    text.append(visible(full[end : end + 4 * _CONTEXT] if segment.text else "", look).replace("\n", " "), style="dim")
    text.truncate(columns)
    return text


def _alternatives(top: Sequence[Alternative], look: Look) -> Text:
    cells = (f"{visible(other.piece, look).strip() or repr(other.piece)} {other.logp:.2f}" for other in top)
    return Text(", ".join(cells))
