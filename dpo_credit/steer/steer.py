"""Answers from a steered base model, each token with how far steering moved it (Rafailov et al. 2024, Sec. 5.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList, set_seed

from dpo_credit.credit import Alternative, Credit, Message, Source, Tokens
from dpo_credit.models.generate import Finite, without_defaults
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.side import Distributions, Module, require
from dpo_credit.models.torch_side import TorchSide
from dpo_credit.steer.steering import Steering, steered
from dpo_credit.text.generated import tokens_of


@dataclass(frozen=True, slots=True)
class Sampling:
    """How `generate` chooses: greedily or by beams, or by drawing with a seed."""

    max_new_tokens: int = 128
    num_beams: int = 1
    draw: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    count: int = 1


def steer(
    base: TorchSide,
    pair: ModelPair,
    prompt_ids: Sequence[int],
    *,
    strength: float = 1.0,
    sampling: Sampling = Sampling(),
    streamer: Any = None,
) -> list[Credit]:
    """Answers of pi_base * (pi / pi_ref)^strength to one prompt, by the base's own `generate`.

    Returns:
        One Credit an answer whose `policy_logps` are the steered log-probabilities, whose `reference_logps` are the
        base's, and whose beta is 1: its rewards are how far steering moved each token, in nats. `reference_top` holds
        what the base would have said.

    Where the base is the pair's reference, two models run for each token and not three.

    Raises:
        CreditError: the vocabularies differ in size, or a model's numbers are not finite.
    """
    policy, reference = (require(side, Module, "steering") for side in (pair.policy, pair.reference))
    # The policy, whose adapter is on, and never a reference that switches it off: that would be off for the policy too.
    running: Module = policy if base is reference else base
    steering = Steering(
        None if running is policy else policy.module, reference.module, strength, active=reference.active
    )
    set_seed(sampling.seed)
    tokenizer = pair.tokenizer
    ids = torch.tensor([list(prompt_ids)], device=running.device)
    choice: dict[str, Any] = {"do_sample": sampling.draw, "num_beams": sampling.num_beams}
    if sampling.draw:
        choice |= {"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    with without_defaults(running.module):
        written = running.module.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            logits_processor=LogitsProcessorList([Finite(running), steering]),
            max_new_tokens=sampling.max_new_tokens,
            num_return_sequences=sampling.count,
            pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            streamer=streamer,
            **choice,
        )
    answers = [tokens_of(tokenizer, prompt_ids, row[len(prompt_ids) :].tolist()) for row in written]
    return [_moved(base, pair, tokens, strength, str(n + 1)) for n, tokens in enumerate(answers)]


def _moved(base: TorchSide, pair: ModelPair, tokens: Tokens, strength: float, name: str) -> Credit:
    policy, reference = (require(side, Distributions, "steering") for side in (pair.policy, pair.reference))
    plain, preferred = (_log_probabilities(side, tokens) for side in (base, policy))
    usual = plain if reference is base else _log_probabilities(reference, tokens)
    moved = steered(plain, preferred, usual, strength)
    own = torch.tensor(tokens.answer_ids)[:, None]
    best, likeliest = plain.max(-1)
    instead = tuple(
        (Alternative(str(pair.tokenizer.decode([i])), logp),)
        for i, logp in zip(likeliest.tolist(), best.tolist(), strict=True)
    )
    return Credit(
        tokens=tokens,
        policy_logps=tuple(moved.gather(-1, own).squeeze(-1).tolist()),
        reference_logps=tuple(plain.gather(-1, own).squeeze(-1).tolist()),
        beta=1.0,
        source=Source(f"{base.name}, steered", base.name, base.dtype),
        id=name,
        reference_top=instead,
    )


def _log_probabilities(side: Distributions, tokens: Tokens) -> Tensor:
    """(T, V) at each position of an answer."""
    ((_, (logps,)),) = side.per_token([tokens], lambda logits, labels: (logits.log_softmax(-1),))
    return logps


def record(answer: Credit, prompt: str | tuple[Message, ...]) -> dict[str, Any]:
    """A row that `batch` takes: prompt and completion, with what steering did."""
    tokens = answer.tokens
    return {
        "schema": "dpo-credit/steer@1",
        "id": answer.id,
        "prompt": prompt if isinstance(prompt, str) else [message.fields for message in prompt],
        "completion": tokens.answer,
        "base": answer.source.reference,
        "steer_tokens": list(tokens.pieces),
        "steered_logps": list(answer.policy_logps),
        "base_logps": list(answer.reference_logps),
        "base_would_say": [position[0].piece for position in answer.reference_top],
    }
