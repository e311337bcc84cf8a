"""Answers under one model with every prompt computed once: attention over packs of trees, in place of padded batches.

Sound where a token's state depends on the tokens it sees and their positions alone. Sliding windows, caps, sinks,
recurrent states and whatever else says otherwise are recognised, and then there is no sharing: see `share_prompts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from dpo_credit.credit import Logps, Tokens
from dpo_credit.forward.attention import BLOCK, Kind
from dpo_credit.forward.body import NotSharedError, hidden_states
from dpo_credit.forward.budget import is_memory_error
from dpo_credit.forward.compiling import compiled_layers
from dpo_credit.forward.lm_head import Head, head_of
from dpo_credit.forward.logprobs import LanguageModel, check_vocabulary, embeddings, score_tokens
from dpo_credit.forward.packing import Pack, packs

# Rotary embeddings whose frequencies depend on the longest position of a batch.
_LENGTH_DEPENDENT_ROPE = {"dynamic", "longrope"}
# How far a first trial may be from the plain computation, nats: float32, and half precision's noise.
_TRIAL_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-6}
_HALF_TOLERANCE = 0.25
# On a GPU: packs up to here are computed with a dense mask and nothing is compiled; their lengths are multiples of PAD.
DENSE_TOKENS, PAD = 4096, 64


@dataclass(frozen=True)
class SharedPrompts:
    """Scores packs under one model; made by `share_prompts`.

    `active` is entered around each forward pass: it switches an adapter off, or to another. `window` is how many tokens
    a token sees at most; None is no limit. `kinds` are the ways of attention that have passed a trial. `trial` are a
    few answers and what the plain computation gives for them.
    """

    model: PreTrainedModel
    head: Head
    active: Callable[[], AbstractContextManager[object]] = nullcontext
    window: int | None = None
    kinds: frozenset[Kind] = frozenset({"trees"})
    trial: tuple[Sequence[Tokens], Sequence[Logps]] = ((), ())
    _compiled: dict[int, bool] = field(default_factory=dict, repr=False, compare=False)  # by length: did it pass?
    _layers: dict[nn.Module, Callable[..., Any]] = field(default_factory=dict, repr=False, compare=False)

    def pieces(self, batch: Sequence[Tokens], tokens: int, *, compiled: bool) -> Iterator[tuple[Pack, Kind]]:
        """A batch in packs of at most so many tokens, and how the attention of each is best computed.

        `compiled`: "flex" may be used, for packs of one length.
        """
        if "dense" not in self.kinds:
            yield from ((pack, "trees") for pack in packs(batch, tokens))
            return
        whole = whole_length(tokens)
        for pack in packs(batch, tokens if compiled else min(tokens, DENSE_TOKENS), _padded):
            length = len(pack)
            kind: Kind = "flex" if compiled and length == whole else "dense" if length <= DENSE_TOKENS else "trees"
            yield pack, kind

    def compiles(self, tokens: int, tell: Callable[[str], None]) -> bool:
        """Whether a compiled kernel for packs of so many tokens gives what the plain computation does; found out once.

        `tell` is called before it is compiled.

        Raises:
            RuntimeError: there is no memory for it.
        """
        length = whole_length(tokens)
        if "dense" not in self.kinds or length <= DENSE_TOKENS:
            return False
        if length not in self._compiled:
            tell("compiling the scorer, about 10 s; once")
            fault = self._fault("flex", tokens)
            self._compiled[length] = not fault
            if fault:
                tell(f"going on without the compiled scorer: {fault}")
        return self._compiled[length]

    def _fault(self, kind: Kind, tokens: int) -> str:
        """Why the trial's answers, in one pack, do not get the plain computation's numbers; "" if they do."""
        batch, expected = self.trial
        try:
            ours = dict(self._by_answer(batch, kind, tokens))
        except Exception as error:  # custom code may do anything, a compiler fail: the plain computation remains
            if kind == "flex" and is_memory_error(error):
                raise
            return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        tolerance = _TRIAL_TOLERANCE.get(self.model.dtype, _HALF_TOLERANCE)
        pairs = [(a, b) for n, plain in enumerate(expected) for a, b in zip(ours[n].logps, plain.logps, strict=True)]
        furthest = max(abs(a - b) for a, b in pairs)
        return "" if furthest < tolerance else f"it is {furthest:.2g} nats off the plain model's numbers"

    def _by_answer(self, batch: Sequence[Tokens], kind: Kind, tokens: int) -> Iterator[tuple[int, Logps]]:
        for pack in packs(batch, tokens, {"trees": None, "dense": _padded, "flex": _whole}[kind]):
            yield from zip(pack.answers, self.score(pack, kind), strict=True)

    def score(self, pack: Pack, kind: Kind = "trees") -> list[Logps]:
        """Log-probabilities of every answer of a pack, in the order of its `answers`: `logps`, brought to Python."""
        return split(pack, self.logps(pack, kind))

    @torch.inference_mode()
    def logps(self, pack: Pack, kind: Kind = "trees") -> Tensor:
        """(T,) nats, for all answer tokens of a pack; still on the device, which need not be done computing them.

        Equals `score_tokens` but for float32's rounding.

        Args:
            pack: for "flex" of a length that is a multiple of `attention.BLOCK`.
            kind: see `attention`.

        Raises:
            CreditError: a token lies outside the model's vocabulary.
            NotSharedError: the pack's sequences are longer than the window, or the model does not share after all.
        """
        if self.window is not None and int(pack.stream.positions.max()) >= self.window:
            raise NotSharedError(f"a sequence is longer than the window of {self.window}")
        check_vocabulary(self.model, pack.stream.ids)
        check_vocabulary(self.model, pack.stream.labels)
        with self.active(), compiled_layers(self.model, self._layers) if kind == "flex" else nullcontext():
            hidden = hidden_states(self.model, pack, kind)
            there = pack.on(hidden.device)
            return self.head(hidden[there.rows], there.at, there.labels)


def whole_length(tokens: int) -> int:
    """The length of all packs that a compiled kernel takes, for a budget of so many tokens."""
    return -(-tokens // BLOCK) * BLOCK


def _padded(length: int, tokens: int) -> int:
    """A multiple of a little for a dense mask, the one length for a compiled kernel."""
    return whole_length(tokens) if DENSE_TOKENS < length <= tokens else -(-length // PAD) * PAD


def _whole(length: int, tokens: int) -> int:
    return whole_length(tokens)


def split(pack: Pack, logps: Tensor) -> list[Logps]:
    """(T,) nats of a pack, answer by answer."""
    values, ends = logps.tolist(), list(accumulate(pack.lengths))
    return [Logps(tuple(values[end - length : end])) for end, length in zip(ends, pack.lengths, strict=True)]


def share_prompts(
    model: PreTrainedModel,
    call: nn.Module,
    plain: LanguageModel,
    active: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> SharedPrompts | None:
    """A scorer that computes each prompt once, or None for a model in which that is not sound.

    A trial on a few tokens is compared with the plain computation: custom code may do what no configuration says.

    Args:
        model: the causal LM.
        call: what is called to run it: the model, or what wraps it (PEFT).
        plain: the same model as a `LanguageModel`.
        active: see `SharedPrompts`.
    """
    batch = _trial_batch(model)
    device = embeddings(model).device
    expected = score_tokens(plain, batch, device)  # a model that cannot run at all is found here, as it is loaded
    if not _sees_all_before(model):
        return None
    try:
        head = head_of(model, call)
    except Exception:  # whatever custom code makes of an input it never saw, the plain computation remains
        return None
    shared = SharedPrompts(model, head, active, _window(model), trial=(batch, expected))
    whole = sum(len(tokens.prompt_ids) + len(tokens.answer_ids) for tokens in batch)
    if shared._fault("trees", whole):
        return None
    dense = device.type == "cuda" and not shared._fault("dense", whole)
    return replace(shared, kinds=frozenset({"trees", "dense"})) if dense else shared


def _sees_all_before(model: PreTrainedModel) -> bool:
    """Whether its configuration has nothing but causal attention over all that came before, or a window of it."""
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    rope = getattr(config, "rope_parameters", None) or {}
    return (
        model.base_model is not model
        and kinds <= {"full_attention", "sliding_attention"}
        and getattr(config, "is_causal", True)
        and getattr(config, "attention_chunk_size", None) is None
        and rope.get("rope_type", "default") not in _LENGTH_DEPENDENT_ROPE
    )


def _window(model: PreTrainedModel) -> int | None:
    return getattr(model.config.get_text_config(), "sliding_window", None)


def _trial_batch(model: PreTrainedModel) -> list[Tokens]:
    """Two answers that share a prefix after one prompt, and one after another."""
    words = len(embeddings(model))
    ids = [(7 * n + 3) % words for n in range(24)]
    prompts = tuple(ids[:6]), tuple(ids[6:9])
    answers = (prompts[0], ids[9:14]), (prompts[0], [*ids[9:11], *ids[14:18]]), (prompts[1], ids[18:22])
    return [
        Tokens(prompt, tuple(answer), ("",) * len(answer), ((0, 0),) * len(answer), "") for prompt, answer in answers
    ]
