"""Following a policy through its training: one reference, then each checkpoint by itself on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dpo_credit.credit import Credit, NotFiniteError, Source, Tokens
from dpo_credit.models.side import Side
from dpo_credit.rows.records import Row
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_answers
from dpo_credit.trajectory.divergence import Drawn, divergence, draw
from dpo_credit.trajectory.trajectory import Diverged, Moment

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

    Raises:
        CreditError: a row cannot be encoded, or the reference's numbers are not finite.
    """

    def __init__(self, reference: Side, rows: Sequence[Row], setup: Setup, draw: Draw = Draw()) -> None:
        tokenizer = setup.tokenizer
        self.tokens: list[Tokens] = []
        for row in rows:
            self.tokens += encode_answers(tokenizer, row.examples, setup.conventions)
        source = Source(reference.name, reference.name, reference.dtype)
        credits = [
            Credit(
                tokens, answer.logps, answer.logps, setup.beta, source, row.id,
                length_normalised=setup.length_normalised,
            )
            for (row, tokens), answer in zip(_each(rows, self.tokens), reference.logps(self.tokens), strict=True)
        ]  # fmt: skip
        self.start = Moment(0, reference.name, tuple(zip(credits[::2], credits[1::2], strict=True)))
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


def _each(rows: Sequence[Row], tokens: Sequence[Tokens]) -> list[tuple[Row, Tokens]]:
    return [(rows[n // 2], answer) for n, answer in enumerate(tokens)]


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
