"""The HTML page holds up: to readers of every kind, to narrow screens, and to text that would like to be markup."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from pages import Open, browser, cell, credit, index, preference, show, violations
from scored import scored_row

from dpo_credit.credit import Source
from dpo_credit.views.page.score import render
from dpo_credit.views.scale import Shading

__all__ = ["browser", "show"]  # fixtures


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(show: Open, scheme: str) -> None:
    page = show([preference(top=True)], "#a2t4", color_scheme=scheme)
    for summary in page.locator("summary").all():
        summary.click()
    cell(page, 2, 3).hover()
    assert violations(page) == []
    page = show(index(), "#e3", color_scheme=scheme)
    assert page.locator(".entry").count() == 1
    assert violations(page) == []


def test_axe_can_find_something(show: Open) -> None:
    page = show([preference()])
    page.evaluate("document.querySelector('.sums').style.color = 'rgb(200, 200, 200)'")
    assert any("color-contrast" in violation for violation in violations(page))


@pytest.mark.parametrize("what", ["diff", "index"])
def test_a_phone_never_scrolls_sideways(show: Open, what: str) -> None:
    long = scored_row(
        (credit(["W" * 400, " b"], [0.2, 0.1]), credit(["V" * 400], [0.1])), ("l" * 90, "b" * 80), "x" * 90
    )
    page = show([long] if what == "diff" else [long, *index()], "#e1", viewport={"width": 360, "height": 800})
    for summary in page.locator(".entry summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360


HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</style><style>body { display: none }</style>",
    "</script><img src=x onerror='window.hacked = 1'>",
    "<!-- <script> -->",
    "{{ 7 * 7 }}{% raw %}",
    "</noscript></section>",
    "\u202egnp.exe",
    "a\x00b\x1b[31m",
    "\u2028\u2029",
    "\ud800",
    "&lt;b&gt;",
    "' onfocus='window.hacked = 1",
]


@pytest.mark.parametrize("count", [1, 2, 25])
def test_hostile_text_stays_text(show: Open, count: int) -> None:
    scored = credit(HOSTILE, [0.1] * len(HOSTILE), source=Source(HOSTILE[2], HOSTILE[1], HOSTILE[0]))
    scored = replace(scored, id=HOSTILE[0])
    other = credit(HOSTILE[1:], [0.1] * len(HOSTILE[1:]), source=scored.source)
    page = show([scored_row((scored, other), HOSTILE[:2], HOSTILE[2], prompt="".join(HOSTILE))] * count, "#e1a1t3")
    cell(page, 1, 0).click()
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 2 and page.locator("img, style + style").count() == 0
    text = page.locator(".answer .text").first.text_content()
    for shown in (HOSTILE[0], HOSTILE[4], "<U+202E>gnp.exe", "a<U+0000>b<U+001B>[31m", "<U+2028><U+2029>", "<U+D800>"):
        assert shown in text, shown
    assert not re.search("[\x00\u202e\u2028]", page.content())


def test_a_token_of_ten_thousand_characters_keeps_the_layout(show: Open) -> None:
    long = scored_row((credit(["a" * 10_000, " b"], [0.3, 0.1]), credit([" c", " b"], [0.3, 0.1])), ("x", "y"), "long")
    page = show([long])
    cell(page, 1, 0).hover(position={"x": 4, "y": 4})
    assert "(10000 characters)" in page.locator("#card").inner_text()
    assert page.locator("#card").bounding_box()["height"] < 500
    assert page.evaluate("document.documentElement.scrollWidth") == 1280
    assert page.locator(".edits tbody").bounding_box()["height"] < 400


def test_text_from_right_to_left_runs_so_and_its_arrows_too(show: Open) -> None:
    page = show([scored_row([credit(["عرض", " عمل", " في", " 東京", " 👩‍🚀"], [0.1, -0.2, 0.1, 0.1, 0.1])])])
    assert page.locator(".answer .text").get_attribute("dir") == "rtl"
    first, second = cell(page, 1, 0).bounding_box(), cell(page, 1, 1).bounding_box()
    assert second["x"] < first["x"]
    cell(page, 1, 0).focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator(":focus").get_attribute("aria-label") == "عمل minus 0.200"
    assert cell(page, 1, 4).get_attribute("aria-label") == "👩‍🚀 plus 0.100"


@pytest.mark.parametrize("javascript", [True, False])
def test_sums_beside_text_from_right_to_left_run_from_left_to_right(show: Open, javascript: bool) -> None:
    words = [" كلمة", " أخرى", "."] * 80
    pair = [credit([start, *words], [12.5, *[0.25] * 240]) for start in ("نعم.", "لا.")]
    page = show([scored_row(pair, ("x", "y"))], shading=Shading("sentence"), java_script_enabled=javascript)
    sums = page.locator(".row > .sum")
    assert sums.first.inner_text() == "+12.50"
    assert sums.first.evaluate("e => getComputedStyle(e).direction") == "ltr"
    assert sums.first.evaluate("e => e.scrollWidth <= e.clientWidth")
    fold = page.locator(".fold > summary").first
    assert fold.evaluate("e => getComputedStyle(e).direction") == "ltr"
    assert fold.inner_text() == "… 216 tokens, reward +54.00 …"  # 216 of 1/4
    edit = page.locator(".edits .raw").first  # as in a short page: at the start of its column
    assert edit.evaluate("e => getComputedStyle(e).textAlign") == "left"


def test_a_number_keeps_the_order_of_its_digits_in_text_from_right_to_left(show: Open) -> None:
    chosen, rejected = (credit(["يبلغ ", *digits, ",", "0", " نسمة"], [0.1] * 6) for digits in ("45", "54"))
    page = show([scored_row([chosen, rejected], ["a", "b"])])
    for answer in (1, 2):  # the edit frames 45, and 54 in the other: its rest stays on the right
        places = [cell(page, answer, n).bounding_box()["x"] for n in range(6)]
        assert places[0] > max(places[1:5]) and places[1:5] == sorted(places[1:5]) and places[5] < places[1]


@pytest.mark.parametrize("word", ["عاصمة", "भारत"])
def test_letters_that_touch_do_so_across_tokens(show: Open, word: str) -> None:
    """Every token its own cell, together they are as wide as the word in one cell, to a rounding of each."""
    page = show([scored_row([credit(list(word), [0.1] * len(word))])])
    cells = page.locator(".answer [data-cell]:not(.end)")
    assert cells.count() > 2
    parts = cells.evaluate_all("cells => cells.map((cell) => cell.getBoundingClientRect().width)")
    page.get_by_label("words").check()
    assert cells.count() == 1
    assert cells.first.bounding_box()["width"] == pytest.approx(sum(parts), abs=0.1 * len(parts))


def test_the_numbers_for_the_script_are_json_that_closes_no_tag() -> None:
    scored = credit(HOSTILE, [0.1] * len(HOSTILE))
    page = render([scored_row([scored])])
    data = re.search(r'<script type="application/json">(.*?)</script>', page, re.DOTALL)[1]
    assert not re.search("[<>&]", data)
    assert json.loads(data)["answers"][0]["text"][0] == HOSTILE[0]
