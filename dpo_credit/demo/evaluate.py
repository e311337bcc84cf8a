"""Measure the embedded pair on held-out posts and write the results into its model card.

    python -m dpo_credit.demo.evaluate --write

Credit against its baselines, the policy's and the reference's surprise, on the same words of the same summaries.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dpo_credit import Credit, Example, load_pair, score
from dpo_credit.estimates.statistics import interval, mcnemar_p, resamples, sign_flip_p
from dpo_credit.localise.grading import Graded, auroc, errors_of, sum_over, word_spans

from .corpus import draw_pairs
from .errors import Pair
from .wording import Split

HERE = Path(__file__).parent
CARD = HERE / "MODEL_CARD.md"
BEGIN, END = "<!-- results: written by python -m dpo_credit.demo.evaluate --write -->", "<!-- end of results -->"
POSTS = 500
SEEDS: dict[Split, int] = {"train": 3, "validation": 1, "held_out": 2}

SCORES: dict[str, Callable[[Credit], Sequence[float]]] = {
    "-reward": lambda credit: [-reward for reward in credit.rewards],
    "-log pi": lambda credit: [-logp for logp in credit.policy_logps],
    "-log pi_ref": lambda credit: [-logp for logp in credit.reference_logps],
}


@dataclass(frozen=True)
class Scored:
    """A preference and the credits of both its answers."""

    pair: Pair
    chosen: Credit
    rejected: Credit


def score_pairs(pairs: Sequence[Pair], directory: Path = HERE) -> list[Scored]:
    """Score both answers of each pair with DIRECTORY/policy and DIRECTORY/reference."""
    models = load_pair(directory / "policy", directory / "reference")
    answers = [answer.text for pair in pairs for answer in (pair.chosen, pair.rejected)]
    prompts = [pair.post.prompt for pair in pairs for _ in range(2)]
    examples = [
        Example(prompt, answer, str(i)) for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]
    credits = list(score(models, examples))
    return [Scored(pair, *credits[2 * i : 2 * i + 2]) for i, pair in enumerate(pairs)]


def grade(scored: Sequence[Scored], unit: str, values: Callable[[Credit], Sequence[float]]) -> list[Graded]:
    """Grade the wrong answers by "word", "token", or "span" (the values of the summary, right and wrong)."""
    graded = []
    for one in scored:
        credit, summary = one.rejected, one.pair.rejected
        tokens = credit.tokens.spans
        units = {
            "word": word_spans(summary.text),
            "token": [(start, end) for start, end in tokens if start < end],
            "span": [(span.start, span.end) for span in summary.spans],
        }[unit]
        if unit == "token":
            sums = np.array([v for v, (start, end) in zip(values(credit), tokens, strict=True) if start < end])
        elif unit == "span":
            sums = np.array([_over(span, tokens, values(credit)) for span in units])
        else:
            sums = sum_over(units, tokens, values(credit))
        graded.append(Graded(sums, errors_of(units, [edit.wrong_characters for edit in one.pair.edits])))
    return graded


def _over(span: tuple[int, int], tokens: Sequence[tuple[int, int]], values: Sequence[float]) -> float:
    return sum(v for v, (start, end) in zip(values, tokens, strict=True) if start < span[1] and span[0] < end)


def echo(scored: Sequence[Scored]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per pair, how far the rewards of its unchanged and of its changed words move from chosen to rejected.

    Returns:
        |change| of the words outside the edits, and change (negative: punished) summed over the words of each edit.
    """
    unchanged, changed = [], []
    for one in scored:
        sides = []
        for credit, summary in ((one.chosen, one.pair.chosen), (one.rejected, one.pair.rejected)):
            slots = {edit.slot for edit in one.pair.edits}
            values = [(span.start, span.end) for span in summary.spans if span.slot in slots]
            words = word_spans(summary.text)
            rewards = sum_over(words, credit.tokens.spans, credit.rewards)
            inside = np.array([any(s < high and low < e for low, high in values) for s, e in words])
            spans = [sum(r for r, (s, e) in zip(rewards, words, strict=True) if s < hi and lo < e) for lo, hi in values]
            sides.append((rewards[~inside], np.array(spans)))
        (right_rest, right_values), (wrong_rest, wrong_values) = sides
        unchanged.append(np.abs(wrong_rest - right_rest))
        changed.append(wrong_values - right_values)
    return unchanged, changed


def report(scored: Sequence[Scored], seed: int = 0) -> str:
    """The results as Markdown; intervals are 95 % bootstrap intervals over answers."""
    rng = np.random.default_rng(seed)
    draws = resamples(len(scored), rng)

    def mean(values: Sequence[float | bool], width: int = 3) -> str:
        array = np.array(values, dtype=float)
        low, high = interval(draws_of(array))
        return f"{array.mean():.{width}f} [{low:.{width}f}, {high:.{width}f}]"

    def draws_of(array: np.ndarray) -> np.ndarray:
        known = ~np.isnan(array)
        return (draws @ np.where(known, array, 0)) / np.maximum(draws @ known.astype(float), 1)

    def area(graded: Sequence[Graded]) -> str:
        low, high = interval(np.array([auroc(graded, counts) for counts in draws]))
        return f"{auroc(graded):.3f} [{low:.3f}, {high:.3f}]"

    words = {name: grade(scored, "word", values) for name, values in SCORES.items()}
    two = [i for i, one in enumerate(scored) if len(one.pair.edits) == 2]
    lines = ["| Words | " + " | ".join(f"`{name}`" for name in words) + " |", "|---" * (1 + len(words)) + "|"]
    lines.append("| AUROC | " + " | ".join(area(graded) for graded in words.values()) + " |")
    lowest = {name: np.array([one.lowest_is_wrong for one in graded]) for name, graded in words.items()}
    lines.append("| the lowest word is wrong | " + " | ".join(mean(list(hits)) for hits in lowest.values()) + " |")
    both = {name: np.array([graded[i].all_in_lowest_three for i in two]) for name, graded in words.items()}
    cells = []
    for hits in both.values():
        array = np.full(len(scored), np.nan)
        array[two] = hits
        low, high = interval(draws_of(array))
        cells.append(f"{hits.mean():.3f} [{low:.3f}, {high:.3f}]")
    lines.append(f"| both of two errors among the lowest three ({len(two)} answers) | " + " | ".join(cells) + " |")

    lines += ["", "Paired tests of `-reward` against each baseline, on the same words:", ""]
    ours = words["-reward"]
    per_answer = np.array([one.auroc for one in ours])
    for name in list(words)[1:]:
        gains = np.array([auroc(ours, counts) - auroc(words[name], counts) for counts in draws[:300]])
        low, high = interval(gains)
        within = per_answer - np.array([one.auroc for one in words[name]])
        lines.append(
            f"- over `{name}`: AUROC {auroc(ours) - auroc(words[name]):+.3f} [{low:+.3f}, {high:+.3f}]; AUROC within"
            f" answers {within.mean():+.3f} (sign-flip permutation p = {sign_flip_p(within, rng):.1g});"
            f" lowest word {_gain(lowest, name)}; both of two {_gain(both, name)}"
        )

    lines += [
        "",
        "| Other units | " + " | ".join(f"`{name}`" for name in words) + " |",
        "|---" * (1 + len(words)) + "|",
    ]
    for unit in ("token", "span"):
        units = {name: grade(scored, unit, values) for name, values in SCORES.items()}
        lines.append(f"| {unit} AUROC | " + " | ".join(area(one) for one in units.values()) + " |")
        shares = [mean([one.lowest_is_wrong for one in some]) for some in units.values()]
        lines.append(f"| the lowest {unit} is wrong | " + " | ".join(shares) + " |")

    unchanged, changed = echo(scored)
    surprise = np.concatenate([one.scores[one.errors < 0] for one in words["-log pi_ref"]])
    wrong = np.concatenate([one.scores[one.errors >= 0] for one in words["-log pi_ref"]])
    lines += [
        "",
        f"- pair accuracy: {mean([one.chosen.reward > one.rejected.reward for one in scored])}",
        f"- rewards of whole answers: chosen {mean([one.chosen.reward for one in scored])}, rejected"
        f" {mean([one.rejected.reward for one in scored])}",
        f"- echo: an unchanged word's reward moves by {mean([v.mean() for v in unchanged], 4)}, a changed value's by"
        f" {mean([v.mean() for v in changed])}",
        f"- surprise under the reference: right words {surprise.mean():.2f} nats on average,"
        f" {(surprise > 7).mean():.0%} of them above 7; wrong words {wrong.mean():.2f}",
        f"- {len(scored)} posts, {sum(len(one.scores) for one in ours)} words of wrong summaries,"
        f" {sum(int((one.errors >= 0).sum()) for one in ours)} of them wrong",
    ]
    return "\n".join(lines)


def by_type(scored: Sequence[Scored]) -> str:
    """How often an error's word is among the lowest three, by the type of the changed fact, as a Markdown table."""
    found: dict[str, list[bool]] = {}
    for one, graded in zip(scored, grade(scored, "word", SCORES["-reward"]), strict=True):
        lowest = set(graded.errors[np.argsort(-graded.scores, kind="stable")[:3]])
        for index, edit in enumerate(one.pair.edits):
            kind = one.pair.post.fact(edit.slot).type
            found.setdefault("decision" if "/" in kind else kind, []).append(index in lowest)
    rows = [f"| {kind} | {len(hits)} | {np.mean(hits):.2f} |" for kind, hits in sorted(found.items())]
    return "\n".join(["| changed fact | errors | among the lowest three words |", "|---|---|---|", *rows])


def summary_line(scored: Sequence[Scored]) -> str:
    """The headline numbers in one line, without intervals."""
    graded = grade(scored, "word", SCORES["-reward"])
    both = [one.all_in_lowest_three for one, row in zip(graded, scored, strict=True) if len(row.pair.edits) == 2]
    return (
        f"AUROC {auroc(graded):.3f}, lowest word wrong {np.mean([one.lowest_is_wrong for one in graded]):.3f}, both of"
        f" two {np.mean(both):.3f}, pair accuracy"
        f" {np.mean([one.chosen.reward > one.rejected.reward for one in scored]):.3f}"
    )


def _gain(hits: dict[str, np.ndarray], name: str) -> str:
    ours, theirs = hits["-reward"], hits[name]
    return f"{ours.mean() - theirs.mean():+.3f} (McNemar p = {mcnemar_p(ours, theirs):.1g})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the results of a pair, and with --write put them into the model card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pair", type=Path, default=HERE, help="directory that holds policy/ and reference/")
    parser.add_argument("--posts", type=int, default=POSTS)
    parser.add_argument("--split", choices=["held_out", "validation"], default="held_out")
    parser.add_argument("--write", action="store_true", help="into the model card, between its markers")
    options = parser.parse_args(arguments)
    seed = SEEDS[options.split]
    scored = score_pairs(list(draw_pairs(seed, options.posts, options.split)), options.pair)
    swapped = score_pairs(list(draw_pairs(seed + 100, options.posts, options.split, swaps=1.0)), options.pair)
    text = (
        f"{report(scored)}\n\n{by_type(scored)}\n\nOn {len(swapped)} more posts, where every wrong value that can be is"
        f" another fact of the post: {summary_line(swapped)}.\n\n{by_type(swapped)}"
    )
    print(text)
    if options.write:
        card = CARD.read_text("utf-8")
        head, tail = card.split(BEGIN)[0], card.split(END)[1]
        CARD.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()
