"""What decides a pair's numbers, as JSON: models, tokenizer, conventions, versions. What is kept goes on under it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from dpo_credit.models.pair import ModelPair
from dpo_credit.models.side import OnDevice, Side

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_credit.text.conventions import Conventions

_NUMBERS_COME_FROM = ("dpo-credit", "torch", "transformers")


def identity(pair: ModelPair, conventions: Conventions) -> dict[str, Any]:
    """Of two runs with the same one, every number is the same, up to where rows are packed together.

    Args:
        pair: see `load_pair`.
        conventions: how text becomes tokens; of a date, as far as the template asks for one.
    """
    return {
        **identity_of_models({"policy": pair.policy, "reference": pair.reference}),
        "beta": pair.beta,
        "length_normalised": pair.length_normalised,
        **identity_of_text(pair.tokenizer, conventions),
    }


def identity_of_models(sides: Mapping[str, Side]) -> dict[str, Any]:
    """What decides a model's numbers for the same ids, of each under what it is called."""
    return {
        **{name: side.name for name, side in sides.items()},
        **{f"{name}'s weights": side.fingerprint() for name, side in sides.items()},
        "dtype": [side.dtype for side in sides.values()],
        "device": [side.device.type if isinstance(side, OnDevice) else None for side in sides.values()],
    }


def identity_of_text(tokenizer: PreTrainedTokenizerBase, conventions: Conventions) -> dict[str, Any]:
    """What decides the ids of the same text, and by which versions all is computed."""
    fields = asdict(conventions)
    if not conventions.template(tokenizer).asks_for_date():
        del fields["today"]
    return {
        "tokenizer": _tokenizer_hash(tokenizer),
        **fields,
        "versions": {package: version(package) for package in _NUMBERS_COME_FROM},
    }


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        ids: object = sorted(tokenizer.get_vocab().items())
    else:  # truncation and padding are what the last call asked for, no part of the tokenizer
        parts = json.loads(backend.to_str())
        ids = {name: part for name, part in parts.items() if name not in ("truncation", "padding")}
    content = json.dumps([ids, tokenizer.chat_template, tokenizer.special_tokens_map], default=str, sort_keys=True)
    return hashlib.blake2b(content.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
