"""Running `search` on one post: the pair, one search after the other, and what to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from dpo_credit.cli.files import record as record_in
from dpo_credit.cli.judging import judge_of
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.present import ViewOptions, look_of
from dpo_credit.cli.prompt import prompt_ids
from dpo_credit.cli.run import load
from dpo_credit.cli.search import SearchOptions
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import Credit, CreditError, Example
from dpo_credit.rows.output import ListRecord, credit_record
from dpo_credit.rows.records import Row, prompt_text, stem
from dpo_credit.rows.scored import ScoredRow

if TYPE_CHECKING:
    from dpo_credit.models.pair import ModelPair


def run(file: str, asked: SearchOptions, options: PairOptions, view: ViewOptions) -> None:
    """Search with each number of beams, judge what was found, and show it.

    Raises:
        CreditError: the prompt, a model or the judge is at fault, or the text would be longer than the models take.
    """
    from dpo_credit.search.judges import Case
    from dpo_credit.search.search import search
    from dpo_credit.views.terminal import search as terminal_search

    view.check()
    if options.sequential:
        raise CreditError("--sequential holds one model at a time; search asks both after each width. Leave it out.")
    beams = asked.search()
    given = record_in(file)
    row = given.row(answers="optional", default_id=stem(given.source))
    example = Example(row.prompt, "", stem(given.source))
    text = prompt_text(row.prompt)
    name, judge, endpoint = judge_of(asked, text)
    talk = Talk(view.quiet)
    pair = load(options, talk)
    ids = prompt_ids(pair, example.prompt, options, talk, max_new_tokens=beams.max_new_tokens)
    found = search(pair, example, ids, beams)
    credits = []
    for width in beams.widths:
        with talk.working(f"Searching with {width} beams"):
            credits.append(next(found))
    against = _chosen(pair, row, options)
    with talk.working("Judging"):
        verdicts = [judge(Case(example.id, text, credit, against)) for credit in credits]
    if endpoint is not None:
        talk.say(f"the judge's cost: {endpoint.cost}")
    labels = tuple(f"{width} beam{'s' if width > 1 else ''}" for width in beams.widths)
    record = ListRecord(example.id, [credit_record(credit) for credit in credits])
    columns = {
        **{"beams": list(beams.widths), "length_penalty": beams.length_penalty, "drawn": beams.draw, "judge": name},
        "verdicts": [{"win": verdict.win, "said": verdict.said} for verdict in verdicts],
    }
    answered = Row(example.id, "list", labels=labels, prompt=row.prompt)
    view.show(ScoredRow(answered, tuple(credits)), record, columns=columns)
    if view.json != "-":
        console = Console(highlight=False, markup=False, emoji=False)
        console.print()
        look = look_of(console, view.theme)
        console.print(terminal_search.render(beams.widths, credits, look, verdicts=verdicts, judge=name))


def _chosen(pair: ModelPair, row: Row, options: PairOptions) -> Credit | None:
    """The chosen answer to judge against, where the row has one."""
    from dpo_credit.scoring import score

    return next(score(pair, row.examples[:1], conventions=options.conventions())) if row.kind == "preference" else None
