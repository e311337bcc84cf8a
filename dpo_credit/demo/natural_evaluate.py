"""Measure a pair on natural posts or on other labelled answers, and write the results into the card of smollm2.

    python -m dpo_credit.demo.natural_evaluate --write                        # held-out posts
    python -m dpo_credit.demo.natural_evaluate free-prose=examples/free_prose.jsonl --write
    python -m dpo_credit.demo.natural_evaluate spans=my-spans.jsonl --pair tiny
    python -m dpo_credit.demo.natural_evaluate --split validation --posts 100 --trained natural-run/dpo

What is measured is named; with --write its results stand in the card between the marks of that name.
"""

import argparse
from collections.abc import Iterable, Sequence

from dpo_credit import Loading, ModelPair, load_pair
from dpo_credit.localise.labels import cases_of
from dpo_credit.localise.localise import Localised, Options, localise
from dpo_credit.models.bases import fetched
from dpo_credit.models.published import named
from dpo_credit.rows.aside import SetAside
from dpo_credit.rows.reader import read_records, read_rows
from dpo_credit.rows.records import Row, parse_row
from dpo_credit.rows.sources import expand

from .corpus import POSTS, SEEDS
from .evaluate import HERE, LOWEST, against, by_fact, shown, table, write_between
from .natural_rows import labelled_rows
from .wording import Split

CARD = HERE / "smollm2" / "README.md"
PAIRS = {"smollm2": (HERE / "smollm2", None), "tiny": (HERE / "policy", HERE / "reference")}


def natural(split: Split, posts: int) -> list[Row]:
    """Labelled pairs on natural posts of a split."""
    return [parse_row(row, row["id"]) for row in labelled_rows(SEEDS[split], posts, split)]


def pair_of(name: str, trained: str | None = None) -> ModelPair:
    """A pair that comes with the package, or adapters that were trained on the base of smollm2."""
    if trained is None:
        return load_pair(*PAIRS[name])
    smollm2 = named("smollm2")
    return load_pair(trained, beta=smollm2.beta, loading=Loading(base=fetched(smollm2).path))


def measure(rows: Iterable[Row], pair: ModelPair) -> Localised:
    """How well a pair finds the wrong words of labelled answers."""
    aside = SetAside(strict=False)
    return localise(pair, cases_of(rows, aside), options=Options("word", LOWEST), aside=aside)


def results(measured: Localised) -> str:
    """What was measured as Markdown: every score that sees the wrong answer alone, and the reward against each."""
    report = measured.report
    lines = [*table("Words", report.findings), "", "`-reward` against each other score, on the same words:", ""]
    lines += [against(comparison) for comparison in report.comparisons if comparison.baseline != "random"]
    lines.append("")
    if preference := report.preference:
        lines += [
            f"- right summary preferred: {shown(preference.accuracy)}; margin {shown(preference.margin, signed=True)}",
            f"- echo: an unchanged token's reward after an error moves by {shown(preference.echo, 4)}, an error earns"
            f" {shown(preference.edit, signed=True)}",
        ]
    lines += [f"- {report.answers} answers of {report.units} words, {report.wrong_units} of them wrong"]
    if report.set_aside:
        lines.append(f"- {len(report.set_aside)} more could not be scored")
    return "\n".join([*lines, "", *by_fact(measured)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the results of a pair, and with --write put them into the card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("rows", nargs="?", help="NAME=FILE of labelled rows; default: natural posts")
    parser.add_argument("--pair", choices=list(PAIRS), default="smollm2")
    parser.add_argument("--posts", type=int, default=POSTS)
    parser.add_argument(
        "--split",
        choices=["held_out", "validation", "train"],
        default="held_out",
        help="of the natural posts; train is posts that were trained on, with other values",
    )
    parser.add_argument("--trained", metavar="DIRECTORY", help="adapters of a training, instead of a pair's")
    parser.add_argument("--write", action="store_true", help="into the card, between the marks of this name")
    options = parser.parse_args(arguments)
    name, _, file = (options.rows or "").partition("=")
    rows = list(read_rows(read_records(expand([file])))) if file else natural(options.split, options.posts)
    label = f"{name or options.split} {options.pair}"
    text = results(measure(rows, pair_of(options.pair, options.trained)))
    print(text)
    if options.write:
        write_between(CARD, f"<!-- {label} -->", f"<!-- end of {label} -->", text)


if __name__ == "__main__":
    main()
