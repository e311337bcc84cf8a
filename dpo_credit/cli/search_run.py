"""Running `search`: the prompt, the pair, one search after the other, and what to show."""

from __future__ import annotations

from rich.console import Console

from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.present import Scored, ViewOptions, look_of
from dpo_credit.cli.prompt import prompt_ids, prompt_in
from dpo_credit.cli.run import load, prompt_text
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError, Example
from dpo_credit.output import ListRecord, credit_record
from dpo_credit.records import stem


def run(
    file: str,
    widths: list[int],
    options: PairOptions,
    view: ViewOptions,
    *,
    length_penalty: float,
    max_new_tokens: int,
) -> None:
    """Search with each number of beams, and show what was found.

    Raises:
        CreditError: the prompt or a model is at fault, or the text would be longer than the models take.
    """
    from dpo_credit.decode.search import search
    from dpo_credit.views import terminal_search

    view.check()
    if options.sequential:
        raise CreditError("--sequential holds one model at a time; search asks both after each width. Leave it out.")
    example = Example(prompt_in(file), "", stem("stdin" if file == "-" else file))
    talk = Talk(view.quiet)
    pair = load(options, talk)
    ids = prompt_ids(pair, example.prompt, options, talk, max_new_tokens=max_new_tokens)
    found = search(pair, example, ids, widths, length_penalty=length_penalty, max_new_tokens=max_new_tokens)
    credits = []
    for width in widths:
        with talk.working(f"Searching with {width} beams"):
            credits.append(next(found))
    labels = tuple(f"{width} beam{'s' if width > 1 else ''}" for width in widths)
    record = ListRecord(example.id, [credit_record(credit) for credit in credits])
    columns = {"beams": widths, "length_penalty": length_penalty}
    view.show(Scored(example.id, tuple(credits), labels, prompt_text(example)), record, columns)
    if view.json != "-":
        console = Console(highlight=False, markup=False, emoji=False)
        console.print()
        console.print(terminal_search.render(widths, credits, look_of(console, view.theme)))
