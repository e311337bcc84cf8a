"""Following a policy through its training: one reference, then each checkpoint by itself on the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dpo_credit.credit import Credit, CreditError, Source, Tokens
from dpo_credit.models.pair import Model, ModelPair
from dpo_credit.rows.records import Row
from dpo_credit.scoring import Scorer
from dpo_credit.text.encode import Conventions
from dpo_credit.trajectory.divergence import Drawn, divergence, draw
from dpo_credit.trajectory.trajectory import Moment


class Follower:
    """Scores preferences under one policy after the other; the reference is asked once and not kept.

    `notes` hold what the user should be told.

    Args:
        pair: the reference's tokenizer, beta and length limit; both of its sides are the reference.
        rows: preferences.
        conventions: how text becomes tokens.
        samples: answers drawn from the reference for Eq. 16, one a prompt in the rows' order; 0 for none. None are
            drawn for a length-normalised pair either, whose expected reward is no KL.
        max_new_tokens: the longest of them.
        seed: of the draw.

    Raises:
        CreditError: a row cannot be encoded, or the reference's numbers are not finite.
    """

    def __init__(
        self,
        pair: ModelPair,
        rows: Sequence[Row],
        *,
        conventions: Conventions = Conventions(),
        samples: int = 64,
        max_new_tokens: int = 128,
        seed: int = 0,
    ) -> None:
        assert isinstance(pair.reference, Model)
        scorer = Scorer(pair, conventions=conventions, noise=0.0)
        self.budget = scorer.tokens_per_batch
        self.tokens: list[Tokens] = []
        for answers in scorer.encode([row.examples for row in rows]):
            if isinstance(answers, CreditError):
                raise answers
            self.tokens += answers
        (scored,) = scorer.run((pair.reference,), self.tokens)
        source = Source(pair.reference.name, pair.reference.name, pair.reference.dtype, 0.0)
        credits = [
            Credit(tokens, one.logps, one.logps, pair.beta, source, row.id, length_normalised=pair.length_normalised)
            for (row, tokens), one in zip(_each(rows, self.tokens), scored, strict=True)
        ]
        self.start = Moment(0, pair.reference.name, tuple(zip(credits[::2], credits[1::2], strict=True)))
        self.drawn: Drawn | None = None
        self.notes: tuple[str, ...] = ()
        if samples and not pair.length_normalised:
            prompts = [tokens.prompt_ids for tokens in self.tokens[::2]]
            picked = [prompts[n % len(prompts)] for n in range(samples)]
            self.drawn = draw(pair.reference, pair.tokenizer, picked, max_new_tokens=max_new_tokens, seed=seed)
            self.start = replace(self.start, divergence=divergence(pair.reference, self.drawn))
            self.notes = _cut(self.drawn, pair.tokenizer.eos_token_id, max_new_tokens)
        self._pair = replace(pair, policy=_gone, reference=_gone)

    def at(self, step: int, name: str, policy: Model) -> Moment:
        """The rows under the policy of a step.

        Raises:
            CreditError: its numbers are not finite.
        """
        scorer = Scorer(replace(self._pair, policy=policy, reference=policy), noise=0.0, tokens_per_batch=self.budget)
        (scored,) = scorer.run((policy,), self.tokens)
        self.budget = scorer.tokens_per_batch
        logps = [one.logps for one in scored]
        moment = self.start.with_logps(step, name, list(zip(logps[::2], logps[1::2], strict=True)))
        return moment if self.drawn is None else replace(moment, divergence=divergence(policy, self.drawn))


def _each(rows: Sequence[Row], tokens: Sequence[Tokens]) -> list[tuple[Row, Tokens]]:
    return [(rows[n // 2], one) for n, one in enumerate(tokens)]


def _cut(drawn: Drawn, end: int | None, max_new_tokens: int) -> tuple[str, ...]:
    cut = sum(one.answer_ids[-1] != end for one in drawn.tokens)
    if not cut:
        return ()
    return (
        f"{cut} of {len(drawn.tokens)} answers drawn from the reference had not ended after {max_new_tokens} tokens: "
        "Eq. 16 counts them up to there (--max-new-tokens)",
    )


def _gone() -> Model:
    raise RuntimeError("the reference was asked once and is not kept")
