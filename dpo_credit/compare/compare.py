"""Several policies on the same answers, one pair of models in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dpo_credit.compare.comparison import Comparison, Explicit
from dpo_credit.credit import Credit, CreditError, Example
from dpo_credit.forward.budget import free
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.records import Row
from dpo_credit.scoring import score_rows
from dpo_credit.text.conventions import Conventions

if TYPE_CHECKING:
    from dpo_credit.compare.reward_model import RewardModel
    from dpo_credit.models.pair import ModelPair

Answers = tuple[Credit, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy to compare: what loads it with its reference, and the betas that it is scored under.

    `betas` are those asked for; () is the one that the pair brings.
    """

    name: str
    load: Callable[[], ModelPair]
    betas: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Judge:
    """An explicit reward model to compare with: its name, and what loads it."""

    name: str
    load: Callable[[], RewardModel]


def compare(
    policies: Sequence[Policy],
    rows: Sequence[Row],
    *,
    judges: Sequence[Judge] = (),
    conventions: Conventions = Conventions(),
    aside: SetAside = STRICT,
    say: Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Score rows under each policy in turn.

    Args:
        policies: at least two, or one under several betas or with a judge.
        rows: what is scored.
        judges: explicit reward models, loaded after the policies.
        conventions: how text becomes tokens.
        aside: takes the rows that one of the policies cannot score.
        say: hears which policy is at work.

    Raises:
        CreditError: there is one policy with one beta and no judge; a pair or a judge cannot be
            loaded; policies have different tokenizers or write an answer as different tokens; or no row is left.
    """
    if sum(max(1, len(policy.betas)) for policy in policies) + len(judges) < 2:
        raise CreditError("One policy compares with none: give --policy twice, or --beta twice, or a --reward-model.")
    names: list[str] = []
    scored: list[list[Answers | CreditError]] = []
    vocabulary: dict[str, int] = {}
    for number, policy in enumerate(policies, 1):
        say(f"policy {number} of {len(policies)}: {policy.name}")
        pair = policy.load()
        found = pair.tokenizer.get_vocab()
        if vocabulary and found != vocabulary:
            raise CreditError(
                f"{policy.name} has another tokenizer than {policies[0].name} ({len(found)} and {len(vocabulary)} "
                "tokens, or other ids): their tokens do not line up. Compare policies trained from one model."
            )
        vocabulary = found
        results = list(score_rows(pair, [row.examples for row in rows], conventions=conventions))
        betas = policy.betas or (pair.beta,)
        names += [policy.name if len(betas) == 1 else f"{policy.name}, beta {beta:g}" for beta in betas]
        scored += [[_under(result, beta) for result in results] for beta in betas]
        del pair
        free()  # before the next one is loaded
    judged: list[list[tuple[float, ...] | CreditError]] = []
    for judge in judges:
        say(f"reward model {judge.name}")
        model = judge.load()
        judged.append([_judged(model, row.examples, conventions) for row in rows])
        del model
        free()
    kept = list(_kept(rows, scored, judged, names, aside))
    aside.require(kept)
    everyone = tuple(_told_apart([*names, *(judge.name for judge in judges)]))
    rewards = zip(*(rewards for _, _, rewards in kept), strict=True)
    return Comparison(
        everyone[: len(names)],
        tuple(row for row, _, _ in kept),
        tuple(zip(*(answers for _, answers, _ in kept), strict=True)),
        tuple(Explicit(name, its) for name, its in zip(everyone[len(names) :], rewards, strict=True)),
    )


def _under(result: Answers | CreditError, beta: float) -> Answers | CreditError:
    if isinstance(result, CreditError):
        return result
    return tuple(replace(credit, beta=beta) for credit in result)


def _judged(
    model: RewardModel, answers: Sequence[Example], conventions: Conventions
) -> tuple[float, ...] | CreditError:
    try:
        return tuple(model.rewards(answers, conventions))
    except CreditError as error:
        return error


def _kept(
    rows: Sequence[Row],
    scored: Sequence[Sequence[Answers | CreditError]],
    judged: Sequence[Sequence[tuple[float, ...] | CreditError]],
    names: Sequence[str],
    aside: SetAside,
) -> Iterator[tuple[Row, tuple[Answers, ...], tuple[tuple[float, ...], ...]]]:
    """The rows that everyone can score, with their answers under each policy and their rewards by each judge."""
    for n, row in enumerate(rows):
        results, rewards = [its[n] for its in scored], [its[n] for its in judged]
        error = next((result for result in (*results, *rewards) if isinstance(result, CreditError)), None)
        if error is not None:
            aside.add(row.id, row.place, error)
            continue
        answers = tuple(result for result in results if not isinstance(result, CreditError))
        for name, other in zip(names, answers, strict=True):
            if _ids(other) != _ids(answers[0]):
                raise CreditError(
                    f"{row.id}: {name} reads other tokens than {names[0]}, since their chat templates or limits "
                    "differ. Give one --chat-template FILE for all."
                )
        yield row, answers, tuple(reward for reward in rewards if not isinstance(reward, CreditError))


def _ids(answers: Answers) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(credit.tokens.prompt_ids, credit.tokens.answer_ids) for credit in answers]


def _told_apart(names: Sequence[str]) -> Iterator[str]:
    """The names, those that several policies have with their number."""
    for number, name in enumerate(names, 1):
        yield name if names.count(name) == 1 else f"{name} ({number})"
