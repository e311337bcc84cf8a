"""What an answer is, what each of its tokens earned, and the sums: Example -> Tokens -> Credit -> Segments.

Source: Rafailov et al. 2024, "From r to Q*: Your Language Model is Secretly a Q-Function", Eqs. 8 and 11.
Pure data: nothing here needs torch, a tokenizer or a terminal.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

_SENTENCE_END = re.compile(r"[.!?。！？…][\"')\]”’]*\s*$|\n\s*$")


class CreditError(Exception):
    """Something about the input is wrong; the message says what, with values, and what to do next."""


class Message(NamedTuple):
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Example:
    """An answer to score after its prompt, verbatim.

    `prompt` is text, or the chat's messages before the answer. An empty prompt means the answer is scored
    from the beginning-of-sequence token alone.
    """

    prompt: str | tuple[Message, ...]
    answer: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Tokens:
    """An encoded Example: both models see exactly these ids.

    P prompt tokens, T answer tokens (the end token among them, where there is one).
    `spans` are [start, end) character offsets into `answer`; tokens that share one character overlap there, and a
    token that shows no text (an end token) has an empty span. `pieces` name the tokens. `end` says where the
    end token came from: "appended", "template", "in-text" or "none". `notes` hold what the user should be told.
    """

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    answer: str
    end: str = "none"
    notes: tuple[str, ...] = ()


class Segment(NamedTuple):
    """The smallest run of tokens [start, stop) that owns whole characters, with the sums over its tokens.

    `text` is empty for a token that shows none, such as the end of the sequence: `piece` names it.
    """

    text: str
    reward: float
    start: int
    stop: int
    policy_logp: float
    reference_logp: float
    piece: str


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
class Credit:
    """Token-level rewards of one answer under a DPO policy and its reference.

    Causes are stored, in nats: `policy_logps` (T,) and `reference_logps` (T,). Effects are derived, so another beta
    is `dataclasses.replace(credit, beta=...)`. `policy_top` and `reference_top` (T, k) hold what each model preferred
    at each position, where that was asked for; they are () otherwise. `length_normalised` says that the policy was
    trained with length-normalised DPO (Tulu 3's `dpo_norm`, TRL's `sigmoid_norm`): an answer's reward is then the mean
    over its T tokens, the end token among them, and each token holds a T-th of it.

    Raises:
        CreditError: lengths differ, a log-probability is not finite, or beta is not a positive number.
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
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise CreditError(
                f"beta is {self.beta}; it must be a positive number, the one the policy was trained with."
            )
        length = len(self.tokens.answer_ids)
        for name, logps in (("policy", self.policy_logps), ("reference", self.reference_logps)):
            if len(logps) != length:
                raise CreditError(f"{self.id}: {len(logps)} {name} log-probabilities for {length} answer tokens.")
            bad = next((t for t, logp in enumerate(logps) if not math.isfinite(logp)), None)
            if bad is not None:
                raise CreditError(
                    f"{self.id}: the {name} gives log-probability {logps[bad]} at answer token {bad} "
                    f"({self.tokens.pieces[bad]!r}). Its weights or its dtype overflow: try --dtype float32."
                )

    @property
    def weight(self) -> float:
        """The reward of one nat: beta; or beta / T with `length_normalised` (Lambert et al. 2024, "Tulu 3")."""
        return self.beta / len(self.policy_logps) if self.length_normalised else self.beta

    @property
    def rewards(self) -> tuple[float, ...]:
        """(T,) r(s_t, a_t) = weight * (log pi(a_t|s_t) - log pi_ref(a_t|s_t)) (Eq. 11)."""
        weight = self.weight
        return tuple(
            weight * (policy - reference)
            for policy, reference in zip(self.policy_logps, self.reference_logps, strict=True)
        )

    @property
    def reward(self) -> float:
        """The answer's implicit reward: the sum of `rewards`, known up to a constant that depends on the prompt."""
        return math.fsum(self.rewards)

    @property
    def policy_logp(self) -> float:
        """log pi(answer | prompt), nats."""
        return math.fsum(self.policy_logps)

    @property
    def reference_logp(self) -> float:
        """log pi_ref(answer | prompt), nats."""
        return math.fsum(self.reference_logps)

    @property
    def noise(self) -> float:
        """Rewards nearer to zero than this are within the measured numerical error of the models' dtype."""
        return self.weight * self.source.noise

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Whole characters with their sums; the texts concatenate to the answer exactly."""
        rewards = self.rewards
        return tuple(
            Segment(
                text=self.tokens.answer[self.tokens.spans[start][0] : self.tokens.spans[stop - 1][1]],
                reward=math.fsum(rewards[start:stop]),
                start=start,
                stop=stop,
                policy_logp=math.fsum(self.policy_logps[start:stop]),
                reference_logp=math.fsum(self.reference_logps[start:stop]),
                piece="".join(self.tokens.pieces[start:stop]),
            )
            for start, stop in _whole_character_runs(self.tokens)
        )

    def by(self, unit: Literal["token", "word", "sentence"]) -> tuple[Segment, ...]:
        """Segments summed over words (a run up to the next white space) or sentences; the texts concatenate likewise.

        A unit takes its leading white space with it. A token that shows no text stays a unit of its own, and one that
        spans several words belongs to the word it starts in.
        """
        if unit == "token":
            return self.segments
        groups: list[list[Segment]] = []
        text = ""  # of the group so far
        for segment in self.segments:
            joins = bool(groups) and bool(segment.text) and bool(groups[-1][-1].text)
            if joins and _continues(text, segment.text, unit):
                groups[-1].append(segment)
                text += segment.text
            else:
                groups.append([segment])
                text = segment.text
        return tuple(map(_joined, groups))

    def _repr_html_(self) -> str:
        from dpo_credit.views.page.score import fragment  # a notebook asks for this; scoring never does

        return fragment(self)


def margin(chosen: Credit, rejected: Credit) -> float:
    """DPO's logit: the difference of the two answers' rewards.

    Raises:
        CreditError: the prompts, the betas or the models differ, or one reward is length-normalised and the other not,
            so the two sums do not compare.
    """
    if chosen.tokens.prompt_ids != rejected.tokens.prompt_ids:
        raise CreditError(
            f"{chosen.id} and {rejected.id} follow different prompts: rewards are known only up to a constant of the "
            "prompt, so their totals do not compare. Give both answers the same prompt."
        )
    ours, theirs = (replace(one.source, noise=0.0) for one in (chosen, rejected))  # noise is measured call by call
    if chosen.length_normalised != rejected.length_normalised:
        normalised, summed = (chosen, rejected) if chosen.length_normalised else (rejected, chosen)
        raise CreditError(
            f"{normalised.id} has a length-normalised reward and {summed.id} a summed one, so they do not compare: "
            "score both with --length-normalised, or both without."
        )
    if (chosen.beta, ours) != (rejected.beta, theirs):
        raise CreditError(
            f"{chosen.id} and {rejected.id} were scored with different models or betas; score them together."
        )
    return chosen.reward - rejected.reward


def preference_probability(margin: float) -> float:
    """P(chosen is preferred to rejected) = sigmoid(margin) (Eq. 8)."""
    return 1 / (1 + math.exp(-margin)) if margin >= 0 else math.exp(margin) / (1 + math.exp(margin))


@lru_cache(maxsize=64)  # views ask for an answer's segments many times
def _whole_character_runs(tokens: Tokens) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    covered = 0  # the answer's characters up to here belong to the runs so far
    for t, (start, end) in enumerate(tokens.spans):
        shares = runs and start < end and (start < covered or not is_boundary(tokens.answer, start))
        if shares:
            runs[-1] = (runs[-1][0], t + 1)
        else:
            runs.append((t, t + 1))
        covered = max(covered, end)
    return tuple(runs)


def _continues(text: str, added: str, unit: str) -> bool:
    """Whether what is added still belongs to the word or sentence so far."""
    if not text.strip():
        return True  # leading white space goes with what follows it
    if unit == "word":
        return not (added[0].isspace() or text[-1].isspace())
    return not _SENTENCE_END.search(text) or not (added[0].isspace() or text[-1].isspace())


def _joined(segments: list[Segment]) -> Segment:
    return Segment(
        text="".join(segment.text for segment in segments),
        reward=math.fsum(segment.reward for segment in segments),
        start=segments[0].start,
        stop=segments[-1].stop,
        policy_logp=math.fsum(segment.policy_logp for segment in segments),
        reference_logp=math.fsum(segment.reference_logp for segment in segments),
        piece="".join(segment.piece for segment in segments),
    )


def is_boundary(text: str, at: int) -> bool:
    """Whether a reader would see two characters meet at `at`, not the inside of one (accents, emoji sequences)."""
    if not 0 < at < len(text):
        return True
    before, after = text[at - 1], text[at]
    if after == "\u200d" or before == "\u200d" or unicodedata.category(after) in ("Mn", "Me", "Mc"):
        return False  # a zero-width joiner, or a mark that sits on the character before (variation selectors too)
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":  # a skin tone; a region's flag
        return False
    if _is_flag_letter(after) and _is_flag_letter(before):  # flags are pairs of letters: split after even counts only
        letters = next((n for n in range(at) if not _is_flag_letter(text[at - 1 - n])), at)
        return letters % 2 == 0
    return True


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"
