"""What `verify` asks of the models: a plain pass for our own numbers, and little more, whatever the others did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from naive import Ids
from test_conventions import BETA, PLAIN, TEXT, ended, jointly, on, rewards_of, script
from test_trainer_log import means

from dpo_credit.verify.conventions import PEERS, Way, table
from dpo_credit.verify.matching import Matching
from dpo_credit.verify.rewards import SAMPLE_ROWS, Rewards, spread
from dpo_credit.verify.targets import Target, Trial
from dpo_credit.verify.trials import Trials
from dpo_credit.verify.verdict import sentence
from dpo_credit.verify.verify import verify

COUNT = 40
ROWS = [
    {
        "prompt": f"Question {n}: {TEXT[n % 3]['prompt'] * (1 + n % 4)}",
        "chosen": f"{TEXT[n % 3]['chosen'] * (1 + n % 3)} {n}",
        "rejected": f"{TEXT[n % 3]['rejected']} {7 * n}",
    }
    for n in range(COUNT)
]
PASS = 4 * COUNT  # two answers a row, each under two models
KNOWN = table(Way(beta=BETA), half=False, adapter=False, own_reference=False)


def shortened(prompt: str, answer: str) -> Ids:
    """What no known convention does: the prompt without its first three tokens."""
    before, after = ended(prompt, answer)
    return before[3:], after


def tried(target: Target, way: Way = Way(), known: tuple[Any, ...] = KNOWN) -> tuple[Trial, Rewards, list[str]]:
    """The best trial, what it was computed with, and what was said of it meanwhile."""
    said: list[str] = []
    rewards = rewards_of(PLAIN, ROWS, way)
    return Trials(rewards, target, known, said.append).run()[0], rewards, said


@pytest.mark.parametrize("logged", [False, True], ids=["rows", "means"])
@pytest.mark.parametrize(
    ("name", "ids", "how"),
    [
        ("beta 0.01", ended, {"beta": 0.01}),
        ("average", ended, {"average": True}),
        ("average, beta 0.05", ended, {"average": True, "beta": 0.05}),
    ],
)
def test_a_scaling_costs_nothing_beyond_our_own_numbers(name: str, ids: Any, how: dict[str, Any], logged: bool) -> None:
    target = script(ROWS, ids, **how)
    best, rewards, said = tried(means(target) if logged else target)
    assert (best.meets, best.name, rewards.asked) == (True, name, PASS)
    assert set(said) <= {"another beta", "average", "no reference", "swapped models"}


def test_numbers_that_agree_cost_nothing_more_either() -> None:
    best, rewards, said = tried(script(ROWS, ended))
    assert (best.meets, best.name, rewards.asked, said) == (True, "the options given", PASS, [])


def test_an_end_token_that_is_missing_or_too_much_is_told_from_the_same_pass() -> None:
    best, rewards, _ = tried(means(script(ROWS, jointly, beta=0.05)))
    assert (best.meets, best.name, rewards.asked) == (True, "EOS never, beta 0.05", PASS)
    only = tuple(convention for convention in KNOWN if convention.name == "EOS never")
    best, rewards, _ = tried(script(ROWS, jointly), known=only)
    assert (best.name, best.of, rewards.asked) == ("EOS never", COUNT, PASS)
    never = Way(eos="never", beta=BETA)
    only = tuple(
        convention
        for convention in table(never, half=False, adapter=False, own_reference=False)
        if convention.name == "EOS always"
    )
    best, rewards, _ = tried(script(ROWS, ended), never, only)
    assert (best.name, best.of, rewards.asked) == ("EOS always", COUNT, PASS)


def test_a_convention_is_tried_on_one_row_then_on_a_few_then_on_all() -> None:
    """Two BOS and then the same: every sequence is another one."""
    bos = PLAIN.eos_token_id
    rewards = rewards_of(PLAIN, ROWS, Way())
    rewards.pair.tokenizer.bos_token = PLAIN.eos_token
    try:
        target = script(ROWS, on(ended, lambda ids: ([bos, *ids[0]], ids[1])))
        only = tuple(convention for convention in KNOWN if convention.name in ("BOS twice", "template on"))
        best = Trials(rewards, target, only, lambda _: None).run()[0]
    finally:
        rewards.pair.tokenizer.bos_token = None
    assert (best.meets, best.name, best.of) == (True, "BOS twice", COUNT)
    # all rows as they are, all with the BOS; the template's text on one row at most
    assert 2 * PASS <= rewards.asked <= 2 * PASS + 4


@pytest.mark.parametrize("logged", [False, True], ids=["rows", "means"])
def test_what_no_convention_explains_costs_no_more_than_scoring_all_once_more(logged: bool) -> None:
    rows = [{**row, "prompt": f"{row['prompt']} {n}"} for n in range(2) for row in ROWS]  # more than always may be
    target = script(rows, shortened)
    rewards = rewards_of(PLAIN, rows, Way())
    trials = Trials(rewards, means(target) if logged else target, KNOWN, lambda _: None).run()
    assert not any(trial.meets for trial in trials)
    most = 4 * len(rows)
    # of means, a convention on all rows that was begun below the limit is ended
    assert most < rewards.asked <= (3 if logged else 2) * most
    assert {trial.of for trial in trials if trial.conventions} <= ({1} if logged else {SAMPLE_ROWS, len(rows)})


def test_the_peers_are_compared_on_a_few_rows() -> None:
    rewards = rewards_of(PLAIN, ROWS, Way())
    report = verify(rewards, [script(ROWS, ended)])
    assert {trial.of for _, trial in report.peers} == {SAMPLE_ROWS}
    assert rewards.asked <= PASS + 4 * SAMPLE_ROWS * len(PEERS)


def test_the_closest_says_on_how_many_rows_it_was_tried() -> None:
    (comparison,) = verify(rewards_of(PLAIN, ROWS, Way()), [script(ROWS, shortened)]).comparisons
    best = comparison.trials[0]
    tried = "tried " if best.of < COUNT else ""
    assert f"{best.agreeing} of {best.of} rows {tried}agree" in sentence(comparison)
    assert best.of == SAMPLE_ROWS


def test_the_convention_behind_the_means_of_many_rows_is_found_from_a_few() -> None:
    bos = PLAIN.eos_token_id
    rewards = rewards_of(PLAIN, ROWS, Way())
    rewards.pair.tokenizer.bos_token = PLAIN.eos_token
    try:
        target = means(script(ROWS, on(ended, lambda ids: ([bos, *ids[0]], ids[1])), beta=0.05))
        best = Trials(rewards, target, KNOWN, lambda _: None).run()[0]
    finally:
        rewards.pair.tokenizer.bos_token = None
    assert (best.meets, best.name) == (True, "BOS twice, beta 0.05")


def test_what_means_are_expected_to_be_is_the_mean_where_all_rows_are_few() -> None:
    """On as many rows as are sampled nothing is left to chance: the right convention is 0 away, others are not."""
    rows = ROWS[:SAMPLE_ROWS]
    by_name = {convention.name: convention for convention in KNOWN}
    match = Matching(rewards_of(PLAIN, rows, Way()), means(script(rows, jointly)))
    right = match.expected((by_name["EOS never"],))
    assert right == pytest.approx(0, abs=0.01)  # float32's rounding, in standard errors
    assert match.expected((by_name["EOS always"],)) is None  # it changes nothing here
    wrong = match.expected((by_name["template on"],))
    assert wrong is None or wrong > 1


def test_rows_are_spread_from_first_to_last() -> None:
    assert spread(range(5), 8) == [0, 1, 2, 3, 4]
    assert spread(range(100), 3) == [0, 50, 99]  # round(49.5) is 50: to even


def test_a_row_that_cannot_go_our_way_is_one_to_try() -> None:
    """Too long for the models as it stands, which is why whoever cut it is found there."""
    long = {**TEXT[0], "prompt": "We drove to the lake on Sunday. " * 250}
    rows = [*ROWS[:9], long]
    target = script(rows, on(ended, lambda ids: ((ids[0] + ids[1])[-1024:][: -len(ids[1])], ids[1])))
    best = Trials(rewards_of(PLAIN, rows, Way()), target, KNOWN, lambda _: None).run()[0]
    assert (best.meets, best.of) == (True, 10) and "1024" in best.name


def test_the_sums_of_an_answer_that_another_one_begins_with_are_known() -> None:
    rewards = rewards_of(PLAIN, ROWS[:2], Way())
    whole = rewards.answers(rewards.base)
    never = replace(rewards.base, eos="never")
    assert rewards.unknown(never) == 0
    apart = rewards_of(PLAIN, ROWS[:2], Way(eos="never"))
    for ours, theirs in zip(rewards.answers(never), apart.answers(apart.base), strict=True):
        for one, other in zip(ours or (), theirs or (), strict=True):
            # float32 sums of 30 tokens in other packs: 1e-5 nats
            assert one.policy == pytest.approx(other.policy, abs=1e-5) and one.tokens == other.tokens
    assert rewards.asked == apart.asked == 8 and whole != rewards.answers(never)
