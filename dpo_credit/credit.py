"""What an answer is, what each of its tokens earned, and the sums: Example -> Tokens -> Credit -> Segments.

Source: Rafailov et al. 2024, "From r to Q*: Your Language Model is Secretly a Q-Function", Eqs. 8 and 11.
Pure data: nothing here needs torch, a tokenizer or a terminal.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Any, NamedTuple

from dpo_credit.segments import Segment, Unit, joined, segments_of
from dpo_credit.shown import TokenTable

UNKNOWN_DTYPE = "unknown"  # of a body that runs elsewhere and does not say
LARGEST = 1e50  # of a beta or a log-probability: sums and squares of their products stay far inside float64


class CreditError(Exception):
    """Something about the input is wrong; the message says what, with values, and what to do next."""


class NotFiniteError(CreditError):
    """A model gives a number that is NaN or infinite: its training diverged, or its dtype overflows."""


def not_finite(fault: str, dtype: str) -> NotFiniteError:
    """What to raise about a number that is not finite.

    Args:
        fault: which model gives it, and where, as a sentence without its stop.
        dtype: what that model's body ran in.
    """
    if dtype == "float32":
        advice = "Its weights are broken: its training diverged, or its files are damaged. Take an earlier checkpoint."
    elif dtype == UNKNOWN_DTYPE:
        advice = "It runs on a server: look there for its weights and the dtype that they run in."
    elif dtype in ("4bit", "8bit"):
        advice = f"Its weights are broken, or quantising them breaks them: try without --load-in-{dtype}."
    else:
        advice = f"Its weights are broken, or {dtype} overflows: try --dtype float32."
    return NotFiniteError(f"{fault}. {advice}")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat, as its row has it: `content` is text, a list of parts, or nothing beside `more`.

    `more` are its other fields, such as `tool_calls`, `name` or `reasoning_content`: a chat template sees them all.
    """

    role: str
    content: str | list[Any] | None
    more: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.role, self.text))

    @property
    def text(self) -> str:
        """What people read of it: its content, the texts of its parts, or else its tool calls as JSON."""
        if isinstance(self.content, list):
            return "".join(part["text"] for part in self.content)
        if self.content:
            return self.content
        calls = self.more.get("tool_calls") or self.more.get("function_call")
        return json.dumps(calls, ensure_ascii=False) if calls else ""

    @property
    def fields(self) -> dict[str, Any]:
        """The message as JSON."""
        return {"role": self.role, **({} if self.content is None else {"content": self.content}), **self.more}


@dataclass(frozen=True, slots=True)
class Example:
    """An answer to score after its prompt, verbatim.

    `prompt` is text, or the chat's messages before the answer. An empty prompt means the answer is scored
    from the beginning-of-sequence token alone. `turns` are the answer's own messages, where it brings more than one
    assistant's text: `answer` is then what people read of them. `template_kwargs` is what else a chat's template is
    given, such as `tools`.
    """

    prompt: str | tuple[Message, ...]
    answer: str
    id: str = ""
    turns: tuple[Message, ...] = ()
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def last_turn(self) -> int:
        """Which of the turns is the last assistant's."""
        return max((n for n, turn in enumerate(self.turns) if turn.role == "assistant"), default=0)


@dataclass(frozen=True, slots=True)
class Tokens:
    """An encoded Example: both models see exactly these ids.

    P prompt tokens, T answer tokens (the end token among them, where there is one).
    `spans` are [start, end) character offsets into `answer`; tokens that share one character overlap there, and a
    token that shows no text (an end token) has an empty span. `pieces` name the tokens. `end` says where the
    end token came from: "appended", "template", "in-text" or "none". `notes` hold what the user should be told.
    `scored` says what of a chat's answer counts: "all" of its turns, the "assistant" ones alone, or the "last" of them.
    `roles` (T,) tells an answer's turns apart: whose each token is, "" for what a template writes before a turn; ()
    where there is one turn only. `date` is the day that a chat template wrote, as ISO 8601, or "".
    Of an answer that was saved and read back, `prompt_ids` are P times -1, and `saved_prompt` is what was kept of them:
    their `prompt_hash`; None where an older version kept none.
    """

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    answer: str
    end: str = "none"
    notes: tuple[str, ...] = ()
    saved_prompt: str | None = None
    scored: str = "all"
    roles: tuple[str, ...] = ()
    date: str = ""

    @property
    def counted(self) -> tuple[bool, ...]:
        """(T,) Whether each token's reward counts: of "assistant" turns alone, the others are there to be read."""
        if self.scored != "assistant":
            return (True,) * len(self.answer_ids)
        return tuple(not aside for aside in self.aside)

    @property
    def aside(self) -> tuple[bool, ...]:
        """(T,) Whether each token is another's than the assistant's, or what a template writes before a turn."""
        if not self.roles:
            return (False,) * len(self.answer_ids)
        return tuple(role != "assistant" for role in self.roles)

    @property
    def prompt_hash(self) -> str | None:
        """What tells the prompt from others: 16 hex digits of BLAKE2b over its ids, each in 8 bytes, little-endian."""
        if -1 in self.prompt_ids:
            return self.saved_prompt
        ids = struct.pack(f"<{len(self.prompt_ids)}q", *self.prompt_ids)
        return hashlib.blake2b(ids, digest_size=8).hexdigest()

    @property
    def shared_prompt(self) -> str | None:
        """`prompt_hash`, by which answers to one prompt are known; None where there is none but a BOS token."""
        return self.prompt_hash if len(self.prompt_ids) > 1 else None

    def follows_prompt_of(self, other: Tokens) -> bool:
        """Whether two answers have one prompt; where one's ids are not known, whether it is as long."""
        if len(self.prompt_ids) != len(other.prompt_ids):
            return False
        if -1 not in self.prompt_ids and -1 not in other.prompt_ids:
            return self.prompt_ids == other.prompt_ids
        known = {tokens.prompt_hash for tokens in (self, other)} - {None}
        return len(known) < 2


class Alternative(NamedTuple):
    """What a model would rather have said at one position: a token and its log-probability in nats."""

    piece: str
    logp: float


@dataclass(frozen=True, slots=True)
class Logps:
    """One answer under one side: `logps` (T,) in nats; `top_ids` and `top_logps` (T, k), the likeliest first."""

    logps: tuple[float, ...]
    top_ids: tuple[tuple[int, ...], ...] = ()
    top_logps: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Where log-probabilities came from: the two models' names, the dtype their bodies ran in, and the noise floor.

    `noise` is the measured numerical error of one token's log-ratio, in nats (0 for float32 bodies).
    """

    policy: str
    reference: str
    dtype: str
    noise: float = 0.0


@dataclass(frozen=True, slots=True)
class Credit(TokenTable):
    """Token-level rewards of one answer under a DPO policy and its reference.

    Causes are stored, in nats: `policy_logps` (T,) and `reference_logps` (T,). Effects are derived, so another beta
    is `dataclasses.replace(credit, beta=...)`. `policy_top` and `reference_top` (T, k) hold what each model preferred
    at each position, where that was asked for; they are () otherwise. `length_normalised` says that the policy was
    trained with length-normalised DPO (Tulu 3's `dpo_norm`, TRL's `sigmoid_norm`): an answer's reward is then the mean
    over its T tokens, the end token among them, and each token holds a T-th of it.

    Raises:
        CreditError: lengths differ, a log-probability is not finite (`NotFiniteError`), or beta is not a positive
            number; what is beyond `LARGEST` counts as neither.
    """

    tokens: Tokens
    policy_logps: tuple[float, ...]
    reference_logps: tuple[float, ...]
    beta: float
    source: Source
    id: str = ""
    policy_top: tuple[tuple[Alternative, ...], ...] = ()
    reference_top: tuple[tuple[Alternative, ...], ...] = ()
    length_normalised: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.beta <= LARGEST:
            raise CreditError(
                f"beta is {self.beta}; it must be a positive number up to {LARGEST:g}, the one the policy was trained "
                "with."
            )
        length = len(self.tokens.answer_ids)
        policy_dtype, _, reference_dtype = self.source.dtype.partition("/")
        sides = (
            ("reference", self.reference_logps, reference_dtype or policy_dtype),
            ("policy", self.policy_logps, policy_dtype),
        )
        for name, logps, dtype in sides:
            if len(logps) != length:
                raise CreditError(f"{self.id}: {len(logps)} {name} log-probabilities for {length} answer tokens.")
            bad = next((t for t, logp in enumerate(logps) if not abs(logp) <= LARGEST), None)
            if bad is not None:
                raise not_finite(
                    f"{self.id}: the {name} gives log-probability {logps[bad]} at answer token {bad} "
                    f"({self.tokens.pieces[bad]!r})",
                    dtype,
                )

    @property
    def weight(self) -> float:
        """The reward of one nat: beta; or beta / T with `length_normalised` (Lambert et al. 2024, "Tulu 3")."""
        return self.beta / sum(self.tokens.counted) if self.length_normalised else self.beta

    @property
    def rewards(self) -> tuple[float, ...]:
        """(T,) r(s_t, a_t) = weight * (log pi(a_t|s_t) - log pi_ref(a_t|s_t)) (Eq. 11); 0 if it does not count."""
        weight = self.weight
        return tuple(
            weight * (policy - reference) if counted else 0.0
            for policy, reference, counted in zip(
                self.policy_logps, self.reference_logps, self.tokens.counted, strict=True
            )
        )

    @property
    def reward(self) -> float:
        """The answer's implicit reward: the sum of `rewards`, known up to a constant that depends on the prompt."""
        return math.fsum(self.rewards)

    @property
    def policy_logp(self) -> float:
        """log pi(answer | prompt), nats; the sum over the tokens that count."""
        return math.fsum(compress(self.policy_logps, self.tokens.counted))

    @property
    def reference_logp(self) -> float:
        """log pi_ref(answer | prompt), nats; likewise."""
        return math.fsum(compress(self.reference_logps, self.tokens.counted))

    @property
    def noise(self) -> float:
        """Rewards nearer to zero than this are within the measured numerical error of the models' dtype."""
        return self.weight * self.source.noise

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Whole characters with their sums; the texts concatenate to the answer exactly."""
        tokens = self.tokens
        return segments_of(
            tokens.answer,
            tokens.spans,
            tokens.pieces,
            rewards=self.rewards,
            policy_logps=self.policy_logps,
            reference_logps=self.reference_logps,
        )

    def by(self, unit: Unit) -> tuple[Segment, ...]:
        """Segments summed over words (see `word_spans`), sentences, lines, steps (see `step_spans`) or turns.

        The texts concatenate likewise. Words and sentences take the white space before them, lines and steps what ends
        them. A token that shows no text stays a unit of its own, but in a turn, and one that spans several units
        belongs to the one it starts in. An answer of one turn is one.
        """
        return joined(self.segments, unit, self.tokens.roles)


def margin(chosen: Credit, rejected: Credit) -> float:
    """DPO's logit: the difference of the two answers' rewards.

    Raises:
        CreditError: the prompts, the betas or the models differ, or one reward is length-normalised and the other not,
            so the two sums do not compare.
    """
    if not chosen.tokens.follows_prompt_of(rejected.tokens):
        raise CreditError(
            f"{chosen.id} and {rejected.id} follow different prompts: rewards are known only up to a constant of the "
            "prompt, so their totals do not compare. Give both answers the same prompt."
        )
    ours, theirs = (replace(credit.source, noise=0.0) for credit in (chosen, rejected))  # it is measured call by call
    if chosen.length_normalised != rejected.length_normalised:
        normalised, summed = (chosen, rejected) if chosen.length_normalised else (rejected, chosen)
        raise CreditError(
            f"{normalised.id} has a length-normalised reward and {summed.id} a summed one, so they do not compare: "
            "score both with --length-normalised, or both without."
        )
    if chosen.tokens.scored != rejected.tokens.scored:
        turns = " and ".join(f"{credit.id} counts {credit.tokens.scored}" for credit in (chosen, rejected))
        raise CreditError(f"{turns} of its turns, so they do not compare: score both with the same --turns.")
    if (chosen.beta, ours) != (rejected.beta, theirs):
        raise CreditError(
            f"{chosen.id} and {rejected.id} were scored with different models or betas; score them together."
        )
    return chosen.reward - rejected.reward


def preference_probability(margin: float) -> float:
    """P(chosen is preferred to rejected) = sigmoid(margin) (Eq. 8)."""
    return 1 / (1 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1 + math.exp(margin))
