"""Token lines of other tools as saved answers: one JSON object an answer, with two log-probabilities a token.

prime-rl's token export (PrimeIntellect-ai/prime-rl, schema version 1) has those of its trainer and of its inference
server for each token of a sequence, and masks what is trained on; it has no text. A line of rollout_viz has tokens and,
where `export` wrote it, both log-probabilities among its metrics. Without a beta it is 1: rewards are log-ratios.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from dpo_credit.credit import CreditError, Tokens

_PRIME_RL = ("token_ids", "loss_mask", "trainer_logprobs", "inference_logprobs")
_METRICS = ("policy_logp", "reference_logp")
_NO_TEXT = "prime-rl exports no text: a token is shown by its id"
_NO_BETA = "no beta is saved: rewards are log-ratios in nats, unless --beta says more"


def is_token_line(record: Mapping[str, Any]) -> bool:
    """Whether a record is a line of one of these tools that holds two log-probabilities a token."""
    metrics = record.get("metrics")
    shown = "tokens" in record and isinstance(metrics, dict) and all(name in metrics for name in _METRICS)
    return shown or all(name in record for name in _PRIME_RL)


def answer_of(record: Mapping[str, Any], name: str, default_id: str) -> dict[str, Any]:
    """A token line as an answer's record has it, to be checked as one; see `output.AnswerRecord`.

    Args:
        record: the line.
        name: its place, for messages.
        default_id: its id, where it brings none.

    Raises:
        CreditError: its lists differ in length, or none of its tokens is trained on.
    """
    shared = {"id": str(record.get("id") or default_id), "dtype": "float32", "beta": record.get("beta", 1.0)}
    notes = [] if "beta" in record else [_NO_BETA]
    if "trainer_logprobs" in record:
        return {**shared, **_prime_rl(record, name), "notes": [*notes, _NO_TEXT]}
    return {**shared, **_rollout_viz(record, name), "notes": notes}


def scalars(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a line says beside its tokens."""
    return {name: value for name, value in record.items() if not isinstance(value, list | dict)}


def _prime_rl(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    ids, mask, trainer, inference = (_list(record, field, name) for field in _PRIME_RL)
    positions = _list(record, "position_ids", name) if record.get("position_ids") is not None else [*range(len(ids))]
    _refuse_lengths({"position_ids": positions, **{field: record[field] for field in _PRIME_RL}}, name)
    trained = [t for t, counts in enumerate(mask) if counts]
    if not trained:
        raise CreditError(f"{name}: its loss_mask leaves no token to score. Leave the line out.")
    start, stop = trained[0], trained[-1] + 1
    prompt = ids[:start] if positions[0] == 0 and all(type(i) is int for i in ids[:start]) else None
    pieces = [f" {i}" if t else f"{i}" for t, i in enumerate(ids[start:stop])]
    more: dict[str, Any] = {}
    if len(trained) < stop - start:  # others' turns between the trained ones
        more = {"turns": "assistant", "roles": ["assistant" if counts else "" for counts in mask[start:stop]]}
    return {
        **_text(pieces),
        **more,
        "policy": "trainer",
        "reference": "inference",
        "token_ids": ids[start:stop],
        "policy_logps": trainer[start:stop],
        "reference_logps": inference[start:stop],
        "prompt_tokens": positions[start],
        "prompt_hash": None if prompt is None else Tokens(tuple(prompt), (), (), (), "").prompt_hash,
        "eos": "none",
    }


def _rollout_viz(record: Mapping[str, Any], name: str) -> dict[str, Any]:
    tokens = _list(record, "tokens", name)
    policy, reference = (_list(record["metrics"], field, name) for field in _METRICS)
    ids = record.get("token_ids", [-1] * len(tokens))
    _refuse_lengths({"tokens": tokens, "policy_logp": policy, "reference_logp": reference}, name)
    text = _text([str(token) for token in tokens])
    return {
        **text,
        "answer": record.get("answer", text["answer"]),
        "spans": record.get("spans", text["spans"]),
        "eos": record.get("eos", "none"),
        "turns": record.get("turns", "all"),
        "roles": record.get("roles"),
        "policy": str(record.get("policy", "policy")),
        "reference": str(record.get("reference", "reference")),
        "token_ids": ids,
        "policy_logps": policy,
        "reference_logps": reference,
        "prompt_tokens": record.get("prompt_tokens", 0),
        "prompt_hash": record.get("prompt_hash"),
    }


def _text(pieces: Sequence[str]) -> dict[str, Any]:
    """An answer that its tokens make, one after the other."""
    places = [*accumulate(map(len, pieces), initial=0)]
    return {"answer": "".join(pieces), "tokens": [*pieces], "spans": [list(span) for span in pairwise(places)]}


def _list(record: Mapping[str, Any], field: str, name: str) -> list[Any]:
    value = record[field]
    if not isinstance(value, list) or not value:
        raise CreditError(f"{name}: {field} is no list with one entry a token. Leave the line out, or export it again.")
    return value


def _refuse_lengths(lists: Mapping[str, Sequence[Any]], name: str) -> None:
    if len({len(values) for values in lists.values()}) > 1:
        lengths = ", ".join(f"{len(values)} {field}" for field, values in lists.items())
        raise CreditError(f"{name}: {lengths}, of which there must be as many. The file was changed: export it again.")
