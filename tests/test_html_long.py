"""The page of long answers in a browser: what stands above the text, folds, rows with their sums, the strip, links."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from pages import (
    CODE,
    UNITS,
    Open,
    browser,
    cell,
    credit,
    folds_of,
    long_pair,
    many_edits,
    pieces,
    preference,
    rewards,
    show,
    violations,
)
from scored import scored_row

from dpo_credit.segments import Unit
from dpo_credit.views.page.stretches import bounds_of
from dpo_credit.views.scale import Shading

__all__ = ["browser", "show"]  # fixtures


def shown(places: Any) -> str:
    """The text of places on the page, without our numbers and signs."""
    script = """place => {
      const copy = place.cloneNode(true);
      copy.querySelectorAll('.v, sup, summary, .sum, .end').forEach(node => node.remove());
      return copy.textContent.replaceAll('↵', '');
    }"""
    return "".join(place.evaluate(script) for place in places.all())


def answer_text(page: Any, number: int) -> str:
    return shown(page.locator(f".answer[data-answer='{number}'] .text"))


def until(page: Any, condition: str) -> None:
    """Wait for it; the page's policy does not let playwright poll within the page."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never: {condition}")


@pytest.mark.parametrize("width", [320, 360, 800, 1400, 2000])
def test_numbers_of_edits_never_touch(show: Open, width: int) -> None:
    page = show([scored_row(many_edits(), ("chosen", "rejected"))], viewport={"width": width, "height": 900})
    boxes = sorted((b for b in (e.bounding_box() for e in page.locator("text.edit").all()) if b), key=lambda b: b["x"])
    assert len(boxes) > 4
    assert all(one["x"] + one["width"] <= other["x"] for one, other in pairwise(boxes))


@pytest.mark.parametrize("javascript", [True, False])
def test_a_long_page_begins_with_edits_chart_and_places(show: Open, javascript: bool) -> None:
    page = show([long_pair()], java_script_enabled=javascript)
    order = [page.locator(name).bounding_box()["y"] for name in (".edits", ".chart", ".places", ".answers")]
    assert order == sorted(order)
    links = page.locator(".places a")
    assert links.count() == 10
    values = [float(text.replace("−", "-")) for text in page.locator(".places .reward").all_inner_texts()]
    assert values[:5] == sorted(values[:5]) and values[5:] == sorted(values[5:], reverse=True)
    short = show([preference()], java_script_enabled=javascript)
    order = [short.locator(name).bounding_box()["y"] for name in (".answers", ".edits", ".chart")]
    assert order == sorted(order) and not short.locator(".places").count()


@pytest.mark.parametrize("javascript", [True, False])
def test_a_place_leads_into_the_text_and_is_marked_there(show: Open, javascript: bool) -> None:
    page = show([long_pair()], java_script_enabled=javascript, viewport={"width": 1000, "height": 500})
    link = page.locator(".places a").first
    target = link.get_attribute("href")
    link.click()
    assert page.url.endswith(target)
    place = page.locator(".here" if javascript else target)
    box = place.bounding_box()
    assert 0 <= box["y"] <= 500
    assert place.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.evaluate("scrollTo(0, 0)")
    link.click()  # again
    until(page, "scrollY > 0")


def test_the_number_of_an_edit_leads_to_both_of_its_sides(show: Open) -> None:
    page = show([long_pair()], viewport={"width": 1280, "height": 500})
    page.locator(".edits .badge").nth(1).click()
    until(page, "document.querySelectorAll('mark.here').length === 2")
    marked = page.locator("mark.here")
    assert [re.match(r"[a-z]+", text)[0] for text in marked.all_text_contents()] == ["short", "very"]
    assert all(0 <= mark.bounding_box()["y"] <= 500 for mark in marked.all())


def test_shared_stretches_fold_and_unfold_in_both_answers(show: Open) -> None:
    scored = long_pair()
    page = show([scored])
    first, second = page.locator(".answer[data-answer='1'] .fold"), page.locator(".answer[data-answer='2'] .fold")
    assert first.count() == second.count() == 2
    (start, stop), _ = folds_of(scored.diff)[0]
    total = sum(segment.reward for segment in scored.credits[0].segments[start:stop])
    label = first.nth(0).locator("summary").inner_text()
    assert label == f"… {stop - start} tokens, reward {total:+.3f} …".replace("-", "−")
    assert not cell(page, 1, start).is_visible() and cell(page, 1, start - 1).is_visible()
    first.nth(0).locator("summary").click()
    assert cell(page, 1, start).is_visible() and cell(page, 2, start).is_visible()
    first.nth(1).locator("summary").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Fold again").click()
    assert not cell(page, 1, start).is_visible()
    page.get_by_label("words").check()
    page.get_by_role("button", name="Unfold all").click()
    assert page.locator(".fold[open]").count() == 4


@pytest.mark.parametrize("javascript", [True, False])
def test_coloured_by_delta_a_fold_sums_deltas(show: Open, javascript: bool) -> None:
    scored = long_pair()
    page = show([scored], shading=Shading(quantity="delta"), java_script_enabled=javascript)
    (start, stop), _ = folds_of(scored.diff)[0]
    ours, theirs = (credit.segments[start:stop] for credit in scored.credits)  # up to the second edit, both are alike
    total = sum(s.reward for s in ours) - sum(s.reward for s in theirs)
    expected = f"… {stop - start} tokens, delta {total:+.3f} …".replace("-", "−")
    assert [page.locator(".fold > summary").nth(n).inner_text() for n in (0, 2)] == [expected] * 2
    assert page.locator(".places h3").all_inner_texts() == ["Lowest tokens, by delta", "Highest tokens, by delta"]


def test_arrows_pass_a_fold_and_permalinks_open_it(show: Open) -> None:
    (start, stop), _ = folds_of(long_pair().diff)[0]
    page = show([long_pair()])
    cell(page, 1, start - 1).focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.cell") == str(stop)
    page.evaluate(f"location.hash = '#a1t{start + 3}'")
    until(page, f"document.activeElement.dataset.cell === '{start + 2}'")
    assert cell(page, 1, start + 2).is_visible()


def test_without_javascript_a_fold_opens_and_the_text_is_whole(show: Open) -> None:
    scored = long_pair()
    page = show([scored], java_script_enabled=False)
    hidden = page.locator(".answer[data-answer='1'] .fold .code")
    assert not hidden.is_visible()
    page.locator(".answer[data-answer='1'] .fold summary").first.click()
    assert hidden.is_visible() and "monospace" in hidden.evaluate("node => getComputedStyle(node).fontFamily")
    for number, answer in enumerate(scored.credits, 1):
        assert answer_text(page, number) == answer.tokens.answer[1:]  # without the space that the prompt ended at


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_shows_the_text_whole_with_its_line_breaks(show: Open, unit: str) -> None:
    scored = long_pair()
    page = show([scored])
    page.get_by_label(f"{unit}s", exact=True).check()
    page.get_by_role("button", name="Unfold all").click()
    for number, answer in enumerate(scored.credits, 1):
        assert answer_text(page, number) == answer.tokens.answer[1:]
    code = page.locator(".answer[data-answer='1'] .code")
    assert code.locator("b").count() == 0  # what looks like markup stays text
    assert shown(code) == "".join(CODE[2:-1])


@pytest.mark.parametrize("unit", ["token", "word", "sentence"])
@pytest.mark.parametrize("quantity", ["reward", "delta"])
def test_the_script_draws_what_the_templates_do(show: Open, unit: Any, quantity: Any) -> None:
    script = """page => [...document.querySelectorAll('.answer .text, .places ol, .legend .limit')].map(node => {
      const copy = node.cloneNode(true);
      const own = ['id', 'role', 'tabindex', 'data-cell', 'data-edits', 'aria-label', 'title'];
      for (const each of copy.querySelectorAll('*')) for (const name of own) each.removeAttribute(name);
      for (const number of copy.querySelectorAll('sup')) number.textContent = number.textContent;
      return copy.innerHTML.replace(/\\s+/g, ' ').replace(/> </g, '><').trim();
    })"""
    shading = Shading(unit, quantity=quantity)
    with_script = show([long_pair()], shading=shading).evaluate(script)
    assert show([long_pair()], shading=shading, java_script_enabled=False).evaluate(script) == with_script


@pytest.mark.parametrize("unit", ["sentence", "line"])
def test_rows_have_their_sums_beside_them(show: Open, unit: Unit) -> None:
    scored = long_pair()
    page = show([scored])
    page.get_by_label(f"{unit}s", exact=True).check()
    page.get_by_role("button", name="Unfold all").click()
    for number, answer in enumerate(scored.credits, 1):
        sums = page.locator(f".answer[data-answer='{number}'] .row > .sum").all_inner_texts()
        earned = [sum(s.reward for s in answer.segments[a:b]) for a, b in bounds_of(answer.segments, unit)]
        assert [float(text.replace("−", "-")) for text in sums] == pytest.approx(earned, abs=6e-4)


@pytest.mark.parametrize("javascript", [True, False])
def test_a_row_shows_where_an_edit_has_nothing(show: Open, javascript: bool) -> None:
    more = [" We", " do", " not", " go", "."], [" We", " go", "."]
    pair = [credit(side, rewards(len(side), 37)) for side in more]
    page = show([scored_row(pair, ("chosen", "rejected"))], shading=Shading("sentence"), java_script_enabled=javascript)
    marks = page.locator(".answers mark")
    assert marks.all_text_contents() == ["do not1", "∅ nothing here1"]
    assert marks.nth(1).get_attribute("class") == "e void"
    assert answer_text(page, 2) == "We∅ go."


@pytest.mark.parametrize("unit", ["token", "sentence"])
def test_colouring_by_delta_shows_what_each_unit_adds_to_the_margin(show: Open, unit: Any) -> None:
    scored = long_pair()
    page = show([scored])
    page.get_by_label("delta").check()
    page.get_by_label(f"{unit}s", exact=True).check()
    for number, deltas in enumerate(scored.diff.deltas(unit), 1):
        cells = page.locator(f".answer[data-answer='{number}'] [data-cell]").all()
        spoken = [re.search(r"(plus |minus |)([\d.]+)$", cell.get_attribute("aria-label")) for cell in cells]
        numbers = [float(found[2]) * (-1 if found[1] == "minus " else 1) for found in spoken]
        assert numbers == pytest.approx(deltas, abs=6e-4)
    assert f"delta per {unit}: what it adds to the margin" in page.locator(".legend").inner_text()
    assert "reward per" not in page.locator(".legend").inner_text()
    cell(page, 1, 0).hover()
    delta = scored.diff.deltas(unit)[0][0]
    assert f"delta {delta:+.3f}".replace("-", "−") in " ".join(page.locator("#card").inner_text().split())


def test_one_answer_has_no_colouring_by_delta(show: Open) -> None:
    page = show([scored_row([credit(pieces(), rewards(338, 37))])])
    assert page.get_by_label("delta").count() == 0
    assert page.locator(".fold").count() == 0 and page.locator(".places a").count() == 10


def test_the_strip_follows_the_reader_and_leads_on(show: Open) -> None:
    page = show([long_pair()], viewport={"width": 900, "height": 600})
    strip = page.get_by_role("slider")
    assert strip.count() == 0  # the chart itself is in view
    page.get_by_role("button", name="Unfold all").click()
    page.evaluate("document.querySelector('.answers').scrollIntoView()")
    page.mouse.wheel(0, 700)
    until(page, "document.querySelector('.strip.stuck') !== null")
    assert strip.bounding_box()["y"] == pytest.approx(0, abs=1)
    until(page, "Number(document.querySelector('[role=slider]').ariaValueNow) > 20")
    seen = page.evaluate("document.querySelector('[role=slider]').getAttribute('aria-valuetext')")
    first, last, width = map(int, re.findall(r"\d+", seen))
    visible = page.evaluate(
        """() => [...document.querySelectorAll('.answer [data-cell]')].filter(node => {
          const { top, bottom } = node.getBoundingClientRect();
          return bottom > document.querySelector('[role=slider]').getBoundingClientRect().bottom && top < innerHeight;
        }).map(node => Number(node.dataset.cell) + 1)"""
    )
    assert width == 339 and (first, last) == (min(visible), max(visible))  # every edit is one token for one
    box = strip.bounding_box()
    strip.click(position={"x": box["width"] * 0.5, "y": 10})
    marked = page.locator(".here")
    assert marked.count() == 2
    assert [int(node.get_attribute("data-cell")) for node in marked.all()] == [169, 169]  # half of 339
    strip.focus()
    page.keyboard.press("Home")
    until(page, "document.querySelector('.here').dataset.cell === '0'")


def test_the_strip_of_an_index_stays_below_its_head(show: Open) -> None:
    page = show([long_pair("a"), long_pair("b")], "#e2a1t200", viewport={"width": 900, "height": 600})
    until(page, "document.querySelector('.strip.stuck') !== null")
    head = page.locator(".index > thead th").first.bounding_box()
    strip = page.get_by_role("slider").bounding_box()
    assert head["y"] + head["height"] == pytest.approx(strip["y"], abs=4)
    marks = page.evaluate("[...document.querySelectorAll('.index a')].map(a => getComputedStyle(a, '::after').content)")
    assert [mark for mark in marks if mark != "none"] == ['" ▾"']  # at the open row's name, not at links in its text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_a_long_page(show: Open, scheme: str) -> None:
    page = show([long_pair()], "#a1t200", color_scheme=scheme, viewport={"width": 1280, "height": 400})
    until(page, "document.querySelector('.strip.stuck') !== null")
    assert violations(page) == []
    page.get_by_label("lines", exact=True).check()
    page.get_by_role("button", name="Unfold all").click()
    assert violations(page) == []


@pytest.mark.parametrize("unit", ["tokens", "lines"])
def test_a_long_page_never_scrolls_sideways_on_a_phone(show: Open, unit: str) -> None:
    page = show([long_pair()], viewport={"width": 360, "height": 800})
    page.get_by_label(unit, exact=True).check()
    page.get_by_role("button", name="Unfold all").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
