"""What decides a run's numbers, as JSON: the pair's weights, its tokenizer, every convention and version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from dpo_credit.batch.work import chunk_tokens
from dpo_credit.models.side import OnDevice
from dpo_credit.rows.saved import SCHEMA

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from dpo_credit.batch.job import Job
    from dpo_credit.scoring import Scorer

_NUMBERS_COME_FROM = ("dpo-credit", "torch", "transformers")


def settings(job: Job, scorer: Scorer) -> dict[str, Any]:
    """What decides a run's numbers and rows: a run goes on under the same alone."""
    pair = scorer.pair
    sides = {"policy": pair.policy, "reference": pair.reference}
    return {
        "inputs": [given.name for given in job.inputs],
        "split": next((given.split for given in job.inputs), None),
        **{name: getattr(job, name) for name in ("prompt_key", "answer_key", "limit", "chunk_rows")},
        "chunk_tokens": chunk_tokens(scorer),  # first of what asks the policy: of two in turn it is loaded once
        **{name: side.name for name, side in sides.items()},
        **{f"{name}'s weights": side.fingerprint() for name, side in sides.items()},
        "dtype": [side.dtype for side in sides.values()],
        "device": [side.device.type if isinstance(side, OnDevice) else None for side in sides.values()],
        "tokenizer": _tokenizer_hash(pair.tokenizer),
        "beta": pair.beta,
        "length_normalised": pair.length_normalised,
        **_conventions(scorer),
        "tokens_per_batch": scorer.state.tokens_per_batch,
        "output": SCHEMA,
        "versions": {package: version(package) for package in _NUMBERS_COME_FROM},
    }


def _conventions(scorer: Scorer) -> dict[str, Any]:
    """How text becomes tokens; of a date, as far as the template asks for one."""
    conventions = scorer.conventions
    fields = asdict(conventions)
    if not conventions.template(scorer.pair.tokenizer).asks_for_date():
        del fields["today"]
    return fields


def _tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        ids: object = sorted(tokenizer.get_vocab().items())
    else:  # truncation and padding are what the last call asked for, no part of the tokenizer
        parts = json.loads(backend.to_str())
        ids = {name: part for name, part in parts.items() if name not in ("truncation", "padding")}
    content = json.dumps([ids, tokenizer.chat_template, tokenizer.special_tokens_map], default=str, sort_keys=True)
    return hashlib.blake2b(content.encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()
