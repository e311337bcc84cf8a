"""Is it the wording? What the facts of an answer earn in other words, beside what they earn as they stand.

A reward of facts alone would not move. DPO's implicit reward is known to hold on to the tokens that express them
(arXiv:2507.07981, arXiv:2409.03650).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpo_credit.credit import Credit, CreditError, Example
from dpo_credit.estimates.intervals import correlation
from dpo_credit.estimates.statistics import Estimate, estimate, numbered, resamples
from dpo_credit.localise.labels import Case, Error, marked
from dpo_credit.localise.localise import Localised
from dpo_credit.localise.localised import Fact, Paraphrased
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.records import Row
from dpo_credit.scoring import score_rows
from dpo_credit.text.conventions import Conventions


@dataclass(frozen=True, slots=True)
class Reworded:
    """An answer in other words, and where in it the errors of a case stand, in the order of that case's."""

    case: Case
    answer: Example
    spans: tuple[Error, ...]
    place: str = ""


def reworded(cases: Sequence[Case], rows: Iterable[Row]) -> list[Reworded]:
    """The paraphrases of cases, in the order of the rows.

    Args:
        cases: the answers as they stand.
        rows: each with the `id` of a case, its answer in other words, and `labels`: the n-th is the fact that the
            case's n-th error is, counted as these stand in the answer. The prompt is the case's own.

    Raises:
        CreditError: a row belongs to no case or to several, has another prompt, or not as many labels as the case has
            errors; or no row has a fact.
    """
    known, named = {case.id: case for case in cases}, Counter(case.id for case in cases)
    made = []
    for row in rows:
        answer, spans = marked(row)
        case = known.get(row.id)
        if case is None:
            raise CreditError(f"{row.place}: {row.id} is the id of no labelled answer, so it says none in other words.")
        if named[row.id] > 1:
            raise CreditError(
                f"{row.place}: {row.id} is the id of {named[row.id]} labelled answers, so which it says in other words "
                "is not known. Give each an id of its own."
            )
        if answer.prompt not in ("", case.wrong.prompt):
            raise CreditError(f"{row.place}: {row.id} follows another prompt than the answer that it paraphrases.")
        if len(spans) != len(case.errors):
            raise CreditError(
                f"{row.place}: {row.id} has {len(spans)} labels, and the answer that it paraphrases {len(case.errors)} "
                "errors. Give a label for each of the same facts, in the order that they stand in there."
            )
        if spans:
            made.append(Reworded(case, replace(answer, prompt=case.wrong.prompt, id=row.id), tuple(spans), row.place))
    if not made:
        raise CreditError("no paraphrase has a fact. Give rows with the ids of the labelled answers, and labels.")
    return made


def paraphrase(
    pair: ModelPair,
    localised: Localised,
    answers: Sequence[Reworded],
    *,
    conventions: Conventions = Conventions(),
    seed: int = 0,
    aside: SetAside = STRICT,
) -> Paraphrased:
    """Score the answers in other words, and compare what each fact earns: the rewards of the tokens that touch it.

    Args:
        pair: the one that `localised` was measured with.
        localised: what `localise` found on the answers as they stand.
        answers: see `reworded`; those whose case was set aside are left out.
        conventions: how text becomes tokens, as for `localised`.
        seed: of the bootstrap, which draws whole prompts.
        aside: takes the answers that cannot be scored.

    Raises:
        CreditError: an answer cannot be scored and is not set aside, or none is left.
    """
    credits = {case.id: credit for case, credit in zip(localised.report.cases, localised.wrong, strict=True)}
    left = [answer for answer in answers if answer.case.id in credits]
    if not left:
        raise CreditError("all answers that were paraphrased were set aside.")
    facts: list[Fact] = []
    owners = []
    scored = list(_score(pair, left, conventions, aside))
    if not scored:
        raise CreditError("no paraphrase can be scored.")
    for number, (answer, other) in enumerate(scored):
        credit = credits[answer.case.id]
        for error, span in zip(answer.case.errors, answer.spans, strict=True):
            facts.append(
                Fact(
                    answer.case.id,
                    credit.tokens.answer[error.start : error.end],
                    other.tokens.answer[span.start : span.end],
                    earned(credit, error),
                    earned(other, span),
                )
            )
            owners.append(number)
    prompts = numbered([answer.case.prompt or n for n, (answer, _) in enumerate(scored)])
    return _compared(facts, np.array(owners), prompts, np.random.default_rng(seed))


def _score(
    pair: ModelPair, answers: Sequence[Reworded], conventions: Conventions, aside: SetAside
) -> Iterator[tuple[Reworded, Credit]]:
    results = score_rows(pair, [[answer.answer] for answer in answers], conventions=conventions)
    for answer, result in zip(answers, results, strict=True):
        if not isinstance(result, CreditError) and result[0].tokens.answer != answer.answer.answer:
            result = CreditError(
                f"{answer.case.id}: the chat template rewrites the paraphrase, so its labels no longer fit it. "
                f"Label it as rendered: {result[0].tokens.answer[:60]!r}"
            )
        if isinstance(result, CreditError):
            aside.add(answer.case.id, answer.place, result)
        else:
            yield answer, result[0]


def earned(credit: Credit, span: Error) -> float:
    """What a stretch of an answer earned: the rewards of all tokens that share a character with it."""
    spans = zip(credit.rewards, credit.tokens.spans, strict=True)
    return math.fsum(reward for reward, (start, end) in spans if start < span.end and span.start < end)


def _compared(facts: list[Fact], owners: np.ndarray, prompts: np.ndarray, rng: np.random.Generator) -> Paraphrased:
    """The figures of F facts, each of one of N answers, which stand on the prompts of these numbers, (N,)."""
    ours, theirs = np.array([(fact.credit, fact.reworded_credit) for fact in facts]).T
    draws = resamples(prompts, rng)
    counts = np.bincount(owners, minlength=len(prompts))

    def over_facts(values: np.ndarray) -> Estimate:
        sums = np.bincount(owners, values, len(prompts))
        return estimate(float(values.mean()), (draws @ sums) / (draws @ counts))

    count = int(prompts.max()) + 1
    return Paraphrased(
        answers=len(prompts),
        prompts=count,
        facts=len(facts),
        credit=over_facts(np.abs(ours)),
        change=over_facts(np.abs(theirs - ours)),
        shift=over_facts(theirs - ours),
        kept_sign=over_facts((np.sign(ours) == np.sign(theirs)).astype(float)),
        rank_correlation=correlation(ours, theirs, len(prompts), count, ranked=True),
        each=facts,
    )
