"""`dpo-credit search`: the answers that beam search finds in a policy, which is search for its reward's best."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dpo_credit.cli.flags import flag, option, with_shared_options
from dpo_credit.cli.keeping import mode_of
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.present import ViewOptions
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.rows.journal import Mode
    from dpo_credit.search.search import Beams

EXAMPLE = "Example: dpo-credit search examples/travel.json --beams 1,2,5 --max-new-tokens 60"
JUDGING, ROWS = "Judging", "Data sets"


@dataclass(frozen=True)
class SearchOptions:
    """How answers are found, who judges them, and how a data set is searched."""

    beams: Annotated[str, option("--beams", metavar="N,...", help="Numbers of beams; 1 is greedy.")] = "1,2,5,10,20"
    length_penalty: Annotated[
        float, option("--length-penalty", help="0: beams stand by the sum of log-probabilities; 1: by the mean.")
    ] = 0.0
    sample: Annotated[bool, flag("--sample", help="Draw the beams and do not take the likeliest.")] = False
    seed: Annotated[int, option("--seed", help="Of the draw, and of the order shown to a judge.")] = 0
    max_new_tokens: Annotated[int, option("--max-new-tokens", min=1, help="Longest answer.")] = 128
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
    output: Annotated[
        str | None,
        option(
            *("--output", "-o"), panel=ROWS, metavar="FILE", help="Keep each row's answers (JSONL).", show_default=False
        ),
    ] = None
    png: Annotated[
        str | None,
        option("--png", panel=ROWS, metavar="FILE", help="Draw Figure 2: .png, .svg or .pdf.", show_default=False),
    ] = None
    limit: Annotated[
        int | None, option("--limit", panel=ROWS, min=1, help="Read this many rows.", show_default="all")
    ] = None
    labels: Annotated[
        str | None,
        option("--labels", panel=ROWS, metavar="A,B", help="What kept files are called.", show_default="their names"),
    ] = None
    resume: Annotated[bool, flag("--resume", panel=ROWS, help="Go on where an interrupted search stopped.")] = False
    overwrite: Annotated[bool, flag("--overwrite", panel=ROWS, help="Replace an output that is there.")] = False

    @property
    def mode(self) -> Mode:
        """How to treat what is there."""
        return mode_of(self.output, resume=self.resume, overwrite=self.overwrite)

    def search(self) -> Beams:
        """How answers are found."""
        from dpo_credit.search.search import Beams

        return Beams(_widths(self.beams), self.length_penalty, self.sample, self.seed, self.max_new_tokens)


@with_shared_options
def search(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="A row as for score, or its prompt alone; many rows; or kept searches."),
    ],
    *,
    asked: SearchOptions,
    view: ViewOptions,
    options: PairOptions,
) -> None:
    """Beam search over the policy, which is search for its reward's best (Rafailov et al. 2024, Eqs. 12, 13).

    One post shows what each number of beams finds, token by token. A file of rows, or -o, gives win rates against the
    chosen answers and mean lengths by number of beams (the paper's Figure 2). Files that -o kept are drawn again
    without a model, on one figure: dpo-credit search sum.jsonl drawn.jsonl --png figure2.png
    """
    from dpo_credit.cli.search_rows_run import is_kept, run_kept, run_rows
    from dpo_credit.cli.search_run import run

    _ = asked.mode
    if all(map(is_kept, files)):
        run_kept(files, asked, view)
    elif asked.output or asked.png or len(files) > 1 or Path(files[0]).suffix in (".jsonl", ".gz", ".zst", ".parquet"):
        run_rows(files, asked, options, view)
    else:
        run(files[0], asked, options, view)


def _widths(asked: str) -> tuple[int, ...]:
    try:
        widths = tuple(dict.fromkeys(int(part) for part in asked.split(",")))
    except ValueError:
        widths = ()
    if not widths or min(widths) < 1:
        raise CreditError(f"--beams {asked}: give numbers from 1 on, such as 1,2,5.")
    return widths
