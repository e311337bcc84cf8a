"""Windows of rows: a bad row among good ones, and a device without enough memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from sides import FromLogits, with_budget
from tiny import VOCABULARY, furthest
from torch import Tensor

from dpo_credit import Credit, CreditError, Example, ModelPair, Scorer, score
from dpo_credit.forward.budget import LEAST_TOKENS
from dpo_credit.models.torch_side import TorchSide

ROWS = [[Example(f"How many of {n}?", f" {n} days"), Example(f"How many of {n}?", " none")] for n in range(9)]


def rewards(results: Sequence[tuple[Credit, ...] | CreditError]) -> list[tuple[float, ...]]:
    return [credit.rewards for row in results if not isinstance(row, CreditError) for credit in row]


def test_rows_score_as_their_answers_do(tiny_pair: ModelPair) -> None:
    expected = [credit.rewards for credit in score(tiny_pair, [example for row in ROWS for example in row])]
    assert rewards(Scorer(tiny_pair).rows(ROWS)) == expected
    for budget in (1, 30, 100_000):
        ours = rewards(Scorer(with_budget(tiny_pair, budget)).rows(ROWS))
        assert furthest(ours, expected) < 1e-6  # beta times float32's 1e-5 nats


def test_a_bad_row_leaves_the_others_alone(tiny_pair: ModelPair) -> None:
    rows = [ROWS[0], [Example("Empty?", "", "empty")], ROWS[1], [Example("Long. " * 300, " Short", "long")]]
    first, empty, second, long = Scorer(tiny_pair).rows(rows)
    assert str(empty) == "empty: the answer is empty. There is no token to score."
    assert isinstance(long, CreditError) and str(long).startswith("long: ")
    assert furthest(rewards([first, second]), rewards(Scorer(tiny_pair).rows(ROWS[:2]))) < 1e-6
    assert [isinstance(row, CreditError) for row in Scorer(tiny_pair).rows(rows[1:2])] == [True]
    assert Scorer(tiny_pair).rows([]) == []


def test_numbers_that_are_not_finite_belong_to_their_row(tiny_pair: ModelPair) -> None:
    def broken(ids: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        logits = torch.zeros(int(rows.sum()), VOCABULARY)
        logits[-1] = torch.nan  # the last row of the shortest sequence
        return logits

    results = Scorer(replace(tiny_pair, policy=FromLogits("broken", broken))).rows(
        [[Example("A long prompt, and then some:", " and more")], [Example("Short?", " x", "short")]]
    )
    assert isinstance(results[0], tuple)
    assert isinstance(results[1], CreditError) and str(results[1]).startswith("short: the policy gives")


def crowded(pair: ModelPair, limit: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Make every pass over `limit` tokens fail; the list holds the budgets that were tried."""
    tried: list[int] = []
    packed = TorchSide._packed

    def crowd(self: TorchSide, shared: Any, batch: Any, tokens: int) -> Any:
        tried.append(tokens)
        if tokens > limit:
            raise error("DefaultCPUAllocator: can't allocate memory")
        return packed(self, shared, batch, tokens)

    monkeypatch.setattr(TorchSide, "_packed", crowd)
    return tried


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_out_of_memory_halves_the_tokens_at_a_time(
    tiny_pair: ModelPair, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rewards(Scorer(tiny_pair).rows(ROWS))
    tried = crowded(tiny_pair, 300, error, monkeypatch)
    scorer = Scorer(with_budget(tiny_pair, 1024))
    assert furthest(rewards(scorer.rows(ROWS)), expected) < 1e-6
    assert tried == [1024, 512, 256, 256]
    assert scorer.state.tokens_per_batch == 256
    assert scorer.notes == ["out of memory: now 512 tokens at a time", "out of memory: now 256 tokens at a time"]
    scorer.rows(ROWS)
    assert tried[4:] == [256, 256]


def test_no_memory_at_all_says_what_to_do(tiny_pair: ModelPair, monkeypatch: pytest.MonkeyPatch) -> None:
    crowded(tiny_pair, 0, torch.OutOfMemoryError, monkeypatch)
    pair = with_budget(tiny_pair, 1024)
    with pytest.raises(CreditError, match=rf"^out of memory even with {LEAST_TOKENS} tokens at a time\. Cut long"):
        Scorer(pair).rows(ROWS)


def test_any_other_failure_is_a_bug_and_shows(tiny_pair: ModelPair, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: TorchSide, *_: Any) -> Any:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(TorchSide, "_packed", fail)
    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        Scorer(tiny_pair).rows(ROWS)
