"""report: the figures of a scored data set, from arithmetic on hand-made rows."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from scored import credit, pairs, saved

from dpo_credit.credit import CreditError, Source
from dpo_credit.estimates.intervals import SparseSums
from dpo_credit.report.figures import to_json
from dpo_credit.report.report import histogram, report
from dpo_credit.report.schema import SHIPPED, json_schema
from dpo_credit.rows.scored import ScoredRow

MIXED = [
    saved([credit(["A", " cat", "."], [1.0, 2.0, 0.5], end=0.25), credit(["No", "\n"], [-1.0, 4.0], end=0.5)], line=1),
    saved([credit(["- ", "b"], [0.5, 0.25]), credit(["7", " cats", "!"], [8.0, 1.0, 2.0])], line=2),
]


def test_sizes_accuracy_and_margins() -> None:
    figures = report(pairs([(1.0, 0.5), (2.0, 3.0), (0.0, -4.0), (1.0, 1.0)]))
    assert (figures.rows, figures.answers, figures.tokens) == (4, 8, 8)
    # margins 0.5, -1, 4 and 0: a tie is not right, as in TRL's rewards/accuracies
    assert (figures.pairs.accuracy.hits, figures.pairs.accuracy.count) == (2, 4)
    assert figures.pairs.margin.mean == (0.5 - 1 + 4 + 0) / 4
    assert figures.pairs.quantiles == np.quantile([0.5, -1, 4, 0], (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()
    assert [side.reward.mean for side in figures.sides] == [(1 + 2 + 0 + 1) / 4, (0.5 + 3 - 4 + 1) / 4]


def test_the_rows_at_the_ends_are_the_wrongly_ordered_and_the_clearest() -> None:
    margins = [0.5, -2.0, 3.0, -1.0, 2.0, 0.25, 0.5]
    figures = report(pairs((margin, 0.0) for margin in margins), shown=2)
    assert [(row.value, row.place.line) for row in figures.lowest] == [(-2.0, 2), (-1.0, 4)]
    assert [(row.value, row.place.line, row.place.id) for row in figures.highest] == [
        (3.0, 3, "row-3"),
        (2.0, 5, "row-5"),
    ]
    both = report(pairs((margin, 0.0) for margin in margins), shown=5)
    assert [row.place.line for row in (*both.lowest, *both.highest)] == [2, 4, 6, 1, 3, 5, 7]  # none twice, either half
    assert report(pairs([(1.0, 0.0)]), shown=0).lowest == []


def test_parts_of_the_margin_add_up_to_it() -> None:
    figures = report(MIXED)
    parts = {kind.name: kind.margin.mean for kind in figures.classes}
    assert parts == {
        "end": (0.25 - 0.5) / 2,
        "white space": -4.0 / 2,
        "punctuation": (0.5 - 2.0) / 2,
        "digits": -8.0 / 2,
        "Markdown": 0.5 / 2,
        "words": (3.0 + 1.0 + 0.25 - 1.0) / 2,
    }
    assert sum(parts.values()) == figures.pairs.margin.mean


def test_classes_hold_every_token_once() -> None:
    figures = report(MIXED)
    assert sum(kind.tokens for kind in figures.classes) == figures.tokens == 4 + 3 + 2 + 3
    words = next(kind for kind in figures.classes if kind.name == "words")
    assert (words.sides["chosen"].mean, words.sides["chosen"].count) == ((1.0 + 2.0 + 0.25) / 3, 3)
    assert "rejected" not in next(kind for kind in figures.classes if kind.name == "Markdown").sides


def test_places_are_tenths_of_the_answer_and_octaves_of_its_tokens_without_the_end() -> None:
    rewards = [float(n) for n in range(20)]
    (side,) = report([saved([credit([" a"] * 20, rewards, end=99.0)], "single")]).sides
    assert [mean.mean for mean in side.relative] == [2 * n + 0.5 for n in range(10)]
    octaves = [rewards[:1], rewards[1:2], rewards[2:4], rewards[4:8], rewards[8:16], rewards[16:]]
    assert [mean.mean for mean in side.absolute] == [sum(octave) / len(octave) for octave in octaves]
    assert (side.reward.mean, side.tokens.mean) == (sum(rewards) + 99, 21)


def test_an_answer_of_an_end_token_alone_has_no_place() -> None:
    (side,) = report([saved([credit([], [], end=1.0)], "single")]).sides
    assert side.relative == [None] * 10 and side.absolute == []


def test_rows_that_are_no_preferences_have_no_margins_and_are_ordered_by_reward() -> None:
    rows = [
        saved([credit([" a"], [1.0])], "single", line=1),
        saved([credit([" b"], [5.0]), credit([" c"], [-2.0]), credit([" d"], [0.0])], "list", line=2),
    ]
    figures = report(rows, shown=1)
    assert figures.pairs is None and [side.side for side in figures.sides] == ["answer"]
    assert [(row.place.line, row.value) for row in (*figures.lowest, *figures.highest)] == [(1, 1.0), (2, 1.0)]
    assert all(kind.margin is None for kind in figures.classes)


def test_several_pairs_of_models_are_all_named() -> None:
    other = Source("other", "reference/model", "bfloat16")
    rows = [saved([credit([" a"], [1.0])], "single"), *pairs([(1.0, 0.0)] * 2)]
    rows.append(saved([credit([" a"], [1.0], source=other)], "single"))
    assert [(source.policy, source.rows) for source in report(rows).sources] == [("policy/model", 3), ("other", 1)]


@pytest.mark.parametrize("scale", [1e-6, 1.0, 300.0])
def test_the_histogram_counts_every_margin_between_round_edges_with_zero_among_them(scale: float) -> None:
    values = np.random.default_rng(0).standard_t(2, 5000) * scale  # heavy tails
    shape = histogram(values)
    assert sum(shape.counts) + shape.below + shape.above == 5000
    assert shape.below + shape.above <= 0.01 * 5000 and 5 <= len(shape.counts) <= 40
    assert 0.0 in shape.edges and len(shape.edges) == len(shape.counts) + 1
    zero = shape.edges.index(0.0)
    assert sum(shape.counts[:zero]) + shape.below == (values < 0).sum()
    width = shape.edges[zero + 1]
    assert f"{width:.0e}"[0] in "125" and width == pytest.approx(float(f"{width:.0e}"), rel=1e-12)  # rounding


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0], [-3.0, -3.0], [1e-9], [5.0, -5.0]])
def test_a_histogram_of_very_few_values_still_holds_them(values: list[float]) -> None:
    shape = histogram(np.array(values))
    assert sum(shape.counts) + shape.below + shape.above == len(values)


def test_no_rows_are_an_error() -> None:
    with pytest.raises(CreditError, match=r"no rows to report on\. Give what"):
        report([])


def test_answers_that_do_not_compare_are_an_error_that_names_the_line() -> None:
    rows = pairs([(1.0, 0.0)])
    rows.append(saved([credit([" a"], [1.0]), credit([" b"], [1.0], source=Source("p", "r", "float32"))], line=2))
    with pytest.raises(CreditError, match=r"scored\.jsonl, line 2: .* different models or betas"):
        report(rows)


def test_the_json_is_the_figures_unrounded_and_valid_under_the_shipped_schema() -> None:
    figures = report([*MIXED, *pairs([(1 / 3, 0.1), (0.0, 2.0)] * 6)], min_rows=2)
    record = json.loads(to_json(figures))
    assert record["schema"] == "dpo-credit/report@1"
    assert record["pairs"]["margin"]["mean"] == figures.pairs.margin.mean
    assert record["words"]["rewarded"][0]["example"]["line"] == figures.words.rewarded[0].example.line
    validator = Draft202012Validator(json.loads(SHIPPED.read_text(encoding="utf-8")))
    validator.validate(record)
    for name in record:
        assert not validator.is_valid({key: value for key, value in record.items() if key != name}), name
    validator.validate(json.loads(to_json(report([saved([credit([" a"], [1.0])], "single")]))))  # all that may be null


def test_the_shipped_schema_is_the_one_of_the_types() -> None:
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == json_schema(), "python -m dpo_credit.report.schema"


def test_memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpo_credit.report.words.SparseSums", partial(SparseSums, 500))  # which soon hold what they may

    def rows(count: int) -> Iterator[ScoredRow]:
        for line in range(count):
            reward = math.sin(line)
            yield saved([credit([" yes"] * 50, [reward] * 50), credit([" no"] * 50, [0.0] * 50)], line=line)

    def peak(count: int) -> int:
        tracemalloc.start()
        report(rows(count))
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    peak(100)  # what is made once
    # a margin, two answers' lengths and rewards, and what tells the prompt are 56 bytes; a row of 100 tokens would be
    # above 10,000, and its sums above 1,000; above 1,024 prompts, which have sums of their own
    assert (peak(1700) - peak(1200)) / 500 < 200
