"""Examples -> Credits: encode once, run both models on the same ids, pair the numbers (Eq. 11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby

from torch import Tensor

from dpo_credit.credit import Alternative, Credit, Example, Source, Tokens
from dpo_credit.encode import Conventions, encode_answers
from dpo_credit.logprobs import NOISE_TOKENS, Scored, noise_floor, score_tokens
from dpo_credit.models import Model, ModelPair, free

WINDOW = 64  # answers from which on a window is full: what is sorted by length together, and held in memory


def score(
    pair: ModelPair,
    examples: Iterable[Example],
    *,
    conventions: Conventions = Conventions(),
    top_k: int = 0,
) -> Iterator[Credit]:
    """Score answers in order; each comes out as soon as its window of `WINDOW` answers is done.

    Answers to one prompt that follow each other share a window, and their prompt ends at the same token.

    Args:
        pair: see `load_pair`. One that loads its sides one at a time scores all examples before the first comes out.
        examples: answers after their prompts.
        conventions: how text becomes tokens; without a `max_length`, the models' own limit holds.
        top_k: keep the k tokens that each model preferred at each position.

    Yields:
        One Credit an example.

    Raises:
        CreditError: an example cannot be encoded, or a model gives numbers that are not finite.
    """
    if conventions.max_length is None:
        conventions = replace(conventions, max_length=pair.max_length)
    windows = ((window, _encode(pair, window, conventions)) for window in _windows(examples))
    if not (isinstance(pair.policy, Model) and isinstance(pair.reference, Model)):
        yield from _score_one_model_at_a_time(pair, list(windows), top_k)
        return
    noise: float | None = None
    for window, batch in windows:
        policy = score_tokens(pair.policy.logits, batch, pair.policy.device, top_k)
        reference = score_tokens(pair.reference.logits, batch, pair.reference.device, top_k)
        if noise is None:
            exact = [_exact(model, batch) for model in (pair.policy, pair.reference)]
            noise = _noise(batch, (policy, reference), exact)
        source = _source(pair.policy, pair.reference, noise)
        yield from _credits(pair, window, batch, (policy, reference), source)


def _windows(examples: Iterable[Example]) -> Iterator[list[list[Example]]]:
    """Runs of answers to one prompt, as many as make a window."""
    window: list[list[Example]] = []
    for _, answers in groupby(examples, key=lambda example: example.prompt):
        window.append(list(answers))
        if sum(map(len, window)) >= WINDOW:
            yield window
            window = []
    if window:
        yield window


def _encode(pair: ModelPair, window: list[list[Example]], conventions: Conventions) -> list[Tokens]:
    return [tokens for answers in window for tokens in encode_answers(pair.tokenizer, answers, conventions)]


def _score_one_model_at_a_time(
    pair: ModelPair, windows: Sequence[tuple[list[list[Example]], list[Tokens]]], top_k: int
) -> Iterator[Credit]:
    freed: list[Model] = []
    scored, exact = [], []
    for side in (pair.policy, pair.reference):
        model = side() if callable(side) else side
        scored.append([score_tokens(model.logits, batch, model.device, top_k) for _, batch in windows])
        exact.append(_exact(model, windows[0][1]) if windows else None)
        freed.append(replace(model, logits=_freed, module=None))
        del model
        free()
    for n, (window, batch) in enumerate(windows):
        if n == 0:
            source = _source(freed[0], freed[1], _noise(batch, [side[0] for side in scored], exact))
        yield from _credits(pair, window, batch, [side[n] for side in scored], source)


def _freed(*_: Tensor) -> Tensor:
    raise RuntimeError("this model was freed after scoring")


def _credits(
    pair: ModelPair,
    window: list[list[Example]],
    batch: Sequence[Tokens],
    scored: Sequence[Sequence[Scored]],
    source: Source,
) -> Iterator[Credit]:
    for example, tokens, policy, reference in zip(chain(*window), batch, *scored, strict=True):
        yield Credit(
            tokens=tokens,
            policy_logps=policy.logps,
            reference_logps=reference.logps,
            beta=pair.beta,
            source=source,
            id=example.id,
            policy_top=_alternatives(pair, policy),
            reference_top=_alternatives(pair, reference),
        )


def _alternatives(pair: ModelPair, scored: Scored) -> tuple[tuple[Alternative, ...], ...]:
    decode = pair.tokenizer.decode
    return tuple(
        tuple(Alternative(str(decode([i])), logp) for i, logp in zip(ids, logps, strict=True))
        for ids, logps in zip(scored.top_ids, scored.top_logps, strict=True)
    )


def _source(policy: Model, reference: Model, noise: float) -> Source:
    dtype = policy.dtype if policy.dtype == reference.dtype else f"{policy.dtype}/{reference.dtype}"
    return Source(policy.name, reference.name, dtype, noise)


def _sample(batch: Sequence[Tokens]) -> list[int]:
    """Answers enough for the noise floor, the first ones."""
    picked, total = [], 0
    for index, tokens in enumerate(batch):
        if total >= NOISE_TOKENS:
            break
        picked.append(index)
        total += len(tokens.answer_ids)
    return picked


def _exact(model: Model, batch: Sequence[Tokens]) -> list[Scored] | None:
    """The sample once more with a half-precision body in float32; None for any other."""
    if model.dtype not in ("bfloat16", "float16"):
        return None
    with model.in_float32():
        return score_tokens(model.logits, [batch[i] for i in _sample(batch)], model.device)


def _noise(
    batch: Sequence[Tokens], scored: Sequence[Sequence[Scored]], exact: Sequence[Sequence[Scored] | None]
) -> float:
    """The measured error of one token's log-ratio, nats: see `noise_floor`."""
    sample = _sample(batch)
    computed = [[logp for i in sample for logp in side[i].logps] for side in scored]
    truth = [
        numbers if again is None else [logp for one in again for logp in one.logps]
        for numbers, again in zip(computed, exact, strict=True)
    ]
    ratios, better = ([p - r for p, r in zip(*sides, strict=True)] for sides in (computed, truth))
    return noise_floor(ratios, better)
