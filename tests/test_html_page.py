"""The HTML page: what it shows, with JavaScript and without, and what a reader can do with it in a real Chromium."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pages import Open, bad, browser, cell, credit, good, index, missing, preference, show
from scored import scored_row

from dpo_credit.credit import CreditError
from dpo_credit.views.page.score import fragment, render
from dpo_credit.views.scale import Shading

__all__ = ["browser", "show"]  # fixtures


def test_a_missing_browser_skips_unless_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DPO_CREDIT_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no browser"):
        missing("no browser")
    monkeypatch.setenv("DPO_CREDIT_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="required, but no browser"):
        missing("no browser")


def test_no_answers_are_an_error() -> None:
    with pytest.raises(CreditError, match=r"No answers to show\. Give at least one"):
        render([])


def test_a_notebook_cell_shows_every_token() -> None:
    assert re.sub("<[^>]*>", "", fragment(good())).startswith(" An offer as supervisor. Take it? &lt;/s&gt;")


def test_without_javascript_texts_numbers_and_edits_are_there(show: Open) -> None:
    page = show([preference(top=True)], java_script_enabled=False)
    text = page.locator("body").inner_text()
    # chosen 0.121, rejected -0.529: margin 0.65, of which the edit 0.08 + 0.55 and the rest (-0.01) - (-0.03)
    for shown in ("+0.650", "0.657", "+0.630", "+0.020", "policy/model", "bfloat16", "end token appended"):
        assert shown in text, shown
    assert page.locator("mark").all_text_contents() == ["supervisor1", "editor1"]
    titles = page.locator("mark > span").evaluate_all("cells => cells.map((cell) => cell.title)")
    assert titles == ["+0.050", "+0.030", "−0.550"]
    row = page.locator(".edits tbody tr").inner_text().split()
    assert row == ["1", "supervisor", "+0.080", "editor", "−0.550", "+0.630"]
    # untouched after the edit: ". Take it? </s>" moved by 0, 0.02, 0, 0 and 0
    assert "0.004 on average, 0.02 at most" in page.locator(".echo").inner_text()
    page.locator(".tokens summary").first.click()
    assert "super −1.000 −1.500 +0.050 +0.081 manager −0.30" in " ".join(
        page.locator(".tokens tbody tr").nth(3).inner_text().split()
    )
    assert not page.locator(".needs-js").first.is_visible()


def test_without_javascript_the_theme_still_switches(show: Open) -> None:
    page = show([preference()], java_script_enabled=False, color_scheme="light")
    page.get_by_label("dark").check()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(27, 27, 30)"


def test_hovering_a_token_shows_its_numbers(show: Open) -> None:
    page = show([preference(top=True)])
    cell(page, 2, 3).hover()
    text = " ".join(page.locator("#card").inner_text().split())
    # log pi_ref = -1 + 0.55 / 0.1; the rewards so far are 0.02 + 0.001 + 0.01 - 0.55
    for shown in ("token 4 of 9", "reward −0.550", "cumulative −0.519", "log π −1.000 nats", "ref 4.500 nats"):
        assert shown in text, shown
    assert "π fell: this token became 245 times less likely" in text  # exp(5.5)
    assert "“manager”: 74.1 % there, 74.1 % under π" in text  # exp(-0.3)
    page.mouse.move(5, 5)
    page.locator("#card").wait_for(state="hidden")


def test_tab_and_arrows_walk_the_tokens_and_escape_closes(show: Open) -> None:
    page = show([preference()])
    cell(page, 1, 0).focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "ArrowDown"):
        page.keyboard.press(key)
    assert "token 3 of 10" in page.locator("#card").inner_text()
    assert page.locator(":focus").get_attribute("aria-describedby") == "card"
    assert page.locator(":focus").get_attribute("aria-label") == "as plus 0.010"
    page.keyboard.press("End")
    assert "</s>" in page.locator("#card").inner_text()
    page.keyboard.press("Tab")  # one stop an answer
    assert page.evaluate("document.activeElement.closest('.answer').dataset.answer") == "2"
    page.keyboard.press("Escape")
    assert page.locator("#card").is_hidden()


def test_a_tap_shows_a_token_and_a_tap_elsewhere_closes_it(show: Open) -> None:
    page = show([preference()], viewport={"width": 360, "height": 800}, has_touch=True, is_mobile=True)
    cell(page, 2, 3).tap()
    assert "−0.550" in page.locator("#card").inner_text()
    box = page.locator("#card").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    page.locator("h1").tap()
    assert page.locator("#card").is_hidden()


def test_a_reward_within_the_noise_is_grey_and_said_to_be(show: Open) -> None:
    page = show([preference()])  # the noise floor is 0.1 * 0.02
    assert cell(page, 1, 1).get_attribute("class") == "n"
    cell(page, 1, 1).hover()
    assert "Within the numerical error" in page.locator("#card").inner_text()
    assert "within the numerical error, ±0.002" in page.locator(".legend").inner_text()


@pytest.mark.parametrize("unit", ["word", "sentence"])
def test_the_switch_sums_rewards_as_credit_does(show: Open, unit: Any) -> None:
    page = show([preference()])
    page.get_by_label(f"{unit}s").check()
    for number, scored in enumerate((good(), bad()), 1):
        cells = page.locator(f".answer[data-answer='{number}'] [data-cell]").evaluate_all(
            "cells => cells.map((cell) => cell.ariaLabel)"
        )
        shown = [cell.replace("plus ", "+").replace("minus ", "-") for cell in cells]
        rewards = [segment.reward for segment in scored.by(unit)]
        assert [float(re.search(r"[-+]?\d+\.\d+$", text)[0]) for text in shown] == pytest.approx(rewards, abs=6e-4)
    assert page.locator("mark").count() == 2
    assert f"reward per {unit}" in page.locator(".legend").inner_text()


def test_the_page_can_begin_with_words(show: Open) -> None:
    page = show([preference()], shading=Shading("word"), java_script_enabled=False)
    assert page.locator("mark").all_text_contents() == ["supervisor.1", "editor.1"]


def test_the_theme_follows_the_system_and_its_switch(show: Open) -> None:
    page = show([preference()], color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(27, 27, 30)"
    page.get_by_label("light").check()
    assert page.evaluate(background) == "rgb(255, 255, 255)"


def test_the_table_sorts_and_copies_as_csv(show: Open) -> None:
    page = show([preference()])
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.locator(".tokens summary").nth(1).click()
    table = page.locator(".tokens").nth(1)
    table.get_by_role("button", name="reward").click()
    table.get_by_role("button", name="reward").click()
    assert table.locator("[aria-sort='ascending']").inner_text().strip() == "reward"
    assert table.locator("tbody th").first.inner_text() == "editor"
    table.get_by_role("button", name="Copy as CSV").click()
    assert page.get_by_role("status").inner_text() == "Copied 9 rows as CSV."
    lines = page.evaluate("copied").split("\r\n")
    assert lines[0] == "answer,position,token,log_pi,log_pi_ref,reward,cumulative"
    assert lines[4] == "rejected,4, editor,-1,4.5,-0.55,-0.519"
    assert len(lines) == 1 + 9 + 1


def test_csv_quotes_what_would_break_it(show: Open) -> None:
    page = show([scored_row([credit([' say "a, b"', "\n", "c"], [0.1, 0.2, 0.3])])])
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.locator(".tokens summary").click()
    page.locator(".copy").click()
    assert ' say ""a, b"""' in page.evaluate("copied") and ',"\n",' in page.evaluate("copied")


def test_a_permalink_focuses_its_token_and_a_click_makes_one(show: Open) -> None:
    page = show([preference()], "#a1t5")
    assert page.locator(":focus").get_attribute("aria-label") == "visor plus 0.030"
    assert page.locator("#card").is_visible()
    cell(page, 2, 3).click()
    assert page.url.endswith("#a2t4")
    page.evaluate("location.hash = '#a1t1'")
    page.wait_for_function("document.activeElement.textContent.startsWith('An')")


def test_an_index_sorts_by_margin_and_opens_each_diff(show: Open) -> None:
    page = show(index())
    assert page.locator(".index > tbody").count() == 25
    page.get_by_role("button", name="margin").click()
    assert page.locator(".index > tbody").first.inner_text().split()[0] == "row-24"
    page.get_by_role("link", name="row-24").click()
    assert page.url.endswith("#e25")
    assert "+0.440" in page.locator(".entry .verdict").inner_text()  # 0.24 - (-0.2)
    assert page.locator(".entry .prompt").inner_text() == "Prompt"
    page.get_by_label("words").check()
    assert "reward per word" in page.locator(".legend").inner_text()
    page.get_by_role("link", name="row-24").click()
    assert page.locator(".entry").is_hidden()


def test_a_permalink_opens_its_row(show: Open) -> None:
    page = show(index(), "#e7a2t1")
    assert page.locator(":focus").get_attribute("aria-label") == "no minus 0.2000"


def test_an_index_without_javascript_holds_texts_rewards_and_margins(show: Open) -> None:
    page = show(index(), java_script_enabled=False)
    assert page.locator(".index > tbody").nth(24).locator("td").all_inner_texts()[:4] == [
        "+0.440",
        "+0.240",
        "−0.200",
        "3/3",
    ]
    row = page.locator(".detail").nth(24)
    row.locator("summary").first.click()
    assert "yes1 now" in row.locator(".text").nth(1).text_content()
    assert "+0.440" in row.locator(".verdict").inner_text()


def test_more_answers_stand_in_the_order_of_their_rewards(show: Open) -> None:
    answers = tuple(credit([" a"], [reward]) for reward in (0.1, 0.5, -0.3))
    page = show([scored_row(answers, ("first", "second", "third"))])
    assert page.locator(".answer h3").all_inner_texts() == ["second\n+0.500", "first\n+0.100", "third\n−0.300"]


def test_print_leaves_out_the_controls(show: Open) -> None:
    page = show([preference()], color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator(".controls").is_hidden()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf()[:5] == b"%PDF-"


def test_the_policy_of_the_page_lets_nothing_else_run() -> None:
    page = render([preference()])
    policy = re.search(r'Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    assert " style=" not in page and not re.search(r"(src|href)=\"(?!#|data:,)", page)
