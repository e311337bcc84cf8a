"""What `--show` asks for, token by token: Q*, V* and the advantage with their checks; what training changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal, get_args

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.credit import Credit, CreditError
from dpo_credit.optimal import OptimalValues, allowed
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.shift import Shift
from dpo_credit.views.look import Look, visible
from dpo_credit.views.terminal.colours import signed

OfPolicy = Literal["q", "v", "advantage"]
OfBoth = Literal["kl", "entropy", "rank"]
Shown = Literal["q", "v", "advantage", "kl", "entropy", "rank"]
_TOKEN_WIDTH = 16  # columns at most, then a token is folded
_PADDING = 2
_HEADS = {"q": "Q*", "v": "V*", "advantage": "Q* − V*"}
_PAIRS: dict[str, tuple[tuple[str, str], tuple[str, str]]] = {  # fields of a Shift, and their heads
    "kl": (("kl", "KL\nπ||π_ref"), ("reverse_kl", "KL\nπ_ref||π")),
    "entropy": (("policy_entropy", "entropy\nπ"), ("reference_entropy", "entropy\nπ_ref")),
    "rank": (("policy_rank", "rank\nπ"), ("reference_rank", "rank\nπ_ref")),
}
_OF_POLICY = (
    "Q* = beta × logit, V* = beta × logsumexp(logits), Q* − V* = beta × log π (Eqs. 5, 6). A constant of each "
    "state is free in Q* and V*; the model's own logits fix it here, so only differences within a state count."
)
_OF_BOTH = (
    "Divergences and entropies are in nats, over all that could follow, before the token is seen; rank 1 is the "
    "token that a model finds likeliest."
)


def shown(asked: str) -> tuple[Shown, ...]:
    """What `--show` names, in its order.

    Raises:
        CreditError: something else is named, or nothing.
    """
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",")))
    for name in names:
        if name not in get_args(Shown):
            raise CreditError(f"--show {asked}: {name!r} is none of {', '.join(get_args(Shown))}.")
    return names  # type: ignore[return-value]


def of_policy(columns: Sequence[Shown]) -> bool:
    """Whether the policy as a Q-function is asked for."""
    return any(name in get_args(OfPolicy) for name in columns)


def of_both(columns: Sequence[Shown]) -> bool:
    """Whether what training changed is asked for."""
    return any(name in get_args(OfBoth) for name in columns)


def require(scored: ScoredRow, columns: Sequence[Shown]) -> None:
    """Make sure that a row that was read back has what is asked for.

    Raises:
        CreditError: it has not.
    """
    for asked, has, names in (
        (of_policy(columns), scored.values, "q,v,advantage"),
        (of_both(columns), scored.shifts, "kl,entropy,rank"),
    ):
        if asked and not has:
            raise CreditError(f"{scored.id} was scored without these. Score it with --show {names} --json first.")


def render(
    scored: ScoredRow,
    look: Look,
    columns: Sequence[Shown],
) -> RenderableType:
    """One table an answer: a row a token, its reward beside the columns asked for; then what they come to."""
    parts: list[RenderableType] = []
    for credit, values, shift, label in zip_longest(scored.credits, scored.values, scored.shifts, scored.labels):
        parts += _tables(credit, _columns(values, shift, columns, look), label, look)
        if of_policy(columns):
            parts.append(_checks(credit, values, look))
        if "kl" in columns:
            parts.append(_divergence(credit, shift, look))
        parts.append(Text())
    notes = (_OF_POLICY,) * of_policy(columns) + (_OF_BOTH,) * of_both(columns)
    return Group(*parts, *(Text(look.plain(note), style="dim") for note in notes))


def _tables(credit: Credit, columns: Sequence[tuple[str, Sequence[Text]]], label: str, look: Look) -> Iterator[Table]:
    """A table of an answer; in a terminal too narrow for all columns several, each with its tokens."""
    pieces = [Text(visible(piece, look)) for piece in credit.tokens.pieces]
    rewards = [Text(signed(reward, look, 3)) for reward in credit.rewards]
    room = look.width - min(_TOKEN_WIDTH, max(len("token"), *(piece.cell_len for piece in pieces)))
    parts: list[list[tuple[str, Sequence[Text]]]] = [[]]
    left = room
    for head, numbers in (*columns, ("reward", rewards)):
        width = _PADDING + max(cell_len(text) for text in (*head.split("\n"), *map(str, numbers)))
        if width > left and parts[-1]:
            parts.append([])
            left = room
        parts[-1].append((head, numbers))
        left -= width
    for n, part in enumerate(parts):
        title = None if n else label or None
        table = Table(
            box=None, pad_edge=False, padding=(0, _PADDING, 0, 0), title=title, title_justify="left", title_style="bold"
        )
        table.add_column("token", vertical="bottom", overflow="fold")
        for head, _ in part:
            table.add_column(look.plain(head), justify="right", no_wrap=True, vertical="bottom")
        for cells in zip(pieces, *(numbers for _, numbers in part), strict=True):
            table.add_row(*cells)
        yield table


def _columns(
    values: OptimalValues | None, shift: Shift | None, asked: Sequence[Shown], look: Look
) -> list[tuple[str, list[Text]]]:
    """Heads with the numbers below them."""
    made = []
    for name in asked:
        if name in _HEADS:
            made.append((_HEADS[name], [Text(signed(number, look, 3)) for number in getattr(values, name)]))
            continue
        form = "d" if name == "rank" else ".3f"
        for field, head in _PAIRS[name]:
            made.append((head, [Text(f"{number:{form}}") for number in getattr(shift, field)]))
    return made


def _checks(credit: Credit, values: OptimalValues, look: Look) -> Text:
    token, answer = values.misfit(credit)
    limit = allowed(credit)
    fits = token <= limit and answer <= limit * len(values.q)
    text = (
        f"Eq. 10 holds for each token to {token:.1g}; V*(s0) + sum of rewards = sum of r to {answer:.1g}"
        if fits
        else f"WARNING: Eq. 10 is off by {token:.2g} at a token, its sum by {answer:.2g}; rounding explains {limit:.2g}"
    )
    return Text(look.plain(text), style="dim" if fits else "bold")


def _divergence(credit: Credit, shift: Shift, look: Look) -> Text:
    """Where the two models differ most, whatever token follows."""
    at = max(range(len(shift.kl)), key=shift.kl.__getitem__)
    piece = visible(credit.tokens.pieces[at].strip() or credit.tokens.pieces[at], look)
    mean = math.fsum(shift.kl) / len(shift.kl)
    text = f"KL(π || π_ref) is {mean:.3g} nats a token on average, at most {shift.kl[at]:.3g}, where "
    return Text(look.plain(text) + piece + f" follows (token {at + 1})", style="dim")
