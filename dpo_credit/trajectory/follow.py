"""Following a policy through its training: one reference, then each checkpoint by itself on the same tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dpo_credit.credit import Credit, CreditError, NotFiniteError, Source, Tokens
from dpo_credit.models.side import Side
from dpo_credit.rows.aside import STRICT, SetAside
from dpo_credit.rows.records import Row
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_answers
from dpo_credit.trajectory.divergence import Drawn, divergence, draw
from dpo_credit.trajectory.trajectory import Diverged, Moment, Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Setup:
    """What all policies of a run share: the tokenizer, the loss (see `Credit`) and how text becomes tokens."""

    tokenizer: PreTrainedTokenizerBase
    beta: float
    length_normalised: bool = False
    conventions: Conventions = Conventions()


@dataclass(frozen=True, slots=True)
class Draw:
    """Answers drawn from the reference for Eq. 16: `samples`, one a prompt in the rows' order, 0 for none.

    `max_new_tokens`: the longest of them. `seed`: of the draw.
    """

    samples: int = 64
    max_new_tokens: int = 128
    seed: int = 0


class Follower:
    """Scores preferences under one policy after the other; the reference is asked once and not kept.

    `start` is the reference itself as a policy; `notes` hold what the user should be told.

    Args:
        reference: what the policies were trained from.
        rows: preferences.
        setup: see `Setup`.
        draw: see `Draw`; a length-normalised policy gets none, since its expected reward is no KL.
        aside: takes the rows that cannot be scored.

    Raises:
        CreditError: a row cannot be encoded, or the reference's numbers for it are not finite, and it is not set aside.
    """

    def __init__(
        self, reference: Side, rows: Sequence[Row], setup: Setup, draw: Draw = Draw(), aside: SetAside = STRICT
    ) -> None:
        tokenizer = setup.tokenizer
        pairs = list(_scored(reference, rows, setup, aside))
        aside.require(pairs)
        self.tokens: list[Tokens] = [credit.tokens for pair in pairs for credit in pair]
        self.start = Moment(0, reference.name, tuple(pairs))
        self.drawn: Drawn | None = None
        self.notes: tuple[str, ...] = ()
        if draw.samples and not setup.length_normalised:
            self.drawn = _draw(reference, self.tokens[::2], setup, draw)
            self.start = replace(self.start, divergence=divergence(reference, self.drawn))
            self.notes = _cut(self.drawn, tokenizer.eos_token_id, draw.max_new_tokens)

    def at(self, step: int, name: str, policy: Side) -> Moment | Diverged:
        """The rows under the policy of a step, or what is wrong with its numbers where they are not finite.

        Raises:
            CreditError: the policy's vocabulary is another.
        """
        try:
            return self._moment(step, name, policy)
        except NotFiniteError as error:
            return Diverged(step, name, str(error))

    def _moment(self, step: int, name: str, policy: Side) -> Moment:
        logps = [answer.logps for answer in policy.logps(self.tokens)]
        moment = self.start.with_logps(step, name, list(zip(logps[::2], logps[1::2], strict=True)))
        return moment if self.drawn is None else replace(moment, divergence=divergence(policy, self.drawn))


def _scored(reference: Side, rows: Sequence[Row], setup: Setup, aside: SetAside) -> Iterator[Pair]:
    """Each row's two answers, where the reference is policy and reference in one."""
    encoded: list[tuple[Row, list[Tokens]]] = []
    for row in rows:
        try:
            encoded.append((row, encode_answers(setup.tokenizer, row.examples, setup.conventions)))
        except CreditError as error:
            aside.add(row.id, row.place, error)
    aside.require(encoded)
    source = Source(reference.name, reference.name, reference.dtype)
    logps = iter(reference.logps([tokens for _, pair in encoded for tokens in pair]))
    for row, pair in encoded:
        numbers = [(tokens, next(logps).logps) for tokens in pair]
        try:
            chosen, rejected = (
                Credit(
                    tokens, its, its, setup.beta, source, row.id, length_normalised=setup.length_normalised
                )
                for tokens, its in numbers
            )  # fmt: skip
        except CreditError as error:
            aside.add(row.id, row.place, error)
        else:
            yield chosen, rejected


def _draw(reference: Side, chosen: Sequence[Tokens], setup: Setup, asked: Draw) -> Drawn:
    prompts = [chosen[n % len(chosen)].prompt_ids for n in range(asked.samples)]
    return draw(reference, setup.tokenizer, prompts, max_new_tokens=asked.max_new_tokens, seed=asked.seed)


def _cut(drawn: Drawn, end: int | None, max_new_tokens: int) -> tuple[str, ...]:
    cut = sum(tokens.answer_ids[-1] != end for tokens in drawn.tokens)
    if not cut:
        return ()
    return (
        f"{cut} of {len(drawn.tokens)} answers drawn from the reference had not ended after {max_new_tokens} tokens: "
        "Eq. 16 counts them up to there (--max-new-tokens)",
    )
