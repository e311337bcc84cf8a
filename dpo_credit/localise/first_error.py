"""Does the reward find the first wrong step of a solution? As ProcessBench asks (Zheng et al. 2024, arXiv:2412.06559).

The first step whose suspicion reaches a threshold is said to be wrong; where none does, the solution is said to be
right. The threshold is chosen on some of the problems, and all figures are of the others.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from dpo_credit.credit import Credit, CreditError
from dpo_credit.estimates.statistics import estimate, means, numbered, resamples
from dpo_credit.localise.localise import FEW, beyond_of
from dpo_credit.localise.localise import Options as TokenOptions
from dpo_credit.localise.scores import ABOUT, RANDOM, REWARD, SURE, UNSURE, token_values
from dpo_credit.localise.solutions import Solution
from dpo_credit.localise.stepwise import FirstErrorReport, SolutionSteps, StepDetection, StepScore
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.tally import Tally
from dpo_credit.scoring import score_rows
from dpo_credit.text.conventions import Conventions

Scores = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Options:
    """How tokens' rewards become a step's, the share of the problems that thresholds are chosen on, and the seed."""

    step_score: StepScore = "sum"
    tune_on: float = 0.2
    seed: int = 0


def first_errors(
    pair: ModelPair,
    solutions: Sequence[Solution],
    *,
    conventions: Conventions = Conventions(),
    options: Options = Options(),
    aside: SetAside = STRICT,
    say: Callable[[str], None] = lambda _: None,
) -> FirstErrorReport:
    """Score solutions and measure how well the reward finds their first wrong steps, beside the baselines.

    Args:
        pair: see `load_pair`.
        solutions: see `solutions_of`.
        conventions: how text becomes tokens.
        options: see `Options`.
        aside: takes the solutions that cannot be scored; the report lists them.
        say: told what is going on.

    Raises:
        CreditError: a solution cannot be scored and is not set aside, or too few are wrong or right.
    """
    scored = list(_score(pair, solutions, conventions, aside))
    aside.require(scored)
    kept = [solution for solution, _ in scored]
    credits = [credit for _, credit in scored]
    beyond = beyond_of(pair, credits, TokenOptions(), say)
    rng = np.random.default_rng(options.seed)
    scores = []
    for solution, credit, more in zip(kept, credits, beyond, strict=True):
        steps = {
            name: step_scores(credit, solution.starts, values, options.step_score)
            for name, values in token_values(credit, more, None).items()
        }
        steps[RANDOM] = rng.random(len(solution.starts))
        scores.append({name: steps[name] for name in ABOUT if name in steps})
    say("Resampling")
    tally = Tally()
    for solution, credit in scored:
        tally.add(solution.id, credit.tokens.notes)
    notes = [*([pair.assumed] if pair.assumed else []), *tally.lines("solutions")]
    report = measure(kept, credits, scores, options, rng=rng, notes=notes)
    return replace(report, set_aside=list(aside.rows))


def _score(
    pair: ModelPair, solutions: Sequence[Solution], conventions: Conventions, aside: SetAside
) -> Iterator[tuple[Solution, Credit]]:
    results = score_rows(pair, [[solution.answer] for solution in solutions], conventions=conventions)
    for solution, result in zip(solutions, results, strict=True):
        if isinstance(result, CreditError):
            aside.add(solution.id, solution.place, result)
        elif result[0].tokens.answer != solution.answer.answer:
            message = f"{solution.id}: the chat template rewrites the steps, so their places are not known."
            aside.add(solution.id, solution.place, CreditError(message))
        else:
            yield solution, result[0]


def step_scores(credit: Credit, starts: Sequence[int], values: Sequence[float], how: StepScore) -> np.ndarray:
    """(S,) suspicions of an answer's steps, from those of its tokens: "lowest" is that of the lowest reward.

    A token belongs to the step of its last character; the end token, which has none, to no step. A step without a
    token of its own is never suspected.

    Args:
        credit: the answer's.
        starts: (S,) the character that each step begins at.
        values: (T,) high where a token looks wrong.
        how: what of a step's tokens counts.
    """
    steps: list[list[float]] = [[] for _ in starts]
    for (start, end), value in zip(credit.tokens.spans, values, strict=True):
        if start < end:
            steps[max(0, bisect_right(starts, end - 1) - 1)].append(value)
    ways: dict[StepScore, Callable[[list[float]], float]] = {"sum": math.fsum, "mean": fmean, "lowest": max}
    return np.array([ways[how](own) if own else -np.inf for own in steps])


def named(scores: np.ndarray, threshold: float) -> int:
    """The first of (S,) steps whose suspicion reaches the threshold, or -1."""
    reached = np.flatnonzero(scores >= threshold)
    return int(reached[0]) if len(reached) else -1


def f1(wrong: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The harmonic mean of the accuracies on wrong and on right solutions; 0 where both are."""
    total = wrong + right
    return np.divide(2 * wrong * right, total, out=np.zeros_like(total), where=total != 0)


def swept(scores: Sequence[np.ndarray], labels: np.ndarray) -> tuple[float, float]:
    """The threshold of the highest F1 on solutions, the lowest of equal ones, and that F1.

    Equals trying every threshold with `named`: a wrong solution is answered rightly by thresholds above all of the
    suspicions before its label and up to its own; a right one, by those above all of them.
    """
    pairs = list(zip(scores, labels.tolist(), strict=True))
    low = np.array([own[: label if label >= 0 else None].max(initial=-np.inf) for own, label in pairs])
    high = np.maximum(low, [own[label] if label >= 0 else np.inf for own, label in pairs])
    ends = np.unique([end for end in (*low, *high) if np.isfinite(end)])
    tried = np.array([ends[0], *(ends[1:] + ends[:-1]) / 2, ends[-1] + 1])
    accuracies = []
    for side in (labels >= 0, labels < 0):
        begun, ended = (np.searchsorted(np.sort(bound[side]), tried) for bound in (low, high))
        accuracies.append((begun - ended) / side.sum())
    found = f1(*accuracies)
    best = int(found.argmax())
    return float(tried[best]), float(found[best])


def _tuning(labels: np.ndarray, prompts: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """(N,) whether thresholds are chosen on a solution: on a share of the prompts, all solutions of each.

    Raises:
        CreditError: one side lacks wrong or right solutions.
    """
    count = len(set(prompts.tolist()))
    drawn = rng.permutation(count)[: min(count - 1, max(1, round(share * count)))]
    tuning = np.isin(prompts, drawn)
    for side, name in ((tuning, "to choose thresholds on"), (~tuning, "to measure")):
        wrong, right = int((labels[side] >= 0).sum()), int((labels[side] < 0).sum())
        if not wrong or not right:
            raise CreditError(
                f"{wrong} wrong and {right} right solutions {name}, of {len(labels)} in all; it takes some of both. "
                "Give more solutions, or another --tune-on or --seed."
            )
    return tuning


def measure(
    solutions: Sequence[Solution],
    credits: Sequence[Credit],
    scores: Sequence[Scores],
    options: Options,
    *,
    rng: np.random.Generator,
    notes: Sequence[str] = (),
) -> FirstErrorReport:
    """`first_errors`, where the solutions are scored: with the `scores` of their steps, (S,) each by name.

    Raises:
        CreditError: too few solutions are wrong or right.
    """
    labels = np.array([solution.label for solution in solutions])
    prompts = numbered([solution.prompt or n for n, solution in enumerate(solutions)])
    tuning = _tuning(labels, prompts, options.tune_on, rng)
    measured = np.flatnonzero(~tuning).tolist()
    truth = labels[measured]
    chosen = {
        name: swept([scores[n][name] for n in np.flatnonzero(tuning).tolist()], labels[tuning]) for name in scores[0]
    }
    if UNSURE in chosen:  # as for tokens, the sign that finds more; here, where thresholds are chosen
        del chosen[min((UNSURE, SURE), key=lambda name: chosen[name][1])]
    draws = resamples(numbered(prompts[measured].tolist()), rng)
    guesses = {name: np.array([named(own[name], at) for own in scores]) for name, (at, _) in chosen.items()}
    hits = {name: (own[measured] == truth).astype(float) for name, own in guesses.items()}
    halves = [np.where(side, 1.0, np.nan) for side in (truth >= 0, truth < 0)]
    values = {name: [float(np.nanmean(own * half)) for half in halves] for name, own in hits.items()}
    drawn = {name: [means(own * half, draws) for half in halves] for name, own in hits.items()}
    points = {name: float(f1(*map(np.atleast_1d, own))[0]) for name, own in values.items()}
    drawn_f1 = {name: f1(*own) for name, own in drawn.items()}
    findings = []
    for name, (threshold, _) in chosen.items():
        at, highest = swept([scores[n][name] for n in measured], truth)
        gain = estimate(points[REWARD] - points[name], drawn_f1[REWARD] - drawn_f1[name])
        findings.append(
            StepDetection(
                name,
                ABOUT[name],
                threshold,
                estimate(values[name][0], drawn[name][0]),
                estimate(values[name][1], drawn[name][1]),
                estimate(points[name], drawn_f1[name]),
                None if name == REWARD else gain,
                highest,
                at,
            )
        )
    count = len(set(prompts[measured].tolist()))
    return FirstErrorReport(
        schema="dpo-credit/first-error@1",
        policy=credits[0].source.policy,
        reference=credits[0].source.reference,
        beta=credits[0].beta,
        length_normalised=credits[0].length_normalised,
        dtype=credits[0].source.dtype,
        step_score=options.step_score,
        tune_on=options.tune_on,
        seed=options.seed,
        tuned_on=int(tuning.sum()),
        wrong=int((truth >= 0).sum()),
        right=int((truth < 0).sum()),
        prompts=count,
        best=max((name for name in chosen if name != REWARD), key=points.__getitem__),
        findings=findings,
        notes=[*notes, *([f"only {count} problems: the intervals are rough"] if count < FEW else [])],
        cases=[
            SolutionSteps(
                solution.id,
                solution.answer.answer,
                list(solution.starts),
                solution.label,
                bool(tuning[n]),
                {
                    name: [value if np.isfinite(value) else None for value in scores[n][name].tolist()]
                    for name in chosen
                },
                {name: int(own[n]) for name, own in guesses.items()},
            )
            for n, solution in enumerate(solutions)
        ],
    )
