"""The rewards of preference rows by any `Way`; each row is encoded, and each distinct sequence computed, once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from typing import Any

from dpo_credit.credit import CreditError, Tokens, not_finite
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.torch_side import HALF, TorchSide
from dpo_credit.rows.records import Row
from dpo_credit.text.conventions import Conventions
from dpo_credit.verify.conventions import Adapter, Numerics, Way, ids
from dpo_credit.verify.encoding import encode_as
from dpo_credit.verify.sides import Side, is_adapter, log_likelihoods, token_logps, torch_sides
from dpo_credit.verify.trl_rows import tabled

EPS = 2.0**-23  # of float32, in which everybody sums log-probabilities
ROUNDINGS = 16  # units in the last place of a sum by which two float32 programs differ
SAMPLE_ROWS = 8  # on which a half-precision body is measured against float32, and a convention is tried
ERRORS = 4  # such errors' standard deviations that two half-precision programs may differ by


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer's log-likelihood under both models (nats) and its number of tokens."""

    policy: float
    reference: float
    tokens: int

    def log_ratio(self, way: Way) -> float:
        """What beta is multiplied with, nats."""
        sides = {"given": (self.policy, self.reference), "none": (self.policy, 0.0)}
        policy, reference = sides.get(way.reference, (self.reference, self.policy))
        return (policy - reference) / (self.tokens if way.mean else 1)

    def rounding(self, way: Way) -> float:
        """How far float32's rounding may move `log_ratio`, nats."""
        size = abs(self.policy) + (abs(self.reference) if way.reference != "none" else 0.0)
        return ROUNDINGS * EPS * max(size, 1.0) / (self.tokens if way.mean else 1)


Answers = tuple[Answer, Answer]  # chosen, rejected
_State = tuple[Side, Numerics, Adapter]
_SIDES: tuple[Side, Side] = ("policy", "reference")


@dataclass
class Rewards:
    """Scores rows by ways. `own` loads the policy's adapter with its own reference, where another was named.

    `asked` counts the sequences that went through a model.
    """

    pair: ModelPair
    rows: Sequence[Row]
    base: Way
    own: Callable[[], ModelPair] | None = None
    asked: int = 0
    _encoded: dict[Any, list[Tokens] | CreditError] = field(default_factory=dict)
    _computed: dict[Any, dict[tuple[int, ...], tuple[float, ...]]] = field(default_factory=dict)
    _sums: dict[Any, float] = field(default_factory=dict)
    _errors: dict[Any, float] = field(default_factory=dict)

    @cached_property
    def policy(self) -> TorchSide:
        """The policy's side."""
        return torch_sides(self.pair)[0]

    @property
    def half(self) -> bool:
        """Whether the policy's body runs in half precision."""
        return self.policy.dtype in HALF

    @property
    def adapter(self) -> bool:
        """Whether the policy is an adapter on its base."""
        return is_adapter(self.policy)

    @property
    def _limit(self) -> int | None:
        """The most tokens that the models take; --max-length may say that they take more."""
        return self.pair.max_length and max(self.pair.max_length, self.base.max_length or 0)

    def encode(self, way: Way, rows: Sequence[int] | None = None) -> list[list[Tokens] | CreditError]:
        """For each row (all, if none are picked) its two answers' tokens, or why there are none that way."""
        return [self._row(way, n) for n in (range(len(self.rows)) if rows is None else rows)]

    def _row(self, way: Way, n: int) -> list[Tokens] | CreditError:
        if not self._dated:  # no template asks for the day: every date gives the same ids
            way = replace(way, date=self.base.date, today=self.base.today)
        key = (n, *ids(way).values())
        if key not in self._encoded:
            row = self.rows[n] if way.fields == "given" else self._tabled[n]
            try:
                self._encoded[key] = encode_as(self.pair.tokenizer, row, way, self._limit)
            except CreditError as error:
                self._encoded[key] = error
        return self._encoded[key]

    @cached_property
    def _dated(self) -> bool:
        conventions = Conventions(chat_template=self.base.template, date=self.base.date or self.base.today)
        return conventions.template(self.pair.tokenizer).asks_for_date()

    @cached_property
    def _tabled(self) -> Sequence[Row]:
        return tabled(self.rows)

    def same(self, way: Way, other: Way) -> bool:
        """Whether two ways give the same numbers on these rows, as far as ids and arithmetic tell."""
        return all(self.same_row(way, other, n) for n in range(len(self.rows)))

    def same_row(self, way: Way, other: Way, n: int) -> bool:
        """`same`, of one row."""
        same = replace(way, **ids(other)) == other
        return same and _ids(self._row(way, n)) == _ids(self._row(other, n))

    def answers(self, way: Way, rows: Sequence[int] | None = None) -> list[Answers | None]:
        """Each row's two answers, or None where it cannot go that way; not finite under the options given alone.

        Args:
            rows: indices of the rows; all, if not given.
        """
        picked = self.encode(way, rows)
        batch = [tokens for row in picked if not isinstance(row, CreditError) for tokens in row]
        sides = [self._log_likelihoods(side, batch, way) for side in _SIDES]
        each = iter(zip(*sides, batch, strict=True))
        results: list[Answers | None] = []
        for row in picked:
            if isinstance(row, CreditError):
                results.append(None)
                continue
            chosen, rejected = (Answer(p, r, sum(tokens.counted)) for p, r, tokens in (next(each), next(each)))
            finite = math.isfinite(chosen.policy + chosen.reference + rejected.policy + rejected.reference)
            results.append((chosen, rejected) if finite or way == self.base else None)
        return results

    def refuse_not_finite(self) -> None:
        """Make sure that the way of the options given has numbers for every row that can go it.

        Raises:
            CreditError: a model gives one that is not finite.
        """
        answers = self.answers(self.base)
        for side in ("policy", "reference"):
            for row, pair in zip(self.rows, answers, strict=True):
                for label, answer in zip(("chosen", "rejected"), pair or (), strict=False):
                    logp = getattr(answer, side)
                    if not math.isfinite(logp):
                        dtype = getattr(self.pair, side).dtype
                        raise not_finite(f"{row.id}: the {side} gives its {label} answer log-probability {logp}", dtype)

    def error(self, way: Way) -> float:
        """The standard error of a log-ratio in this arithmetic (nats), measured on some rows; 0 for float32."""
        if way.numerics == "float32" or (way.numerics == "ours" and not self.half):
            return 0.0
        if way.numerics not in self._errors:
            exact: Numerics = "float32" if self.half else "ours"
            plain = replace(self.base, mean=False, reference="given")
            rows = [n for n, row in enumerate(self.encode(plain)) if not isinstance(row, CreditError)][:SAMPLE_ROWS]
            sides = [self.answers(replace(plain, numerics=row), rows) for row in (way.numerics, exact)]
            off = [
                a.log_ratio(plain) - b.log_ratio(plain)
                for ours, theirs in zip(*sides, strict=True)
                for a, b in zip(ours or (), theirs or (), strict=True)
            ]
            self._errors[way.numerics] = math.sqrt(sum(x * x for x in off) / len(off)) if off else 0.0
        return self._errors[way.numerics]

    def unknown(self, way: Way, rows: Sequence[int] | None = None) -> int:
        """How many sequences have to be computed for rows (all, if none are picked) to go this way."""
        batch = [tokens for row in self.encode(way, rows) if not isinstance(row, CreditError) for tokens in row]
        return sum(len(self._missing(_state(side, way), batch)) for side in _SIDES)

    def _missing(self, state: _State, batch: Sequence[Tokens]) -> list[Tokens]:
        return list({_key(tokens): tokens for tokens in batch if self._known(state, tokens) is None}.values())

    def _log_likelihoods(self, side: Side, batch: Sequence[Tokens], way: Way) -> list[float]:
        state = _, numerics, adapter = _state(side, way)
        missing = self._missing(state, batch)
        self.asked += len(missing)
        if missing and numerics == "ours" and adapter != "merged":
            ended = [self._ended(tokens) for tokens in missing]
            for tokens, logps in zip(ended, token_logps(self.pair, side, ended, adapter, self.own), strict=True):
                self._computed.setdefault((state, tokens.prompt_ids), {})[tokens.answer_ids] = logps
        elif missing:
            values = log_likelihoods(self.pair, side, missing, numerics, adapter, self.own)
            self._sums |= {(state, _key(tokens)): value for tokens, value in zip(missing, values, strict=True)}
        return [value for tokens in batch if (value := self._known(state, tokens)) is not None]

    def _known(self, state: _State, tokens: Tokens) -> float | None:
        """What was computed of an answer, or of one that it begins."""
        answer = tokens.answer_ids
        for computed, logps in self._computed.get((state, tokens.prompt_ids), {}).items():
            if computed[: len(answer)] == answer:
                return sum(compress(logps, tokens.counted))
        return self._sums.get((state, _key(tokens)))

    def _ended(self, tokens: Tokens) -> Tokens:
        """An answer with the end token, where it has none and there is room: many conventions differ in it alone."""
        end = self.pair.tokenizer.eos_token_id
        length = len(tokens.prompt_ids) + len(tokens.answer_ids)
        if end is None or tokens.answer_ids[-1] == end or (self._limit is not None and length >= self._limit):
            return tokens
        return replace(tokens, answer_ids=(*tokens.answer_ids, end), roles=())


def _state(side: Side, way: Way) -> _State:
    """One side as a way has it."""
    return side, way.numerics, way.adapter if side in _CHANGED_BY.get(way.adapter, ()) else "as loaded"


_CHANGED_BY = {
    "merged": ("policy",),
    "policy off": ("policy",),
    "reference off": ("reference",),
    "own reference": ("reference",),
}


def spread(items: Sequence[int], count: int) -> list[int]:
    """So many of the items, evenly spaced from the first to the last; all, where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[round(n * (len(items) - 1) / (count - 1))] for n in range(count)]


def _key(tokens: Tokens) -> tuple[tuple[int, ...], tuple[int, ...], tuple[bool, ...]]:
    return tokens.prompt_ids, tokens.answer_ids, tokens.counted


def _ids(encoded: list[Tokens] | CreditError) -> object:
    return None if isinstance(encoded, CreditError) else [_key(tokens) for tokens in encoded]
