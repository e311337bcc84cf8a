"""A refiner's answers in the terminal: prompts token by token, pictures with maps, and what words and pixels add."""

from __future__ import annotations

from dataclasses import replace

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from dpo_credit.image.credit import PictureCredit
from dpo_credit.refine.credit import RefinedCredit
from dpo_credit.refine.overview import Overview
from dpo_credit.refine.scored import ScoredRefinement
from dpo_credit.rows.chats import prompt_text
from dpo_credit.views import image
from dpo_credit.views.look import Look, visible
from dpo_credit.views.refine import frames_of, parts, probability
from dpo_credit.views.scale import Scale, Shading, decimals_for
from dpo_credit.views.terminal.colours import legend, signed, style
from dpo_credit.views.terminal.image import beside, panels
from dpo_credit.views.terminal.score import answer, in_text
from dpo_credit.views.wording import extent

_BAR = 24  # columns of the longest bar
_OF_A_FRAME = 80  # columns in which a frame and its map are drawn
_ROWS = 30  # of many, that are listed
_LONGEST = 1000  # characters of a request that are shown
_REQUEST = 48  # columns of a request in a list


def render(scored: ScoredRefinement, look: Look) -> RenderableType:
    """The request, both answers with their pictures, and what words and pixels add to the margin.

    Of several frames, both answers' stand beside each other, one after the other, with what each adds.
    """
    diff = scored.diff
    shading = in_text(Shading(), look)
    words = (diff.chosen.words, diff.rejected.words)
    scale = shading.scales(words)[0]
    heads = [
        _head(label, each, scale, look, shading)
        for label, each in (("chosen", diff.chosen), ("rejected", diff.rejected))
    ]
    frames = frames_of(scored)
    several = len(frames) > 1
    sides = [side for frame in frames for side in frame]
    drawn, key = panels(sides, replace(look, width=min(look.width, _OF_A_FRAME)) if several else look)
    shown: list[RenderableType] = [_request(scored, look), Text()]
    if several:
        shown += beside(heads, look)
        for n, pair in enumerate(frames):
            captions = [_pixels(f"{side.label}, frame {n + 1}", side.credit, look) for side in pair]
            columns = [Group(*each) for each in zip(captions, drawn[2 * n : 2 * n + 2], strict=True)]
            shown += beside(columns, look)
    else:
        captions = [_pixels("pixels", side.credit, look) for side in sides]
        shown += beside([Group(*each) for each in zip(heads, captions, drawn, strict=True)], look)
    shown += [legend(scale, words[0], look, shading.unit), key, Text(), _margin(scored, look)]
    notes = [f"rewards of pictures are {image.sampled(frames[0][0].credit)}"]
    shown += [Text(), *(Text(visible(look.plain(note), look), style="dim") for note in notes)]
    return Group(*shown)


def _request(scored: ScoredRefinement, look: Look) -> Text:
    words = " ".join(visible(prompt_text(scored.row.request)[:_LONGEST], look).split())
    return Text.assemble(("request  ", "dim"), words)


def _head(label: str, refined: RefinedCredit, scale: Scale, look: Look, shading: Shading) -> Group:
    """What an answer is called and earned, and its refined prompt."""
    words, tokens = refined.words, refined.words.tokens
    name = Text.assemble(
        (label, "bold"), f" reward {signed(refined.reward, look)} = words ", signed(words.reward, look)
    )
    name.append(f" + pixels {signed(refined.pixels, look)}")
    logps = f"log π {words.policy_logp:.2f}   log π_ref {words.reference_logp:.2f}   {extent(tokens)}"
    return Group(name, answer(words, scale, look, shading.unit), Text(look.plain(logps.replace("-", "−")), style="dim"))


def _pixels(label: str, credit: PictureCredit, look: Look) -> Text:
    decimals = decimals_for(abs(credit.reward))
    return Text(f"{label} {look.plain(image.with_error(credit.reward, credit.reward_error, decimals))}")


def _margin(scored: ScoredRefinement, look: Look) -> RenderableType:
    """A row for words, for pixels and for each of several frames, with bars on one scale; and their sum."""
    rows = parts(scored.diff)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    largest = max(abs(part.value) for part in rows)
    decimals = decimals_for(largest)
    for part in rows:
        number = look.plain(image.with_error(part.value, part.error, decimals))
        heavy = "bold" if part.name == "margin" else ""
        table.add_row(Text(part.name, style=heavy), Text(number, style=heavy), _bar(part.value, largest, look))
    table.add_row("", "", f"P(chosen is preferred) {probability(scored.diff)}")
    return table


def _bar(value: float, largest: float, look: Look) -> Text:
    length = round(_BAR * abs(value) / (largest or 1.0))
    if look.colours == "none":
        return Text(look.plain("−" if value < 0 else "+") * length)
    return Text(" " * length, style(value, Scale(abs(value) or 1.0), look) + Style(underline=False))


def render_lines(overview: Overview, look: Look) -> RenderableType:
    """A line a row, and what words and pixels add to the margins on average."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("row", overflow="fold")
    table.add_column("request", no_wrap=True, max_width=_REQUEST)
    for name in ("words", "pixels", "margin"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    lines = overview.lines[:_ROWS]
    largest = max(max(abs(line.words), abs(line.pixels)) for line in lines)
    decimals = decimals_for(largest)
    for line in lines:
        numbers = [signed(value, look, decimals) for value in (line.words, line.pixels, line.margin)]
        request = " ".join(visible(line.request, look).split())
        table.add_row(visible(line.id, look), request, *numbers, _share(line.words, line.pixels, largest, look))
    more = len(overview.lines) - len(lines)
    count = len(overview.lines)
    mean = overview.words + overview.pixels
    numbers = [signed(value, look) for value in (mean, overview.words, overview.pixels)]
    summary = (
        f"chosen preferred in {overview.won} of {count} rows; mean margin {numbers[0]} = words {numbers[1]} + pixels "
    )
    shown: list[RenderableType] = [table]
    shown += [Text(f"and {more} more", style="dim")] if more else []
    return Group(*shown, Text(), Text(summary + numbers[2]), _key(look))


def _share(words: float, pixels: float, largest: float, look: Look) -> Text:
    """Two bars beside each other, of words and of pixels: signs where there are no colours."""
    return Text(" ").join([_letters("w", words, largest, look), _letters("p", pixels, largest, look)])


def _letters(letter: str, value: float, largest: float, look: Look) -> Text:
    length = round(_BAR / 2 * abs(value) / (largest or 1.0))
    text = Text(letter * length)
    if look.colours != "none" and length:
        text.stylize(style(value, Scale(abs(value)), look) + Style(underline=value < 0))
    return text


def _key(look: Look) -> Text:
    return Text("w: words, p: pixels, as long as what they add to the margin; --row N shows a row", style="dim")
