"""The policy as a Q-function: Q*, V* and the advantage agree with the credits, and their checks can fail."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from program import run
from rich.console import Console
from sides import unshared
from tiny import FAMILIES, of_family, random_tokens

from dpo_credit.credit import Credit, CreditError, Source, Tokens
from dpo_credit.models.torch_side import answer_logits
from dpo_credit.optimal import OptimalValues, allowed, optimal_values
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.views.look import Look
from dpo_credit.views.terminal import values as terminal_values

EXAMPLES = Path(__file__).parents[1] / "examples"
# Three tokens with logits 2, 1, 0 where all logits of a state are known: V* = beta * logsumexp.
LOGITS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 3.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
PICKED = (0, 1, 0)
TOKENS = Tokens((7,), PICKED, ("a", "b", "c"), ((0, 1), (1, 2), (2, 3)), "abc", "none")
OWN = tuple(float(LOGITS[t, token]) for t, token in enumerate(PICKED))
NORMALISERS = tuple(LOGITS.logsumexp(-1).tolist())
CREDIT = Credit(
    TOKENS,
    policy_logps=tuple(own - norm for own, norm in zip(OWN, NORMALISERS, strict=True)),
    reference_logps=(-1.0, -2.0, -0.5),
    beta=0.5,
    source=Source("p", "r", "float32"),
)


def printed(credit: Credit, values: OptimalValues, columns: str = "q,v,advantage") -> str:
    scored = ScoredRow(Row("x", "single", labels=("",)), (credit,), (values,))
    console = Console(width=100, color_system=None)
    view = terminal_values.render(scored, Look(), terminal_values.shown(columns))
    with console.capture() as capture:
        console.print(view)
    return capture.get()


def test_the_advantage_is_beta_times_the_log_probability():
    values = optimal_values(CREDIT, OWN, NORMALISERS)
    assert values.q == (1.0, 0.5, 0.0)  # beta = 0.5 times the logits 2, 1, 0
    assert values.advantage == pytest.approx([0.5 * logp for logp in CREDIT.policy_logps], abs=1e-15)


def test_the_bellman_equation_and_the_telescoping_sum_hold():
    values = optimal_values(CREDIT, OWN, NORMALISERS)
    # Eq. 7 by hand for the last token: its next state is terminal, so r = Q* - beta log pi_ref.
    assert values.rewards(CREDIT)[-1] == pytest.approx(0.0 + 0.5 * 0.5)
    # Float64 sums of three numbers near 1.
    assert max(values.misfit(CREDIT)) < 1e-14
    assert "Eq. 10 holds" in printed(CREDIT, values)


def test_a_constant_of_a_state_moves_q_and_v_and_nothing_else():
    values = optimal_values(CREDIT, OWN, NORMALISERS)
    moved = optimal_values(CREDIT, (OWN[0], OWN[1] + 4, OWN[2]), (NORMALISERS[0], NORMALISERS[1] + 4, NORMALISERS[2]))
    assert moved.v[1] == pytest.approx(values.v[1] + 2)
    assert moved.advantage == pytest.approx(values.advantage, abs=1e-14)
    assert max(moved.misfit(CREDIT)) < 1e-14


def test_numbers_that_do_not_fit_are_said():
    wrong = optimal_values(CREDIT, (OWN[0] + 0.1, *OWN[1:]), NORMALISERS)
    assert allowed(CREDIT) < wrong.misfit(CREDIT)[0] == pytest.approx(0.05)
    assert "WARNING: Eq. 10 is off by 0.05" in printed(CREDIT, wrong)


def test_only_what_is_asked_for_is_shown():
    values = optimal_values(CREDIT, OWN, NORMALISERS)
    head = printed(CREDIT, values, "v").splitlines()[0]
    assert head.split() == ["token", "V*", "reward"]
    with pytest.raises(CreditError, match=r"--show q,w: 'w' is none of q, v, advantage, kl, entropy, rank"):
        terminal_values.shown("q,w")


def test_length_normalised_rewards_have_no_such_q_function():
    with pytest.raises(CreditError, match="length-normalised"):
        optimal_values(replace(CREDIT, length_normalised=True), OWN, NORMALISERS)


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_equal_a_naive_pass_in_float64(family):
    module = of_family(family)
    batch = random_tokens([(3, 4), (6, 2), (1, 5)])
    found = answer_logits(unshared(module), batch)
    exact = module.double()
    for tokens, (own, normalisers) in zip(batch, found, strict=True):
        ids = torch.tensor([[*tokens.prompt_ids, *tokens.answer_ids]])
        with torch.no_grad():
            logits = exact(input_ids=ids, use_cache=False).logits[0, len(tokens.prompt_ids) - 1 : -1]
        picked = logits.gather(-1, torch.tensor(tokens.answer_ids)[:, None]).squeeze(-1)
        # float32 logits of order 1 to 10: 2e-5 is what the log-probabilities of these families keep, too.
        assert own == pytest.approx(picked.tolist(), abs=2e-5)
        assert normalisers == pytest.approx(logits.logsumexp(-1).tolist(), abs=2e-5)


def test_score_shows_them_and_writes_them():
    ended = run("score", EXAMPLES / "vet.json", "--show", "advantage,q", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    assert ended.stdout.count("Eq. 10 holds") == 2
    ended = run("score", EXAMPLES / "vet.json", "--show", "q,v", "--json", "-", "--device", "cpu")
    chosen, _ = json.loads(ended.stdout)["credit"]["answers"]
    # Another pass over other batches, in float32.
    assert chosen["optimal_values"]["advantage"] == pytest.approx([0.1 * x for x in chosen["policy_logps"]], abs=1e-5)
    ended = run("score", EXAMPLES / "vet.json", "--json", "-", "--device", "cpu")
    assert all("optimal_values" not in answer for answer in json.loads(ended.stdout)["credit"]["answers"])


def test_a_potential_changes_rewards_and_leaves_policy_and_margin(capsys):
    runpy.run_path(str(EXAMPLES / "potential_shaping.py"), run_name="__main__")
    said = capsys.readouterr().out
    _, margins = said.split("four times the same:")
    numbers = margins.splitlines()[0].split()
    assert len(numbers) == 4 and len(set(numbers)) == 1
    assert float(margins.split("at most")[1].split()[0]) < 1e-12
    rows = [line.split()[-4:] for line in said.splitlines()[1:7]]
    assert all(first != second for first, second, _, _ in rows)
