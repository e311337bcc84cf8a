"""`dpo-credit search`: the answers that beam search finds in a policy, which is search for its reward's best."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.present import ViewOptions
from dpo_credit.credit import CreditError

EXAMPLE = "Example: dpo-credit search examples/travel.json --beams 1,2,5 --max-new-tokens 60"


@with_shared_options
def search(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A row as for score, or its prompt alone; - is stdin.")],
    beams: Annotated[
        str, typer.Option("--beams", metavar="N,...", help="Numbers of beams; 1 is greedy.")
    ] = "1,2,5,10,20",
    length_penalty: Annotated[
        float, typer.Option("--length-penalty", help="0: beams stand by the sum of log-probabilities; 1: by the mean.")
    ] = 0.0,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")] = 128,
    *,
    view: ViewOptions,
    options: PairOptions,
) -> None:
    """Beam search over the policy, which is search for its reward's best (Rafailov et al. 2024, Eqs. 12, 13).

    The reward that is shown is the pair's own, so it judges itself: a higher one is no proof of a better answer.
    """
    from dpo_credit.cli.search_run import run

    run(file, _widths(beams), options, view, length_penalty=length_penalty, max_new_tokens=max_new_tokens)


def _widths(asked: str) -> list[int]:
    try:
        widths = list(dict.fromkeys(int(part) for part in asked.split(",")))
    except ValueError:
        widths = []
    if not widths or min(widths) < 1:
        raise CreditError(f"--beams {asked}: give numbers from 1 on, such as 1,2,5.")
    return widths
