"""The judge of the generated world: every stated fact is checked against the post."""

from dpo_credit.credit import CreditError
from dpo_credit.search.judges import Case, Verdict, compare

from .reading import facts_of, wrong_and_right


def judge(case: Case) -> Verdict:
    """Fewer wrong facts win, then more right ones.

    Raises:
        CreditError: the post is none of the generated world.
    """
    facts = facts_of(case.prompt)
    if facts is None:
        raise CreditError(
            f"{case.id} is no post of the embedded world, whose facts this judge reads. Take another --judge."
        )
    wrong, right = wrong_and_right(facts, case.answer.tokens.answer)
    counts = f"{len(wrong)} wrong, {len(right)} right"
    if wrong:
        counts += f" ({', '.join(claim.value for claim in wrong)})"
    if case.chosen is None:
        return Verdict(None, counts)
    their_wrong, their_right = wrong_and_right(facts, case.chosen.tokens.answer)
    if len(wrong) != len(their_wrong):
        return Verdict(compare(len(their_wrong), len(wrong)), counts)
    return Verdict(compare(len(right), len(their_right)), counts)
