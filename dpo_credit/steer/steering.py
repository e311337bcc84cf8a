"""Eq. 14 as a transformers `LogitsProcessor`: a base model's choice re-weighted by (pi / pi_ref)^strength."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import LogitsProcessor

from dpo_credit.credit import CreditError
from dpo_credit.models.generate import refuse_not_finite


class Steering(LogitsProcessor):
    """Turns a base model's scores into those of pi_base * (pi / pi_ref)^strength (Rafailov et al. 2024, Eq. 14).

    For any `generate`: greedy, sampling, beams. All rows must be equally long, without padding; the models share one
    vocabulary. Equals the naive log_softmax(base + strength * (log pi - log pi_ref)), where both are run over the whole
    text at every step; here each keeps a KV cache, whose rows follow the beams.

    In terms of the pair's values (Eq. 5): log pi - log pi_ref = (Q* - V*) / beta with Q* = r + V*(s') of Eq. 10, so
    this is Eq. 15 with exponent strength / beta on Q* - V*.

    Args:
        policy: a causal LM of transformers, frozen; None where it is the model that `generate` runs, and the reference
            the base: then the scores that come are the policy's.
        reference: likewise.
        strength: the exponent; 0 leaves the base as it is.
        active: entered around each run of the reference: it switches an adapter off, or to another.
    """

    def __init__(
        self,
        policy: nn.Module | None,
        reference: nn.Module,
        strength: float = 1.0,
        *,
        active: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.strength = strength
        self._policy = _Cached(policy, "policy") if policy is not None else None
        self._reference, self._active = _Cached(reference, "reference"), active

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # type: ignore[override]
        """Ids (B, L) and the running model's scores (B, V) of what follows -> steered log-probabilities, float32.

        Raises:
            CreditError: the three models' vocabularies differ in size, or their numbers are not finite.
        """
        policy = self._policy.logps(input_ids).to(scores.device) if self._policy else scores.float().log_softmax(-1)
        with self._active():
            reference = self._reference.logps(input_ids).to(scores.device)
        return steered(scores if self._policy else reference, policy, reference, self.strength)


def steered(base: Tensor, policy: Tensor, reference: Tensor, strength: float) -> Tensor:
    """(..., V) scores of a base and log-probabilities of a pair -> (..., V) log-probabilities of Eq. 14.

    Raises:
        CreditError: the vocabularies differ in size, or the result is not finite.
    """
    sizes = [logits.shape[-1] for logits in (base, policy, reference)]
    if len(set(sizes)) > 1:
        raise CreditError(
            f"the vocabularies differ: base {sizes[0]}, policy {sizes[1]}, reference {sizes[2]} entries. Steering "
            "needs one vocabulary: take a base of the pair's own family."
        )
    moved = (base.float().log_softmax(-1) + strength * (policy - reference)).log_softmax(-1)
    if bool(moved.isnan().any()):
        raise CreditError(f"steering with strength {strength:g} gives no numbers: it overflows. Give a smaller one.")
    return moved


class _Cached:
    """A causal LM that is asked for one more token at a time, in rows that may change places (beams)."""

    def __init__(self, model: nn.Module, role: str) -> None:
        self.model, self.role = model, role
        # transformers 5.24 renamed the argument and the output; PEFT hands on whatever it is given
        inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
        self.name = "cache" if "cache" in inspect.signature(inner.forward).parameters else "past_key_values"
        self.ids: Tensor | None = None
        self.cache: Any = None

    def logps(self, ids: Tensor) -> Tensor:
        """(B, L) ids -> (B, V) log-probabilities of the next token, float32.

        Raises:
            CreditError: they are not finite.
        """
        ids = ids.to(next(self.model.parameters()).device)
        rows = self._rows(ids[:, :-1])
        if rows is None:
            self.cache, new = None, ids
        else:
            if not torch.equal(rows, torch.arange(len(rows), device=rows.device)) or len(rows) != len(self.ids):  # type: ignore[arg-type]
                self.cache.reorder_cache(rows)
            new = ids[:, -1:]
        output = self.model(input_ids=new, use_cache=True, **{self.name: self.cache})
        self.ids, self.cache = ids, output[self.name]
        logits = output.logits[:, -1]
        dtype = str(logits.dtype).removeprefix("torch.")
        refuse_not_finite(logits, f"the {self.role} gives scores that are not finite", dtype)
        return logits.float().log_softmax(-1)

    def _rows(self, prefixes: Tensor) -> Tensor | None:
        """Which row of the cache holds each prefix (B, L - 1); None if any is missing."""
        if self.ids is None or self.ids.shape[1] != prefixes.shape[1]:
            return None
        same = (prefixes[:, None] == self.ids[None]).all(-1)
        return same.int().argmax(1) if bool(same.any(1).all()) else None
