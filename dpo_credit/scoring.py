"""Examples -> Credits: encode once, run both models on the same ids, pair the numbers (Eq. 11)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby, islice
from pathlib import Path

import torch
from torch import Tensor

from dpo_credit.cache import Cache
from dpo_credit.credit import Alternative, Credit, CreditError, Example, Source, Tokens
from dpo_credit.forward.logprobs import BATCH_TOKENS, NOISE_TOKENS, Scored, noise_floor, score_tokens
from dpo_credit.forward.packing import packs
from dpo_credit.models.pair import Model, ModelPair, free
from dpo_credit.text.encode import Conventions, encode_answers

WINDOW = 64  # answers from which on a window is full: what is sorted by length together, and held in memory
CUDA_BATCH_TOKENS = 1 << 14  # tokens in one forward pass on a GPU
LEAST_BUDGET = 64  # no device that holds a model lacks the memory for so few tokens


class Scorer:
    """Scores rows of answers with one pair, a window of them at a time.

    Args:
        pair: see `load_pair`; both models are loaded.
        conventions: how text becomes tokens; without a `max_length`, the models' own limit holds.
        top_k: keep the k tokens that each model preferred at each position.
        noise: the error of one token's log-ratio, nats; measured on the first window where it is not given.
        tokens_per_batch: tokens in one forward pass; halved, with a note in `notes`, when the device has no memory for
            them.
        cache: a directory that keeps log-probabilities between runs; not with `top_k`.
    """

    def __init__(
        self,
        pair: ModelPair,
        *,
        conventions: Conventions = Conventions(),
        top_k: int = 0,
        noise: float | None = None,
        tokens_per_batch: int | None = None,
        cache: Path | None = None,
    ) -> None:
        assert isinstance(pair.policy, Model) and isinstance(pair.reference, Model), "a pair loaded one at a time"
        self.pair = pair
        self.models = pair.policy, pair.reference
        self.caches = [Cache(cache, model) for model in self.models] if cache and not top_k else None
        self.conventions = _limited(conventions, pair)
        self.top_k = top_k
        self.noise = noise
        self.exact: list[Scored] | None = None  # the policy's sample in float32, where the policy is not here to ask
        self.tokens_per_batch = tokens_per_batch or _default_budget(pair)
        self.notes: list[str] = []

    def rows(self, rows: Sequence[Sequence[Example]]) -> list[tuple[Credit, ...] | CreditError]:
        """Score rows together, each of them answers to one prompt.

        Returns:
            For each row its credits in order, or what is wrong with it.
        """
        return self.score(rows, self.encode(rows))

    def encode(self, rows: Sequence[Sequence[Example]]) -> list[list[Tokens] | CreditError]:
        """The rows' tokens, or what is wrong with a row."""
        encoded: list[list[Tokens] | CreditError] = []
        for row in rows:
            try:
                encoded.append(encode_answers(self.pair.tokenizer, row, self.conventions))
            except CreditError as error:
                encoded.append(error)
        return encoded

    def score(
        self, rows: Sequence[Sequence[Example]], encoded: Sequence[list[Tokens] | CreditError]
    ) -> list[tuple[Credit, ...] | CreditError]:
        """`rows`, where they are encoded already."""
        batch = [tokens for row in encoded if not isinstance(row, CreditError) for tokens in row]
        scored: Sequence[Sequence[Scored]] = self._both(batch) if batch else ((), ())
        each = iter(zip(*scored, strict=True))
        results: list[tuple[Credit, ...] | CreditError] = []
        for row, tokens in zip(rows, encoded, strict=True):
            if isinstance(tokens, CreditError):
                results.append(tokens)
                continue
            sides = list(islice(each, len(tokens)))
            try:
                results.append(tuple(self._credit(*one) for one in zip(row, tokens, sides, strict=True)))
            except CreditError as error:
                results.append(error)
        return results

    def _both(self, batch: Sequence[Tokens]) -> list[list[Scored]]:
        if self.caches is None:
            sides = self.run(self.models, batch)
        else:
            sides = [self.run_cached(*one, batch) for one in zip(self.models, self.caches, strict=True)]
        if self.noise is None:
            policy = self.exact if self.exact is not None else exact(self.models[0], batch)
            self.noise = _noise(batch, sides, [policy, exact(self.models[1], batch)])
        return sides

    def run_cached(self, model: Model, cache: Cache, batch: Sequence[Tokens]) -> list[Scored]:
        """What one model gives, of which the cache knows some and keeps the rest."""
        known = cache.get(batch)
        missing = [tokens for tokens, one in zip(batch, known, strict=True) if one is None]
        if not missing:
            return [one for one in known if one is not None]
        (scored,) = self.run((model,), missing)
        cache.put(missing, scored)
        new = iter(scored)
        return [one or next(new) for one in known]

    def run(self, models: Sequence[Model], batch: Sequence[Tokens]) -> list[list[Scored]]:
        """What each of these models gives, with fewer tokens at a time where memory is short."""
        while True:
            prepared = list(packs(batch, self.tokens_per_batch))
            try:
                return [model.score(batch, prepared, self.tokens_per_batch, self.top_k) for model in models]
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                self._halve(error)

    def _halve(self, error: Exception) -> None:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and "can't allocate memory" not in str(error):
            raise error
        free()
        if self.tokens_per_batch <= LEAST_BUDGET:
            raise CreditError(
                f"out of memory even with {self.tokens_per_batch} tokens at a time. Cut long prompts with --max-length "
                "and --truncate prompt-start, or use a smaller --dtype or another --device."
            ) from error
        self.tokens_per_batch //= 2
        self.notes.append(f"out of memory: now {self.tokens_per_batch} tokens at a time")

    def _credit(self, example: Example, tokens: Tokens, sides: tuple[Scored, Scored]) -> Credit:
        assert self.noise is not None
        source = _source(*self.models, self.noise)
        return _credit(self.pair, example, tokens, sides, source)


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
    if not (isinstance(pair.policy, Model) and isinstance(pair.reference, Model)):
        yield from _score_one_model_at_a_time(pair, list(_windows(examples)), _limited(conventions, pair), top_k)
        return
    scorer = Scorer(pair, conventions=conventions, top_k=top_k)
    for window in _windows(examples):
        for result in scorer.rows(window):
            if isinstance(result, CreditError):
                raise result
            yield from result


def _limited(conventions: Conventions, pair: ModelPair) -> Conventions:
    return conventions if conventions.max_length is not None else replace(conventions, max_length=pair.max_length)


def _default_budget(pair: ModelPair) -> int:
    on_cuda = isinstance(pair.policy, Model) and pair.policy.device.type == "cuda"
    return CUDA_BATCH_TOKENS if on_cuda else BATCH_TOKENS


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


def _score_one_model_at_a_time(
    pair: ModelPair, windows: Sequence[list[list[Example]]], conventions: Conventions, top_k: int
) -> Iterator[Credit]:
    batches = [
        [tokens for answers in window for tokens in encode_answers(pair.tokenizer, answers, conventions)]
        for window in windows
    ]
    done: list[Model] = []
    scored, samples = [], []
    for side in (pair.policy, pair.reference):
        model = side() if callable(side) else side
        budget = CUDA_BATCH_TOKENS if model.device.type == "cuda" else BATCH_TOKENS
        scored.append([model.score(batch, list(packs(batch, budget)), budget, top_k) for batch in batches])
        samples.append(exact(model, batches[0]) if batches else None)
        done.append(freed(model))
        del model
        free()
    for n, (window, batch) in enumerate(zip(windows, batches, strict=True)):
        if n == 0:
            source = _source(done[0], done[1], _noise(batch, [side[0] for side in scored], samples))
        for example, tokens, *sides in zip(chain(*window), batch, *(side[n] for side in scored), strict=True):
            yield _credit(pair, example, tokens, (sides[0], sides[1]), source)


def freed(model: Model) -> Model:
    """What stands for a model whose memory is given back: its name and its dtype."""
    return replace(model, logits=_gone, module=None, shared=None)


def _gone(*_: Tensor) -> Tensor:
    raise RuntimeError("this model was freed after scoring")


def _credit(pair: ModelPair, example: Example, tokens: Tokens, sides: tuple[Scored, Scored], source: Source) -> Credit:
    policy, reference = sides
    return Credit(
        tokens=tokens,
        policy_logps=policy.logps,
        reference_logps=reference.logps,
        beta=pair.beta,
        source=source,
        id=example.id,
        policy_top=_alternatives(pair, policy),
        reference_top=_alternatives(pair, reference),
        length_normalised=pair.length_normalised,
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


def exact(model: Model, batch: Sequence[Tokens]) -> list[Scored] | None:
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
