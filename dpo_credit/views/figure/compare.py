"""Several policies on the answers of one row as a figure: the same cells under each other, on one scale of colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dpo_credit.compare.comparison import Comparison
from dpo_credit.credit import CreditError
from dpo_credit.views.figure import layout
from dpo_credit.views.figure.cells import LOOK, AnswerCells, draw_cells, gutter
from dpo_credit.views.figure.chart import BAR_ENDS_PT, add_scale, signed
from dpo_credit.views.figure.fonts import MIN_SIZE_PT, fonts_for
from dpo_credit.views.figure.layout import Column
from dpo_credit.views.figure.sheet import RC, Sheet, listed
from dpo_credit.views.look import visible
from dpo_credit.views.scale import Shading

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WORDS = 5  # in the table of where they disagree
_SIGNS = "↵⇥␣∅−…·×β0123456789+."


def render(comparison: Comparison, *, shading: Shading = Shading(), width_in: float = 6.75) -> Figure:
    """Every line of an answer once for each policy, then the words that they disagree on most.

    Raises:
        CreditError: there are several rows, or the figure is too narrow.
    """
    import matplotlib.style

    if len(comparison.rows) != 1:
        raise CreditError(
            f"A figure shows one row, and here are {len(comparison.rows)}: choose one with --row, or write a page with "
            "--html."
        )
    row, each = comparison.rows[0], [its[0] for its in comparison.credits]
    scale = shading.scales([credit for answers in each for credit in answers])[0]
    with matplotlib.style.context(["default", RC]):
        texts = [segment.text or segment.piece for credit in each[0] for segment in credit.segments]
        shown = [visible(text, LOOK) for text in (*texts, *comparison.everyone, *row.labels)]
        fonts = fonts_for([*shown, _SIGNS])
        sheet = Sheet(width_in, fonts)
        fits = all(fonts.width(name, MIN_SIZE_PT) < 0.2 * sheet.inner for name in comparison.names)
        names = list(comparison.names) if fits else [f"{n}" for n in range(1, len(comparison.names) + 1)]
        for n, label in enumerate(row.labels):
            credits = [answers[n] for answers in each]
            cells = [
                AnswerCells(credit, units, tuple(unit.reward for unit in units), scale, name)
                for credit, name in zip(credits, names, strict=True)
                for units in [credit.by(shading.unit)]
            ]
            sums = zip(names if fits else comparison.names, credits, strict=True)
            prefix = "" if fits else "{} "
            said = [
                f"{prefix.format(k)}{visible(name, LOOK)} {signed(credit.reward)}"
                for k, (name, credit) in enumerate(sums, 1)
            ]
            said += [f"{visible(judge.name, LOOK)} {signed(judge.rewards[0][n])}" for judge in comparison.explicit]
            sheet.add_line(listed(said), lead=visible(label, LOOK))
            wide = sheet.inner - gutter(sheet, names)
            pieces = layout.pieces(cells[0].units, fonts, sheet.size, wide)
            columns = [Column(((piece,),) * len(cells)) for unit in pieces for piece in unit]
            draw_cells(sheet, cells, [columns], names=names, outlined=True)

        rewards = [unit.reward for answers in each for credit in answers for unit in credit.by(shading.unit)]
        beyond = (min(rewards) < -scale.limit, max(rewards) > scale.limit)
        betas = ", ".join(f"{beta:g}" for beta in sorted({answers[0].beta for answers in each}))
        unit = f"reward = β · (log π − log π_ref); β = {betas}; one scale for all policies"
        add_scale(sheet, scale, beyond, unit, BAR_ENDS_PT, beside=False)
        sheet.add(sheet.size / 2)
        by = shading.unit if shading.unit != "token" else "word"
        lines = [["where they disagree most", *names, "range"]]
        for word in comparison.disagreements(by)[:_WORDS]:
            text = visible((word.segments[0].text or word.segments[0].piece).strip(), LOOK)
            label = row.labels[word.answer]
            lines.append([f"{text}  ({label})" if label else text, *map(signed, word.rewards), f"{word.range:.3g}"])
        sheet.add_table(lines, stretch=[0], bold=[0])
        return sheet.figure()
