"""What training changed at each position: divergences, entropies and ranks equal a naive pass in float64."""

from __future__ import annotations

import json
import math
from dataclasses import astuple
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from program import run
from sides import FromLogits, one_at_a_time, unshared
from tiny import language_model, of_family, random_tokens
from torch import Tensor

from dpo_credit.credit import CreditError, Tokens
from dpo_credit.forward.logprobs import LanguageModel
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.shifts import shifts

EXAMPLES = Path(__file__).parents[1] / "examples"


def fixed(*rows: list[float]) -> FromLogits:
    """A side that gives these logits at every answer's first positions."""

    def logits(ids: Tensor, mask: Tensor, rows_: Tensor) -> Tensor:
        return torch.tensor(rows, dtype=torch.float64)[: int(rows_.sum())]

    model: LanguageModel = logits
    return FromLogits("fixed", model)


def naive(module: torch.nn.Module, tokens: Tokens) -> list[list[float]]:
    """(T, V) log-probabilities, one sequence alone, in the module's own dtype."""
    ids = torch.tensor([[*tokens.prompt_ids, *tokens.answer_ids]])
    with torch.no_grad():
        return module(input_ids=ids).logits[0, len(tokens.prompt_ids) - 1 : -1].log_softmax(-1).tolist()


def test_two_tokens_by_hand():
    # policy 3/4, 1/4; reference 1/2, 1/2
    policy, reference = fixed([math.log(3.0), 0.0]), fixed([0.0, 0.0])
    (shift,) = shifts(policy, reference, [Tokens((0,), (1,), ("b",), ((0, 1),), "b")])
    # float64 sums of two numbers below 1
    assert shift.kl == pytest.approx([0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)], abs=1e-7)
    assert shift.reverse_kl == pytest.approx([0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)], abs=1e-7)
    assert shift.policy_entropy == pytest.approx([-0.75 * math.log(0.75) - 0.25 * math.log(0.25)], abs=1e-7)
    assert shift.reference_entropy == pytest.approx([math.log(2)], abs=1e-7)
    assert (shift.policy_rank, shift.reference_rank) == ((2,), (1,))  # of two equally likely, both are first


@pytest.mark.parametrize("tokens", [3, 256])
def test_they_equal_a_naive_pass_in_float64_in_parts_or_together(tokens: int):
    policy, reference = of_family("llama", seed=1), of_family("llama", seed=2)
    batch = random_tokens([(3, 4), (6, 2), (1, 7)])
    made = shifts(unshared(policy), unshared(reference), batch, tokens)
    for answer, shift in zip(batch, made, strict=True):
        both = zip(naive(policy.double(), answer), naive(reference.double(), answer), answer.answer_ids, strict=True)
        for t, (p, q, own) in enumerate(both):
            expected = (
                sum(math.exp(a) * (a - b) for a, b in zip(p, q, strict=True)),
                sum(math.exp(b) * (b - a) for a, b in zip(p, q, strict=True)),
                -sum(math.exp(a) * a for a in p),
                -sum(math.exp(b) * b for b in q),
                1 + sum(a > p[own] for a in p),
                1 + sum(b > q[own] for b in q),
            )
            # float32 logits of order 1 to 10, as in the log-probabilities of this family
            assert [column[t] for column in astuple(shift)] == pytest.approx(expected, abs=1e-4)


def test_identical_models_differ_nowhere():
    side = unshared(language_model())
    (shift,) = shifts(side, side, random_tokens([(4, 6)]))
    assert set(shift.kl) == set(shift.reverse_kl) == {0.0}
    assert shift.policy_entropy == shift.reference_entropy and shift.policy_rank == shift.reference_rank


def test_no_more_answer_tokens_are_held_than_allowed():
    seen: list[int] = []
    module = language_model()
    side = unshared(module)

    def logits(ids: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
        seen.append(int(rows.sum()))
        return side.logits(ids, mask, rows)

    counted = FromLogits("counted", logits)
    shifts(counted, unshared(module), random_tokens([(3, 5), (2, 9), (4, 1)]), 4)
    assert sum(seen) == 15 and max(seen) <= 4


def test_sides_in_turn_are_never_held_together():
    first, second = language_model(seed=1), language_model(seed=2)
    loaded: list[str] = []
    plain = ModelPair(unshared(first, "p"), unshared(second, "r"), None)  # type: ignore[arg-type]

    def load(name: str, module: torch.nn.Module):
        loaded.append(name)
        return unshared(module, name)

    pair = one_at_a_time(plain, lambda: load("p", first), lambda: load("r", second))
    batch = random_tokens([(3, 5)])
    made = shifts(pair.policy, pair.reference, batch, 3)
    assert loaded == ["p", "r", "p", "r"]
    assert all(a != b for a, b in pairwise(loaded))
    assert made == shifts(plain.policy, plain.reference, batch, 3)


def test_padded_vocabularies_are_compared_over_what_both_have():
    tokens = [Tokens((0,), (1,), ("b",), ((0, 1),), "b")]
    (padded,) = shifts(fixed([1.0, 0.0, 5.0]), fixed([0.5, 0.0]), tokens)
    (plain,) = shifts(fixed([1.0, 0.0]), fixed([0.5, 0.0]), tokens)
    assert padded == plain


def test_a_token_that_one_side_rules_out_is_said():
    tokens = [Tokens((0,), (1,), ("b",), ((0, 1),), "b")]
    with pytest.raises(CreditError, match="divergence is infinite at answer token 1: one model rules out a token"):
        shifts(fixed([1.0, 0.0]), fixed([-math.inf, 0.0]), tokens)


def test_a_side_without_logits_is_refused():
    class Table:
        name, dtype = "table", "float32"

        def logps(self, batch):
            raise AssertionError

    with pytest.raises(CreditError, match="--show asks more of table than it can do"):
        shifts(Table(), Table(), random_tokens([(1, 1)]))  # type: ignore[arg-type]


def test_score_shows_them_on_every_output(tmp_path: Path):
    page = tmp_path / "s.html"
    asked = ("--show", "kl,entropy,rank", "--device", "cpu", "--html", page, "--json", tmp_path / "s.json")
    ended = run("score", EXAMPLES / "vet.json", *asked)
    assert ended.code in (0, None), ended.stderr
    assert ended.stdout.count("nats a token on average") == 2 and "Eq. 10" not in ended.stdout
    assert "Cumulative KL(π ‖ π" in page.read_text(encoding="utf-8")
    for answer in json.loads((tmp_path / "s.json").read_text())["credit"]["answers"]:
        shift = answer["shift"]
        assert {len(numbers) for numbers in shift.values()} == {len(answer["tokens"])}
        assert "optimal_values" not in answer
        for logp, rank in zip(answer["policy_logps"], shift["policy_rank"], strict=True):
            assert rank <= math.exp(-logp) + 1  # that many others are likelier, so each has at least as much


def test_a_length_normalised_reward_has_divergences_too():
    ended = run("score", EXAMPLES / "vet.json", "--show", "kl", "--length-normalised", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    assert "π||π_ref" in ended.stdout


def test_what_was_saved_is_drawn_again_and_what_was_not_is_asked_for(tmp_path: Path):
    saved, page = tmp_path / "s.json", tmp_path / "s.html"
    asked = ("--show", "q,v,advantage,kl,entropy,rank")
    scored = run("score", EXAMPLES / "vet.json", *asked, "--device", "cpu", "--rows", "0", "--json", saved)
    again = run("render", saved, *asked, "--rows", "0", "--html", page, "--json", tmp_path / "again.json")
    assert again.code in (0, None), again.stderr
    tables = [ended.stdout[ended.stdout.rindex("π_ref||π") :] for ended in (scored, again)]  # of the rejected answer
    assert scored.stdout.count("nats a token on average") == again.stdout.count("nats a token on average") == 2
    assert tables[0] == tables[1] and " nine " in tables[0]
    assert "Cumulative KL(π ‖ π" in page.read_text(encoding="utf-8")
    before, after = (json.loads(file.read_text())["credit"]["answers"] for file in (saved, tmp_path / "again.json"))
    assert [(answer["shift"], answer["optimal_values"]) for answer in before] == [
        (answer["shift"], answer["optimal_values"]) for answer in after
    ]
    doubled = run("render", saved, *asked, "--beta", "0.2", "--rows", "0", "--json", "-")
    for one, two in zip(before, json.loads(doubled.stdout)["credit"]["answers"], strict=True):
        assert two["optimal_values"]["q"] == pytest.approx([2 * q for q in one["optimal_values"]["q"]])
        assert two["shift"] == one["shift"]
    record = json.loads(saved.read_text())
    for answer in record["credit"]["answers"]:
        answer["shift"]["later"] = answer["shift"]["kl"]  # of a version to come
    saved.write_text(json.dumps(record) + "\n")
    assert run("render", saved, "--show", "kl").code in (0, None)
    saved.write_text(2 * saved.read_text())
    ended = run("render", saved, "--show", "kl", "--html", page)
    assert ended.code == 2 and "--show is about one row, and the file holds several. Pick one" in ended.stderr
    run("score", EXAMPLES / "vet.json", "--device", "cpu", "--json", saved)
    ended = run("render", saved, "--show", "kl")
    assert ended.code == 2 and "was scored without these. Score it with --show kl,entropy,rank" in ended.stderr


def test_a_narrow_terminal_gets_every_token_and_number_whole():
    asked = ("--show", "q,v,advantage,kl,entropy,rank", "--device", "cpu", "--rows", "0")
    (wide, narrow) = (run("score", EXAMPLES / "vet.json", *asked, COLUMNS=columns).stdout for columns in ("160", "50"))
    (nine,) = [line.split() for line in wide.splitlines() if line.startswith(" nine ")]
    rows = [line.split() for line in narrow.splitlines() if line.startswith(" nine ")]
    assert [row[0] for row in rows] == ["nine"] * 3 and [n for row in rows for n in row[1:]] == nine[1:]
