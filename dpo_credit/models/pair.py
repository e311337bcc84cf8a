"""A policy and its reference, and how the two are loaded. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from dpo_credit.credit import CreditError, Tokens
from dpo_credit.models.side import Side

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_BETA = 0.1


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a trainer cut its rows: the most tokens of prompt and answer together, of a prompt, and of an answer.

    `keeps`: which end it kept of the two together, by TRL's name.
    """

    total: int | None = None
    prompt: int | None = None
    answer: int | None = None
    keeps: str = "keep_start"

    def notes_on(self, tokens: Tokens) -> tuple[str, ...]:
        """What to say of an answer that training would have cut."""
        prompt, answer = len(tokens.prompt_ids), len(tokens.answer_ids)
        limits = (
            (prompt + answer, "rows", self.total, f"max_length, {self.keeps}"),
            (prompt, "prompts", self.prompt, "max_prompt_length"),
            (answer, "answers", self.answer, "max_completion_length"),
        )
        return tuple(
            f"the policy was trained on {what} cut to {limit} tokens ({name}), and all {size} are scored here"
            for size, what, limit, name in limits
            if limit is not None and size > limit
        )


@dataclass(frozen=True, slots=True)
class ModelPair:
    """A DPO policy and the reference that it was trained from, with one tokenizer.

    `max_length` is the most tokens both models take; `notes` hold what the user should be told about the pair.
    `in_turn`: the two do not fit into memory together, so all is scored under the policy before the reference is
    asked. `length_normalised`: see `Credit`. `assumed`: what the rewards rest on that nothing says, in words that go
    with every answer. `cut`: where training cut its rows.
    """

    policy: Side
    reference: Side
    tokenizer: PreTrainedTokenizerBase
    beta: float = DEFAULT_BETA
    max_length: int | None = None
    notes: tuple[str, ...] = ()
    length_normalised: bool = False
    in_turn: bool = False
    assumed: str = ""
    cut: Cut | None = None

    def notes_on(self, tokens: Tokens) -> tuple[str, ...]:
        """What to say of an answer's rewards, because of how the policy was trained."""
        return ((self.assumed,) if self.assumed else ()) + (self.cut.notes_on(tokens) if self.cut else ())


@dataclass(frozen=True, slots=True)
class Loading:
    """How models are loaded.

    `device`: "auto" (a GPU where there is one), a torch device, or two with a comma: the policy's, the reference's.
    `dtype`: "auto" is bfloat16 on CUDA and float32 elsewhere.
    `device_map`: accelerate's, such as "auto", for models larger than one GPU.
    `quantize`: "4bit" or "8bit", through bitsandbytes.
    `revision`: a hub's branch, tag or commit; two with a comma: the policy's, the reference's.
    `subfolder`: the folder of its directory or repository that the policy is in; with a comma, the reference's too.
    `base`: the model that an adapter sits on, where it is not what the adapter names.
    `gguf`: the file in a model's directory or repository, or its base's, that holds its weights; as for `revision`.
    `sequential`: load one model, score, free it, then the other.
    `allow_pickle`: load weights that are not safetensors, which can run code of whoever made them.
    `tokens_per_batch`: tokens in one forward pass, halved where memory is short; None is the device's own number.
    `tokenizer`: the directory or hub id of the one that two servers share.
    `keys`: what the servers of the policy and of the reference want in a request's header.
    """

    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device_map: str | None = None
    quantize: Literal["4bit", "8bit"] | None = None
    attn_implementation: str | None = None
    revision: str | None = None
    subfolder: str | None = None
    base: str | None = None
    gguf: str | None = None
    sequential: bool = False
    trust_remote_code: bool = False
    allow_pickle: bool = False
    tokens_per_batch: int | None = None
    tokenizer: str | None = None
    keys: tuple[str | None, str | None] = field(default=(None, None), repr=False)

    def of(self, role: Literal["policy", "reference"], flag: Literal["revision", "gguf"]) -> str | None:
        """What an option says of one side; what it says once, it says of both.

        Raises:
            CreditError: it says more.
        """
        policy, reference = self.each(flag)
        return policy if role == "policy" or "," not in (getattr(self, flag) or "") else reference

    def each(self, flag: Literal["revision", "gguf", "subfolder"]) -> tuple[str | None, str | None]:
        """What an option says of the policy and of the reference.

        Raises:
            CreditError: it says more.
        """
        given: str = getattr(self, flag) or ""
        parts = [part.strip() or None for part in given.split(",")]
        if len(parts) > 2:
            raise CreditError(f"--{flag} {given} names {len(parts)}; give one, or the policy's and the reference's.")
        policy, reference = (*parts, None)[:2]
        return policy, reference
