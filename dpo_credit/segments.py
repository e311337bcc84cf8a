"""An answer's tokens as text that people read: whole characters, words, sentences, with the sums over their tokens."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

Unit = Literal["token", "word", "sentence"]
_SENTENCE_END, _CLOSING = ".!?。！？…", "\"')]”’"
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{2}")


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


def segments_of(
    answer: str,
    spans: tuple[tuple[int, int], ...],
    pieces: Sequence[str],
    *,
    rewards: Sequence[float],
    policy_logps: Sequence[float],
    reference_logps: Sequence[float],
) -> tuple[Segment, ...]:
    """The whole characters of an answer with the sums over their tokens; the texts concatenate to the answer exactly.

    Args:
        answer: the text.
        spans: (T,) [start, end) characters of each token.
        pieces: (T,) their names.
        rewards: (T,).
        policy_logps: (T,), nats.
        reference_logps: (T,), nats.
    """
    return tuple(
        Segment(
            text=answer[spans[start][0] : spans[stop - 1][1]],
            reward=math.fsum(rewards[start:stop]),
            start=start,
            stop=stop,
            policy_logp=math.fsum(policy_logps[start:stop]),
            reference_logp=math.fsum(reference_logps[start:stop]),
            piece="".join(pieces[start:stop]),
        )
        for start, stop in _whole_character_runs(answer, spans)
    )


def ends(segments: Iterable[Segment], count: int) -> tuple[list[Segment], list[Segment]]:
    """The `count` segments with the lowest rewards, and the highest of the others: of a few, either half."""
    ordered = sorted(segments, key=lambda segment: (segment.reward, segment.start))
    middle = (len(ordered) + 1) // 2
    return ordered[:middle][:count], ordered[middle:][: -count - 1 : -1]


def joined(segments: tuple[Segment, ...], unit: Unit) -> tuple[Segment, ...]:
    """Segments summed over units; see `Credit.by`."""
    if unit == "token":
        return segments
    groups: list[list[Segment]] = []
    text = ""  # how the group so far ends
    for segment in segments:
        joins = bool(groups) and bool(segment.text) and bool(groups[-1][-1].text)
        if joins and _continues(text, segment.text, unit):
            groups[-1].append(segment)
            text = _ending(text + segment.text)
        else:
            groups.append([segment])
            text = _ending(segment.text)
    return tuple(map(_sum, groups))


@lru_cache(maxsize=64)  # views ask for an answer's segments many times
def _whole_character_runs(answer: str, spans: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    runs: list[tuple[int, int]] = []
    covered = 0  # the answer's characters up to here belong to the runs so far
    for t, (start, end) in enumerate(spans):
        shares = runs and start < end and (start < covered or not is_boundary(answer, start))
        if shares:
            runs[-1] = (runs[-1][0], t + 1)
        else:
            runs.append((t, t + 1))
        covered = max(covered, end)
    return tuple(runs)


def _ending(text: str) -> str:
    """What of a text's end decides whether more belongs to it: a sentence's end or the last letter, and white space.

    Two characters at most, so that an answer of one long word or sentence is joined in linear time.
    """
    visible = text.rstrip()
    space = text[len(visible) :]
    sentence_end = visible.rstrip(_CLOSING)[-1:]
    last = sentence_end if sentence_end and sentence_end in _SENTENCE_END else visible
    return last[-1:] + ("\n" if "\n" in space else space[-1:])


def _continues(text: str, added: str, unit: Unit) -> bool:
    """Whether what is added still belongs to the word or sentence that ends so; see `_ending`."""
    if not text.strip():
        return True  # leading white space goes with what follows it
    if unit == "word":
        return not (added[0].isspace() or text[-1].isspace())
    ended = text[0] in _SENTENCE_END or text[-1] == "\n"
    return not ended or not (added[0].isspace() or text[-1].isspace())


def _sum(segments: list[Segment]) -> Segment:
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
        return at not in _within_flags(text)
    return True


def _is_flag_letter(char: str) -> bool:
    return "\U0001f1e6" <= char <= "\U0001f1ff"


@lru_cache(maxsize=64)  # asked at every letter of a flag
def _within_flags(text: str) -> frozenset[int]:
    """Where the two letters of a flag meet."""
    return frozenset(flag.start() + 1 for flag in _FLAG.finditer(text))
