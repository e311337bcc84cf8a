"""An answer's tokens as text that people read: whole characters, words, sentences, with the sums over their tokens.

Source: Unicode Standard Annex #29, "Unicode Text Segmentation", as the package `regex` has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import regex

Unit = Literal["token", "word", "sentence"]
_SENTENCE_END, _CLOSING = ".!?。！？…｡।॥؟۔።။។", "\"')]”’」』）】》〉"
_STOP = "。！？｡"  # ends a sentence without white space after it
# a flag is a pair of letters, told apart first: `\X` and `\b` would count each from where the run begins
_CHARACTER = regex.compile(r"(?:\p{RI}{1,2}|\X)[\p{GCB=Extend}\p{M}\u200d]*+")
# a letter, with its vowels, of a script that puts no white space between words; a run of katakana
_VOWEL = r"[[\p{InSC=Vowel_Dependent}\p{M}]--\p{Logical_Order_Exception}]"
_LONE = (
    rf"(?:\p{{Logical_Order_Exception}}?(?=[\p{{Alphabetic}}&&\p{{WB=Other}}])\X{_VOWEL}*+"
    r"|(?:(?=\p{WB=Katakana})\X)++)"
)
_OPENING = r"[\p{Ps}\p{Pi}]"
_WORD = regex.compile(
    rf"{_OPENING}*+{_LONE}[\p{{P}}--{_OPENING}]*+|(?:{_OPENING}++(?!{_LONE})|(?!{_LONE})[^\s{_OPENING}])++", regex.V1
)


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
    begun = {start for start, _ in word_spans("".join(segment.text for segment in segments))} if unit == "word" else ()
    groups: list[list[Segment]] = []
    text, at = "", 0  # how the group so far ends, and where in the answer
    for segment in segments:
        joins = bool(groups) and bool(segment.text) and bool(groups[-1][-1].text)
        if joins and _continues(text, segment.text, unit, begins=at in begun):
            groups[-1].append(segment)
            text = _ending(text + segment.text)
        else:
            groups.append([segment])
            text = _ending(segment.text)
        at += len(segment.text)
    return tuple(map(_sum, groups))


def word_spans(text: str, tokens: Sequence[tuple[int, int]] = ()) -> list[tuple[int, int]]:
    """[start, end) of a text's words: what white space parts, with the punctuation on them.

    Of scripts that put none there (Chinese, Japanese, Thai, Lao, Khmer, Burmese), each character is a word, with the
    vowels and the punctuation on it, and so is a run of katakana. Characters that one of `tokens` spans are one word.

    Args:
        text: the text.
        tokens: (T,) [start, end) characters of its tokens.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    within = {at for start, end in tokens for at in range(start + 1, end)}
    whole: list[tuple[int, int]] = []
    for start, end in spans:
        if whole and whole[-1][1] == start and start in within:
            start, _ = whole.pop()
        whole.append((start, end))
    return whole


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


def _continues(text: str, added: str, unit: Unit, *, begins: bool) -> bool:
    """Whether what is added still belongs to the word or sentence that ends so (see `_ending`), or `begins` a word."""
    if not text.strip():
        return True  # leading white space goes with what follows it
    if unit == "word":
        return not (begins or added[0].isspace() or text[-1].isspace())
    if text[0] in _STOP and added[0] not in _SENTENCE_END + _CLOSING:
        return False
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
    return at <= 0 or at >= len(text) or at in _characters(text)


@lru_cache(maxsize=64)  # asked at every token of an answer
def _characters(text: str) -> frozenset[int]:
    """Where the characters that a reader sees begin."""
    return frozenset(match.start() for match in _CHARACTER.finditer(text))
