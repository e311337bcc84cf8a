"""A Credit as a figure for a paper: tokens as cells that wrap like text, two answers aligned, a colour bar in nats.

The "paper" style follows Figure 1 of Rafailov et al. 2024 (darker is higher). Only `Figure` is used, never pyplot,
and matplotlib is imported when a figure is drawn.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, get_args

from dpo_credit.align import Diff
from dpo_credit.credit import CreditError
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.figure import layout
from dpo_credit.views.figure.cells import LOOK, AnswerCells, draw_cells, gutter
from dpo_credit.views.figure.chart import BAR_ENDS_PT, add_charts, add_scale, signed
from dpo_credit.views.figure.edits import list_edits
from dpo_credit.views.figure.folding import Shown, caption, check, fold, select
from dpo_credit.views.figure.fonts import MIN_SIZE_PT, fonts_for
from dpo_credit.views.figure.sheet import MUTED, RC, Sheet, listed
from dpo_credit.views.look import visible
from dpo_credit.views.scale import Shading
from dpo_credit.views.wording import extent, meaning, models_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Style = Literal["default", "paper"]
Format = Literal["png", "svg", "pdf"]
DPI = 300
_MAX_PNG_PX = 2**16 - 1  # matplotlib draws no taller pixels
_BAR_MIN_PT = 150.0
_OWN_SIGNS = "↵⇥␣∅Δ→−π…·×β±0123456789ABCDEFU+"


def render(
    scored: ScoredRow,
    *,
    shading: Shading = Shading(),
    width_in: float = 6.75,
    style: Style = "default",
    shown: Shown = "telling",
) -> Figure:
    """One answer's cells; two answers aligned, with their edits and cumulative rewards; or more, ordered by reward.

    Of long answers only what is `shown` is drawn, and the rest folded: by default what matters, see `folding.select`.

    Raises:
        CreditError: there is nothing to draw or to show, the figure is too narrow, or two answers do not compare.
    """
    import matplotlib.style

    credits, labels = scored.credits, scored.labels
    if not credits:
        raise CreditError("There is no answer to draw: give at least one.")
    if style == "paper":
        shading = replace(shading, palette="paper")
    if len(labels) != len(credits):
        raise CreditError(f"{len(labels)} labels for {len(credits)} answers: give each answer its own.")
    check(shown, credits)
    with matplotlib.style.context(["default", RC]):
        units = [credit.by(shading.unit) for credit in credits]
        texts = [segment.text or segment.piece for segments in units for segment in segments]
        names = [" ".join(visible(label, LOOK).split()) for label in labels]
        fonts = fonts_for([*(visible(text, LOOK) for text in texts), *names, _OWN_SIGNS])
        coloured = zip(shading.values(scored), shading.scales_of(scored), strict=True)
        answers = [
            AnswerCells(credit, segments, values, scale, fonts.plain(name))
            for credit, segments, (values, scale), name in zip(credits, units, coloured, names, strict=True)
        ]
        sheet = Sheet(width_in, fonts)
        if len(answers) == 2:
            _draw_diff(sheet, answers, scored.diff, shading, style, shown)
        else:
            _draw_answers(sheet, sorted(answers, key=lambda a: -a.credit.reward), shading, style, shown)
        _explain_boxes(sheet, texts)
        figure = sheet.figure()
        figure.set_label(visible(models_of(credits[0]), LOOK))
        return figure


def format_of(path: Path) -> Format:
    """What to write, by the path's extension.

    Raises:
        CreditError: it is none of the three.
    """
    extension = path.suffix.lower().removeprefix(".")
    if extension not in get_args(Format):
        raise CreditError(f"{path} does not say which picture to draw: end its name in .png, .svg or .pdf.")
    return extension  # type: ignore[return-value]  # one of Format's, as tested


def save(figure: Figure, target: Path | BinaryIO, format: Format | None = None) -> None:
    """Write a figure, the same bytes every time: PNG at 300 dpi, or SVG or PDF with text as text.

    Its label, which names the models, is the file's description.

    Raises:
        CreditError: no `format` is given and the extension is unknown, or a PNG would be too tall to draw.
    """
    import matplotlib.style

    if format is None:
        format = format_of(Path(str(getattr(target, "name", target))))
    height = figure.get_size_inches()[1]
    if format == "png" and height * DPI > _MAX_PNG_PX:
        raise CreditError(
            f"The figure is {height:.0f} in tall, too tall for a PNG at {DPI} dpi: save it as SVG or PDF."
        )
    about = str(figure.get_label()) or None
    metadata: dict[str, dict[str, str | None]] = {
        "png": {"Description": about} if about else {},
        "svg": {"Date": None, "Description": about},
        "pdf": {"CreationDate": None, "Subject": about},
    }
    with matplotlib.style.context(["default", RC]):
        figure.savefig(target, format=format, dpi=DPI, metadata=metadata[format])


def _draw_answers(sheet: Sheet, answers: Sequence[AnswerCells], shading: Shading, style: Style, shown: Shown) -> None:
    for n, answer in enumerate(answers):
        _head(sheet, answer, answer.label)
        made = layout.pieces(answer.units, sheet.fonts, sheet.size, sheet.inner)
        selection = select(shown, [answer.units], shading.unit)
        blocks = fold(layout.columns(made), [answer.units], selection, sheet.inner)
        draw_cells(sheet, [answer], blocks, outlined=style == "default")
        _say(sheet, caption(selection, blocks, [answer.units]))
        if shading.limit == "per-answer":
            _draw_bar(sheet, [answer])
        sheet.add(sheet.size if n + 1 < len(answers) else 0)
    if shading.limit != "per-answer":
        _draw_bar(sheet, answers)
    sheet.add_line(_key(answers, style, edits=False), colour=MUTED)


def _draw_diff(
    sheet: Sheet, answers: Sequence[AnswerCells], diff: Diff, shading: Shading, style: Style, shown: Shown
) -> None:
    edits, pairs = layout.stretches(diff, shading.unit)
    fit = all(0 < sheet.fonts.width(a.label, MIN_SIZE_PT) < 0.16 * sheet.inner for a in answers)
    names = [a.label for a in answers] if fit else ["A", "B"]
    for name, answer in zip(names, answers, strict=True):
        _head(sheet, answer, answer.label if fit else f"{name}  {answer.label}")
    wide = sheet.inner - gutter(sheet, names)
    chosen, rejected = (layout.pieces(a.units, sheet.fonts, sheet.size, wide) for a in answers)
    aligned = layout.aligned_columns(chosen, rejected, edits, pairs, wide / 2)
    units = [answer.units for answer in answers]
    selection = select(shown, units, shading.unit, edits)
    blocks = fold(aligned, units, selection, wide)
    draw_cells(sheet, answers, blocks, names=names, outlined=style == "default")
    _say(sheet, caption(selection, blocks, units))
    if shading.limit == "per-answer":
        for answer, name in zip(answers, names, strict=True):
            _draw_bar(sheet, [answer], name)
    else:
        _draw_bar(sheet, answers)
    if shading.quantity == "delta":
        sheet.add_line(meaning("Δ", names, shading.unit), colour=MUTED)
    sheet.add_line(_key(answers, style, edits=True), colour=MUTED)
    sheet.add(sheet.size)
    add_charts(sheet, [a.units for a in answers], edits, names)
    sheet.add_line(
        f"Cumulative reward of both answers over their aligned {shading.unit}s, and below it the margin; grey: the "
        "edits.",
        colour=MUTED,
    )
    sheet.add(sheet.size / 2)
    list_edits(sheet, answers, edits, names)
    sheet.add_line(_outcome(diff, names[0]))


def _say(sheet: Sheet, caption: str) -> None:
    if caption:
        sheet.add_line(caption, colour=MUTED)


def _outcome(diff: Diff, name: str) -> str:
    probability = diff.preference_probability
    shown = "> 0.999" if probability > 0.9995 else "< 0.001" if probability < 0.0005 else f"= {probability:.3f}"
    first = diff.edits[0].chosen[0] if diff.edits else 0
    echo = (
        "no edits"
        if not diff.edits
        else f"echo: the untouched tokens after the first edit moved by {diff.echo_mean_abs:.2g} on average, "
        f"by {diff.echo_max_abs:.2g} at most"
        if any(i >= first for i, _ in diff.pairs)
        else "no token after the first edit is untouched"
    )
    return listed([f"margin {signed(diff.margin)}, P({name} is preferred) {shown}", echo])


def _head(sheet: Sheet, answer: AnswerCells, label: str) -> None:
    credit = answer.credit
    logps = f"log π {credit.policy_logp:.2f} · log π_ref {credit.reference_logp:.2f}".replace("-", "−")
    sheet.add_line(listed([f"reward {signed(credit.reward)}", logps, extent(credit.tokens)]), lead=label)


def _draw_bar(sheet: Sheet, answers: Sequence[AnswerCells], name: str = "") -> None:
    """The colour bar, with its unit beside it where there is room, else below."""
    scale = answers[0].scale
    values = [value for answer in answers for value in answer.values]
    beyond = (min(values) < -scale.limit, max(values) > scale.limit)
    betas = ", ".join(f"{beta:g}" for beta in sorted({answer.credit.beta for answer in answers}))
    weight, tokens = ("β/T", ", T tokens") if answers[0].credit.length_normalised else ("β", "")
    reward, nats = f"reward = {weight} · (log π − log π_ref)", f"in nats × {weight}"
    what = f"{reward}, {nats}" if scale.quantity == "reward" else f"Δ {nats}; {reward}"
    unit = f"{name}{': ' if name else ''}{what}; β = {betas}{tokens}"
    room = sheet.inner - sheet.fonts.width(unit, sheet.small) - 2 * BAR_ENDS_PT - 6
    beside = room > _BAR_MIN_PT
    right = sheet.inner - room - BAR_ENDS_PT if beside else BAR_ENDS_PT
    add_scale(sheet, scale, beyond, unit, right, beside=beside)


def _key(answers: Sequence[AnswerCells], style: Style, *, edits: bool) -> str:
    """What the marks mean."""
    scale, source = answers[0].scale, answers[0].credit.source
    return listed(
        [
            ""
            if not edits
            else "outlined: edited, dashed where there is nothing"
            if style == "default"
            else "thick line below the cells: edited, dashed where there is nothing",
            f"underlined: {'Δ' if scale.quantity == 'delta' else 'reward'} below 0",
            f"grey: within the {source.dtype} error of ±{scale.noise:.1g}" if scale.noise else "",
        ]
    )


def _explain_boxes(sheet: Sheet, texts: Sequence[str]) -> None:
    shown = "".join(texts)
    if boxed := sorted(char for char in sheet.fonts.missing if char in shown):
        names = [f"{ord(char):04X} {unicodedata.name(char, 'unnamed').lower()}" for char in boxed[:3]]
        more = f" and {len(boxed) - 3} more" if len(boxed) > 3 else ""
        sheet.add_line(
            f"Boxes hold code points that no outline font here draws: {', '.join(names)}{more}.", colour=MUTED
        )
