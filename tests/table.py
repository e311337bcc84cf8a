"""A side that computes from a table, without torch, and commands run on it: `python tests/table.py FOLDER`.

Its tokens are characters. The policy prefers digits that are even, the reference knows no preference.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dpo_credit.credit import Logps, Tokens
from dpo_credit.models.pair import ModelPair

END = 0
EVEN, OTHER = math.log(0.1), math.log(0.05)  # nats; the rest of the mass is on characters that no test writes
POSTS = [("It has 12 rooms.", " so 12"), ("I am 40.", " so 40"), ("Rent is 620.", " so 620"), ("I paid 82.", " so 82")]


class Characters:
    """A tokenizer whose ids are code points, as far as scoring asks for one."""

    is_fast, chat_template, bos_token_id, eos_token_id = True, None, None, END
    special_tokens_map = {"eos_token": "<end>"}  # noqa: RUF012

    def __call__(self, text: str, **_: Any) -> dict[str, list[Any]]:
        return {
            "input_ids": [ord(char) for char in text],
            "offset_mapping": [(n, n + 1) for n in range(len(text))],
            "special_tokens_mask": [0] * len(text),
        }

    def convert_ids_to_tokens(self, ids: int | list[int]) -> Any:
        return [self.convert_ids_to_tokens(i) for i in ids] if isinstance(ids, list) else chr(ids) if ids else "<end>"

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def get_vocab(self) -> dict[str, int]:
        return {"<end>": END}


@dataclass(frozen=True)
class Table:
    """A side that looks log-probabilities up."""

    name: str
    logp_of: dict[str, float]
    dtype: str = "float64"

    def fingerprint(self) -> str:
        return hashlib.blake2b(json.dumps(self.logp_of).encode(), digest_size=16).hexdigest()

    def logps(self, batch: Sequence[Tokens]) -> list[Logps]:
        return [Logps(tuple(self.logp_of.get(piece, OTHER) for piece in tokens.pieces)) for tokens in batch]


def pair(*_: Any, beta: float | None = None, **__: Any) -> ModelPair:
    """What `load_pair` gives here."""
    policy = Table("table", {digit: EVEN for digit in "02468"})
    return ModelPair(policy, Table("flat", {}), Characters(), beta=beta or 1.0)  # type: ignore[arg-type]


def rows() -> list[dict[str, Any]]:
    """Preferences: the wrong summary has an odd digit in place of the last, and a label for it."""
    return [
        {
            "id": f"post {n}",
            "prompt": f"{post} TL;DR:",
            "chosen": right,
            "rejected": right[:-1] + "7",
            "labels": [{"start": len(right) - 1, "end": len(right), "text": "7", "kind": "number"}],
        }
        for n, (post, right) in enumerate(POSTS)
    ]


def main(folder: Path) -> None:
    """Run the commands; each must end well, and nothing may have loaded torch."""
    sys.modules["dpo_credit.models.loading"] = SimpleNamespace(load_pair=pair)  # type: ignore[assignment]
    from dpo_credit.cli.app import app

    one, many = folder / "one.json", folder / "rows.jsonl"
    one.write_text(json.dumps(rows()[0]))
    many.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    for command in (
        ["score", one, "--json", folder / "score.json"],
        ["diff", one, "--json", folder / "diff.json", "--html", folder / "diff.html"],
        ["batch", many, "-o", folder / "scored.jsonl", "--cache", folder / "cache"],
        ["batch", many, "-o", folder / "scored.jsonl", "--cache", folder / "cache", "--resume"],
        ["report", folder / "scored.jsonl", "--json", folder / "report.json"],
        ["localise", many, "--by", "word", "--json", folder / "localise.json"],
    ):
        app([str(part) for part in command], standalone_mode=False)
    print("loaded", *({"torch", "transformers"} & sys.modules.keys()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
