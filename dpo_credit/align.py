"""Two answers to one prompt: what was edited, what each edit earned, and how far the untouched rest moved (its echo).

Words (of Chinese, characters) are matched with difflib; a token counts as untouched if its characters lie in matched
words on both sides and both tokenizers' cuts agree there. All other tokens belong to an edit, so the parts add up to
the margin.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate, pairwise, takewhile
from typing import NamedTuple

import regex
from rapidfuzz.distance import LCSseq

from dpo_credit.credit import Credit, margin, preference_probability
from dpo_credit.segments import Segment, Unit, joined
from dpo_credit.shown import Shown

_EQUAL_PAIRS = 50_000  # pairs of equal words, above which difflib may take more than half a second
Range = tuple[int, int]  # [start, stop)
# runs of letters and digits as Unicode joins them (UAX #29: each ideograph is one), else whole characters; flags first,
# whose pairs `\X` would count from where the run begins
_WORD = regex.compile(r"(?w)\s*+(?:(?=\w)\X(?:(?=\w)\B\X)*+|\p{RI}{1,2}\p{M}*+|(?=\S)\X|$)")


@dataclass(frozen=True, slots=True)
class Edit:
    """A stretch that differs: [start, stop) segments of each answer, their characters, texts and summed rewards.

    Either side may be empty (an insertion). `delta` = chosen_reward - rejected_reward: its share of the margin.
    """

    chosen: tuple[int, int]
    rejected: tuple[int, int]
    chosen_span: tuple[int, int]
    rejected_span: tuple[int, int]
    chosen_text: str
    rejected_text: str
    chosen_reward: float
    rejected_reward: float

    @property
    def delta(self) -> float:
        return self.chosen_reward - self.rejected_reward


@dataclass(frozen=True, slots=True)
class Diff(Shown):
    """Two credits and their alignment. `pairs` are the untouched segments: (index in chosen, index in rejected)."""

    chosen: Credit
    rejected: Credit
    edits: tuple[Edit, ...]
    pairs: tuple[tuple[int, int], ...]

    @property
    def margin(self) -> float:
        """DPO's logit; the sum of the edits' deltas and of `echo`."""
        return margin(self.chosen, self.rejected)

    @property
    def preference_probability(self) -> float:
        """P(chosen is preferred to rejected) (Rafailov et al. 2024, Eq. 8)."""
        return preference_probability(self.margin)

    @property
    def echo(self) -> tuple[float, ...]:
        """chosen - rejected reward of every untouched segment: zero before the first edit, an echo of it afterwards."""
        chosen, rejected = self.chosen.segments, self.rejected.segments
        return tuple(chosen[i].reward - rejected[j].reward for i, j in self.pairs)

    @property
    def echo_sum(self) -> float:
        """What the untouched segments add to the margin, the edits being the rest of it."""
        return math.fsum(self.echo)

    def deltas(self, unit: Unit = "token") -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What each unit of the chosen and of the rejected answer adds to the margin; the units are `Credit.by(unit)`.

        Positive speaks for the chosen answer, in both. An untouched segment has one delta, chosen - rejected reward,
        which both answers show; one of an edit has no counterpart: its delta is its reward in the chosen answer, its
        negated reward in the rejected one. So each answer's deltas are its side of every edit, and the echo:

            sum(chosen deltas) = sum of the edits' chosen_reward + echo_sum
            sum(rejected deltas) = echo_sum - sum of the edits' rejected_reward
            margin = sum(chosen deltas) + sum(rejected deltas) - echo_sum

        A larger unit, such as a word, has the sum over its segments.
        """
        chosen, rejected = self.chosen.segments, self.rejected.segments
        ours, theirs = [segment.reward for segment in chosen], [-segment.reward for segment in rejected]
        for (i, j), moved in zip(self.pairs, self.echo, strict=True):
            ours[i] = theirs[j] = moved
        return _summed(self.chosen, ours, unit), _summed(self.rejected, theirs, unit)

    def units(self, unit: Unit) -> tuple[tuple[tuple[Range, Range], ...], tuple[tuple[int, int], ...]]:
        """The edits in [start, stop) units of both answers, and the untouched pairs of units.

        A unit is untouched if each of its segments is, and their partners make up a unit of the other answer.
        """
        partner = dict(self.pairs)
        ours, theirs = (_members(credit.segments, credit.by(unit)) for credit in (self.chosen, self.rejected))
        places = {members: j for j, members in enumerate(theirs)}
        partners = (places.get(tuple(partner.get(n, -1) for n in members)) for members in ours)
        pairs = tuple((i, j) for i, j in enumerate(partners) if j is not None)
        return tuple(_between(pairs, len(ours), len(theirs))), pairs

    @property
    def echo_mean_abs(self) -> float:
        """How far an untouched segment after the first edit moved, on average; 0 if there is none."""
        after = self._echo_after()
        return math.fsum(after) / len(after) if after else 0.0

    @property
    def echo_max_abs(self) -> float:
        """How far the untouched segment that moved most did; 0 if there is none."""
        return max(self._echo_after(), default=0.0)

    def _echo_after(self) -> list[float]:
        first = self.edits[0].chosen[0] if self.edits else math.inf
        return [abs(moved) for (i, _), moved in zip(self.pairs, self.echo, strict=True) if i >= first]


class Cumulative(NamedTuple):
    """Running sums over two aligned answers; entry n is the sum over the first n places, (places + 1,) each.

    `edits` are [start, stop) places: as many as its longer side has units; the shorter one adds nothing in the last.
    """

    chosen: tuple[float, ...]
    rejected: tuple[float, ...]
    edits: tuple[tuple[int, int], ...]

    @property
    def margin(self) -> tuple[float, ...]:
        """How the margin comes about: the difference of the two sums."""
        return tuple(ours - theirs for ours, theirs in zip(self.chosen, self.rejected, strict=True))


def cumulative(chosen: Sequence[float], rejected: Sequence[float], edits: Sequence[tuple[Range, Range]]) -> Cumulative:
    """The running sums of two answers' rewards with what is untouched at the same places.

    Args:
        chosen: one reward a unit (a token, say).
        rejected: likewise; as many outside the edits.
        edits: [start, stop) units of both answers, in order.
    """
    ours: list[float] = []
    theirs: list[float] = []
    places, i, j = [], 0, 0
    for (start, stop), (other_start, other_stop) in edits:
        ours += chosen[i:start]
        theirs += rejected[j:other_start]
        length = max(stop - start, other_stop - other_start)
        places.append((len(ours), len(ours) + length))
        ours += [*chosen[start:stop], *[0.0] * (length - (stop - start))]
        theirs += [*rejected[other_start:other_stop], *[0.0] * (length - (other_stop - other_start))]
        i, j = stop, other_stop
    sides = [*ours, *chosen[i:]], [*theirs, *rejected[j:]]
    ours_so_far, theirs_so_far = (tuple(accumulate(side, initial=0.0)) for side in sides)
    return Cumulative(ours_so_far, theirs_so_far, tuple(places))


def diff(chosen: Credit, rejected: Credit) -> Diff:
    """Align two answers to one prompt.

    Raises:
        CreditError: their prompts, betas or models differ, so their rewards do not compare.
    """
    margin(chosen, rejected)
    ours, theirs = _Side(chosen), _Side(rejected)
    before, behind = _textless(ours.segments, theirs.segments)
    pairs = [*before, *_untouched(ours, theirs), *behind]
    edits = [_edit(ours, theirs, *edit) for edit in _between(pairs, len(ours.segments), len(theirs.segments))]
    return Diff(chosen, rejected, tuple(edits), tuple(pairs))


def _summed(credit: Credit, values: Sequence[float], unit: Unit) -> tuple[float, ...]:
    """Values of an answer's segments, summed over units."""
    valued = tuple(segment._replace(reward=value) for segment, value in zip(credit.segments, values, strict=True))
    return tuple(segment.reward for segment in joined(valued, unit, credit.tokens.roles))


class _Side:
    """One answer's segments and words, with the characters where each begins (and the answer's end)."""

    def __init__(self, credit: Credit) -> None:
        self.segments = credit.segments
        self.words = [match[0] for match in _WORD.finditer(credit.tokens.answer)]
        self.segment_starts = [0, *accumulate(len(segment.text) for segment in self.segments)]
        self.word_starts = [0, *accumulate(map(len, self.words))]


def _untouched(ours: _Side, theirs: _Side) -> list[tuple[int, int]]:
    """Pairs of segments that are the same characters of matched words."""
    places = {
        (start, s.text): j for j, (start, s) in enumerate(zip(theirs.segment_starts, theirs.segments, strict=False))
    }
    pairs: list[tuple[int, int]] = []
    for first, second, size in _matching_words(ours.words, theirs.words):
        low, high = ours.word_starts[first], ours.word_starts[first + size]
        shift = theirs.word_starts[second] - low
        for i in range(bisect_left(ours.segment_starts, low), len(ours.segments)):
            start, text = ours.segment_starts[i], ours.segments[i].text
            if start + len(text) > high:
                break
            if text and (start + shift, text) in places:
                pairs.append((i, places[start + shift, text]))
    return pairs


def _matching_words(ours: list[str], theirs: list[str]) -> list[tuple[int, int, int]]:
    """Runs of equal words: where each begins in both, and how long it is.

    What both begin and end with is matched first. Between, the longest runs are, as people read a difference; where
    words repeat so often that this would take cubic time, as in the answers of a model that loops, a longest common
    subsequence is (Hyyroe 2004, bit-parallel, in rapidfuzz).
    """
    shorter = min(len(ours), len(theirs))
    begin = next((n for n in range(shorter) if ours[n] != theirs[n]), shorter)
    end = next((n for n in range(shorter - begin) if ours[-1 - n] != theirs[-1 - n]), shorter - begin)
    left, right = ours[begin : len(ours) - end], theirs[begin : len(theirs) - end]
    counts = Counter(right)
    if sum(counts[word] for word in left) <= _EQUAL_PAIRS:
        blocks = SequenceMatcher(None, left, right, autojunk=False).get_matching_blocks()
        inner = [(block.a, block.b, block.size) for block in blocks]
    else:
        equal = (op for op in LCSseq.opcodes(left, right) if op.tag == "equal")
        inner = [(op.src_start, op.dest_start, op.src_end - op.src_start) for op in equal]
    runs = [(0, 0, begin), *((a + begin, b + begin, size) for a, b, size in inner)]
    return [run for run in (*runs, (len(ours) - end, len(theirs) - end, end)) if run[2]]


def _between(pairs: Sequence[tuple[int, int]], ours: int, theirs: int) -> Iterator[tuple[Range, Range]]:
    """The stretches between one untouched pair and the next, and those before the first and after the last."""
    for (i, j), (next_i, next_j) in pairwise([(-1, -1), *pairs, (ours, theirs)]):
        if (next_i, next_j) != (i + 1, j + 1):
            yield (i + 1, next_i), (j + 1, next_j)


def _members(segments: Sequence[Segment], units: Sequence[Segment]) -> list[tuple[int, ...]]:
    """Which segments each unit is made of."""
    at = {segment.start: n for n, segment in enumerate(segments)}
    return [tuple(at[t] for t in range(unit.start, unit.stop) if t in at) for unit in units]


def _textless(
    ours: Sequence[Segment], theirs: Sequence[Segment]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Tokens without text, such as the end of the sequence, that both answers begin with, and that they close with."""
    begin = _alike(ours, theirs)
    end = min(_alike(ours[::-1], theirs[::-1]), min(len(ours), len(theirs)) - begin)
    return [(n, n) for n in range(begin)], [(len(ours) - n, len(theirs) - n) for n in range(end, 0, -1)]


def _alike(ours: Sequence[Segment], theirs: Sequence[Segment]) -> int:
    """How many tokens without text both begin with."""
    pairs = zip(ours, theirs, strict=False)
    alike = takewhile(lambda pair: not pair[0].text and not pair[1].text and pair[0].piece == pair[1].piece, pairs)
    return sum(1 for _ in alike)


def _edit(ours: _Side, theirs: _Side, chosen: tuple[int, int], rejected: tuple[int, int]) -> Edit:
    def part(side: _Side, start: int, stop: int) -> tuple[tuple[int, int], str, float]:
        segments = side.segments[start:stop]
        span = side.segment_starts[start], side.segment_starts[stop]
        return span, "".join(s.text for s in segments), math.fsum(s.reward for s in segments)

    (span, text, reward), (other_span, other_text, other_reward) = part(ours, *chosen), part(theirs, *rejected)
    return Edit(chosen, rejected, span, other_span, text, other_text, reward, other_reward)
