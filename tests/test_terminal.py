"""The terminal view: readable, whole, within its width, and with a sign that no colour is needed for."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import credits
import pytest
from credits import END
from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment as Piece
from scored import scored_row

from dpo_credit.credit import Alternative, Credit
from dpo_credit.views.look import Look
from dpo_credit.views.scale import PALETTES, Palette, Shading, Theme, contrast
from dpo_credit.views.terminal.colours import legend
from dpo_credit.views.terminal.score import answer, render

ASTRONAUT = "👩‍🚀"
MARKS = re.compile("[▲▼]")
Colours = Literal["full", "basic", "none"]
SYSTEMS: dict[Colours, Literal["truecolor", "standard"] | None] = {
    "full": "truecolor",
    "basic": "standard",
    "none": None,
}


def credit(*parts: tuple[str, float], noise: float = 0.0) -> Credit:
    """An answer of these texts with these rewards (beta is 1), closed by an end token of reward zero."""
    texts, rewards = zip(*parts, strict=True)
    return credits.credit(texts, rewards, end=0.0, reference=-4.0, source=credits.noisy(noise))


def words(text: str) -> Credit:
    """A token a word, with its leading space; rewards go up and down between -1 and 1."""
    return credit(*((part, ((n * 5) % 9 - 4) / 4) for n, part in enumerate(re.findall(r"\s*\S+", text))))


def printed(
    *credits: Credit,
    look: Look,
    rows: int | None = None,
    labels: tuple[str, ...] = ("",),
    shading: Shading = Shading(),
) -> str:
    out = io.StringIO()
    Console(file=out, width=look.width, color_system=SYSTEMS[look.colours], force_terminal=True).print(
        render(scored_row(credits, labels), look, rows=rows, shading=shading)
    )
    return out.getvalue()


def pieces(made: Credit, look: Look, *, palette: Palette = "orange-blue") -> list[Piece]:
    """The whole view as runs of text in one style."""
    console = Console(file=io.StringIO(), width=look.width, color_system="truecolor", force_terminal=True)
    return [*console.render(render(scored_row([made]), look, shading=Shading(palette=palette)))]


def styled(made: Credit, look: Look) -> Iterator[Piece]:
    """The answer's runs of text that have a look of their own."""
    (scale,) = Shading().scales([made])
    console = Console(file=io.StringIO(), width=look.width, color_system="truecolor", force_terminal=True)
    return (piece for piece in console.render(answer(made, scale, look)) if piece.style)


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("palette", PALETTES)
def test_every_shaded_text_is_readable(palette: Palette, theme: Theme) -> None:
    made = words("one two three four five six seven eight nine ten")
    shaded = [p for p in pieces(made, Look(theme), palette=palette) if p.style and p.style.bgcolor]
    assert {piece.text.strip() for piece in shaded} >= {"one", "two", "four", "ten"}
    for piece in shaded:
        assert piece.style is not None and piece.style.color is not None and piece.style.bgcolor is not None
        text, background = piece.style.color.get_truecolor(), piece.style.bgcolor.get_truecolor()
        assert contrast(text, background) >= 4.5, piece  # type: ignore[arg-type]


def test_without_colours_signs_show_what_stands_out() -> None:
    """The limit is 8 (the second largest): 4 is half of it, which has a sign, and 8 all of it, which has two."""
    made = credit((" a", 8.0), (" b", -8.0), (" c", 4.0), (" d", -4.0), (" e", 3.9), (" f", -1.0))
    shown = printed(made, look=Look(colours="none"), rows=0)
    assert shown.startswith(f"a▲▲ b▼▼ c▲ d▼ e f {END}\n")
    assert "\n▼▼ −8  ▼ −4  ▲ +4  ▲▲ +8  reward of a word, beta × nats\n" in shown
    assert "\x1b" not in shown
    ascii_only = printed(made, look=Look(colours="none", encoding="ascii"), rows=0)
    assert ascii_only.startswith(f"a[++] b[--] c[+] d[-] e f {END}\n")


@pytest.mark.parametrize("colours", SYSTEMS)
def test_without_colours_no_sign_stands_inside_a_word_unless_asked(colours: Colours) -> None:
    """encouraged is 2 - 6 = -4 as a word, and the largest magnitudes of words are 4, 4; of tokens 6, 4."""
    made = credit((" I", 4.0), (" encourag", 2.0), ("ed", -6.0), (" it", 0.5))
    shown = printed(made, look=Look(colours=colours), rows=0)
    assert ("I▲▲ encouraged▼▼ it" in shown) == (colours == "none")
    (scale,) = Shading().scales([made])
    look = Look(colours=colours)
    asked = answer(made, scale, look, "token").plain
    assert asked.startswith("I▲▲ encourag▲ed▼▼ it" if colours == "none" else "I encouraged it")


def test_a_sign_needs_more_than_the_noise() -> None:
    """Half of the limit is 1, the noise 1.5: 1.2 is within it."""
    made = credit((" a", 2.0), (" b", -2.0), (" c", 1.2), (" d", 1.6), noise=1.5)
    shown = printed(made, look=Look(colours="none"), rows=0)
    assert shown.startswith(f"a▲▲ b▼▼ c d▲ {END}\n") and "▼▼ −2  ▼ −1.5  ▲ +1.5  ▲▲ +2" in shown


@pytest.mark.parametrize("colours", ["full", "basic"])
def test_with_colours_negative_rewards_are_underlined_and_no_others(colours: Colours) -> None:
    made = credit((" a", 8.0), (" b", -8.0), (" c", 4.0), (" d", -4.0), (" e", 1.0), (" f", -1.0))
    underlined = {
        piece.text: bool(piece.style and piece.style.underline) for piece in styled(made, Look(colours=colours))
    }
    assert underlined == {"a": False, "b": True, "c": False, "d": True, "e": False, "f": True}
    assert not MARKS.search(printed(made, look=Look(colours=colours), rows=0))


def test_sixteen_colours_suffice_to_tell_sign() -> None:
    made = credit((" a", 8.0), (" b", -8.0), (" c", 4.0), (" d", -4.0), (" e", 1.0), (" f", -1.0))
    shown = printed(made, look=Look(colours="basic"), rows=0)
    assert not re.search(r"[34]8;[25];", shown)  # neither truecolor nor 256
    colour = {p.text: (p.style.color, p.style.bgcolor) for p in styled(made, Look(colours="basic")) if p.style}
    assert all(colour[up] != colour[down] for up, down in ("ab", "cd", "ef"))


@pytest.mark.parametrize("colours", SYSTEMS)
def test_rewards_within_the_noise_are_set_back(colours: Colours) -> None:
    made = credit((" a", 2.0), (" b", -2.0), (" c", 0.5), (" d", -0.5), noise=1.0)
    looks = {piece.text: piece.style for piece in styled(made, Look(colours=colours)) if piece.text.strip()}
    for text in "cd":
        style = looks[text]
        assert style is not None and style.italic and style.dim and not style.bgcolor and not style.underline
    assert all(not style.italic for text, style in looks.items() if style and text in "ab")
    assert "italic: within the bfloat16 error of 1" in printed(made, look=Look(colours=colours, width=160))


@pytest.mark.parametrize(
    "text", ["[bold] up", "[/x] down", "[red]r[/red]", "\\[bold]", ":smile: [link=http://x]y[/link]"]
)
def test_markup_in_text_stays_text(text: str) -> None:
    made = replace(words(text + " end"), policy_top=((Alternative(text, -1.0),),) * (len(text.split()) + 2))
    made = replace(made, reference_top=made.policy_top)
    shown = MARKS.sub("", printed(made, look=Look(colours="none", width=160)))
    assert shown.startswith(f"{text} end {END}\n")
    assert f"{text} -1.00" in shown.replace("−", "-")


HIDDEN = {
    "ANSI escape": ("\x1b[31mred\x1b[0m", "<U+001B>[31mred<U+001B>[0m"),
    "OSC link": ("\x1b]8;;http://x\x07y", "<U+001B>]8;;http://x<U+0007>y"),
    "C1 escape": ("\x9b31m", "<U+009B>31m"),
    "carriage return": ("good\rbad", "good<U+000D>bad"),
    "backspace": ("a\x08b", "a<U+0008>b"),
    "null": ("a\x00b", "a<U+0000>b"),
    "bidi override": ("a\u202eb\u202c", "a<U+202E>b<U+202C>"),
    "bidi isolate": ("a\u2067b\u2069", "a<U+2067>b<U+2069>"),
    "line separator": ("a\u2028b", "a<U+2028>b"),
    "byte-order mark": ("a\ufeffb", "a<U+FEFF>b"),
}


@pytest.mark.parametrize(("text", "shown"), HIDDEN.values(), ids=HIDDEN)
def test_what_would_act_on_the_terminal_is_written_out(text: str, shown: str) -> None:
    made = credit((f" {text}", 1.0), (" end", 0.0))
    made = replace(made, policy_top=((Alternative(text, -1.0),),) * 3)
    made = replace(made, reference_top=made.policy_top, tokens=replace(made.tokens, pieces=(text, " end", text)))
    out = MARKS.sub("", printed(made, look=Look(colours="none", width=160)))
    assert out.startswith(f"{shown} end {shown}\n")
    assert f"{shown} -1.00" in out.replace("−", "-")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]", out)


WHOLE = (
    "日本語のテキスト です",
    f"{ASTRONAUT} flew 👨‍👩‍👧‍👦 home",
    "🇦🇺🇯🇵 flags ✊🏽 tone ❤️ heart",
    "שלום עולם مرحبا",
    "e\u0301te\u0301 नमस्ते ภาษาไทย",
)


@pytest.mark.parametrize("text", WHOLE)
@pytest.mark.parametrize("colours", SYSTEMS)
def test_any_script_comes_out_whole(text: str, colours: Colours) -> None:
    made = credit(*((part, 1.0 * (-1) ** n) for n, part in enumerate(re.findall(r"\s*\S+", text))))
    plain = re.sub("\x1b\\[[0-9;]*m", "", printed(made, look=Look(colours=colours, width=160), rows=0))
    assert MARKS.sub("", plain).startswith(f"{text} {END}\n")


@pytest.mark.parametrize("width", [40, 80, 160])
def test_emoji_are_never_cut_neither_by_lines_nor_by_the_tables(width: int) -> None:
    made = credit(*((f"{ASTRONAUT}" * 7, (-1) ** n * (n + 1) / 8) for n in range(6)), (" end", 1.0))
    shown = printed(made, look=Look(colours="none", width=width), rows=7)
    assert shown.count(ASTRONAUT) >= 42
    assert not re.search("[👩🚀\u200d]", shown.replace(ASTRONAUT, ""))


LONG = (
    "I was offered a job in Lisbon at 54000 a year, and I have to decide by Friday, but my landlord raised the rent.",
    "x" * 300,
    "https://example.org/" + "a/" * 100,
    "日本語" * 60,
    f"{ASTRONAUT} 🇦🇺 " * 30,
    "tab\ttab\t" * 20 + "\n\n\r\n" * 3,
    "\x1b\u202e" * 40,
)


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("colours", SYSTEMS)
def test_no_line_is_wider_than_the_terminal(width: int, colours: Colours) -> None:
    for text in LONG:
        made = credit(*((part, ((n * 5) % 9 - 4) / 4) for n, part in enumerate(re.findall(r"\s*.{1,40}|\s+", text))))
        top = ((Alternative(" a longish alternative", -123.456),) * 3,) * len(made.tokens.answer_ids)
        for one in (made, replace(made, policy_top=top, reference_top=top)):
            shown = re.sub("\x1b\\[[0-9;]*m", "", printed(one, look=Look(colours=colours, width=width)))
            assert max(map(cell_len, shown.split("\n"))) <= width, text


@pytest.mark.parametrize("width", [50, 60, 80])
def test_a_narrow_terminal_cuts_no_number(width: int) -> None:
    """Between brackets and numbers, the numbers matter: 11 columns each with their gaps, three of them."""
    shown = printed(credit((" alpha", -2.0), (" beta", 0.5), (" gamma", 1.125)), look=Look(colours="none", width=width))
    assert len(re.findall(r"−\d\.\d{3} +−\d\.\d{3} +[−+]\d\.\d\d *\n", shown)) == 4


@pytest.mark.parametrize("width", [50, 80, 160])
@pytest.mark.parametrize("colours", SYSTEMS)
def test_a_terminal_of_ascii_only_gets_ascii_only(width: int, colours: Colours) -> None:
    made = words(f"日本 {ASTRONAUT} é \u202e naïve\n\n“quoted” … × ▼")
    top = ((Alternative("日", -1.0), Alternative("\u3000", -2.0)),) * len(made.tokens.answer_ids)
    made = replace(made, policy_top=top, reference_top=top)
    look = Look(colours=colours, width=width, encoding="ascii")
    shown = printed(made, made, look=look, labels=("chosen", "rejected"), rows=9)
    assert shown.isascii()
    assert "log pi_ref" in shown


def test_line_breaks_are_kept_and_have_a_sign_to_be_shaded() -> None:
    made = credit(("One.", 0.0), ("\n\n", -1.0), ("Two.", 1.0))
    shown = printed(made, look=Look(colours="none"), rows=0, shading=Shading(unit_of_signs="token"))
    assert shown.startswith(f"One.↵▼▼\n\nTwo.▲▲ {END}\n")


def test_the_sums_are_those_of_the_credit() -> None:
    made = credit((" a", -2.0), (" b", 0.25))
    shown = printed(made, look=Look(width=160), rows=0)
    for number in ("reward −1.75", "log π −13.75", "log π_ref −12.00", "3 tokens, end token appended"):
        assert number in re.sub("\x1b\\[[0-9;]*m", "", shown)


def test_the_tables_list_the_lowest_and_the_highest_tokens_first() -> None:
    made = credit((" a", -2.0), (" b", 0.5), (" c", -1.0), (" d", 2.0), (" e", 0.0))
    shown = printed(made, look=Look(colours="none"), rows=2)
    low, high = re.sub("\x1b\\[[0-9;]*m", "", shown).split("lowest")[1].split("highest")
    assert re.findall("‹(.*?)›", low) == ["a", "c"]
    assert re.findall("‹(.*?)›", high) == ["d", "b"]
    assert re.findall(r"−\d\.\d+", low) == ["−6.000", "−4.000", "−2.00", "−5.000", "−4.000", "−1.00"]


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("rows", [1, 3, 5, 9])
def test_a_short_answers_sentences_are_each_listed_once_and_named_so(rows: int, width: int) -> None:
    pieces = [(f" Say {name}.", reward) for name, reward in zip("abcde", (0.5, -2.0, 0.0, 1.0, -1.0), strict=True)]
    made = replace(credit(*pieces), policy_top=((Alternative(" not", -1.0),),) * 6)  # five sentences, and the end of 0
    shading = Shading(unit="sentence")
    shown = printed(made, look=Look(colours="none", width=width), rows=rows, shading=shading, labels=("chosen",))
    listed = re.findall(r"‹(?:Say )?(.*?)›", shown)
    lowest, highest = [["b.", "e.", "c."], ["d.", "a.", END]]  # of the two zeros the first is lower
    assert sorted(listed) == sorted(lowest[:rows] + highest[:rows])
    assert "lowest sentences in chosen" in shown and "highest sentences in chosen" in shown
    assert "sentence  " in shown and not re.search(r"^token ", shown, re.MULTILINE)
    assert "would say" not in shown  # that is known of tokens alone


def test_a_single_word_is_listed_once() -> None:
    shown = printed(words("Yes"), look=Look(colours="none"), rows=5, shading=Shading(unit="word"))
    assert shown.count("‹Yes›") == 1 and shown.count(f"‹{END}›") == 1


def test_the_legend_names_the_scales_ends() -> None:
    (scale,) = Shading().scales([made := credit((" a", -0.25), (" b", 0.5))])
    for colours in ("full", "basic"):
        text = legend(scale, made, Look(colours=colours)).plain  # type: ignore[arg-type]
        assert text.startswith("−0.25 ") and " +0.25  reward, beta × nats" in text
    plain = legend(scale, made, Look(colours="none"), "sentence").plain
    assert plain == "▼▼ −0.25  ▼ −0.125  ▲ +0.125  ▲▲ +0.25  reward of a sentence, beta × nats"


def test_the_models_are_named_below_the_scale() -> None:
    source = replace(credits.SOURCE, policy="mine\x1b[0m", dtype="bfloat16")
    shown = printed(replace(credit((" a", -0.25)), source=source), look=Look(colours="none"))
    assert f"mine<U+001B>[0m against {source.reference}, beta 1, bfloat16" in " ".join(shown.split())


def test_a_preference_shows_its_margin_and_its_probability() -> None:
    """-0.5 - -1.5 = 1, and sigmoid(1) = 0.731."""
    pair = credit((" a", -0.5)), credit((" b", -1.5))
    shown = re.sub("\x1b\\[[0-9;]*m", "", printed(*pair, look=Look(), labels=("chosen", "rejected")))
    assert "margin +1  P(chosen is preferred) = 0.731" in shown
    sure = credit((" a", 9.0)), credit((" b", -9.0))
    assert "P(chosen is preferred) > 0.999" in printed(*sure, look=Look(), labels=("chosen", "rejected"))


def test_identical_models_are_shown_without_colours_or_marks() -> None:
    made = credit((" a", 0.0), (" b", 0.0))
    assert not MARKS.search(printed(made, look=Look(colours="none")).split("\n")[0])
    assert not [piece for piece in styled(made, Look()) if piece.style and piece.style.bgcolor]
