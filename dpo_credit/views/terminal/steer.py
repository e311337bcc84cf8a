"""Steered answers in the terminal: coloured by how far each token was moved, and a table of those that changed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.credit import Credit
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Shading
from dpo_credit.views.terminal.colours import signed, signs, style
from dpo_credit.views.terminal.score import answer, in_text

_ROWS = 12


def render(answers: Sequence[Credit], look: Look) -> RenderableType:
    """Answers as `decode.steer.steer` gives them."""
    text, (scale, *_) = in_text(Shading(), look), Shading().scales(answers)
    (in_texts, *_) = text.scales(answers)
    parts: list[RenderableType] = []
    for credit in answers:
        if len(answers) > 1:
            parts.append(Text(f"answer {credit.id}", style="bold"))
        changed = [
            (t, position[0])
            for t, position in enumerate(credit.reference_top)
            if position[0].piece != credit.tokens.pieces[t] and position[0].logp > credit.reference_logps[t]
        ]
        line = f"log π_steered {credit.policy_logp:.2f}   log π_base {credit.reference_logp:.2f}   "
        line += f"{len(changed)} of {len(credit.rewards)} tokens are not what the base would have said"
        parts += [
            answer(credit, in_texts, look, text.unit),
            Text(look.plain(line.replace("-", "−")), style="dim"),
            Text(),
        ]
        if changed:
            parts += [_table(credit, changed, look, scale), Text()]
    legend = f"colours: log π_steered − log π_base in nats, up to ±{signed(scale.limit, look)[1:]}; underlined below 0"
    if look.colours == "none":
        legend = f"{signs(in_texts, look)}  log π_steered − log π_base of a {text.unit}, nats"
    return Group(*parts, Text(look.plain(legend), style="dim"))


def _table(credit: Credit, changed: list, look: Look, scale: object) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("token", "moved by", "log π_base", "the base would have said"):
        table.add_column(look.plain(heading), justify="right" if "π" in heading or "moved" in heading else "left")
    for t, instead in sorted(changed, key=lambda change: -abs(credit.rewards[change[0]]))[:_ROWS]:
        piece = Text(_shown(credit.tokens.pieces[t], look))
        piece.stylize(style(credit.rewards[t], scale, look))  # type: ignore[arg-type]
        base = look.plain(f"{credit.reference_logps[t]:.2f}".replace("-", "−"))
        other = _shown(instead.piece, look)
        table.add_row(
            piece, signed(credit.rewards[t], look, 2), base, Text(f"{other} {instead.logp:.2f}".replace("-", "−"))
        )
    return table


def _shown(piece: str, look: Look) -> str:
    """A token without the spaces around it; one of white space alone gets a sign."""
    return visible(piece.strip(), look) or look.plain("␣")
