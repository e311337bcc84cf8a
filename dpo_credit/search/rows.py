"""Beam search over many prompts: for each of them an answer by each number of beams, scored token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers import set_seed

from dpo_credit.credit import Credit, CreditError, Example
from dpo_credit.models.generate import generate
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.side import Module, require
from dpo_credit.rows.aside import SetAside
from dpo_credit.rows.records import Row
from dpo_credit.rows.scored import ScoredRow
from dpo_credit.scoring import Scorer
from dpo_credit.search.search import Beams
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_prompt
from dpo_credit.text.generated import tokens_of

CHUNK = 16  # rows whose answers come out together


@dataclass(frozen=True, slots=True)
class FoundAnswers:
    """What the searches found for a row: a Credit a width, and the row with its own answers scored."""

    credits: tuple[Credit, ...]
    own: ScoredRow


def search_rows(
    pair: ModelPair, rows: Sequence[Row], beams: Beams, conventions: Conventions = Conventions(), *, skip: int = 0
) -> Iterator[FoundAnswers]:
    """Search the policy for an answer to each row's prompt.

    Args:
        pair: the policy that is searched, and its reference; both loaded.
        rows: their prompts are answered, their own answers scored beside them. They come out in order.
        beams: how answers are found.
        conventions: how text becomes tokens.
        skip: rows that are known already; those after them come out as if they had been searched, too.

    Raises:
        CreditError: a prompt cannot be encoded or leaves no room for an answer, or the numbers are not finite.
    """
    policy = require(pair.policy, Module, "search")
    scorer = Scorer(pair, conventions=conventions)
    for begin in range(skip // CHUNK * CHUNK, len(rows), CHUNK):
        chunk = rows[begin : begin + CHUNK]
        prompts = [_prompt(pair, row, beams, conventions) for row in chunk]
        answers_of: list[list[Credit]] = [[] for _ in chunk]
        for width in beams.widths:
            set_seed(beams.seed * 1_000_003 + begin)
            written = dict(
                generate(policy, pair.tokenizer, prompts, max_new_tokens=beams.max_new_tokens, **beams.choice(width))
            )
            tokens = [tokens_of(pair.tokenizer, prompt, written[n]) for n, prompt in enumerate(prompts)]
            examples = [
                [Example(row.examples[0].prompt, answer.answer, row.id)]
                for row, answer in zip(chunk, tokens, strict=True)
            ]
            for n, credits in enumerate(_whole(scorer.score(examples, [[answer] for answer in tokens]))):
                answers_of[n] += credits
        own = _whole(scorer.rows([row.examples for row in chunk]))
        for n, (row, answers, its) in enumerate(zip(chunk, answers_of, own, strict=True), begin):
            if n >= skip:
                yield FoundAnswers(tuple(answers), ScoredRow(row, its))


def searchable(
    pair: ModelPair, rows: Sequence[Row], beams: Beams, conventions: Conventions, aside: SetAside
) -> list[Row]:
    """The rows whose prompts leave room for an answer and whose own answers can be scored.

    Raises:
        CreditError: one is not among them and is not set aside, or none is left.
    """
    encoded = Scorer(pair, conventions=conventions).encode([row.examples for row in rows])
    fit = []
    for row, tokens in zip(rows, encoded, strict=True):
        try:
            if isinstance(tokens, CreditError):
                raise tokens
            _prompt(pair, row, beams, conventions)
        except CreditError as error:
            aside.add(row.id, row.place, error)
        else:
            fit.append(row)
    aside.require(fit)
    return fit


def _prompt(pair: ModelPair, row: Row, beams: Beams, conventions: Conventions) -> tuple[int, ...]:
    ids, _ = encode_prompt(pair.tokenizer, row.prompt, conventions, given=row.template_kwargs, name=row.id)
    if pair.max_length is not None and len(ids) + beams.max_new_tokens > pair.max_length:
        raise CreditError(
            f"{row.id}: its prompt has {len(ids)} tokens, which with {beams.max_new_tokens} more are over the models' "
            f"{pair.max_length}. Lower --max-new-tokens, or leave the row out."
        )
    return ids


def _whole(results: Sequence[tuple[Credit, ...] | CreditError]) -> list[tuple[Credit, ...]]:
    for result in results:
        if isinstance(result, CreditError):
            raise result
    return [result for result in results if not isinstance(result, CreditError)]
