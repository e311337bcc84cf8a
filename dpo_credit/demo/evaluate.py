"""Measure the embedded pair on held-out posts with `localise`, and write the results into its model card.

python -m dpo_credit.demo.evaluate --write
"""

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from dpo_credit import load_pair
from dpo_credit.estimates.statistics import Estimate
from dpo_credit.localise.labels import cases_of
from dpo_credit.localise.localise import Localised, Options, localise
from dpo_credit.localise.localised import BaselineComparison, Detection, Unit
from dpo_credit.rows.records import parse_row

from .corpus import POSTS, SEEDS, draw_pairs
from .errors import Pair
from .rows import labelled_row

HERE = Path(__file__).parent
CARD = HERE / "MODEL_CARD.md"
BEGIN, END = "<!-- results: written by python -m dpo_credit.demo.evaluate --write -->", "<!-- end of results -->"
LOWEST = 3  # how many of an answer's units count as suspected


def measure(pairs: Iterable[Pair], unit: Unit, directory: Path = HERE) -> Localised:
    """How well DIRECTORY/policy and DIRECTORY/reference find the wrong words or tokens of these pairs."""
    rows = (parse_row(labelled_row(pair, str(n)), str(n)) for n, pair in enumerate(pairs, 1))
    models = load_pair(directory / "policy", directory / "reference")
    return localise(models, cases_of(rows), options=Options(unit=unit, top_k=LOWEST))


def results(words: Localised, tokens: Localised) -> str:
    """The results as Markdown."""
    report = words.report
    lines = [*table("Words", report.findings), ""]
    lines += ["`-reward` against each other score, on the same words:", ""]
    lines += [against(comparison) for comparison in report.comparisons if comparison.baseline != "random"]
    lines += ["", *table("Tokens", tokens.report.findings), ""]
    preference = report.preference
    assert preference is not None, "every pair has a right summary"
    lines += [
        f"- right summary preferred: {shown(preference.accuracy)}; margin {shown(preference.margin, signed=True)}",
        f"- echo: an unchanged token's reward moves by {shown(preference.echo, 4)}, an edit earns"
        f" {shown(preference.edit, signed=True)}",
        f"- {report.answers} posts, {report.units} words of wrong summaries, {report.wrong_units} of them wrong",
        "",
        *by_fact(words),
    ]
    return "\n".join(lines)


def headline(measured: Localised) -> str:
    """The reward's numbers in one line, without intervals."""
    report = measured.report
    reward = report.finding("-reward")
    assert report.preference is not None, "every pair has a right summary"
    return (
        f"AUROC {shown(reward.auroc, bare=True)}, lowest word wrong {shown(reward.top_1, bare=True)}, both of two"
        f" {shown(reward.all_errors, bare=True)}, pair accuracy {shown(report.preference.accuracy, bare=True)}"
    )


def table(title: str, findings: Sequence[Detection]) -> list[str]:
    """A line for each score that sees the wrong answer alone."""
    lines = [
        f"| {title} | AUROC | AUROC within answers | the lowest is wrong | both of two errors among the lowest three |",
        "|---|---|---|---|---|",
    ]
    for finding in findings:
        if not finding.sees_right_answer:
            numbers = (finding.auroc, finding.auroc_within, finding.top_1, finding.all_errors)
            lines.append(f"| `{finding.name}` | " + " | ".join(map(shown, numbers)) + " |")
    return lines


def against(comparison: BaselineComparison) -> str:
    return (
        f"- over `{comparison.baseline}`: AUROC within answers {shown(comparison.difference, signed=True)}"
        f" (sign-flip permutation p = {comparison.p:.1g}); pooled {shown(comparison.auroc_difference, signed=True)};"
        f" lowest word {shown(comparison.top_1_difference, signed=True)} (McNemar p = {comparison.top_1_p:.1g})"
    )


def by_fact(measured: Localised) -> list[str]:
    """How often an error's word is among the lowest three, by the type of the changed fact."""
    groups = sorted((group for group in measured.report.groups if group.by == "kind"), key=lambda group: group.name)
    lines = ["| changed fact | errors | among the lowest three words |", "|---|---|---|"]
    return lines + [f"| {group.name} | {group.errors} | {shown(group.found, 2, bare=True)} |" for group in groups]


def shown(estimate: Estimate, decimals: int = 3, *, signed: bool = False, bare: bool = False) -> str:
    """A number with its interval, or bare."""
    if estimate.value is None:
        return "-"
    style = f"{'+' if signed else ''}.{decimals}f"
    if bare or estimate.low is None or estimate.high is None:
        return f"{estimate.value:{style}}"
    return f"{estimate.value:{style}} [{estimate.low:{style}}, {estimate.high:{style}}]"


def write_between(card: Path, begin: str, end: str, text: str) -> None:
    """Put a text in the place of what stands between two marks of a file.

    Raises:
        IndexError: one of them is not there.
    """
    written = card.read_text("utf-8")
    head, tail = written.split(begin)[0], written.split(end)[1]
    card.write_text(f"{head}{begin}\n{text}\n{end}{tail}", "utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the results of a pair, and with --write put them into the model card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pair", type=Path, default=HERE, help="directory that holds policy/ and reference/")
    parser.add_argument("--posts", type=int, default=POSTS)
    parser.add_argument("--split", choices=["held_out", "validation"], default="held_out")
    parser.add_argument("--write", action="store_true", help="into the model card, between its markers")
    options = parser.parse_args(arguments)
    seed = SEEDS[options.split]
    pairs = list(draw_pairs(seed, options.posts, options.split))
    words, tokens = (measure(pairs, unit, options.pair) for unit in ("word", "token"))
    swapped = measure(draw_pairs(seed + 100, options.posts, options.split, swaps=1.0), "word", options.pair)
    text = (
        f"{results(words, tokens)}\n\nOn {options.posts} more posts, where every wrong value that can be is another"
        f" fact of the post: {headline(swapped)}.\n\n" + "\n".join(by_fact(swapped))
    )
    print(text)
    if options.write:
        write_between(CARD, BEGIN, END, text)


if __name__ == "__main__":
    main()
