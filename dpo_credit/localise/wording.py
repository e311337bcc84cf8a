"""How a report of `localise` is put into words, whatever shows it: scores by the names that people read."""

from __future__ import annotations

import re

from dpo_credit.estimates import wording
from dpo_credit.localise.localised import LocaliseReport

_NAMES = {"-log pi": "−log π", "-log pi_ref": "−log π_ref", "-log pi - entropy": "−log π − H", "entropy": "H(π)"}
_NAMES |= {"-log pi_ref - entropy_ref": "−log π_ref − H_ref"}
_NAMES |= {"-entropy": "−H(π)", "right - wrong": "right − wrong", "-reward": "−reward", "-gradient": "−gradient"}


def sentence(report: LocaliseReport) -> str:
    """The report's sentence, with scores named as they are shown."""
    names = sorted(_NAMES, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, names)), lambda match: label(match[0]), report.sentence)


def to_prompts(report: LocaliseReport) -> str:
    """How many prompts the answers stand on, after "answers"; nothing where each has one of its own."""
    return wording.to_prompts(report.answers, report.prompts)


def drawn_by(report: LocaliseReport) -> str:
    """What is drawn, and permuted, as a whole: answers, or prompts with all of their answers."""
    if report.prompts == report.answers:
        return "answer"
    return f"prompt: {wording.stand_on(report.answers, report.prompts, 'answers')}"


def label(name: str) -> str:
    """A score's name as it is shown."""
    return _NAMES.get(name, name)
