"""Where the wrong units are found: by kind of error, position in the answer, class of token, and group of answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from dpo_credit.estimates.statistics import UNDEFINED, Estimate, Ranking, estimate, mean
from dpo_credit.localise.labels import Case
from dpo_credit.localise.localised import AnswerGroup, Group
from dpo_credit.localise.measures import Measured, Resampling, paired
from dpo_credit.localise.scores import REWARD, Units
from dpo_credit.segments import Unit
from dpo_credit.text import token_class as token_classes

LEAST_PROMPTS = 5  # of answers with errors in a part, below which resampling them tells nothing
THIRDS = ("first third", "middle third", "last third")
CLASSES = ("digits", "capitalised", "other words", "punctuation", "white space", "other")


def token_class(text: str) -> str:
    """What a unit's text is: one of CLASSES. The report's classes, with words parted by their first letter."""
    name = token_classes.CLASSES[token_classes.plain_class(text)]
    if name != "words":
        return name
    first = next(char for char in text if char.isalpha())
    return "capitalised" if first.isupper() else "other words"


def groups(
    cases: Sequence[Case], units: Sequence[Units], baseline: str, top_k: int, chance: Resampling, unit: Unit
) -> list[Group]:
    """The reward and the best baseline in each part of the units.

    Args:
        cases: N labelled answers.
        units: their units.
        baseline: the name of the best baseline.
        top_k: how many units count as suspected.
        chance: of the same answers.
        unit: what they are; those larger than a word have no class.
    """
    owner = np.repeat(np.arange(len(units)), [len(unit.spans) for unit in units])
    errors = np.concatenate([unit.errors for unit in units])
    scores = {name: np.concatenate([unit.scores[name] for unit in units]) for name in (REWARD, baseline)}
    texts = [case.wrong.answer[start:end] for case, unit in zip(cases, units, strict=True) for start, end in unit.spans]
    kinds = np.array(
        [
            case.errors[error].kind if error >= 0 else ""
            for case, unit in zip(cases, units, strict=True)
            for error in unit.errors.tolist()
        ]
    )
    thirds = np.array(
        [
            THIRDS[min(2, 3 * (start + end) // (2 * len(case.wrong.answer)))]
            for case, unit in zip(cases, units, strict=True)
            for start, end in unit.spans
        ]
    )
    classes = np.array([token_class(text) for text in texts])

    def group(by: Literal["kind", "position", "class"], name: str, inside: np.ndarray) -> Group:
        areas = [
            _area(Ranking(values[inside], errors[inside] >= 0, owner[inside]), chance) for values in scores.values()
        ]
        wrong = inside & (errors >= 0)
        return Group(
            by=by,
            name=name,
            units=int(inside.sum()),
            wrong_units=int(wrong.sum()),
            errors=len(set(zip(owner[wrong].tolist(), errors[wrong].tolist(), strict=True))),
            reward=areas[0],
            baseline=areas[1],
            found=_found(cases, units, name, top_k, chance) if by == "kind" else UNDEFINED,
        )

    present = sorted(set(kinds) - {""}, key=lambda kind: (-int((kinds == kind).sum()), kind))
    parts = [group("kind", kind, (kinds == kind) | (kinds == "")) for kind in present]
    parts += [group("position", third, thirds == third) for third in THIRDS if (thirds == third).any()]
    if unit not in ("token", "word"):
        return parts
    return parts + [group("class", name, classes == name) for name in CLASSES if (classes == name).any()]


def _area(ranking: Ranking, chance: Resampling) -> Estimate:
    value = ranking.areas()[0]
    if _too_few(chance.prompts[ranking.answers[ranking.wrong]]):
        return UNDEFINED if np.isnan(value) else Estimate(float(value), None, None)
    return estimate(value, ranking.drawn(chance.draws)[0])


def _too_few(prompts: np.ndarray) -> bool:
    return len(set(prompts.tolist())) < LEAST_PROMPTS


def _found(cases: Sequence[Case], units: Sequence[Units], kind: str, top_k: int, chance: Resampling) -> Estimate:
    """The share of a kind's errors with a unit among the most suspicious."""
    hits, counts = np.zeros(len(cases)), np.zeros(len(cases))
    for n, (case, unit) in enumerate(zip(cases, units, strict=True)):
        graded = unit.graded(REWARD)
        of_kind = {error for error in graded.names if case.errors[error].kind == kind}
        hits[n], counts[n] = len(of_kind & graded.found(top_k)), len(of_kind)
    if _too_few(chance.prompts[counts > 0]):
        return Estimate(float(hits.sum() / counts.sum()), None, None)
    with np.errstate(invalid="ignore"):
        return estimate(hits.sum() / counts.sum(), (chance.draws @ hits) / (chance.draws @ counts))


def answer_groups(cases: Sequence[Case], ours: Measured, theirs: Measured, chance: Resampling) -> list[AnswerGroup]:
    """The reward and the best baseline on each group of N answers alone, the largest group first.

    Args:
        cases: N labelled answers, each with its group.
        ours: the reward on them.
        theirs: the best baseline.
        chance: of the same answers.
    """
    group_of = np.array([case.group for case in cases])
    sizes = Counter(group_of.tolist())
    made = []
    for name in sorted(sizes, key=lambda group: (-sizes[group], group)):
        inside = group_of == name
        ranked = inside & ~np.isnan(ours.auroc_within)
        within = chance if not _too_few(chance.prompts[ranked]) else replace(chance, draws=chance.draws[:0])
        against = paired(ours, theirs, within, inside)
        made.append(
            AnswerGroup(
                name,
                sizes[name],
                len(set(chance.prompts[inside].tolist())),
                sum(len(case.errors) for case in cases if case.group == name),
                mean(ours.auroc_within[inside], within.draws[:, inside]),
                mean(theirs.auroc_within[inside], within.draws[:, inside]),
                against.difference,
                against.p,
                against.verdict,
                mean(ours.top_1[inside], within.draws[:, inside]),
                mean(theirs.top_1[inside], within.draws[:, inside]),
                against.top_1_p,
            )
        )
    return made
