"""How a report of `localise` is put into words, whatever shows it: scores by the names that people read."""

from __future__ import annotations

import re

from dpo_credit.estimates import wording
from dpo_credit.estimates.statistics import Estimate
from dpo_credit.localise.localised import LocaliseReport, Paraphrased

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


def paraphrased(found: Paraphrased) -> str:
    """How far credit moves with the words, in a paragraph."""
    earn = "earns" if found.facts == 1 else "earn"
    facts = f"{found.facts} {'fact' if found.facts == 1 else 'facts'}"
    answers = f"{found.answers} {'answer' if found.answers == 1 else 'answers'}"
    text = (
        f"In other words, {facts} of {answers}{wording.to_prompts(found.answers, found.prompts)} {earn} otherwise: by "
        f"{_amount(found.change)} on average, where a fact earns {_amount(found.credit)} (either sign), and "
        f"{_amount(found.shift, '+')} on balance. {_percent(found.kept_sign)} keep their sign."
    )
    order = found.rank_correlation
    if order is None:
        return text + " All earn the same one way or the other, so they have no order."
    between = "" if order.low is None else f" [{order.low:.2f}, {order.high:.2f}]"
    return f"{text} Their order by credit is kept to a rank correlation of {order.value:.2f}{between}."


def _amount(found: Estimate, sign: str = "") -> str:
    between = "" if found.low is None else f" [{found.low:{sign}.3g}, {found.high:{sign}.3g}]"
    return f"{found.value:{sign}.3g}{between}"


def _percent(found: Estimate) -> str:
    assert found.value is not None
    between = "" if found.low is None or found.high is None else f" [{100 * found.low:.0f}, {100 * found.high:.0f}]"
    return f"{100 * found.value:.0f} %{between}"
