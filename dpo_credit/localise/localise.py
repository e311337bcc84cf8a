"""Does the reward find the wrong tokens, and better than simpler scores do? Measured on labelled answers.

Rafailov et al. 2024, "From r to Q*", section 5.1 shows it on one answer; this measures it on many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dpo_credit.credit import Credit, CreditError, Tokens
from dpo_credit.estimates.statistics import numbered, resamples
from dpo_credit.localise.breakdown import answer_groups, groups
from dpo_credit.localise.labels import Case, cases_of
from dpo_credit.localise.localised import LabelledAnswer, LocaliseReport
from dpo_credit.localise.measures import Measured, Resampling, compare, sentence
from dpo_credit.localise.preference import preference
from dpo_credit.localise.scores import ALIGNED, REWARD, SURE, UNSURE, Beyond, Units, token_values, units_of
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.side import Distributions, Module, Side, require, unwrapped
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.given import Given, rows_of
from dpo_credit.scoring import score_rows
from dpo_credit.segments import Unit
from dpo_credit.text.conventions import Conventions

FEW = 30  # prompts below which the intervals are rough


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure: units, how many count as suspected, whether to attribute with Captum, and the seed of chance.

    `group_by` names the field that the cases' groups were read from, if they are to be told apart.
    """

    unit: Unit = "token"
    top_k: int = 3
    captum: bool = False
    seed: int = 0
    group_by: str | None = None


@dataclass(frozen=True, slots=True)
class Localised:
    """The report, and the credits it rests on: of each wrong answer, and of its right one where there is one."""

    report: LocaliseReport
    wrong: tuple[Credit, ...]
    right: tuple[Credit | None, ...]


def localise(
    pair: ModelPair,
    cases: Iterable[Case | Given],
    *,
    conventions: Conventions = Conventions(),
    options: Options = Options(),
    aside: SetAside = STRICT,
    say: Callable[[str], None] = lambda _: None,
) -> Localised:
    """Score labelled answers and measure how well the reward finds what is wrong in them, beside the baselines.

    Args:
        pair: see `load_pair`.
        cases: see `cases_of`; or the rows themselves, as files hold them.
        conventions: how text becomes tokens.
        options: see `Options`.
        aside: takes the answers that cannot be scored; the report lists them.
        say: told what is going on.

    Raises:
        CreditError: an answer cannot be scored and is not set aside, or there is nothing wrong or nothing right in any.
    """
    given = list(cases)
    known = [case for case in given if isinstance(case, Case)]
    if len(known) < len(given):
        known = cases_of(rows_of(given, aside), aside, group_by=options.group_by)  # type: ignore[arg-type]
    scored = list(_score(pair, known, conventions, aside, say))
    aside.require(scored)
    kept, wrong, right = zip(*scored, strict=True)
    beyond = beyond_of(pair, wrong, options, say)
    say("Resampling")
    localised = measure(kept, wrong, right, beyond, options)
    notes = [*([pair.assumed] if pair.assumed else ()), *localised.report.notes]
    return replace(localised, report=replace(localised.report, notes=notes, set_aside=list(aside.rows)))


def measure(
    cases: Sequence[Case],
    wrong: Sequence[Credit],
    right: Sequence[Credit | None],
    beyond: Sequence[Beyond],
    options: Options,
) -> Localised:
    """`localise`, where the answers are scored.

    Raises:
        CreditError: no answer has both wrong and right units.
    """
    rng = np.random.default_rng(options.seed)
    complete = all(score is not None for score in right)
    units = []
    for case, credit, other, more in zip(cases, wrong, right, beyond, strict=True):
        values = token_values(credit, more, other if complete else None)
        units.append(units_of(credit, case.errors, values, options.unit, rng))
    # answers without a prompt share none
    prompts = numbered([case.prompt or n for n, case in enumerate(cases)])
    count = len(set(prompts.tolist()))
    draws = resamples(prompts, rng)
    chance = Resampling(draws, prompts, rng)
    measured = {name: Measured([unit.graded(name) for unit in units], options.top_k) for name in units[0].scores}
    if np.isnan(measured[REWARD].auroc_within).all():
        raise CreditError(
            f"no answer has both wrong and right {options.unit}s, so none can be ranked above another. "
            "Labels should mark only the characters that are wrong."
        )
    entropy = UNSURE in measured
    if entropy:  # wrong facts may stand where a model is sure or where it is not: the baseline is what finds more
        del measured[min((UNSURE, SURE), key=lambda name: np.nanmean(measured[name].auroc_within))]
    names = list(measured)
    drawn = {name: score.ranking.drawn(draws) for name, score in measured.items()}
    findings = [measured[name].finding(name, drawn[name], draws) for name in names]
    comparisons = [compare(name, measured, drawn, chance) for name in names if name != REWARD]
    within = {finding.name: finding.auroc_within.value or 0.0 for finding in findings}
    best = max((name for name in names if name not in (REWARD, ALIGNED)), key=within.__getitem__)
    ranked = measured[REWARD].ranking
    report = LocaliseReport(
        schema="dpo-credit/localise@1",
        policy=wrong[0].source.policy,
        reference=wrong[0].source.reference,
        beta=wrong[0].beta,
        length_normalised=wrong[0].length_normalised,
        dtype=wrong[0].source.dtype,
        unit=options.unit,
        top_k=options.top_k,
        seed=options.seed,
        resamples=len(draws),
        answers=len(cases),
        prompts=count,
        answers_with_right_one=sum(score is not None for score in right),
        answers_with_several_errors=sum(len(unit.graded(REWARD).names) > 1 for unit in units),
        errors=sum(len(case.errors) for case in cases),
        errors_of_several_units=sum(int(unit.graded(REWARD).begins[0].sum()) for unit in units),
        units=len(ranked.scores),
        wrong_units=int(ranked.wrong.sum()),
        end_token="excluded",
        best=best,
        sentence=sentence(
            findings, next(comparison for comparison in comparisons if comparison.baseline == best), options.unit
        ),
        findings=findings,
        comparisons=comparisons,
        preference=preference(wrong, right, draws),
        groups=groups(cases, units, best, options.top_k, chance, options.unit),
        group_by=options.group_by,
        answer_groups=answer_groups(cases, measured[REWARD], measured[best], chance) if options.group_by else [],
        notes=_notes(cases, complete, entropy, options, count),
        cases=[_answer(*score, measured, n) for n, score in enumerate(zip(cases, wrong, right, units, strict=True))],
    )
    return Localised(report, tuple(wrong), tuple(right))


def _score(
    pair: ModelPair, cases: Sequence[Case], conventions: Conventions, aside: SetAside, say: Callable[[str], None]
) -> Iterator[tuple[Case, Credit, Credit | None]]:
    """Each case with its wrong answer's credit and its right one's."""
    rows = [[case.wrong] if case.right is None else [case.right, case.wrong] for case in cases]
    scored = score_rows(pair, rows, conventions=conventions)
    for done, (case, result) in enumerate(zip(cases, scored, strict=True)):
        say(f"Scoring {len(cases)} answers, {done} done")
        if isinstance(result, CreditError):
            aside.add(case.id, case.place, result)
        elif result[-1].tokens.answer != case.wrong.answer:
            message = (
                f"{case.id}: the chat template rewrites the answer, so the labels no longer fit it. Label "
                f"it as rendered: {result[-1].tokens.answer[:60]!r}"
            )
            aside.add(case.id, case.place, CreditError(message))
        else:
            yield case, result[-1], None if case.right is None else result[0]


def beyond_of(pair: ModelPair, wrong: Sequence[Credit], options: Options, say: Callable[[str], None]) -> list[Beyond]:
    """What baselines need beside the credits of answers; see `Beyond`."""
    batch = [credit.tokens for credit in wrong]
    both = [
        _entropies(side, role, batch, say) for side, role in ((pair.policy, "policy"), (pair.reference, "reference"))
    ]
    if not options.captum:
        return [Beyond(*values) for values in zip(*both, strict=True)]
    from dpo_credit.localise.attribution import attribute

    say("Attributing with Captum")
    ours, theirs = (require(side, Module, "--compare captum") for side in (pair.policy, pair.reference))
    return [Beyond(*values) for values in zip(*both, attribute(ours, theirs, batch, pair.beta), strict=True)]


def _entropies(
    side: Side, role: str, batch: Sequence[Tokens], say: Callable[[str], None]
) -> Sequence[Sequence[float] | None]:
    """(T,) of each answer, where a side gives whole distributions."""
    whole = unwrapped(side)
    if not isinstance(whole, Distributions):
        return [None] * len(batch)
    from dpo_credit.localise.entropy import entropies

    say(f"Computing the {role}'s entropy")
    return entropies(whole, batch)


def _notes(cases: Sequence[Case], complete: bool, entropy: bool, options: Options, prompts: int) -> list[str]:
    notes = []
    if not entropy:
        notes.append("the policy gives log-probabilities of the answers' own tokens only, so entropy is no baseline")
    if not options.captum:
        notes.append("gradient attribution was not computed; --compare captum does (slower)")
    if not complete:
        notes.append("not every row has a right answer, so the aligned difference right - wrong is left out")
    if (none := sum(not case.errors for case in cases)) > 0:
        notes.append(f"{none} answers have no label: they count in the pooled numbers only")
    if prompts == 1:
        notes.append("all answers stand on one prompt, which cannot be resampled: there are no intervals")
    elif prompts < FEW:
        notes.append(f"only {prompts} {'answers' if prompts == len(cases) else 'prompts'}: the intervals are rough")
    return notes


def _answer(
    case: Case, wrong: Credit, right: Credit | None, units: Units, measured: dict[str, Measured], n: int
) -> LabelledAnswer:
    within = {name: float(score.auroc_within[n]) for name, score in measured.items()}
    return LabelledAnswer(
        id=case.id,
        answer=case.wrong.answer,
        labels=list(case.errors),
        units=list(units.spans),
        errors=units.errors.tolist(),
        scores={name: units.scores[name].tolist() for name in measured},
        auroc={name: None if np.isnan(value) else value for name, value in within.items()},
        margin=None if right is None else right.reward - wrong.reward,
        notes=list(dict.fromkeys(note for credit in (right, wrong) if credit for note in credit.tokens.notes)),
    )
