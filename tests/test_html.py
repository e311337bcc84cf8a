"""A Credit in a notebook: model and post text is data, whatever it holds, and the colours are the scale's."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import credits
import pytest
from credits import END

from dpo_credit.credit import Credit
from dpo_credit.views.page.score import fragment
from dpo_credit.views.scale import Shading, contrast


def credit(*parts: tuple[str, float], end: str = END) -> Credit:
    """An answer of these texts with these rewards (beta is 1), closed by an end token of reward zero."""
    texts, rewards = zip(*parts, strict=True)
    made = credits.credit(texts, rewards, end=0.0, reference=-4.0)
    return replace(made, tokens=replace(made.tokens, pieces=(*texts, end)))


class Page(HTMLParser):
    """The tags of a page, the text of its spans and their styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.spans: list[str] = []
        self.styles: list[str] = []
        self.depth = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.depth += 1
        if tag == "span":
            self.spans.append("")
            self.styles.append(dict(attrs)["style"] or "")

    def handle_endtag(self, tag: str) -> None:
        self.depth -= 1

    def handle_data(self, data: str) -> None:
        if self.depth == 2 and self.tags[-1] == "span":
            self.spans[-1] += data


ANSWERS = (
    ("<script>", "alert('x')", "</script>"),
    ("{{ 7 * 7 }}", "{% raw %}", "{# no comment #}"),
    (' " onmouseover="', "'", "</span></div>"),
    ("&lt;", "&amp;", " & "),
    (" 日本", " 👩‍🚀", " e\u0301"),
    ("line\n", "\n\n", "  two  spaces\t", "tab"),
)


@pytest.mark.parametrize("texts", ANSWERS)
def test_any_text_comes_out_as_text(texts: tuple[str, ...]) -> None:
    page = Page(fragment(credit(*((text, 0.5 * n) for n, text in enumerate(texts)))))
    assert page.spans == [*texts, f" {END}"]
    assert set(page.tags) == {"div", "span"}
    assert page.depth == 0
    assert "49" not in "".join(page.spans)  # 7 * 7 was not computed


def test_the_name_of_a_token_without_text_is_text_too() -> None:
    page = Page(fragment(credit(("a", 1.0), end="<script>{{ 1 }}</script>")))
    assert page.spans == ["a", " <script>{{ 1 }}</script>"]
    assert set(page.tags) == {"div", "span"}


@pytest.mark.parametrize(("text", "shown"), [("a\u202eb", "a<U+202E>b"), ("a\x1bb\x00", "a<U+001B>b<U+0000>")])
def test_what_would_reorder_or_hide_text_is_written_out(text: str, shown: str) -> None:
    assert Page(fragment(credit((text, 1.0)))).spans[0] == shown


def test_a_cell_of_a_notebook_runs_as_its_text_does() -> None:
    assert fragment(credit(("שלום", 1.0))).startswith('<div dir="auto"')


def test_white_space_is_shown_as_it_is() -> None:
    assert "white-space: pre-wrap" in fragment(credit((" a\n  b", 1.0)))


def test_every_cell_is_shaded_by_the_scale_and_readable() -> None:
    made = credit((" low", -2.0), (" mid", 0.5), (" high", 2.0))
    (scale,) = Shading().scales([made])
    for segment, style in zip(made.segments, Page(fragment(made)).styles, strict=True):
        background, text = (tuple(map(int, found)) for found in re.findall(r"rgb\((\d+), (\d+), (\d+)\)", style))
        assert (background, text) == scale.shade(segment.reward, "light")
        assert contrast(background, text) >= 4.5  # type: ignore[arg-type]


def test_only_negative_rewards_are_underlined() -> None:
    styles = Page(fragment(credit((" low", -2.0), (" mid", 0.0), (" high", 2.0)))).styles
    assert ["underline" in style for style in styles] == [True, False, False, False]


def test_the_sums_are_shown() -> None:
    made = credit((" low", -2.0), (" high", 0.5))
    page = fragment(made)  # -1.5 = 1 * (-13.5 - -12): three tokens at -4 under the reference
    for shown in ("reward -1.5000 = 1 ", "log pi -13.50", "log pi_ref -12.00", "3 tokens", "reward -2.0000"):
        assert shown in page


def test_identical_models_give_a_page_too() -> None:
    page = Page(fragment(credit(("a", 0.0), ("b", 0.0))))
    assert page.spans == ["a", "b", f" {END}"]


def test_a_credit_shows_itself_in_a_notebook() -> None:
    made = credit(("a", 1.0))
    assert made._repr_html_() == fragment(made)
