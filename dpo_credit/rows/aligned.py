"""A diff as JSON has it: the edits, what both answers have, and the echo."""

from __future__ import annotations

from dataclasses import dataclass

from dpo_credit.align import Diff


@dataclass(frozen=True, slots=True)
class EditRecord:
    """One edit: [start, end) characters, texts and summed rewards on both sides; `delta` is its share of the margin."""

    chosen_span: tuple[int, int]
    rejected_span: tuple[int, int]
    chosen_text: str
    rejected_text: str
    chosen_reward: float
    rejected_reward: float
    delta: float


@dataclass(frozen=True, slots=True)
class AlignedRecord:
    """What both answers have: its text, its [start, stop) tokens in both; `delta` = chosen - rejected reward.

    `text` names a token that shows none, such as the end of the sequence. It is one token of each answer, but where
    several share a character.
    """

    text: str
    chosen: tuple[int, int]
    rejected: tuple[int, int]
    delta: float


@dataclass(frozen=True, slots=True)
class EchoRecord:
    """How far the untouched tokens after the first edit moved, and the signed sum over all untouched ones."""

    mean_abs: float
    max_abs: float
    sum: float


def edit_records(diff: Diff) -> list[EditRecord]:
    """The edits in order."""
    return [
        EditRecord(
            edit.chosen_span,
            edit.rejected_span,
            edit.chosen_text,
            edit.rejected_text,
            edit.chosen_reward,
            edit.rejected_reward,
            edit.delta,
        )
        for edit in diff.edits
    ]


def aligned_records(diff: Diff) -> list[AlignedRecord]:
    """What is untouched, in order."""
    chosen, rejected = diff.chosen.segments, diff.rejected.segments
    return [
        AlignedRecord(
            chosen[i].text or chosen[i].piece,
            (chosen[i].start, chosen[i].stop),
            (rejected[j].start, rejected[j].stop),
            delta,
        )
        for (i, j), delta in zip(diff.pairs, diff.echo, strict=True)
    ]


def echo_record(diff: Diff) -> EchoRecord:
    """What is untouched in three numbers."""
    return EchoRecord(diff.echo_mean_abs, diff.echo_max_abs, diff.echo_sum)
