"""Natural posts: what every one of them must hold, and that right and wrong summaries are what they are called."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from random import Random
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpo_credit import Example
from dpo_credit.demo import natural_publish, natural_rows
from dpo_credit.demo.errors import FactEdit
from dpo_credit.demo.natural import (
    Draft,
    Slot,
    Wrong,
    drafts,
    draw,
    draw_pairs,
    draw_posts,
    draw_wrong,
    errors_in,
    other_facts,
    summary_of,
)
from dpo_credit.demo.natural_rows import RULED_SHARE, dpo_rows, likeliest, ruled, sft_rows
from dpo_credit.demo.rows import labelled_row, preference_row

SPLITS = ("train", "validation", "held_out")
TYPES = {
    *("amount", "range", "date", "duration", "age", "name", "relation", "place", "role", "count", "decision"),
    *("negation", "actor", "thing"),
}
EVERY = [draft for split in SPLITS for draft in drafts(split)]


def slots_in(text: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", text)


def test_there_are_at_least_400_posts_by_many_authors_on_many_subjects() -> None:
    assert len(EVERY) >= 400
    assert len({draft.author for draft in EVERY}) >= 100
    assert len({draft.subject for draft in EVERY}) >= 12
    assert len({draft.title for draft in EVERY}) == len(EVERY)


def test_splits_share_no_author_on_a_subject() -> None:
    groups = [{(draft.author, draft.subject) for draft in drafts(split)} for split in SPLITS]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert all(len(group) >= 40 for group in groups)


@pytest.mark.parametrize("subject", sorted({draft.subject for draft in EVERY}))
def test_a_post_has_typed_slots_and_three_summaries_that_use_them(subject: str) -> None:
    for draft in EVERY:
        if draft.subject == subject:
            check(draft)


def check(draft: Draft) -> None:
    assert len(draft.summaries) >= 3
    assert {slot.type for slot in draft.slots.values()} <= TYPES
    in_summaries = Counter(name for summary in draft.summaries for name in set(slots_in(summary)))
    for name, slot in draft.slots.items():
        assert name in slots_in(draft.text), f"{name} is not in the post"
        assert in_summaries[name] >= 2, f"{name} is in fewer than two summaries"
        assert len({short.lower() for _, short in slot.values}) == len(slot.values) >= 2
    kinds = Counter(slot.type for slot in draft.slots.values())
    assert sum(count > 1 for count in kinds.values()) >= 2, "no facts that could be taken for each other"
    for text in (draft.text, *draft.summaries):
        assert set(slots_in(text)) <= set(draft.slots)
    words = len(draw(Random(0), draft).post.body.split())
    assert 60 <= words <= 350


def test_a_drawn_post_holds_its_values_and_its_right_summary_says_them() -> None:
    for draft in EVERY:
        drawn = draw(Random(draft.title), draft)
        values = {name: draft.slots[name].values[n] for name, n in drawn.chosen.items()}
        for long, _ in values.values():
            assert long.lower() in drawn.post.body.lower()
        right = summary_of(drawn, draft.summaries[0], {})
        for span in right.spans:
            assert right.text[span.start : span.end].lower() == values[span.slot][1].lower()
        assert right.text.startswith(" ") and "{" not in right.text


def test_facts_of_a_type_differ_within_a_post() -> None:
    for draft in EVERY:
        for seed in range(3):
            facts = draw(Random(seed), draft).post.facts
            assert len({(fact.type, fact.value.lower()) for fact in facts}) == len(facts), draft.title


def test_labels_mark_what_differs_and_nothing_else_does() -> None:
    for number, pair in enumerate(draw_pairs(5, 300, "train")):
        assert 1 <= len(pair.edits) <= 2
        row = labelled_row(pair, str(number))
        assert row["chosen"] != row["rejected"]
        text = row["rejected"]
        for edit in reversed(pair.edits):
            assert text[edit.start : edit.end] == edit.wrong and edit.wrong.lower() != edit.right.lower()
            text = text[: edit.start] + edit.right + text[edit.end :]
        assert text == row["chosen"]


def test_half_of_the_errors_are_another_fact_of_the_post() -> None:
    pairs = list(draw_pairs(6, 1000, "train"))
    swapped = sum(
        any(fact.value.lower() == edit.wrong.lower() and fact.slot != edit.slot for fact in pair.post.facts)
        for pair in pairs
        for edit in pair.edits
    )
    edits = sum(len(pair.edits) for pair in pairs)
    # half where there is another fact of the type, and two that change places; fewer where a type comes once
    assert 0.3 < swapped / edits < 0.7


def test_two_facts_of_a_type_may_change_places() -> None:
    exchanged = [
        pair
        for pair in draw_pairs(7, 300, "train")
        if len(pair.edits) == 2 and pair.edits[0].right.lower() == pair.edits[1].wrong.lower()
    ]
    assert exchanged
    for pair in exchanged:
        first, second = pair.edits
        assert pair.post.fact(first.slot).type == pair.post.fact(second.slot).type


def test_the_same_seed_gives_the_same_rows_and_another_one_others() -> None:
    assert list(sft_rows(1, 20)) == list(sft_rows(1, 20)) != list(sft_rows(2, 20))
    first, again = ([pair.rejected.text for pair in draw_pairs(1, 20, "held_out")] for _ in range(2))
    assert first == again


def test_three_of_ten_sft_summaries_hold_an_error() -> None:
    rows = list(sft_rows(3, 800))
    right = {
        (drawn.post.prompt, summary_of(drawn, template, {}).text)
        for drawn, rng in draw_posts(3, 800, "train")
        for template in drawn.draft.summaries
    }
    wrong = sum((row["prompt"], row["completion"]) not in right for row in rows)
    assert 0.24 < wrong / len(rows) < 0.36  # 0.3 +- 3.7 standard errors


def test_a_capital_begins_a_sentence_whatever_value_stands_there() -> None:
    slots = {"who": Slot("actor", (("my brother", "my brother"), ("me", "me")))}
    made = Draft("a", "b", "c", "d", "{who} sold it. {who} did.", ("{who} did it. then {who}.",), slots)
    drawn = draw(Random(1), made)
    name = drawn.post.fact("who").value
    assert drawn.post.body == f"{name.capitalize()} sold it. {name.capitalize()} did."
    assert summary_of(drawn, made.summaries[0], {}).text == f" {name.capitalize()} did it. Then {name}."
    pair = Wrong(drawn, made.summaries[0], errors_in(Random(1), drawn, made.summaries[0], 1)).pair
    assert {edit.wrong for edit in pair.edits} == {("My brother" if name == "me" else "Me")} | {
        "my brother" if name == "me" else "me"
    }


def test_no_label_is_white_space_alone() -> None:
    labels = [label for pair in draw_pairs(1, 500, "validation") for label in labelled_row(pair, "x")["labels"]]
    assert all(label["text"].strip() for label in labels)
    # what lacks words is wrong in what stands in their place, what lacks letters in the one before
    assert FactEdit("wait", "two and a half hours", "two hours", 10, 19).wrong_characters == (14, 15)
    assert FactEdit("wait", "sixteen", "six", 10, 13).wrong_characters == (12, 13)
    assert FactEdit("wait", "$214", "$24", 10, 13).wrong_characters == (11, 12)
    assert FactEdit("wait", "not on time", "on time", 10, 17).wrong_characters == (10, 11)
    assert FactEdit("wait", "paid in full", "paid", 10, 14).wrong_characters == (13, 14)


def test_the_likeliest_wrong_value_is_taken_and_facts_that_changed_places_are_left() -> None:
    wrongs = list(draw_wrong(3, 60, "train"))
    asked: list[Example] = []

    def shortest(_models: object, examples: list[Example]) -> list[SimpleNamespace]:
        asked.extend(examples)
        return [SimpleNamespace(policy_logps=(-len(example.answer),)) for example in examples]

    with patch.object(natural_rows, "score", shortest):
        changed = likeliest(None, wrongs)  # type: ignore[arg-type]
    assert asked and len(changed) == len(wrongs)
    exchanged = 0
    for before, after in zip(wrongs, changed, strict=True):
        pair, edit = before.pair, before.pair.edits[0]
        if len(before.values) > 1 and {e.right.lower() for e in pair.edits} == {e.wrong.lower() for e in pair.edits}:
            exchanged += 1
            assert after == before
            continue
        first = after.pair.edits[0]
        others = {name: value for name, value in before.values.items() if name != edit.slot}
        possible = {
            *other_facts(pair.post, edit.slot),
            *(short for _, short in before.drawn.draft.slots[edit.slot].values),
        } - {pair.post.fact(edit.slot).value, *others.values()}
        assert after.values == others | {edit.slot: after.values[edit.slot]}
        assert len(first.wrong) == min(map(len, possible))
    assert exchanged


def test_a_quarter_of_the_preferences_have_errors_by_rules() -> None:
    rows, slots = dpo_rows(9, 400), [preference_row(wrong.pair) for wrong in draw_wrong(9, 400, "train")]
    assert [row["chosen"] for row in rows] == [row["chosen"] for row in slots]
    by_rules = sum(row != other for row, other in zip(rows, slots, strict=True))
    assert abs(by_rules / 400 - RULED_SHARE) < 0.11  # five standard deviations
    row = {"prompt": "p", "chosen": " Hm.", "rejected": " Ha."}
    assert ruled(row) == row  # which offers nothing to change


def test_what_is_published_is_half_as_large_and_names_its_base(tmp_path: Path) -> None:
    settings = {"base_model_name_or_path": "/somewhere", "target_modules": ["v", "k"], "r": 8, "loftq_config": {}}
    weights = {"base_model.model.a.lora_A.weight": torch.tensor([[1.0, 0.1]])}
    for folder in ("run", "run/ref"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "adapter_config.json").write_text(json.dumps(settings))
        save_file(weights, tmp_path / folder / "adapter_model.safetensors")
    natural_publish.main([str(tmp_path / "run"), "--out", str(tmp_path / "out")])
    for folder in ("out", "out/ref"):
        kept = json.loads((tmp_path / folder / "adapter_config.json").read_text())
        assert kept == {"base_model_name_or_path": natural_publish.BASE, "target_modules": ["k", "v"], "r": 8}
        (half,) = load_file(tmp_path / folder / "adapter_model.safetensors").values()
        assert half.tolist() == [[1.0, 0.0999755859375]]  # 0.1 in float16
