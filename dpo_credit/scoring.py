"""Examples -> Credits: encode once, ask both sides for the same ids, pair the numbers (Eq. 11)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dpo_credit.cache import Cached
from dpo_credit.credit import Alternative, Credit, CreditError, Example, Logps, Source, Tokens
from dpo_credit.forward.noise import log_ratios, noise_floor, sampled
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.side import Ahead, Exact, OnDevice, Side, TopK, require
from dpo_credit.rows.given import Given, rows_of
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_answers

if TYPE_CHECKING:
    from dpo_credit.forward.budget import Budget
    from dpo_credit.rows.records import Row

T = TypeVar("T")
WINDOW = 64  # answers from which on a window is full: what is sorted by length together, and held in memory


@dataclass(frozen=True, slots=True)
class ScorerState:
    """What later rows depend on: the noise floor (nats), how many tokens fit at a time, and how many were asked about.

    `tokens_done` decides when a GPU's kernels are compiled, which changes the last bits of numbers.
    """

    noise: float | None = None
    tokens_per_batch: int | None = None
    tokens_done: int = 0


class Scorer:
    """Scores rows of answers with one pair, a window of them at a time.

    Args:
        pair: see `load_pair`.
        conventions: how text becomes tokens; without a `max_length`, the models' own limit holds.
        top_k: keep the k tokens that each model preferred at each position.
        noise: the error of one token's log-ratio, nats; measured on the first window where it is not given.
        cache: a directory that keeps log-probabilities between runs; not with `top_k`.

    Raises:
        CreditError: `top_k` is asked of a side that does not know it.
    """

    def __init__(
        self,
        pair: ModelPair,
        *,
        conventions: Conventions = Conventions(),
        top_k: int = 0,
        noise: float | None = None,
        cache: Path | None = None,
    ) -> None:
        self.pair = pair
        self.sides: tuple[Side, Side] = (pair.policy, pair.reference)
        if cache is not None and not top_k:
            self.sides = Cached(pair.policy, cache), Cached(pair.reference, cache)
        if conventions.max_length is None:
            conventions = replace(conventions, max_length=pair.max_length)
        self.conventions = conventions
        self.top_k = top_k
        self.noise = noise
        self.tokens_done = 0

    @property
    def notes(self) -> list[str]:
        """What the user should be told about the scoring so far: each time that memory was short, and
        whether the cache was damaged or its disk full."""
        budget = _budget(self.pair)
        notes = [] if budget is None else [*budget.notes]
        damaged = sum(side.damaged for side in self.sides if isinstance(side, Cached))
        if damaged:
            notes.append("the cache holds entries that were damaged: they are computed anew")
        notes += [side.refused for side in self.sides if isinstance(side, Cached) and side.refused]
        return notes

    @property
    def state(self) -> ScorerState:
        """What another scorer needs to go on as this one would."""
        budget = _budget(self.pair)
        return ScorerState(self.noise, None if budget is None else budget.tokens, self.tokens_done)

    def restore(self, state: ScorerState) -> None:
        """Go on where another scorer of the same pair stopped."""
        self.noise, self.tokens_done = state.noise, state.tokens_done
        budget = _budget(self.pair)
        if budget is not None and state.tokens_per_batch is not None:
            budget.tokens = state.tokens_per_batch

    @property
    def runs_ahead(self) -> bool:
        """Whether what was begun goes on by itself, on GPUs, while Python does something else."""
        sides = [side for side in self.sides if isinstance(side, Ahead)]
        return not self.top_k and len(sides) == len(self.sides) and all(side.device.type == "cuda" for side in sides)

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
                answers = encode_answers(self.pair.tokenizer, row, self.conventions)
            except CreditError as error:
                encoded.append(error)
            else:
                encoded.append([replace(a, notes=(*a.notes, *self.pair.notes_on(a))) for a in answers])
        return encoded

    def score(
        self, rows: Sequence[Sequence[Example]], encoded: Sequence[list[Tokens] | CreditError]
    ) -> list[tuple[Credit, ...] | CreditError]:
        """`rows`, where they are encoded already."""
        return self.begin(rows, encoded)()

    def begin(
        self, rows: Sequence[Sequence[Example]], encoded: Sequence[list[Tokens] | CreditError]
    ) -> Callable[[], list[tuple[Credit, ...] | CreditError]]:
        """`score` in two parts: what is called here is given to the devices, what is returned waits for them."""
        finish = self._ask([_batch(encoded)])
        return lambda: self._paired(rows, encoded, finish()[0])

    def windows(
        self, windows: Sequence[Sequence[Sequence[Example]]]
    ) -> Iterator[list[tuple[Credit, ...] | CreditError]]:
        """`rows` of each window, where all are scored under the policy before the reference is asked."""
        encoded = [self.encode(window) for window in windows]
        asked = self._ask([_batch(rows) for rows in encoded])()
        for window, rows, both in zip(windows, encoded, asked, strict=True):
            yield self._paired(window, rows, both)

    def _paired(
        self,
        rows: Sequence[Sequence[Example]],
        encoded: Sequence[list[Tokens] | CreditError],
        both: tuple[list[Logps], list[Logps]],
    ) -> list[tuple[Credit, ...] | CreditError]:
        """The numbers of both sides as credits, row by row."""
        each = iter(zip(*both, strict=True))
        results: list[tuple[Credit, ...] | CreditError] = []
        for row, tokens in zip(rows, encoded, strict=True):
            if isinstance(tokens, CreditError):
                results.append(tokens)
                continue
            logps = list(islice(each, len(tokens)))
            try:
                results.append(tuple(self._credit(*answer) for answer in zip(row, tokens, logps, strict=True)))
            except CreditError as error:
                results.append(error)
        return results

    def logps(self, side: Side, batch: Sequence[Tokens]) -> list[Logps]:
        """What one side gives for answers."""
        if not self.top_k:
            return side.logps(batch)
        return require(side, TopK, "--top-k").top_logps(batch, self.top_k)

    def sample(self, batch: Sequence[Tokens]) -> list[Tokens]:
        """The answers of a first batch that the noise floor is measured on."""
        return [batch[index] for index in sampled(batch)]

    def _ask(self, batches: Sequence[list[Tokens]]) -> Callable[[], list[tuple[list[Logps], list[Logps]]]]:
        """What both sides give for each batch; of the first, the error of their arithmetic is measured too."""
        budget = _budget(self.pair)
        if budget is not None:
            budget.done = self.tokens_done
        begun = [[self._begin(side, batch) for batch in batches] for side in self.sides]
        self.tokens_done += sum(len(t.prompt_ids) + len(t.answer_ids) for batch in batches for t in batch)

        def finish() -> list[tuple[list[Logps], list[Logps]]]:
            first = batches[0] if batches and self.noise is None else []
            sample = sampled(first)
            both, exact = [], []
            for side, asked in zip(self.sides, begun, strict=True):  # one after the other: they may not fit together
                both.append([answers() for answers in asked])
                again = side.exact_logps([first[n] for n in sample]) if sample and isinstance(side, Exact) else None
                exact.append([both[-1][0][n] for n in sample] if again is None else again)
            if sample:
                computed = [[batched[0][n] for n in sample] for batched in both]
                self.noise = noise_floor(*(log_ratios(*sides) for sides in (computed, exact)))
            return list(zip(*both, strict=True))

        return finish

    def _begin(self, side: Side, batch: Sequence[Tokens]) -> Callable[[], list[Logps]]:
        """What a side gives for answers: of two that run ahead, both do before either is waited for."""
        if not batch:
            return list
        if self.runs_ahead and isinstance(side, Ahead):
            return side.begin(batch)
        known: list[list[Logps]] = []
        if not self.pair.in_turn:
            known.append(self.logps(side, batch))
        return lambda: known.pop() if known else self.logps(side, batch)

    def _credit(self, example: Example, tokens: Tokens, logps: tuple[Logps, Logps]) -> Credit:
        policy, reference = logps
        return Credit(
            tokens=tokens,
            policy_logps=policy.logps,
            reference_logps=reference.logps,
            beta=self.pair.beta,
            source=source_of(self.pair, self.noise or 0.0),
            id=example.id,
            policy_top=self._alternatives(policy),
            reference_top=self._alternatives(reference),
            length_normalised=self.pair.length_normalised,
        )

    def _alternatives(self, logps: Logps) -> tuple[tuple[Alternative, ...], ...]:
        decode = self.pair.tokenizer.decode
        return tuple(
            tuple(Alternative(str(decode([i])), logp) for i, logp in zip(ids, values, strict=True))
            for ids, values in zip(logps.top_ids, logps.top_logps, strict=True)
        )


def score(
    pair: ModelPair,
    examples: Given | Iterable[Given],
    *,
    conventions: Conventions = Conventions(),
    top_k: int = 0,
) -> Iterator[Credit]:
    """Score answers in order; each comes out as soon as its window of `WINDOW` answers is done.

    Answers to one prompt that follow each other share a window, and their prompt ends at the same token.

    Args:
        pair: see `load_pair`. One whose sides do not fit together scores all examples before the first comes out.
        examples: answers after their prompts, one or many: each an `Example`, a tuple (prompt, answer), or a row as
            files hold it, such as {"prompt": ..., "chosen": ..., "rejected": ...}, whose answers come one by one. What
            can be iterated over once only, such as a generator, is read as the credits are.
        conventions: how text becomes tokens; without a `max_length`, the models' own limit holds.
        top_k: keep the k tokens that each model preferred at each position.

    Returns:
        One Credit an answer.

    Raises:
        CreditError: at the call: `pair` is none, or what was given is nothing that can be scored. With an answer's
            turn: it cannot be encoded, or a model gives numbers that are not finite.
    """
    if not isinstance(pair, ModelPair):
        raise CreditError(f"the pair is of type {type(pair).__name__}: give what load_pair returns.")
    rows: Iterable[Row] = rows_of(examples)
    if not isinstance(examples, Iterator):
        rows = list(rows)
    answers = (example for row in rows for example in row.examples)
    grouped = (list(group) for _, group in groupby(answers, key=lambda example: example.prompt))
    scored = score_rows(pair, grouped, conventions=conventions, top_k=top_k)
    return (credit for row in map(_raised, scored) for credit in row)


def _raised(result: tuple[Credit, ...] | CreditError) -> tuple[Credit, ...]:
    if isinstance(result, CreditError):
        raise result
    return result


def score_rows(
    pair: ModelPair,
    rows: Iterable[Sequence[Example]],
    *,
    conventions: Conventions = Conventions(),
    top_k: int = 0,
) -> Iterator[tuple[Credit, ...] | CreditError]:
    """`score` for rows, each of them answers to one prompt: a row's credits, or what is wrong with it."""
    scorer = Scorer(pair, conventions=conventions, top_k=top_k)
    windows = _windows(rows)
    if pair.in_turn:
        for results in scorer.windows(list(windows)):
            yield from results
        return
    begun = (scorer.begin(window, scorer.encode(window)) for window in windows)
    for results in finished(begun, ahead=scorer.runs_ahead):
        yield from results


def finished(begun: Iterable[Callable[[], T]], *, ahead: bool) -> Iterator[T]:
    """What each of the parts that were begun gives, in order; `ahead`: once the next one was begun, too."""
    waiting: deque[Callable[[], T]] = deque()
    for finish in begun:
        waiting.append(finish)
        if len(waiting) > ahead:
            yield waiting.popleft()()
    for finish in waiting:
        yield finish()


def source_of(pair: ModelPair, noise: float) -> Source:
    """Where a pair's numbers come from."""
    policy, reference = pair.policy, pair.reference
    dtype = policy.dtype if policy.dtype == reference.dtype else f"{policy.dtype}/{reference.dtype}"
    return Source(policy.name, reference.name, dtype, noise)


def _windows(rows: Iterable[Sequence[Example]]) -> Iterator[list[Sequence[Example]]]:
    """As many rows as make a window."""
    window: list[Sequence[Example]] = []
    for row in rows:
        window.append(row)
        if sum(map(len, window)) >= WINDOW:
            yield window
            window = []
    if window:
        yield window


def _budget(pair: ModelPair) -> Budget | None:
    return pair.policy.budget if isinstance(pair.policy, OnDevice) else None


def _batch(encoded: Sequence[list[Tokens] | CreditError]) -> list[Tokens]:
    """The answers of the rows that could be encoded."""
    return [tokens for row in encoded if not isinstance(row, CreditError) for tokens in row]
