"""A report's rows: why those at either end stand there, and the page's table of all, searched, filtered and sorted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pages import browser, violations
from program import run
from scored import credit, saved, write

from dpo_credit.credit import Message
from dpo_credit.report.ends import class_parts, first_words, row_figures
from dpo_credit.report.report import report
from dpo_credit.report.wording import carried_by
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.page.listed import step

__all__ = ["browser"]  # a fixture
CHOSEN = credit([" We", " met", ".", " It", " rained", "."], [0.5, -2.0, 0.0, 0.25, 0.25, 0.0], end=0.125)
REJECTED = credit([" We", " met", ".", " It", " snowed", "."], [0.5, -1.0, 0.0, 0.25, 3.0, 0.5], end=0.0)


def test_the_sentence_that_carries_most_is_found_with_what_it_adds() -> None:
    row = saved([CHOSEN, REJECTED])
    # shared: 0, -2 - -1, 0 | 0.25 - 0.25, 0 - 0.5 and 0.125 at the end; of their own: "rained" +0.25, "snowed" -3
    low = row_figures(row, -1.0, -1)
    assert (low.carrier.unit, low.carrier.answer, low.carrier.token) == ("sentence", 1, 3)
    assert (low.carrier.text, low.carrier.share) == (" It snowed.", -3.0)
    assert low.tokens == [7, 7]
    high = row_figures(row, 1.0, 1)
    assert (high.carrier.text, high.carrier.answer, high.carrier.share) == ("</s>", 0, 0.125)
    figures = report([row])
    assert carried_by(figures.lowest[0], figures) == "rejected sentence"


def test_the_token_is_named_where_each_answer_is_one_sentence() -> None:
    row = saved([credit([" We", " met", " Ann"], [1.0, 0.0, -4.0]), credit([" We", " met", " Bob"], [1.0, 0.5, 2.0])])
    # what both share: 0 and 0 - 0.5; "Ann" takes 4, "Bob" 2
    low = row_figures(row, -7.0, -1).carrier
    assert (low.unit, low.answer, low.token, low.text, low.share) == ("token", 0, 2, " Ann", -4.0)


def test_of_what_is_no_preference_the_reward_counts() -> None:
    rows = [saved([credit([" a"], [1.0]), credit([" b", " c"], [-2.0, 5.0]), credit([" d"], [0.0])], "list")]
    figures = report(rows)
    low = figures.lowest[0]
    assert (low.carrier.text, low.carrier.share, low.tokens) == (" b", -2.0, [1, 2, 1])
    assert carried_by(low, figures) == "token of answer 1"
    single = report([saved([credit([" a", " b"], [1.0, -3.0])], "single")])
    assert carried_by(single.lowest[0], single) == "token"


def test_the_classes_parts_add_up_to_the_margin() -> None:
    names = ("words", "punctuation", "end", "digits")
    # words: 0.5 - 2 + 0.25 + 0.25 less 0.5 - 1 + 0.25 + 3; full stops 0 less 0.5; the end 0.125
    assert class_parts(saved([CHOSEN, REJECTED]), names) == [-3.75, -0.5, 0.125, None]
    assert sum((-3.75, -0.5, 0.125)) == CHOSEN.reward - REJECTED.reward
    assert class_parts(saved([CHOSEN], "single"), names[:1]) == [-1.0]


def test_a_prompt_s_first_words_are_the_user_s_and_end_with_a_word() -> None:
    chat = (Message("system", "You are helpful."), Message("user", "What is\n\n 7 times 8?"))
    assert first_words(Row("x", "single", prompt=chat)) == "user: What is 7 times 8?"
    cut = first_words(Row("x", "single", prompt="word " * 30))
    assert cut == "word " * 18 + "word…"  # of the 20 words in 100 characters, the last may have been cut
    assert first_words(Row("x", "single")) == ""


def test_many_rows_or_tokens_are_thinned_out() -> None:
    figures = report([saved([CHOSEN, REJECTED])])
    assert step(figures) == step(replace(figures, rows=5000, tokens=2_000_000)) == 1
    assert step(replace(figures, rows=5001)) == 2
    assert step(replace(figures, rows=100, tokens=5_000_000)) == 3


def rows(count: int) -> list[ScoredRow]:
    """Pairs whose margins rise with their line, from -1 on by 0.01; every tenth names a city, every other a number."""
    made = []
    for line in range(1, count + 1):
        city = " Lisbon" if line % 10 == 0 else " home"
        number = [" 7"] if line % 2 else []
        chosen = credit([city, *number], [line / 100 - 1.01, *([0.5] * len(number))])
        rejected = credit([" no"] * (line % 7 + 1), [0.0] * (line % 7) + [0.5 * len(number)])
        made.append(saved([chosen, rejected], line=line))
    return made


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of rows, opened; afterwards the console stayed silent."""
    contexts, said = [], []

    def opened(scored: list[ScoredRow], **context: Any) -> Any:
        file, page_file = write(tmp_path / "scored.jsonl", scored), tmp_path / "page.html"
        assert run("report", file, "--html", page_file, "--rows", "3").code == 0
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(page_file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def names(page: Any) -> list[str]:
    return [text.split()[0] for text in page.locator(".listed tbody tr:not(.opened) th").all_text_contents()]


def test_the_table_shows_a_hundred_rows_of_all_and_more_on_demand(show: Any) -> None:
    page = show(rows(250))
    assert page.locator(".found").inner_text().startswith("250 rows")
    assert names(page) == [f"row-{n}" for n in range(1, 101)]
    page.get_by_role("button", name="Show 150 more").click()
    assert len(names(page)) == 250 and not page.locator("button.more").is_visible()


def test_rows_are_searched_filtered_and_sorted(show: Any) -> None:
    page = show(rows(60))
    page.get_by_label("search prompts and answers").fill("LISBON")
    page.locator(".found", has_text="6 of 60").wait_for()
    assert names(page) == [f"row-{n}" for n in range(10, 61, 10)]
    page.locator("[data-by='value'] button").click()  # ascending already
    assert names(page)[0] == "row-60"
    page.locator("[name=value-to]").fill("-0.6")
    page.locator(".found", has_text="4 of 60").wait_for()  # row 40: 0.4 - 1.01
    page.locator("[name=tokens-from]").fill("5")
    page.locator(".found", has_text="2 of 60").wait_for()  # 10 % 7 + 1 = 4, 20: 7, 30: 3, 40: 6
    assert sorted(names(page)) == ["row-20", "row-40"]
    page.get_by_role("button", name="Show all").click()
    page.locator(".found", has_text="60 rows").wait_for()
    page.get_by_label("class of token").select_option(label="digits")
    page.locator(".found", has_text="30 of 60").wait_for()  # those that have any, by what these earned
    assert page.locator(".listed td.part").first.inner_text() == "+0.500"
    page.get_by_role("button", name="rejected tokens").click()
    page.get_by_role("button", name="rejected tokens").click()
    assert page.locator(".listed tbody td:last-child").first.inner_text() == "7"


def test_a_row_opens_to_its_answers_and_leads_to_where_it_is_drawn(show: Any) -> None:
    page = show(rows(30))
    page.get_by_role("button", name="row-10 (line 10)").click()
    opened = page.locator(".opened")
    assert "Lisbon" in opened.inner_text() and opened.locator("a").count() == 0
    assert opened.locator("[title='−0.910']").inner_text() == " Lisbon"  # 0.1 - 1.01
    page.get_by_role("button", name="row-10 (line 10)").click()
    assert opened.count() == 0
    page.get_by_role("button", name="row-1 (line 1)").click()
    page.get_by_role("link", name="Drawn in full above").click()
    assert page.locator("tbody.open .entry").count() == 1


def test_an_opened_row_is_as_wide_as_the_table_and_keeps_joined_letters_together(show: Any) -> None:
    answers = [credit([" كا", "نب", "را"], [0.1, 0.2, 0.3]), credit([" yes", " 1", "2"], [0.0, 0.1, 0.2])]
    page = show([saved(answers), *rows(3)[1:]])
    page.locator(".listed button.name").last.click()
    opened, head = page.locator(".listed .opened > td"), page.locator(".listed thead tr")
    assert opened.get_attribute("colspan") == "4"  # name, value and both lengths
    ends = [place.evaluate("e => e.getBoundingClientRect().right") for place in (opened, head.locator("th").last)]
    assert ends[0] == pytest.approx(ends[1], abs=1)
    padding = "e => getComputedStyle(e.querySelector('span')).paddingLeft"
    first, second = opened.locator("p.text").all()
    assert first.evaluate(padding) == "0px" and second.evaluate(padding) != "0px"
    page.locator("select[name=class]").select_option(index=1)
    assert opened.get_attribute("colspan") == "5"


def test_without_javascript_all_rows_and_the_reasons_are_there(show: Any) -> None:
    page = show(rows(120), java_script_enabled=False)
    assert len(names(page)) == 120 and not page.locator(".filters").is_visible()
    lowest = " ".join(page.locator(".ends tbody tr").first.inner_text().split())
    # row 1: -1 by "home", 0.5 by "7", less 0.5 by the second "no"
    assert lowest == "−1.00 2 / 2 row-1 (line 1) −1.00 chosen token home"


def test_rows_that_are_no_preferences_are_listed_by_reward(show: Any) -> None:
    page = show([saved([credit([" a"], [n / 10]), credit([" b"], [0.0])], "list", line=n) for n in range(1, 9)])
    assert names(page) == [f"row-{n}" for n in range(1, 9)]
    assert "rejected" not in page.locator(".listed thead").inner_text()
    page.get_by_role("button", name="row-8 (line 8)").click()
    assert page.locator(".opened .text").count() == 2


def test_hostile_text_in_the_table_stays_text(show: Any) -> None:
    hostile = "</script></noscript><img src=x onerror='window.hacked=1'>"
    page = show([saved([credit([f" {hostile}"], [1.0]), credit([" b"], [0.0])], row_id=hostile)])
    page.locator(".listed button.name").click()
    assert hostile in page.locator(".opened").inner_text()
    assert page.evaluate("window.hacked") is None and page.locator("img").count() == 0


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_an_opened_row(show: Any, scheme: str, width: int) -> None:
    own = {"prompt": "How was the trip to the coast? " * 60, "chosen": "a", "rejected": "b"}
    scored = [replace(each, row=replace(each.row, fields=own)) for each in rows(9)]
    page = show(scored, color_scheme=scheme, viewport={"width": width, "height": 800})
    page.get_by_label("class of token").select_option(label="digits")
    page.locator(".listed button.name").first.click()
    assert "trip to the coast" in page.locator(".opened").inner_text()
    assert violations(page) == []


@pytest.mark.parametrize("width", [360, 800])
def test_the_table_never_scrolls_sideways(show: Any, width: int) -> None:
    page = show(rows(20), viewport={"width": width, "height": 800})
    page.get_by_label("class of token").select_option(label="digits")
    page.locator(".listed button.name").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == width
