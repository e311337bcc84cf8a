"""`dpo-credit search`: the answers that beam search finds in a policy, which is search for its reward's best."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Group

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.files import read, records
from dpo_credit.cli.flags import MOST_BEAMS, flag, option, seed_option, with_shared_options
from dpo_credit.cli.keeping import KeepOptions
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Colours, Outputs
from dpo_credit.cli.reading import PickOptions
from dpo_credit.cli.stopping import stopping
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.rows.aside import SetAside
    from dpo_credit.rows.reader import Record
    from dpo_credit.rows.records import Row
    from dpo_credit.search.beams import Search
    from dpo_credit.search.judges import Judge
    from dpo_credit.search.judges.openai import Endpoint
    from dpo_credit.search.search import Beams

EXAMPLE = "Example: dpo-credit search examples/travel.json --beams 1,2,5 --max-new-tokens 60"
DATA_SETS = (".jsonl", ".gz", ".zst", ".parquet")  # a file of such a name is one even if it holds a single row
JUDGING = "Judging"
MOST_PENALTY = 10  # the exponent of a length; from about 60 on its power is no number


@dataclass(frozen=True)
class SearchOptions:
    """How answers are found, in which rows, and who judges them."""

    beams: Annotated[str, option("--beams", metavar="N,...", help="Numbers of beams; 1 is greedy.")] = "1,2,5,10,20"
    length_penalty: Annotated[
        float, option("--length-penalty", help="0: beams stand by the sum of log-probabilities; 1: by the mean.")
    ] = 0.0
    sample: Annotated[bool, flag("--sample", help="Draw the beams and do not take the likeliest.")] = False
    seed: Annotated[int, seed_option("Of the draw, and of the order shown to a judge.")] = 0
    max_new_tokens: Annotated[int, option("--max-new-tokens", min=1, help="Longest answer.")] = 128
    limit: Annotated[int | None, option("--limit", min=1, help="Read this many rows.", show_default="all")] = None
    judge: Annotated[
        Literal["facts", "reward", "openai"] | None,
        option(
            "--judge",
            panel=JUDGING,
            help="facts: those of the embedded world's posts; reward: the pair's own, so it judges itself; openai: a "
            "model behind --judge-url, with the paper's prompt.",
            show_default="facts for posts of the embedded world, else reward",
        ),
    ] = None
    judge_url: Annotated[
        str, option("--judge-url", panel=JUDGING, help="An OpenAI-compatible API; its key is in OPENAI_API_KEY.")
    ] = "https://api.openai.com/v1"
    judge_model: Annotated[
        str | None, option("--judge-model", panel=JUDGING, help="Its model, such as gpt-4o.", show_default=False)
    ] = None
    judge_timeout: Annotated[
        float, option("--judge-timeout", metavar="SECONDS", panel=JUDGING, min=1, help="For each reply, in all.")
    ] = 120.0

    def search(self) -> Beams:
        """How answers are found.

        Raises:
            CreditError: --beams names no numbers, or too large ones; or --length-penalty does.
        """
        from dpo_credit.search.search import Beams

        try:
            widths = tuple(dict.fromkeys(int(part) for part in self.beams.split(",")))
        except ValueError:
            widths = ()
        if not widths or min(widths) < 1 or max(widths) > MOST_BEAMS:
            raise CreditError(f"--beams {self.beams}: give numbers from 1 to {MOST_BEAMS}, such as 1,2,5.")
        if not abs(self.length_penalty) <= MOST_PENALTY:
            raise CreditError(
                f"--length-penalty {self.length_penalty}: give a number from -{MOST_PENALTY} to {MOST_PENALTY}."
            )
        return Beams(widths, self.length_penalty, self.sample, self.seed, self.max_new_tokens)

    def judge_of(self, prompt: str, talk: Talk, *, embedded: bool) -> tuple[str, Judge, Endpoint | None]:
        """The judge's name, the judge, and where it sits if it costs something.

        Unasked, it is the reward; or the facts, for the embedded pair's own posts: no other pair asks what these are.

        Raises:
            CreditError: a judge behind an API lacks its model.
        """
        from dpo_credit.demo.judge import judge as facts
        from dpo_credit.search.judges.reward import judge as reward

        name = self.judge or (_judge_for(prompt) if embedded else "reward")
        if name != "openai":
            return name, facts if name == "facts" else reward, None
        if self.judge_model is None:
            raise CreditError("--judge openai needs the model's name: --judge-model gpt-4o, say.")
        from dpo_credit.search.judges.openai import Endpoint

        endpoint = Endpoint(
            self.judge_url,
            self.judge_model,
            os.environ.get("OPENAI_API_KEY"),
            seed=self.seed,
            seconds=self.judge_timeout,
            tell=talk.say,
        )
        return f"openai {self.judge_model} at {endpoint.url}", endpoint.judge, endpoint


@with_shared_options
def search(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="A row as for score, or its prompt alone; many rows; or kept searches."),
    ],
    *,
    picking: PickOptions,
    asked: SearchOptions,
    bad: BadRows,
    keeping: KeepOptions,
    outputs: Outputs,
    colours: Annotated[Colours, "by", "scale", "palette", "rows", "lines", "whole", "style", "width_in"],
    options: PairOptions,
) -> None:
    """Beam search over the policy, which is search for its reward's best (Rafailov et al. 2024, Eqs. 12, 13).

    One post shows what each number of beams finds, token by token. A file of rows, or -o, gives win rates against the
    chosen answers and mean lengths by number of beams (the paper's Figure 2). Files that -o kept are drawn again
    without a model, on one figure: dpo-credit search sum.jsonl drawn.jsonl --png figure2.png
    """
    from dpo_credit.search.beams import is_kept, parse

    keeping.check()
    outputs.check()
    _ = colours.shading, colours.shown
    if all(map(is_kept, files)):
        if keeping.output is not None:
            raise CreditError("-o keeps what is searched; kept searches are only drawn again. Leave it out.")
        _write([parse(read(file), file) for file in files], keeping.names_of(files), outputs)
        return
    if options.sequential:
        raise CreditError("--sequential holds one model at a time; search asks both after each width. Leave it out.")
    if picking.picks and (len(files) > 1 or keeping.output is not None):
        raise CreditError("--row and --id pick one row of one file, which -o keeps no search of. Leave them out.")
    given = iter([picking.record(files[0])]) if picking.picks else records(files)
    first = list(islice(given, 2))
    alone = len(files) == len(first) == 1 and keeping.output is None
    if picking.picks or (alone and Path(files[0]).suffix not in DATA_SETS):
        _search_post(first[0], asked, outputs, colours, options)
    else:
        talk, aside = Talk(outputs.quiet), bad.aside()
        found = _search_rows(chain(first, given), asked, keeping, options, talk, aside)
        _write([replace(found, set_aside=tuple(aside.rows))], ("",), outputs)
        end(aside, talk)


def _search_rows(
    given: Iterable[Record],
    asked: SearchOptions,
    keeping: KeepOptions,
    options: PairOptions,
    talk: Talk,
    aside: SetAside,
) -> Search:
    """The answers to all rows, judged; Ctrl-C or another signal ends it after a chunk of them."""
    from rich.progress import MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

    from dpo_credit.cli.bars import bar
    from dpo_credit.cli.run import load
    from dpo_credit.rows.chats import prompt_text
    from dpo_credit.rows.reader import read_rows
    from dpo_credit.search.dataset import Searching
    from dpo_credit.search.rows import searchable

    beams = asked.search()
    rows = list(talk.noted(read_rows(given, limit=asked.limit, aside=aside)))
    aside.require(rows)
    if not rows:
        raise CreditError("there are no rows. Give JSONL with prompt, chosen and rejected.")
    name, judge, endpoint = asked.judge_of(prompt_text(rows[0].prompt), talk, embedded=options.is_embedded)
    with keeping.kept() or nullcontext() as kept:
        pair = load(options, talk)
        conventions = options.conventions(keeping.today(kept))
        rows = searchable(pair, rows, beams, conventions, aside)
        searching = Searching(pair, rows, beams, (name, judge), conventions=conventions, kept=kept)
        steps = searching.steps()
        with (
            stopping(talk, "after this chunk of rows") as stopped,
            bar(talk.stderr, "Searching", MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()) as shown,
        ):
            shown.show(len(searching.judged), len(rows))
            for _ in steps:
                shown.show(len(searching.judged), len(rows))
                if stopped():
                    talk.notes([keeping.interrupted(f"{len(searching.judged)} rows")])
                    raise typer.Exit(stopped.code)
    if endpoint is not None:
        talk.say(f"the judge's cost: {endpoint.cost}")
    return searching.search()


def _search_post(given: Record, asked: SearchOptions, outputs: Outputs, colours: Colours, options: PairOptions) -> None:
    """The answers to one post, each width's, with what the judge says of them."""
    from dpo_credit.cli.prompt import prompt_ids
    from dpo_credit.cli.run import load
    from dpo_credit.cli.showing import show
    from dpo_credit.rows.chats import prompt_text
    from dpo_credit.rows.output import credit_record
    from dpo_credit.rows.records import stem
    from dpo_credit.search.post import answered, chosen_of, columns, judged
    from dpo_credit.search.search import search
    from dpo_credit.views.terminal import search as terminal

    beams = asked.search()
    row: Row = given.row(answers="optional", default_id=stem(given.source))
    talk = Talk(outputs.quiet)
    name, judge, endpoint = asked.judge_of(prompt_text(row.prompt), talk, embedded=options.is_embedded)
    talk.notes(row.notes)
    pair = load(options, talk)
    ids = prompt_ids(pair, row, options, talk, max_new_tokens=beams.max_new_tokens)
    widths = search(pair, row.prompt, ids, beams, name=stem(given.source))
    credits = []
    for width in beams.widths:
        with talk.working(f"Searching with {width} beams"):
            credits.append(next(widths))
    against = chosen_of(pair, row, options.conventions())
    with talk.working("Judging"):
        verdicts = judged(row.prompt, credits, against, judge)
    if endpoint is not None:
        talk.say(f"the judge's cost: {endpoint.cost}")
    scored = answered(row, credits, beams)
    show(
        scored,
        credit_record(scored),
        outputs,
        colours,
        more=columns(beams, name, verdicts),
        below=lambda look: terminal.render(beams.widths, credits, look, verdicts=verdicts, judge=name),
    )


def _write(searches: Sequence[Search], names: tuple[str, ...], outputs: Outputs) -> None:
    from dpo_credit.rows.output import json_line
    from dpo_credit.search.beams import record as figures
    from dpo_credit.views.figure import beams as figure
    from dpo_credit.views.page import beams as page
    from dpo_credit.views.terminal import beams as terminal

    named = list(zip(searches, names, strict=True))
    outputs.write(
        lambda look: Group(*(terminal.render(search, look, name) for search, name in named)),
        json=lambda: "".join(json_line(figures(search, name)) + "\n" for search, name in named),
        page=lambda: page.render(searches, names),
        figure=lambda: figure.render(searches, names),
    )


def _judge_for(prompt: str) -> Literal["facts", "reward"]:
    from dpo_credit.demo.reading import facts_of

    return "reward" if facts_of(prompt) is None else "facts"
