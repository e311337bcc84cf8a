"""A trainer's log and columns of reference sums: which numbers are taken, and what is said where they do not do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from naive import log_likelihoods
from test_conventions import PLAIN, REFERENCE, TEXT, ended, rewards_of, script

from dpo_credit.credit import CreditError
from dpo_credit.rows.records import parse_row
from dpo_credit.verify.conventions import Way
from dpo_credit.verify.references import column_logps, logged_rewards
from dpo_credit.verify.targets import Target, mean_of_batches
from dpo_credit.verify.verdict import sentence
from dpo_credit.verify.verify import VerifyReport, verify

EVALUATED = {
    "step": 20,
    "eval_rewards/chosen": 0.5,
    "eval_rewards/rejected": -0.25,
    "eval_loss": 0.4,
    "eval_runtime": 2.0,
    "eval_samples_per_second": 5.0,
    "eval_steps_per_second": 1.5,
}
TRAINED = {"step": 30, "loss": 0.6, "rewards/chosen": 0.1, "rewards/rejected": 0.2}


def log(*entries: dict[str, Any], whole: bool = True) -> bytes:
    return json.dumps({"global_step": 30, "log_history": entries} if whole else entries).encode()


def test_the_last_evaluation_is_taken_and_named() -> None:
    earlier = {**EVALUATED, "step": 10, "eval_rewards/chosen": 9.0}
    for data in (log(earlier, EVALUATED, TRAINED), log(earlier, EVALUATED, TRAINED, whole=False)):
        target, notes = logged_rewards(data, "state.json", 10)
        assert (target.name, target.numbers, target.means) == (
            "state.json (last evaluation, step 20)",
            ((0.5, -0.25),),
            True,
        )
        assert (target.loss, notes) == (0.4, ())
        assert target.batches == (4,)  # 2 s at 1.5 steps a second are 3 batches: 4, 4 and 2 of 10 rows


def test_an_evaluation_of_a_named_set_is_one_too() -> None:
    named = {key.replace("eval_", "eval_held_out_"): value for key, value in EVALUATED.items()}
    target, _ = logged_rewards(log(named), "s", 10)
    assert (target.name, target.loss, target.batches) == ("s (last evaluation of held_out, step 20)", 0.4, (4,))


def test_every_size_of_a_batch_that_makes_as_many_steps_is_taken_into_account() -> None:
    # 20 rows in 3 batches: of 7 (7, 7, 6), 8 (8, 8, 4) or 9 (9, 9, 2)
    logged = {**EVALUATED, "eval_runtime": 2.0, "eval_samples_per_second": 10.0, "eval_steps_per_second": 1.5}
    assert logged_rewards(log(logged), "s", 20)[0].batches == (7, 8, 9)


def test_without_an_evaluation_the_last_training_entry_is_taken_and_its_limits_are_said() -> None:
    target, notes = logged_rewards(log({**TRAINED, "step": 10}, TRAINED), "s", 10)
    assert (target.name, target.numbers) == ("s (last training entry, step 30)", ((0.1, 0.2),))
    assert "while the model moved" in notes[0]


def test_an_evaluation_of_other_rows_is_said_to_be_one() -> None:
    _, notes = logged_rewards(log(EVALUATED), "s", 7)
    assert "had about 10 rows, here are 7" in notes[0]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "s is not JSON"),
        (b"\xff", "s is not JSON"),
        (b"{}", "s has no log_history"),
        (b"[1]", "s has no log_history"),
        (log({"loss": 1.0}), "s logs no rewards/chosen, neither of an evaluation nor of training, in its 1 entries"),
        (log({**EVALUATED, "eval_rewards/rejected": None}), "eval_rewards/rejected None, which is no number"),
    ],
)
def test_what_is_no_log_is_one_line(data: bytes, said: str) -> None:
    with pytest.raises(CreditError, match=said):
        logged_rewards(data, "s", 10)


def test_the_mean_of_batches_weighs_a_smaller_last_batch_as_much() -> None:
    # (1 + 2) / 2 and 6 / 1, so (1.5 + 6) / 2; the plain mean is 3
    assert mean_of_batches([(1.0, 0.0), (2.0, 0.0), (6.0, 0.0)], 2) == (3.75, 0.0)
    assert mean_of_batches([(1.0, 0.0), (2.0, 0.0), (6.0, 0.0)], 3) == (3.0, 0.0)


def means(target: Target, loss: float | None = None) -> Target:
    numbers = [pair for pair in target.numbers if pair is not None]
    return replace(target, numbers=(mean_of_batches(numbers, len(numbers)),), means=True, loss=loss)


def compared(target: Target, way: Way = Way()) -> VerifyReport:
    return verify(rewards_of(PLAIN, TEXT, way), [target])


def test_the_convention_behind_logged_means_is_found() -> None:
    target = means(script(TEXT, ended))
    agreed = compared(target)
    assert agreed.agrees and sentence(agreed.comparisons[0]).startswith("Both means agree with a script to ")
    (comparison,) = compared(target, Way(eos="never")).comparisons
    assert comparison.trials[0].name == "EOS always"
    assert sentence(comparison).startswith("the script appended EOS; with --eos always both means agree to ")


def test_a_loss_that_is_not_dpos_is_said() -> None:
    numbers = script(TEXT, ended).numbers
    loss = sum(math.log1p(math.exp(-(pair[0] - pair[1]))) for pair in numbers if pair) / len(numbers)
    assert compared(means(script(TEXT, ended), loss)).comparisons[0].notes == ()
    (note,) = compared(means(script(TEXT, ended), loss + 0.1)).comparisons[0].notes
    assert f"its loss is {loss + 0.1:.4g}, where -log sigmoid of these margins is {loss:.4g}" in note


def with_columns(ids: Any, shift: float = 0.0) -> list[dict[str, Any]]:
    return [
        {
            **row,
            **{
                f"ref_{side}_logps": float(log_likelihoods(REFERENCE, *ids(row["prompt"], row[side])).sum()) + shift
                for side in ("chosen", "rejected")
            },
        }
        for row in TEXT
    ]


def test_precomputed_reference_sums_are_compared_row_by_row() -> None:
    rewards = rewards_of(PLAIN, with_columns(ended), Way())
    target = column_logps(rewards.rows)
    assert target is not None and target.quantity == "reference_logp"
    report = verify(rewards, [target])
    assert report.agrees and len(report.comparisons[0].rows) == len(TEXT)


def test_precomputed_sums_of_another_convention_are_recognised_and_those_of_another_model_are_not() -> None:
    rewards = rewards_of(PLAIN, with_columns(ended), Way(eos="never"))
    target = column_logps(rewards.rows)
    assert target is not None
    assert verify(rewards, [target]).comparisons[0].trials[0].flags == "--eos always"
    rewards = rewards_of(PLAIN, with_columns(ended, shift=1.0), Way())
    target = column_logps(rewards.rows)
    assert target is not None
    (comparison,) = verify(rewards, [target]).comparisons
    assert not comparison.agrees and not comparison.trials[0].meets
    said = sentence(comparison)
    assert said.startswith("No known convention, nor two together, makes our numbers those of ref_chosen_logps")
    assert "Closest comes " in said and "Other weights" in said


def test_rows_without_the_columns_give_no_target_and_half_a_pair_is_refused() -> None:
    rows = [parse_row(row, "r") for row in TEXT]
    assert column_logps(rows) is None
    half = parse_row({**TEXT[0], "ref_chosen_logps": -1.0}, "r")
    with pytest.raises(
        CreditError, match=r"r: ref_chosen_logps and ref_rejected_logps must be two numbers, not -1\.0 and None"
    ):
        column_logps([half])


def test_a_convention_without_a_flag_says_that_there_is_none() -> None:
    (comparison,) = compared(script(TEXT, ended), Way(eos="never")).comparisons
    assert sentence(comparison).startswith("the script appended EOS; with --eos always all 3 rows agree to ")
    (comparison,) = compared(script(TEXT, ended, average=True)).comparisons
    assert "averaged over the tokens" in sentence(comparison) and "(no option of ours goes that way)" in sentence(
        comparison
    )
