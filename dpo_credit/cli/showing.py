"""A scored row on all outputs: view, page, figure and JSON of `score`, `diff`, `render` and `search`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType

from dpo_credit.cli.outputs import Colours, Outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dpo_credit.rows.output import CreditRecord
    from dpo_credit.rows.scored import ScoredRow
    from dpo_credit.views.look import Look


def show(
    scored: ScoredRow,
    record: CreditRecord,
    outputs: Outputs,
    colours: Colours,
    *,
    more: Mapping[str, Any] | None = None,
    below: Callable[[Look], RenderableType] | None = None,
) -> None:
    """Write a scored row wherever it was asked for.

    Args:
        scored: the row.
        record: its credit, as JSON has it; a diff's is shown edit by edit.
        outputs: where to.
        colours: in which colours.
        more: what the JSON has beside the row and its credit.
        below: draws what stands below the view in the terminal.
    """
    from dpo_credit.rows.output import to_json

    shading = colours.shading

    def terminal(look: Look) -> RenderableType:
        from dpo_credit.views.terminal import diff
        from dpo_credit.views.terminal import score as answers

        compared = record.edits is not None or shading.quantity == "delta"
        draw = diff.render if compared else answers.render
        view = draw(scored, look, rows=colours.rows, shading=shading)
        return view if below is None else Group(view, "", below(look))

    def figure() -> Figure:
        from dpo_credit.views.figure import heatmap

        return heatmap.render(
            scored, shading=shading, width_in=colours.width_in, style=colours.style, shown=colours.shown
        )

    outputs.write(
        terminal,
        json=lambda: to_json(scored, record, more) + "\n",
        page=lambda: _page(scored, colours),
        figure=figure,
    )


def _page(scored: ScoredRow, colours: Colours) -> str:
    from dpo_credit.views.page import score

    return score.render([scored], colours.shading, scored.id)
