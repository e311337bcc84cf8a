"""Write rows of the embedded world, and a model with random weights, for `examples/demo/` and `examples/figure3.sh`.

    python -m dpo_credit.demo.start --out demo-run

Needs the `train` extra.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers import set_seed

from .corpus import PLAIN_SHARE, draw_pairs, sft_rows
from .rows import preference_row, write_rows
from .tokenizer import train_tokenizer
from .train import TOKENIZER_ROWS, new_model, vocabulary


def main(arguments: Sequence[str] | None = None) -> None:
    """Write OUT/start, sft.jsonl, plain.jsonl (those of its rows without asides), dpo.jsonl and validation.jsonl."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a directory")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sft", type=int, default=12_000, help="answers for SFT")
    parser.add_argument("--dpo", type=int, default=640, help="preferences for DPO")
    parser.add_argument("--validation", type=int, default=60, help="preferences on other posts")
    options = parser.parse_args(arguments)
    set_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    sft = list(sft_rows(options.seed, options.sft))
    write_rows(options.out / "sft.jsonl", sft)
    write_rows(options.out / "plain.jsonl", sft[: int(PLAIN_SHARE * len(sft))])
    write_rows(options.out / "dpo.jsonl", map(preference_row, draw_pairs(options.seed + 1000, options.dpo, "train")))
    write_rows(
        options.out / "validation.jsonl",
        map(preference_row, draw_pairs(options.seed, options.validation, "validation")),
    )
    tokenizer = train_tokenizer([row["prompt"] + row["completion"] for row in sft[:TOKENIZER_ROWS]], vocabulary())
    new_model(tokenizer).save_pretrained(options.out / "start")
    tokenizer.save_pretrained(options.out / "start")


if __name__ == "__main__":
    main()
