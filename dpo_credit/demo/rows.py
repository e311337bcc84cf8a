"""Generated posts with labelled wrong summaries, as rows for `dpo-credit localise`.

python -m dpo_credit.demo.rows --posts 500 > held_out.jsonl
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from .corpus import POSTS, SEEDS, draw_pairs
from .errors import FactEdit, Pair

GROUP = 50  # batches sorted by length together


def labelled_row(pair: Pair, row_id: str) -> dict[str, Any]:
    """A pair as a row: `labels` mark only the characters that differ, which is what counts as wrong."""
    return {
        "id": row_id,
        **preference_row(pair),
        "labels": [_label(pair, edit) for edit in pair.edits],
    }


def preference_row(pair: Pair) -> dict[str, str]:
    """A pair as a row to train on, which nobody labelled."""
    return {"prompt": pair.post.prompt, "chosen": pair.chosen.text, "rejected": pair.rejected.text}


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Rows as JSON Lines."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def grouped(rows: Sequence[dict[str, str]], batch: int, rng: Random) -> list[dict[str, str]]:
    """Rows in batches of similar length, the batches in random order within groups of GROUP batches."""
    ordered = []
    for begin in range(0, len(rows), batch * GROUP):
        group = sorted(rows[begin : begin + batch * GROUP], key=lambda row: sum(map(len, row.values())))
        batches = [group[i : i + batch] for i in range(0, len(group), batch)]
        rng.shuffle(batches)
        ordered += [row for picked in batches for row in picked]
    return ordered


def _label(pair: Pair, edit: FactEdit) -> dict[str, Any]:
    start, end = edit.wrong_characters
    kind = pair.post.fact(edit.slot).type
    return {
        "start": start,
        "end": end,
        "text": pair.rejected.text[start:end],
        "kind": "decision" if "/" in kind else kind,
        "original": edit.right,  # the whole value; the label marks the characters of it that differ
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print rows, one a line; the default ones are those that the model card's results are measured on."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--posts", type=int, default=POSTS)
    parser.add_argument("--split", choices=["held_out", "validation"], default="held_out")
    parser.add_argument("--seed", type=int, default=None, help="default: the split's own")
    options = parser.parse_args(arguments)
    seed = SEEDS[options.split] if options.seed is None else options.seed
    for n, pair in enumerate(draw_pairs(seed, options.posts, options.split), 1):
        print(json.dumps(labelled_row(pair, f"{options.split}:{n}"), ensure_ascii=False))


if __name__ == "__main__":
    main()
