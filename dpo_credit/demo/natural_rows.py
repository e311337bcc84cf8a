"""Rows of natural posts to train a pair on: summaries of noisy writers (SFT), and preferences (DPO).

    python -m dpo_credit.demo.natural_rows --out natural-run
    python -m dpo_credit.demo.natural_rows --out natural-run --reference natural-run/sft     # its own likely mistakes

The second needs the reference that was trained on the rows of the first, and writes the preferences anew.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from random import Random
from typing import Any

from dpo_credit import Example, ModelPair, load_pair, score
from dpo_credit.corrupt.corrupt import Plan, corrupt

from .corpus import TWO_ERRORS_SHARE, WRONG_SHARE
from .natural import Wrong, draw_pairs, draw_posts, draw_wrong, errors_in, other_facts
from .rows import grouped, labelled_row, preference_row, write_rows
from .wording import Split

# Of the wrong summaries so many have errors that `corrupt` makes, in words that are no slots, and of the others so many
# the wrong value that the reference finds likeliest.
RULED_SHARE = 0.25
LIKELY_SHARE = 0.4
SFT_BATCH, DPO_BATCH = 64, 32  # rows of similar length that stand together


def sft_rows(seed: int, count: int) -> Iterator[dict[str, str]]:
    """Rows {"prompt", "completion"} of the training split by noisy writers: three of ten summaries hold an error."""
    for drawn, rng in draw_posts(seed, count, "train"):
        template = rng.choice(drawn.draft.summaries)
        wrong: dict[str, str] = {}
        if rng.random() < WRONG_SHARE:
            wrong = errors_in(rng, drawn, template, 2 if rng.random() < TWO_ERRORS_SHARE else 1)
        row = preference_row(Wrong(drawn, template, wrong).pair)
        if wrong and rng.random() < RULED_SHARE:
            row = ruled(row)
        yield {"prompt": row["prompt"], "completion": row["rejected"]}


def dpo_rows(seed: int, count: int, models: ModelPair | None = None) -> list[dict[str, str]]:
    """Rows {"prompt", "chosen", "rejected"} of the training split.

    Args:
        seed: another one than SFT's, so that the values are drawn anew.
        count: of rows.
        models: whose policy is the reference-to-be, and is asked for its likely mistakes; without, none are.
    """
    wrongs = list(draw_wrong(seed, count, "train"))
    asked = round(count * LIKELY_SHARE) if models else 0
    if models:
        wrongs[:asked] = likeliest(models, wrongs[:asked])
    rng = Random(seed)
    rows = [preference_row(wrong.pair) for wrong in wrongs]
    return [ruled(row) if n >= asked and rng.random() < RULED_SHARE else row for n, row in enumerate(rows)]


def ruled(row: dict[str, str]) -> dict[str, str]:
    """A preference whose wrong answer is made by the rules of `corrupt`, where these find something to change."""
    made = corrupt(Example(row["prompt"], row["chosen"]), Plan())
    return {**row, "rejected": made.rejected} if made else row


def likeliest(models: ModelPair, wrongs: Sequence[Wrong]) -> list[Wrong]:
    """Each with the value in its first wrong slot that the policy of `models` would soonest write of those that fit.

    Of two facts that changed places neither is replaced.
    """
    examples: list[Example] = []
    choices = [[] if _is_exchange(wrong) else choices_of(wrong) for wrong in wrongs]
    for values in choices:
        for choice in values:
            pair = choice.pair
            examples.append(Example(pair.post.prompt, pair.rejected.text[: pair.edits[0].end]))
    sums = [sum(credit.policy_logps) for credit in score(models, examples)]
    bounds = pairwise(accumulate(map(len, choices), initial=0))
    return [
        max(zip(sums[begin:end], values, strict=True), key=lambda scored: scored[0])[1] if values else wrong
        for (begin, end), values, wrong in zip(bounds, choices, wrongs, strict=True)
    ]


def _is_exchange(wrong: Wrong) -> bool:
    post = wrong.drawn.post
    return len(wrong.values) > 1 and set(wrong.values.values()) == {post.fact(name).value for name in wrong.values}


def choices_of(wrong: Wrong) -> list[Wrong]:
    """What could stand wrong in its first wrong slot."""
    drawn, first = wrong.drawn, wrong.pair.edits[0].slot
    post = drawn.post
    values = [*other_facts(post, first), *(short for _, short in drawn.draft.slots[first].values)]
    taken = {post.fact(first).value, *(value for name, value in wrong.values.items() if name != first)}
    return [
        replace(wrong, values=wrong.values | {first: value}) for value in dict.fromkeys(values) if value not in taken
    ]


def labelled_rows(seed: int, count: int, split: Split) -> Iterator[dict[str, Any]]:
    """Preferences with labels on the posts of a split, to measure with."""
    for n, pair in enumerate(draw_pairs(seed, count, split), 1):
        yield labelled_row(pair, f"{split}:{n}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write OUT/sft.jsonl, dpo.jsonl and, on other posts, validation.jsonl."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a directory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sft", type=int, default=6000, help="summaries of noisy writers")
    parser.add_argument("--dpo", type=int, default=6000, help="preferences")
    parser.add_argument("--validation", type=int, default=300, help="labelled preferences on other posts")
    parser.add_argument("--reference", help="an adapter that was trained on sft.jsonl: only dpo.jsonl is written")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)

    def write(name: str, rows: Iterable[dict[str, str]], batch: int) -> None:
        write_rows(options.out / name, grouped(list(rows), batch, Random(options.seed)))

    models = load_pair(options.reference) if options.reference else None
    write("dpo.jsonl", dpo_rows(options.seed + 1000, options.dpo, models), DPO_BATCH)
    if models is None:
        write("sft.jsonl", sft_rows(options.seed, options.sft), SFT_BATCH)
        write_rows(options.out / "validation.jsonl", labelled_rows(options.seed, options.validation, "validation"))


if __name__ == "__main__":
    main()
