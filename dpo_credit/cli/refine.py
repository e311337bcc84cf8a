"""`dpo-credit refine`: a prompt refiner and its image model, one reward, and whose the margin is: words or pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.denoisers import SamplingOptions
from dpo_credit.cli.files import records
from dpo_credit.cli.flags import from_published, option, published_names, with_shared_options
from dpo_credit.cli.image import write_rows
from dpo_credit.cli.keeping import KeepOptions
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Outputs
from dpo_credit.cli.reading import PickOptions
from dpo_credit.credit import CreditError
from dpo_credit.extras import optional

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dpo_credit.cli.talk import Talk
    from dpo_credit.image.batch import Line
    from dpo_credit.image.denoiser import DenoiserPair
    from dpo_credit.refine.overview import Overview
    from dpo_credit.refine.rows import RefinedRow
    from dpo_credit.refine.scored import ScoredRefinement
    from dpo_credit.refine.scoring import Models
    from dpo_credit.rows.aside import SetAside
    from dpo_credit.rows.reader import Record

EXAMPLE = "Example: dpo-credit refine examples/refine/rows.jsonl --row 1 --html refined.html"
REFINER = "embedded-refiner"
MODELS, IMAGES = "Models", "Image models"
ON_PAGE = 50  # rows: a page holds their pictures and maps


@dataclass(frozen=True)
class RefinerOptions:
    """Which refiner, and what its words weigh."""

    pair: Annotated[
        str | None,
        option(
            "--pair",
            panel=MODELS,
            help="The refiner and its reference as a public pair; dpo-credit pairs lists them. Flags win.",
            show_default=REFINER,
            callback=from_published,
            is_eager=True,
            autocompletion=published_names,
        ),
    ] = None
    policy: Annotated[
        str | None,
        option(
            *("--policy", "--model", "-m"),
            panel=MODELS,
            help="The refiner, a DPO-trained language model: a directory, a hub name or a PEFT adapter.",
            show_default=f"that of {REFINER}",
        ),
    ] = None
    reference: Annotated[
        str | None,
        option(
            *("--reference", "--ref-model", "-r"),
            panel=MODELS,
            help="The model that it was trained from.",
            show_default="an adapter's own base",
        ),
    ] = None
    beta: Annotated[
        float | None,
        option(
            "--beta",
            panel=MODELS,
            help="What a nat of the refiner's log-ratio weighs; it has no part in the pictures.",
            show_default="what its training left beside it, else 0.1",
        ),
    ] = None


_OWN = {field.name for field in fields(RefinerOptions)}
_SHARED = tuple(field.name for field in fields(PairOptions) if field.name not in _OWN)


@dataclass(frozen=True)
class ImageModelOptions:
    """Which image models, and what their errors weigh."""

    image_policy: Annotated[
        str | None,
        option(
            "--image-policy",
            panel=IMAGES,
            help="A Diffusion-DPO model: a pipeline's directory or hub name, a UNet or transformer, or a LoRA.",
            show_default="the embedded one",
        ),
    ] = None
    image_reference: Annotated[
        str | None,
        option("--image-reference", panel=IMAGES, help="The pipeline it was trained from.", show_default="likewise"),
    ] = None
    gamma: Annotated[
        float | None,
        option(
            "--gamma",
            panel=IMAGES,
            help="What the pictures' errors weigh (Eq. 17): the beta of image score. --beta does not multiply it.",
            show_default="what their training left beside them, else 5000",
        ),
    ] = None

    def load(self, options: PairOptions) -> DenoiserPair:
        """The two image models, on the refiner's device."""
        from dpo_credit.image.loading import load_denoisers
        from dpo_credit.models.pair import Loading

        try:
            return load_denoisers(
                self.image_policy,
                self.image_reference,
                beta=self.gamma,
                loading=Loading(device=options.device, dtype=options.dtype),
            )
        except CreditError as error:
            raise CreditError(f"image model: {error}") from error


@with_shared_options
def refine(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Rows: request, chosen and rejected; - is stdin.")
    ],
    limit: Annotated[int | None, option("--limit", min=1, help="Read this many rows.", show_default="all")] = None,
    *,
    picking: PickOptions,
    bad: BadRows,
    keep: Annotated[KeepOptions, "output", "resume", "overwrite"],
    outputs: Annotated[Outputs, "html", "png", "svg", "theme", "quiet"],
    sampling: SamplingOptions,
    images: ImageModelOptions,
    refiner: RefinerOptions,
    options: Annotated[PairOptions, *_SHARED],
) -> None:
    """Score a prompt refiner and its image model as one: words and pixels (Rafailov et al. 2024, Appendix D).

    A row holds a request, and for chosen and rejected the refined prompt and its picture:
    {"request": "...", "chosen": {"prompt": "...", "picture": "a.png"}, "rejected": {...}}. Several pictures are frames.
    The reward is beta * (log pi - log pi_ref) of the prompt's tokens, plus gamma times what the image model gained over
    its reference in predicting the noise (Eq. 17). One row is drawn; of several, each has a line: pick one with --row.
    With -o, each is written as JSON, and an interrupted run goes on.
    """
    from dpo_credit.cli.talk import Talk
    from dpo_credit.refine.overview import Overview
    from dpo_credit.refine.rows import read

    outputs.check()
    if picking.picks and len(files) > 1:
        raise CreditError("--row and --id pick one row of one file. Give that file alone.")
    _ = keep.mode
    if keep.output is not None and outputs.targets:
        raise CreditError(f"-o writes rows as they are scored, and draws none. Leave out -o or {outputs.targets[0]}.")
    optional("diffusers", "dpo-credit refine", extra="image")
    talk = Talk(outputs.quiet)
    given = islice([picking.record(files[0])] if picking.picks else records(files), limit)
    scoring = partial(_loaded, images, sampling, _with(refiner, options), talk)
    if keep.output is not None:
        _write_rows(given, files, scoring, keep, limit, bad, talk)
        return
    aside = bad.aside()
    rows = read(given, aside=aside)
    first = list(islice(rows, 2))  # before the models are loaded
    if not first:
        aside.require(())
        raise CreditError(f"{', '.join(files)} holds no row. Give JSONL with request, chosen and rejected.")
    if len(first) > 1 and outputs.png is not None:
        raise CreditError(f"{outputs.png} would show one row, and there are several. Pick one: --row 1.")
    overview = Overview()
    kept: list[ScoredRefinement] = []
    for scored in _scored(chain(first, rows), scoring(), aside, talk):
        overview.add(scored)
        talk.notes(scored.notes)
        if len(kept) < (ON_PAGE if outputs.html else 1):
            kept.append(scored)
    aside.require(kept)
    _show(kept, overview, outputs, talk)
    end(aside, talk)


def _with(refiner: RefinerOptions, options: PairOptions) -> PairOptions:
    """The refiner's options with those that all models share; the embedded one where none is named."""
    policy, reference = refiner.policy, refiner.reference
    if policy is None:
        if reference is not None:
            raise CreditError(
                f"--reference {reference} is named, and --policy is not. Name both models of the refiner."
            )
        policy = reference = REFINER
    return replace(options, pair=refiner.pair, policy=policy, reference=reference, beta=refiner.beta)


def _loaded(images: ImageModelOptions, sampling: SamplingOptions, options: PairOptions, talk: Talk) -> Models:
    """Both pairs, with what there is to say about them."""
    from dpo_credit.cli.run import load
    from dpo_credit.refine.scoring import Models

    scorer = options.scorer()(load(options, talk), None)
    with talk.working("Loading the image models"):
        denoisers = images.load(options)
    talk.notes(f"image models: {note}".replace("--beta", "--gamma") for note in denoisers.notes)
    return Models(scorer, denoisers, sampling.sampling)


def _scored(rows: Iterable[RefinedRow], models: Models, aside: SetAside, talk: Talk) -> Iterator[ScoredRefinement]:
    """The rows, scored, with a bar on stderr; one that cannot be is set aside."""
    from rich.progress import TimeElapsedColumn

    from dpo_credit.cli.bars import TEXT, bar
    from dpo_credit.refine.scoring import score

    with bar(talk.stderr, "Scoring", TEXT, TimeElapsedColumn()) as shown:
        for number, row in enumerate(rows, 1):

            def show(done: int, total: int, number: int = number) -> None:
                shown.show(done, total, text=f"row {number}, picture {done} of {total}")

            try:
                yield score(row, models, show=show)
            except CreditError as error:
                aside.add(row.id, row.place, error)


def _write_rows(
    given: Iterable[Record],
    files: list[str],
    scoring: Callable[[], Models],
    keep: KeepOptions,
    limit: int | None,
    bad: BadRows,
    talk: Talk,
) -> None:
    """A line a row, to a file that an interrupted run goes on with, or to stdout."""
    from dpo_credit.image.batch import run_rows
    from dpo_credit.refine.rows import parse
    from dpo_credit.refine.saved import SCHEMA, line_of
    from dpo_credit.refine.scoring import score
    from dpo_credit.rows.journal import Journal
    from dpo_credit.rows.sources import expand

    sink = keep.sink(keep.output or "-", expand(files), talk.complain)
    models = scoring()

    def line(record: Record) -> Line:
        return line_of(score(parse(record), models))

    with sink if isinstance(sink, Journal) else nullcontext():
        if isinstance(sink, Journal):
            sink.begin({"inputs": files, "limit": limit, **models.settings, "output": SCHEMA})
        write_rows(partial(run_rows, given, line, sink, strict=bad.strict), sink, talk)


def _show(kept: Sequence[ScoredRefinement], overview: Overview, outputs: Outputs, talk: Talk) -> None:
    """One row as it is, or a line for each of several; the page has the first of them."""
    from dpo_credit.views.terminal import refine as terminal

    count = len(overview.lines)
    if outputs.html is not None and count > len(kept):
        talk.say(f"the page shows the first {len(kept)} of {count} rows")

    def page() -> str:
        from dpo_credit.views.page import refine

        return refine.render(kept)

    def figure() -> Figure:
        from dpo_credit.views.figure import refine

        return refine.render(kept[0])

    outputs.write(
        lambda look: terminal.render(kept[0], look) if count == 1 else terminal.render_lines(overview, look),
        json=str,  # -o writes it
        page=page,
        figure=figure,
    )
