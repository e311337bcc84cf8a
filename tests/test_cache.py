"""Kept log-probabilities: the same to the last bit, and only for the same weights and tokens."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sides import unshared
from tiny import language_model

from dpo_credit import Conventions, CreditError, Example, ModelPair, Scorer
from dpo_credit.models.torch_side import TorchSide

ROWS = [
    [Example("My landlord raised the rent.\n\nTL;DR:", answer) for answer in (" It went up.", " It went down.")],
    [Example("Where is the lake?", " 🇵🇹")],
]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many answers each call of a model scored."""
    counts: list[int] = []
    logps = TorchSide.logps

    def counted(self: TorchSide, batch: Any) -> Any:
        counts.append(len(batch))
        return logps(self, batch)

    monkeypatch.setattr(TorchSide, "logps", counted)
    return counts


def other_policy(pair: ModelPair) -> ModelPair:
    module = language_model(seed=9)
    return replace(pair, policy=unshared(module, "other"))


def test_a_second_run_needs_no_model_and_gives_the_same_bits(
    tiny_pair: ModelPair, tmp_path: Path, ran: list[int]
) -> None:
    plain = Scorer(tiny_pair).rows(ROWS)
    del ran[:]
    assert Scorer(tiny_pair, cache=tmp_path).rows(ROWS) == plain
    assert ran == [3, 3]
    assert Scorer(tiny_pair, cache=tmp_path).rows(ROWS) == plain
    assert ran == [3, 3]


def test_a_second_beta_costs_nothing_and_a_second_policy_half(
    tiny_pair: ModelPair, tmp_path: Path, ran: list[int]
) -> None:
    Scorer(tiny_pair, cache=tmp_path).rows(ROWS)
    del ran[:]
    changed = Scorer(replace(tiny_pair, beta=0.7), cache=tmp_path).rows(ROWS)
    assert ran == []
    assert changed == Scorer(replace(tiny_pair, beta=0.7)).rows(ROWS)
    pair = other_policy(tiny_pair)
    expected = Scorer(pair).rows(ROWS)
    del ran[:]
    assert Scorer(pair, cache=tmp_path).rows(ROWS) == expected
    assert ran == [3]


def test_only_what_is_missing_is_scored(tiny_pair: ModelPair, tmp_path: Path, ran: list[int]) -> None:
    Scorer(tiny_pair, cache=tmp_path).rows(ROWS[1:])
    del ran[:]
    results = Scorer(tiny_pair, cache=tmp_path).rows(ROWS)
    assert ran == [2, 2]
    del ran[:]
    assert [len(row) for row in results if not isinstance(row, CreditError)] == [2, 1]
    for ours, alone in zip(results, Scorer(tiny_pair).rows(ROWS), strict=True):
        assert not isinstance(ours, CreditError) and not isinstance(alone, CreditError)
        for one, other in zip(ours, alone, strict=True):
            assert one.rewards == pytest.approx(other.rewards, abs=1e-6)  # beta times float32's 1e-5 nats


def test_a_convention_that_changes_the_tokens_is_another_answer(
    tiny_pair: ModelPair, tmp_path: Path, ran: list[int]
) -> None:
    Scorer(tiny_pair, cache=tmp_path).rows(ROWS)
    del ran[:]
    Scorer(tiny_pair, cache=tmp_path, conventions=Conventions(eos="never")).rows(ROWS)
    assert ran == [3, 3]


def test_the_same_ids_cut_elsewhere_are_another_answer(tiny_pair: ModelPair, tmp_path: Path, ran: list[int]) -> None:
    Scorer(tiny_pair, cache=tmp_path).rows([[Example("Where is the lake?", " Here. There.")]])
    Scorer(tiny_pair, cache=tmp_path).rows([[Example("Where is the lake? Here.", " There.")]])
    assert ran == [1, 1, 1, 1]


def test_a_cache_that_is_no_database_is_refused(tiny_pair: ModelPair, tmp_path: Path) -> None:
    Scorer(tiny_pair, cache=tmp_path).rows(ROWS)
    for file in tmp_path.iterdir():
        file.write_bytes(b"no database, whatever its name says" * 100)
    with pytest.raises(CreditError, match=r"^cannot use the cache .*\. Delete it, or give another --cache\.$"):
        Scorer(tiny_pair, cache=tmp_path).rows(ROWS)
    (tmp_path / "file").write_text("")
    with pytest.raises(CreditError, match=r"^cannot use the cache .*file"):
        Scorer(tiny_pair, cache=tmp_path / "file")


@pytest.mark.parametrize("damage", ["a flipped bit", "a short entry", "text", "nothing"])
def test_a_damaged_entry_is_computed_anew_and_that_is_said_once(
    tiny_pair: ModelPair, tmp_path: Path, damage: str
) -> None:
    plain = Scorer(tiny_pair, cache=tmp_path).rows(ROWS)
    for file in tmp_path.glob("*.sqlite"):
        with sqlite3.connect(file) as database:
            for key, blob in database.execute("SELECT key, nats FROM logps").fetchall():
                bad = {"a flipped bit": bytes([*blob[:-1], blob[-1] ^ 1]), "a short entry": blob[:-3], "text": "x"}
                database.execute("UPDATE logps SET nats = ? WHERE key = ?", (bad.get(damage, b""), key))
    scorer = Scorer(tiny_pair, cache=tmp_path)
    assert scorer.rows(ROWS) == plain
    assert scorer.notes == ["the cache holds entries that were damaged: they are computed anew"]
    again = Scorer(tiny_pair, cache=tmp_path)
    assert again.rows(ROWS) == plain and again.notes == []


def test_a_cache_that_is_no_database_is_one_line(tiny_pair: ModelPair, tmp_path: Path) -> None:
    Scorer(tiny_pair, cache=tmp_path).rows(ROWS)
    for file in tmp_path.glob("*.sqlite"):
        file.write_bytes(b"not a database, though it is as long as one might be" * 100)
    with pytest.raises(CreditError, match=r"^cannot use the cache .*Delete it, or give another --cache"):
        Scorer(tiny_pair, cache=tmp_path).rows(ROWS)
