"""Loading the pair and scoring a row, with what there is to say about both."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import Credit
from dpo_credit.models.objective import LOSSES
from dpo_credit.models.published import named
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow

if TYPE_CHECKING:
    from dpo_credit.models.pair import ModelPair
    from dpo_credit.optimal import OptimalValues
    from dpo_credit.shift import Shift


def load(options: PairOptions, talk: Talk) -> ModelPair:
    """The pair, with what there is to say about it."""
    with talk.working("Loading the models"), _uncollected():
        pair = options.load_pair()
    talk.notes(pair.notes)
    talk.notes(notes_on_choice(options))
    hear(pair, talk)
    return pair


@contextmanager
def _uncollected() -> Iterator[None]:
    """While modules and models are loaded, which stay: that the collector looks through them takes an eighth of it."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def hear(pair: ModelPair, talk: Talk) -> None:
    """Let the user know of what takes a GPU long before it does."""
    from dpo_credit.models.side import OnDevice

    if isinstance(pair.policy, OnDevice):
        pair.policy.budget.tell = lambda line: talk.notes([line])


def score_row(
    row: Row,
    options: PairOptions,
    *,
    quiet: bool,
    top_k: int = 0,
    values: bool = False,
    shifts: bool = False,
) -> ScoredRow:
    """A row's answers, scored, with the policy's `values` as a Q-function, and the training's `shifts`, or without."""
    talk = Talk(quiet)
    talk.notes(row.notes)
    pair = load(options, talk)
    with talk.working("Scoring"):
        from dpo_credit.models.side import OnDevice
        from dpo_credit.scoring import score

        credits = tuple(score(pair, row.examples, conventions=options.conventions(), top_k=top_k))
        scored = ScoredRow(
            row, credits, _values(pair, credits) if values else (), _shifts(pair, credits) if shifts else ()
        )
    talk.notes_of([credits])
    if isinstance(pair.policy, OnDevice):
        talk.notes(pair.policy.budget.notes)
    return scored


def _values(pair: ModelPair, credits: tuple[Credit, ...]) -> tuple[OptimalValues, ...]:
    from dpo_credit.models.side import Distributions, require
    from dpo_credit.models.torch_side import answer_logits
    from dpo_credit.optimal import optimal_values

    policy = require(pair.policy, Distributions, "--show")
    logits = answer_logits(policy, [credit.tokens for credit in credits])
    return tuple(optimal_values(credit, *numbers) for credit, numbers in zip(credits, logits, strict=True))


def _shifts(pair: ModelPair, credits: tuple[Credit, ...]) -> tuple[Shift, ...]:
    from dpo_credit.models.shifts import shifts

    return tuple(shifts(pair.policy, pair.reference, [credit.tokens for credit in credits]))


def notes_on_training(options: PairOptions) -> tuple[str, ...]:
    """What to know of a pair's beta and loss, where it is loaded elsewhere."""
    from dpo_credit.endpoint import is_address
    from dpo_credit.models.bases import default
    from dpo_credit.models.checkpoints import find
    from dpo_credit.models.training import training_of

    if is_address(options.policy):  # the pair says it, once it is there
        return ()
    policy = find(options.policy or default().names[0] or "embedded", "policy", options.loading())
    return training_of(policy, options.beta, options.length_normalised).notes


def notes_on_choice(options: PairOptions) -> list[str]:
    """What to know of models that nobody named one by one."""
    if options.policy is None:
        from dpo_credit.models.bases import note_on_default

        return [note_on_default()]
    if options.pair is None or (pair := named(options.pair)).policy is None:
        return []
    about = [f"{pair.name} was trained with beta {pair.beta:g}, according to {pair.source}"]
    if pair.inference:
        about = [f"{pair.name}: beta {pair.beta:g}; {pair.source}; inferred: {pair.inference}"]
    if pair.loss != "sigmoid":
        about.append(f"{pair.name} was trained with loss {pair.loss}: {LOSSES[pair.loss].word}")
    return [*about, *([f"{pair.name}: {pair.note}"] if pair.note else [])]
