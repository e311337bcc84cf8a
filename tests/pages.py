"""Pages in a real Chromium, for the tests of the HTML view: hand-made answers, and fixtures that open and watch a page.

A test that needs them is skipped where Chromium, playwright or axe-core (`npm ci` in tests/browser) is missing;
DPO_CREDIT_BROWSER=required turns that into a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import credits
import pytest
from scored import scored_row

from dpo_credit.align import Diff
from dpo_credit.credit import Alternative, Credit, Source
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.segments import Unit
from dpo_credit.views.page.score import render
from dpo_credit.views.page.stretches import bounds_of, folds
from dpo_credit.views.scale import Shading

AXE = Path(__file__).parent / "browser" / "node_modules" / "axe-core" / "axe.min.js"
SOURCE = credits.noisy(0.02)
PROMPT = "POST: I got an offer as supervisor in Boston for $65K.\n\nTL;DR:"
Open = Callable[..., Any]
CODE = ["\n", "\n", "```", "py", "\n", "if", " x", " <", "b", ">", ":", "\n", "    ", "pass", "\n", "```", "\n", "\n"]
UNITS: tuple[Unit, ...] = ("token", "word", "sentence", "line")


def credit(pieces: list[str], rewards: list[float], *, top: bool = False, source: Source = SOURCE) -> Credit:
    """An answer whose tokens earn these rewards at beta 0.1; log pi is -1 for all. An end token of 0 follows."""
    made = credits.credit(pieces, rewards, end=0.0, beta=0.1, source=source)
    count = len(made.policy_logps)
    tops = ((Alternative(" manager", -0.3), Alternative(" clerk", -2.0)),) * count if top else ()
    return replace(
        made,
        policy_logps=(-1.0,) * count,
        reference_logps=tuple(-1.0 - ratio for ratio in made.policy_logps),
        policy_top=tops,
        reference_top=tops,
    )


def good(top: bool = False) -> Credit:
    pieces = [" An", " offer", " as", " super", "visor", ".", " Take", " it", "?"]
    return credit(pieces, [0.02, 0.001, 0.01, 0.05, 0.03, 0.0, -0.01, 0.02, 0.0], top=top)


def bad(top: bool = False) -> Credit:
    pieces = [" An", " offer", " as", " editor", ".", " Take", " it", "?"]
    return credit(pieces, [0.02, 0.001, 0.01, -0.55, 0.0, -0.03, 0.02, 0.0], top=top)


def preference(row: str = "job-offer", *, top: bool = False) -> ScoredRow:
    return scored_row((good(top), bad(top)), ("chosen", "rejected"), row, prompt=PROMPT)


def index(count: int = 25) -> list[ScoredRow]:
    """Rows whose margins rise with their number: the chosen answer's reward is n / 100."""
    answers = [credit([" yes", " now"], [n / 100, 0.0]) for n in range(count)]
    return [
        scored_row((answer, credit([" no", " now"], [-0.2, 0.0])), ("chosen", "rejected"), f"row-{n}", prompt=PROMPT)
        for n, answer in enumerate(answers)
    ]


def pieces(*changed: tuple[int, str]) -> list[str]:
    """Forty sentences of eight tokens, every fifth the end of a line, and a block of code; some words changed."""
    words = [" We", " go", " on", " a", " long", " way", " home"]
    text = [piece for n in range(40) for piece in (*words, ".\n" if n % 5 == 4 else ".")]
    for place, word in changed:
        text[place] = word
    return [*text[:160], *CODE, *text[160:]]


def rewards(count: int, factor: int) -> list[float]:
    """Numbers between -0.504 and 0.504, none twice; nor are differences of two factors' numbers."""
    return [((n + 1) * factor % 1009 - 504) / 1000 for n in range(count)]


def long_pair(row: str = "long") -> ScoredRow:
    """Edits in sentences 2 and 24, behind the code."""
    chosen, rejected = pieces((10, " stay"), (194, " short")), pieces((10, " run"), (194, " very"))
    both = credit(chosen, rewards(len(chosen), 37)), credit(rejected, rewards(len(rejected), 53))
    return scored_row(both, ("chosen", "rejected"), row, prompt="Where?")


def folds_of(compared: Diff) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return folds(compared, {unit: bounds_of(compared.chosen.segments, unit) for unit in UNITS})


def many_edits() -> tuple[Credit, Credit]:
    """Sixty edits side by side, every one a token after the next."""
    chosen = [word for n in range(60) for word in (f" w{n}", " same")]
    rejected = [word for n in range(60) for word in (f" v{n}", " same")]
    return credits.credit(chosen, rewards(120, 37)), credits.credit(rejected, rewards(120, 53))


def missing(what: str) -> None:
    if os.environ.get("DPO_CREDIT_BROWSER") == "required":
        pytest.fail(f"DPO_CREDIT_BROWSER=required, but {what}")
    pytest.skip(what)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        missing("there is no chromium on the PATH")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Open]:
    """Open entries, or a page that is made already, from disk.

    Afterwards: nothing was asked of any network, and the console stayed silent.
    """
    contexts, asked, said = [], [], []

    def opened(entries: list[ScoredRow] | str, hash_: str = "", *, shading: Shading = Shading(), **context: Any) -> Any:
        file = tmp_path / "page.html"
        file.write_text(entries if isinstance(entries, str) else render(entries, shading), encoding="utf-8")
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri() + hash_)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []


def cell(page: Any, answer: int, number: int) -> Any:
    return page.locator(f".answer[data-answer='{answer}'] [data-cell='{number}']")


def violations(page: Any) -> list[str]:
    if not AXE.is_file():
        missing("axe-core is not installed: npm ci in tests/browser")
    page.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
    found = page.evaluate("axe.run().then(found => found.violations)")
    return [
        f"{v['id']}: {node['html'][:120]} {node['failureSummary']}"
        for v in found
        if v["impact"] in ("serious", "critical")
        for node in v["nodes"]
    ]
