"""The pair's own implicit reward as a judge: it judges itself, so what it likes is no proof of a better answer."""

from __future__ import annotations

from dpo_credit.search.judges import Contest, Verdict, compare


def judge(case: Contest) -> Verdict:
    """The higher reward wins. Rewards of one prompt compare: their constant cancels."""
    if case.chosen is None:
        return Verdict(None, f"reward {case.answer.reward:+.3f}")
    margin = case.answer.reward - case.chosen.reward
    return Verdict(compare(margin, 0.0), f"margin {margin:+.3f}")
