"""Beam search over a DPO policy, which is search for the best sequence of its reward (Rafailov et al. 2024, Sec. 5.2).

Eq. 12 (rewards and beta * log pi_ref so far, plus the value V* of where they lead) equals V* of the prompt plus Eq. 13
(beta times the log-likelihood under the policy): both order the candidates of a prompt in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import set_seed

from dpo_credit.credit import Credit, CreditError, Example
from dpo_credit.models.generate import generate
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.side import Module, require
from dpo_credit.rows.chats import Prompt
from dpo_credit.scoring import Scorer
from dpo_credit.text.generated import tokens_of


@dataclass(frozen=True, slots=True)
class Beams:
    """How answers are found.

    `widths`: numbers of beams; 1 is greedy, or one answer drawn. `length_penalty`: candidates stand by the sum of their
    log-probabilities over length^penalty: 0 is the sum of Eq. 13, 1 the mean, which is transformers' default. `draw`:
    beams are drawn (by `seed`) and not the likeliest ones. `max_new_tokens`: the longest answer.
    """

    widths: tuple[int, ...]
    length_penalty: float = 0.0
    draw: bool = False
    seed: int = 0
    max_new_tokens: int = 128

    def choice(self, width: int) -> dict[str, Any]:
        """What `generate` is told for a number of beams."""
        beams = {"num_beams": width, "length_penalty": self.length_penalty} if width > 1 else {}
        drawn = {"top_k": 0, "top_p": 1.0, "temperature": 1.0} if self.draw else {}
        return {"do_sample": self.draw, **beams, **drawn}


def search(
    pair: ModelPair, prompt: Prompt, prompt_ids: Sequence[int], beams: Beams, *, name: str = ""
) -> Iterator[Credit]:
    """The likeliest answer that transformers' `generate` finds with each number of beams, scored token by token.

    Args:
        pair: the policy that is searched, and its reference.
        prompt: what is answered.
        prompt_ids: (P,) the prompt's tokens.
        beams: how answers are found.
        name: what the answers are called.

    Yields:
        One Credit a width, in their order.

    Raises:
        CreditError: an answer is empty, or the numbers are not finite.
    """
    policy, tokenizer = require(pair.policy, Module, "search"), pair.tokenizer
    scorer = Scorer(pair)
    for width in beams.widths:
        set_seed(beams.seed)
        choice = beams.choice(width)
        ((_, written),) = generate(policy, tokenizer, [prompt_ids], max_new_tokens=beams.max_new_tokens, **choice)
        tokens = tokens_of(tokenizer, prompt_ids, written)
        (result,) = scorer.score([[Example(prompt, tokens.answer, name)]], [[tokens]])
        if isinstance(result, CreditError):
            raise result
        yield result[0]
