"""`dpo-credit image`: which pixels of a picture a Diffusion-DPO policy rewards: `score`, `diff` and `batch`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpo_credit.cli.aside import SOME_FAILED, BadRows
from dpo_credit.cli.denoisers import DenoiserOptions, SamplingOptions
from dpo_credit.cli.flags import option, with_shared_options
from dpo_credit.cli.keeping import KeepOptions
from dpo_credit.cli.outputs import Outputs
from dpo_credit.cli.stopping import stopping
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.batch.run import Stream
    from dpo_credit.image.batch import Progress
    from dpo_credit.image.scoring import ScoredPictures
    from dpo_credit.rows.journal import Journal

EXAMPLE = 'Example: dpo-credit image score my-picture.png --prompt "a red circle left of a blue square"'
_DIFF = 'Example: dpo-credit image diff my-chosen.png my-rejected.png --prompt "a red circle" --json out.json'
_BATCH = "Example: dpo-credit image batch my-pairs.jsonl -o scored.jsonl"
_PICTURE = "a picture, or - for stdin"

app = typer.Typer(no_args_is_help=True, help="Which pixels of a picture does a Diffusion-DPO model reward?")


@app.command(no_args_is_help=True, epilog=EXAMPLE)
@with_shared_options
def score(
    file: Annotated[str, typer.Argument(metavar="PICTURE", help="PNG, JPEG or WebP; - is stdin.")],
    text: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What the picture was made from.")],
    *,
    sampling: SamplingOptions,
    outputs: Outputs,
    options: DenoiserOptions,
) -> None:
    """Score a picture: a map of what each cell earned, and what the whole earned at each timestep.

    The reward is -beta * T * w * (policy's - reference's squared error) (Wallace et al. 2023, Eq. 14), in expectation
    over timesteps and noise: left unsummed over cells a map, over timesteps a profile.
    """
    _score([file], text, sampling, outputs, options)


@app.command(no_args_is_help=True, epilog=_DIFF)
@with_shared_options
def diff(
    file: Annotated[str, typer.Argument(metavar="CHOSEN", help="The better picture; - is stdin.")],
    other: Annotated[str, typer.Argument(metavar="REJECTED", help="The other, of the same size.")],
    text: Annotated[str, typer.Option("--prompt", metavar="TEXT", help="What both were made from.")],
    *,
    sampling: SamplingOptions,
    outputs: Outputs,
    options: DenoiserOptions,
) -> None:
    """Compare two pictures of one prompt: their maps on one scale, margin and preference probability.

    Both get the same noise at the same timesteps, as in the training of Diffusion-DPO.
    """
    _score([file, other], text, sampling, outputs, options)


@app.command(no_args_is_help=True, epilog=_BATCH)
@with_shared_options
def batch(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="JSONL, .gz, .zst or Parquet; a pattern in quotes; - is stdin."),
    ],
    output: Annotated[
        str,
        option(
            *("--output", "-o"),
            metavar="FILE",
            help=".jsonl, .jsonl.gz, .jsonl.zst or .parquet; - is stdout.",
        ),
    ] = "-",
    prompt_key: Annotated[str, option("--prompt-key", help="The field that holds the prompt.")] = "prompt",
    limit: Annotated[int | None, option("--limit", min=1, help="Read this many rows.", show_default="all")] = None,
    *,
    bad: BadRows,
    keep: Annotated[KeepOptions, "resume", "overwrite"],
    sampling: SamplingOptions,
    outputs: Annotated[Outputs, "quiet"],
    options: DenoiserOptions,
) -> None:
    """Score a data set of pictures: one row a row, in the input's order; an interrupted run goes on.

    A row holds a prompt, and chosen and rejected or a single image: paths from the row's file on, data URIs, or the
    image columns of datasets. A row that cannot be scored goes to OUTPUT.errors.jsonl, and the exit code is 3.
    """
    from dpo_credit.cli.files import records
    from dpo_credit.image.batch import run, settings
    from dpo_credit.rows.journal import Journal
    from dpo_credit.rows.sources import expand

    talk = Talk(outputs.quiet)
    rows = islice(records(files), limit)
    sink = replace(keep, output=output).sink(output, expand(files), talk.complain)
    pair, wanted = options.load(talk), sampling.sampling
    scoring = partial(run, rows, pair, wanted, sink, prompt_key=prompt_key, strict=bad.strict)
    if not isinstance(sink, Journal):
        write_rows(scoring, sink, talk)
        return
    with sink:
        sink.begin({"inputs": files, "prompt_key": prompt_key, "limit": limit, **settings(pair, wanted)})
        write_rows(scoring, sink, talk)


def _score(files: list[str], text: str, sampling: SamplingOptions, outputs: Outputs, options: DenoiserOptions) -> None:
    """Score one picture, or chosen and rejected, and show them."""
    from dpo_credit.cli.bars import TEXT, bar
    from dpo_credit.cli.files import read
    from dpo_credit.image.pictures import read_picture
    from dpo_credit.rows.records import stem

    outputs.check()
    if not text.strip():
        raise CreditError("--prompt is empty. Say what the picture was made from.")
    if files.count("-") > 1:
        raise CreditError("- is stdin, which holds one picture. Name a file for the other.")
    pictures = [read_picture(read(name, wanted=_PICTURE), "stdin" if name == "-" else name) for name in files]
    talk = Talk(outputs.quiet)
    pair = options.load(talk)
    from dpo_credit.image.scoring import score_pictures

    with bar(talk.stderr, "Scoring", TEXT) as shown:
        scored = score_pictures(
            pair, text, pictures, sampling.sampling, row_id=stem(files[0]), show=lambda done, of: shown.show(done, of)
        )
    talk.notes(note for credit in scored.credits for note in credit.notes)
    _show(scored, outputs)


def _show(scored: ScoredPictures, outputs: Outputs) -> None:
    """Write what was asked for."""
    from dpo_credit.image.saved import fields_of, image_record
    from dpo_credit.rows.output import json_line

    shown: Any = scored.diff or scored.credits[0]
    pixels: Any = tuple(picture.pixels for picture in scored.pictures) if scored.diff else scored.pictures[0].pixels

    def page() -> str:
        from dpo_credit.views.page import image

        return image.page(shown, pixels, source=scored.source)

    def figure() -> Any:
        from dpo_credit.views.figure import image

        return image.draw(shown, pixels)

    def terminal(look: Any) -> Any:
        from dpo_credit.views.terminal import image

        return image.show(shown, pixels, look)

    outputs.write(terminal, json=lambda: json_line(fields_of(image_record(scored))) + "\n", page=page, figure=figure)


def write_rows(run: Callable[..., Iterator[Progress]], sink: Journal | Stream, talk: Talk) -> None:
    """Write the rows that a run scores, with a bar on stderr, and say how it went."""
    from rich.progress import TimeElapsedColumn, TimeRemainingColumn

    from dpo_credit.cli.bars import TEXT, bar
    from dpo_credit.image.batch import Counts
    from dpo_credit.rows.journal import Journal
    from dpo_credit.rows.tally import Tally

    counts, of_rows = Counts(**sink.last.counts), Tally()
    with (
        stopping(talk, "after this row") as stopped,
        bar(talk.stderr, "Scoring", TEXT, TimeElapsedColumn(), TimeRemainingColumn()) as scoring,
    ):
        for progress in run(stop=stopped):
            counts, of_rows = progress.counts, progress.of_rows
            part = progress.part
            scoring.show(part or 0, None if part is None else 1, text=f"{counts.rows:,} rows")
    talk.notes(of_rows.lines("rows"))
    pairs = ""
    if counts.pairs:
        won, mean = counts.won / counts.pairs, counts.margins / counts.pairs
        pairs = f"; chosen preferred in {won:.1%} of {counts.pairs:,} pairs, mean margin {mean:+.4f}"
    talk.say(f"{counts.rows - counts.failed:,} rows scored{pairs}")
    errors = sink.errors if isinstance(sink, Journal) else None
    if counts.failed:
        talk.say(f"{counts.failed:,} rows could not be scored{f'; see {errors}' if errors else ''}")
    if errors and counts.failed and counts.failed == counts.rows:
        with errors.open(encoding="utf-8") as lines:
            talk.say(f"no row could be scored; the first: {json.loads(next(lines))['error']}")
    if stopped():
        if isinstance(sink, Journal):
            talk.notes([f"interrupted: {counts.rows} rows are kept; go on with --resume"])
        raise typer.Exit(stopped.code)
    if counts.failed:
        raise typer.Exit(SOME_FAILED)
