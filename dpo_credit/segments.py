"""An answer's tokens as text that people read: whole characters, words, sentences, steps, with their tokens' sums.

Source: Unicode Standard Annex #29, "Unicode Text Segmentation", as the package `regex` has it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Literal, NamedTuple

import regex

Unit = Literal["token", "word", "sentence", "line", "step", "turn"]
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
# "Step 2:", "**Step 2.**", "### Step 2", on a line of its own or before what it says
_NUMBERED = regex.compile(r"(?i)[\s#>*_-]*+step[ \t]++\d++[\s*_]*+(?:[:.)\u2013\u2014-]|$)")


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


def joined(segments: tuple[Segment, ...], unit: Unit, roles: Sequence[str] = ()) -> tuple[Segment, ...]:
    """Segments summed over units, of turns by the `roles` (T,) of their tokens; see `Credit.by`."""
    if unit == "token":
        return segments
    if unit in ("line", "step", "turn"):
        starts = _turns(segments, roles) if unit == "turn" else _lines(segments) if unit == "line" else _steps(segments)
        return tuple(_sum(segments[start:stop]) for start, stop in pairwise([*starts, len(segments)]))
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


def step_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) of the steps of reasoning, without the white space between them.

    Where two lines or more begin with "Step" and a number, these begin the steps, and what stands before the first is
    one too. Else the steps are the paragraphs, which blank lines part, as in ProcessBench (arXiv:2412.06559).
    """
    numbered, paragraphs, at, blank = [], [], 0, True
    for line in text.split("\n"):
        if _NUMBERED.match(line):
            numbered.append(at)
        if blank and line.strip():
            paragraphs.append(at)
        blank = not line.strip()
        at += len(line) + 1
    starts = numbered if len(numbered) > 1 else paragraphs
    bodies = [(start, text[start:end]) for start, end in pairwise([0, *starts, len(text)])]
    return [
        (start + len(body) - len(body.lstrip()), start + len(body.rstrip())) for start, body in bodies if body.strip()
    ]


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


def _lines(segments: Sequence[Segment]) -> list[int]:
    """Where lines begin. A line has the blank ones before it; a token without text is a line of its own."""
    starts, ended, visible = [0], False, False
    for n, segment in enumerate(segments):
        if n and (ended or not segment.text or not segments[n - 1].text):
            starts.append(n)
            ended = visible = False
        body = segment.text.rstrip()
        visible |= bool(body)
        ended = visible and "\n" in segment.text[len(body) :]
    return starts


def _steps(segments: Sequence[Segment]) -> list[int]:
    """Where steps begin. A step has the blank lines behind it; a token without text is a step of its own."""
    begun = [start for start, _ in step_spans("".join(segment.text for segment in segments))]
    starts, at, step = [0], 0, 0  # the first step has what stands before it
    for n, segment in enumerate(segments):
        visible = at + len(segment.text) - len(segment.text.lstrip())
        own = max(1, bisect_right(begun, visible)) if segment.text.strip() else step
        if n and (own > step > 0 or not segment.text or not segments[n - 1].text):
            starts.append(n)
        at, step = at + len(segment.text), own
    return starts


def _turns(segments: Sequence[Segment], roles: Sequence[str]) -> list[int]:
    """Where turns begin. A turn has what a template writes before it, which is nobody's ("")."""
    own = [roles[segment.start] if roles else "" for segment in segments]
    return [0, *(n for n in range(1, len(own)) if own[n] != own[n - 1] != "")]


def _sum(segments: Sequence[Segment]) -> Segment:
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
