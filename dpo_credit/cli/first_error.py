"""`dpo-credit localise --first-error`: does the reward name the first wrong step of solutions?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Outputs
from dpo_credit.cli.reading import ReadingOptions

if TYPE_CHECKING:
    from dpo_credit.localise.first_error import Options


def first_error(
    files: Sequence[str],
    limit: int | None,
    wanted: Options,
    *,
    reading: ReadingOptions,
    bad: BadRows,
    outputs: Outputs,
    pair_options: PairOptions,
) -> None:
    """Read solutions, score and measure them, and show what was found; see `localise`."""
    from dpo_credit.cli.files import records
    from dpo_credit.cli.run import load
    from dpo_credit.cli.talk import Talk
    from dpo_credit.localise.solutions import solutions_of
    from dpo_credit.rows.output import json_line
    from dpo_credit.views.terminal import first_error as terminal

    talk, aside = Talk(outputs.quiet), bad.aside()
    solutions = solutions_of(islice(records(files), limit), aside, prompt_key=reading.prompt_key)
    pair = load(pair_options, talk)
    with talk.working(f"Scoring {len(solutions)} solutions") as stage:
        from dpo_credit.localise.first_error import first_errors

        conventions = pair_options.conventions()
        report = first_errors(pair, solutions, conventions=conventions, options=wanted, aside=aside, say=stage.update)
    talk.notes(report.notes)
    outputs.write(lambda look: terminal.render(report, look), json=lambda: json_line(report.record()) + "\n")
    end(aside, talk)
