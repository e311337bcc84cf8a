"""A search over a data set in the terminal: win rate and length by number of beams."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.estimates.intervals import Mean
from dpo_credit.estimates.wording import intervals_of, to_prompts
from dpo_credit.search.beams import Search, chosen_tokens, figures, sentence
from dpo_credit.views.look import Look, visible
from dpo_credit.views.terminal.colours import signed


def render(search: Search, look: Look, label: str = "") -> RenderableType:
    """A head, the table, and what it comes to."""
    settings = search.settings
    how = "drawn" if settings["drawn"] else f"length penalty {settings['length_penalty']:g}"
    head = Text(visible(label or str(settings["policy"]), look), style="bold")
    count, judge = len(search.rows), visible(str(settings["judge"]), look)
    rows = f"{count:,} rows{to_prompts(count, search.prompts)}"
    head.append(f": {rows}, beams {how}; judge: {judge}", "not bold")
    head.append(f"\n{intervals_of(count, search.prompts, 'rows')}; a tie is half a win", "dim not bold")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("beams", "win rate", "tokens", "reward", "log π", "ended"):
        table.add_column(look.plain(heading), justify="right", no_wrap=True)
    for figure in figures(search):
        table.add_row(
            str(figure.beams),
            _interval(figure.win, 100, 1, look) + (" %" if figure.win else ""),
            _interval(figure.tokens, 1, 1, look),
            signed(figure.reward.mean, look, 3),
            look.plain(f"{figure.policy_logp.mean:.1f}".replace("-", "−")),
            f"{100 * figure.ended.mean:.0f} %",
        )
    chosen = chosen_tokens(search)
    if chosen is not None:
        table.add_row("chosen", "", _interval(chosen, 1, 1, look), "", "", "", style="dim")
    return Group(head, table, Text(sentence(search)))


def _interval(mean: Mean | None, times: float, decimals: int, look: Look) -> str:
    if mean is None:
        return look.plain("–")
    value = f"{times * mean.mean:.{decimals}f}"
    if mean.low is None or mean.high is None:
        return value
    return f"{value} ({times * mean.low:.{decimals}f} to {times * mean.high:.{decimals}f})"
