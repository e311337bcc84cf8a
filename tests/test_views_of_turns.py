"""Views of an answer of several turns: others' turns are told apart, and what does not count says so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from credits import credit
from pages import Open, browser, show
from rich.console import Console
from scored import scored_row
from test_turns import TABLE
from tiny import CHATML, tokenizer

from dpo_credit.credit import Credit, Message
from dpo_credit.inspect.scored_text import read_answers
from dpo_credit.rows.records import parse_row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.text.conventions import Conventions
from dpo_credit.views.look import Look
from dpo_credit.views.page.score import render as page_of
from dpo_credit.views.terminal import diff, score
from dpo_credit.views.wording import extent

__all__ = ["browser", "show"]  # fixtures

PIECES = ["Ten", "?", " #user ", "Four", ".", " #assistant ", "Done"]
ROLES = ("assistant", "assistant", "", "user", "user", "", "assistant")


def several(scored: str = "all") -> Credit:
    made = credit(PIECES, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    return replace(made, tokens=replace(made.tokens, roles=ROLES, scored=scored))


def shown(row: ScoredRow, width: int = 80, view=score.render) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(view(row, Look(colours="none", width=width), rows=0))
    return capture.get()


def test_how_many_tokens_count_is_said() -> None:
    assert extent(several().tokens) == "7 tokens in 3 turns"
    assert extent(several("assistant").tokens) == "3 of 7 tokens, those of the assistant's turns"
    assert extent(credit(["a"], [0.1]).tokens) == "1 token"


def test_the_terminal_dims_what_is_not_the_assistants() -> None:
    text = score.answer(several(), score.Shading().scales([several()])[0], Look(), "token")
    dim = {text.plain[span.start : span.end].strip() for span in text.spans if getattr(span.style, "dim", False)}
    assert dim == {"#user", "Four", ".", "#assistant"}


@pytest.mark.parametrize("view", [score.render, diff.render])
def test_the_end_of_the_prompt_stands_in_one_line(view) -> None:
    both = (credit([" a"], [0.1]), credit([" b"], [0.2]))
    row = scored_row(both, ("chosen", "rejected"), prompt="We drove to the lake.\n" * 30 + "TL;DR:")
    first, second, *_ = shown(row, 60, view).split("\n")
    assert first.startswith("prompt  …") and first.endswith("the lake. TL;DR:") and len(first) <= 60
    assert second == ""
    assert shown(scored_row(both, ("chosen", "rejected"), prompt="Hi:"), 60, view).startswith("prompt  Hi:\n\n")
    assert not shown(scored_row(both, ("chosen", "rejected")), 60, view).startswith("prompt")


def test_the_prompt_of_a_last_turn_has_the_turns_before_it() -> None:
    turns = [{"role": role, "content": text} for role, text in (("assistant", "Ten?"), ("user", "Four."))]
    row = parse_row({"prompt": [{"role": "user", "content": "Hi"}], "completion": [*turns, turns[0]]}, "x")
    scored = ScoredRow(row, (several("last"),))
    assert scored.prompt == "user: Hi\n\nassistant: Ten?\n\nuser: Four."
    assert ScoredRow(row, (several(),)).prompt == "user: Hi"
    assert row.examples[0].turns[1] == Message("user", "Four.")


def test_the_page_tells_turns_apart_and_says_what_does_not_count(show: Open) -> None:
    page = show([scored_row((several("assistant"), several("assistant")), ("chosen", "rejected"))])
    aside = page.locator(".answer").first.locator(".aside")
    assert [text.split()[0] for text in aside.all_inner_texts()] == ["#user", "Four", ".", "#assistant"]
    page.locator(".answer").first.locator("[data-cell='3']").click()
    card = page.locator("#card").inner_text()
    assert "does not count" in card and "0.000" in card.replace("0.00\n", "0.000\n")
    assert "3 of 7 tokens, those of the assistant's turns" in page.locator(".sums").first.inner_text()
    assert "turns that count" in page.locator("body").inner_text()


def test_the_pages_numbers_add_up_to_the_reward() -> None:
    made = several("assistant")
    html = page_of([scored_row((made, made), ("chosen", "rejected"))])
    data = json.loads(html.split('<script type="application/json">')[1].split("</script>")[0])["answers"][0]
    counted = [ratio for n, ratio in enumerate(data["ratio"]) if n not in data["uncounted"]]
    assert data["weight"] * sum(counted) == pytest.approx(made.reward)
    assert data["uncounted"] == data["aside"] == [2, 3, 4, 5]


def test_inspect_counts_what_a_template_writes_between_turns_as_added() -> None:
    made = tokenizer(chat_template=CHATML)
    ((text, tokens), _) = read_answers(made, parse_row(TABLE, "x").examples, Conventions())
    inside = [start < end for start, end in tokens.spans]  # what closes the answer shows no text
    added = [cell.origin == "added" for cell, within in zip(text.answer, inside, strict=True) if within]
    assert added == [role == "" for role, within in zip(tokens.roles, inside, strict=True) if within]
    assert any(added) and not all(added)
