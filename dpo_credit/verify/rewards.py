"""The rewards of preference rows by any `Way`, each distinct sequence computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from dpo_credit.credit import CreditError, Tokens, not_finite
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.torch_side import HALF, TorchSide
from dpo_credit.rows.records import Row
from dpo_credit.text.conventions import Conventions
from dpo_credit.verify.conventions import Adapter, Numerics, Way, ids
from dpo_credit.verify.encoding import encode_as
from dpo_credit.verify.sides import Side, is_adapter, log_likelihoods, torch_sides
from dpo_credit.verify.trl_rows import tabled

EPS = 2.0**-23  # of float32, in which everybody sums log-probabilities
ROUNDINGS = 16  # units in the last place of a sum by which two float32 programs differ
SAMPLE_ROWS = 8  # on which a half-precision body is measured against float32
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


@dataclass
class Rewards:
    """Scores rows by ways. `own` loads the policy's adapter with its own reference, where another was named."""

    pair: ModelPair
    rows: Sequence[Row]
    base: Way
    own: Callable[[], ModelPair] | None = None
    _encoded: dict[Any, list[list[Tokens] | CreditError]] = field(default_factory=dict)
    _known: dict[Any, float] = field(default_factory=dict)
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

    def encode(self, way: Way) -> list[list[Tokens] | CreditError]:
        """For each row its two answers' tokens, or why there are none that way."""
        if not self._dated:  # no template asks for the day: every date gives the same ids
            way = replace(way, date=self.base.date, today=self.base.today)
        key = tuple(ids(way).values())
        if key not in self._encoded:
            rows = self.rows if way.fields == "given" else self._tabled
            self._encoded[key] = [self._one(row, way) for row in rows]
        return self._encoded[key]

    @cached_property
    def _dated(self) -> bool:
        conventions = Conventions(chat_template=self.base.template, date=self.base.date or self.base.today)
        return conventions.template(self.pair.tokenizer).asks_for_date()

    @cached_property
    def _tabled(self) -> Sequence[Row]:
        return tabled(self.rows)

    def _one(self, row: Row, way: Way) -> list[Tokens] | CreditError:
        try:
            return encode_as(self.pair.tokenizer, row, way, self._limit)
        except CreditError as error:
            return error

    def same(self, way: Way, other: Way) -> bool:
        """Whether two ways give the same numbers on these rows, as far as ids and arithmetic tell."""
        if replace(way, **ids(other)) != other:
            return False
        return all(_ids(a) == _ids(b) for a, b in zip(self.encode(way), self.encode(other), strict=True))

    def answers(self, way: Way, rows: Sequence[int] | None = None) -> list[Answers | None]:
        """Each row's two answers, or None where it cannot go that way; not finite under the options given alone.

        Args:
            rows: indices of the rows; all, if not given.
        """
        encoded = self.encode(way)
        picked = [encoded[n] for n in (range(len(encoded)) if rows is None else rows)]
        batch = [tokens for row in picked if not isinstance(row, CreditError) for tokens in row]
        sides = [self._log_likelihoods(side, batch, way) for side in ("policy", "reference")]
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

    def _log_likelihoods(self, side: Side, batch: Sequence[Tokens], way: Way) -> list[float]:
        adapter: Adapter = way.adapter if side in _CHANGED_BY.get(way.adapter, ()) else "as loaded"
        state = (side, way.numerics, adapter)
        missing = list({_key(tokens): tokens for tokens in batch if (state, _key(tokens)) not in self._known}.values())
        if missing:
            values = log_likelihoods(self.pair, side, missing, way.numerics, adapter, self.own)
            self._known |= {(state, _key(tokens)): value for tokens, value in zip(missing, values, strict=True)}
        return [self._known[state, _key(tokens)] for tokens in batch]


_CHANGED_BY = {
    "merged": ("policy",),
    "policy off": ("policy",),
    "reference off": ("reference",),
    "own reference": ("reference",),
}


def _key(tokens: Tokens) -> tuple[tuple[int, ...], tuple[int, ...], tuple[bool, ...]]:
    return tokens.prompt_ids, tokens.answer_ids, tokens.counted


def _ids(encoded: list[Tokens] | CreditError) -> object:
    return None if isinstance(encoded, CreditError) else [_key(tokens) for tokens in encoded]
