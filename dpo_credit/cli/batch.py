"""`dpo-credit batch`: rows of any number in, one scored row a row out; safe to interrupt."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dpo_credit.cli.aside import SOME_FAILED
from dpo_credit.cli.flags import flag, option, with_shared_options
from dpo_credit.cli.keeping import KeepOptions
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Outputs
from dpo_credit.cli.stopping import stopping
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.batch.job import Counts, Engine, Job, Progress
    from dpo_credit.batch.run import Stream
    from dpo_credit.rows.journal import Journal

EXAMPLE = "Example: dpo-credit batch examples/posts.jsonl -o scored.jsonl"
RUN, CLUSTER = "Running", "Cluster"
AGREES_NATS = 1e-2  # of an answer's log-probability: float32 sums of hundreds of tokens stay well below


@dataclass(frozen=True)
class JobOptions:
    """Which rows, and what of them."""

    dataset: Annotated[
        str | None,
        option("--dataset", help="A Hugging Face dataset: a name, or what save_to_disk wrote.", show_default=False),
    ] = None
    split: Annotated[str | None, option("--split", help="Its split, such as test.", show_default=False)] = None
    prompt_key: Annotated[str | None, option("--prompt-key", help="The field that holds the prompt.")] = None
    answer_key: Annotated[str | None, option("--answer-key", help="The field that holds the answer.")] = None
    limit: Annotated[int | None, option("--limit", min=1, help="Read this many rows.", show_default="all")] = None
    strict: Annotated[bool, flag("--strict", panel=RUN, help="Stop at the first bad row.")] = False

    def jobs(self, files: Sequence[str], output: str) -> list[tuple[Job, str]]:
        """What to score, and where to: one job, or one a file where the output is a folder.

        Raises:
            CreditError: there is nothing to read, or no place for it.
        """
        from dpo_credit.batch.job import Job
        from dpo_credit.rows.sources import Input, expand, output_name

        if (self.dataset is None) == (not files):
            raise CreditError("give files to score, - for stdin, or --dataset NAME; not both.")
        if self.split and self.dataset is None:
            raise CreditError("--split goes with --dataset.")
        inputs = expand(files) if self.dataset is None else [Input(self.dataset, dataset=True, split=self.split)]

        def job(*some: Input) -> Job:
            return Job(some, self.prompt_key, self.answer_key, self.limit, strict=self.strict)

        if output == "-" or not (output.endswith("/") or Path(output).is_dir()):
            return [(job(*inputs), output)]
        names = [output_name(given) for given in inputs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise CreditError(f"two inputs would both be {twice} in {output}. Name an output of its own for each.")
        return [(job(given), str(Path(output) / name)) for given, name in zip(inputs, names, strict=True)]


@dataclass(frozen=True)
class EngineOptions:
    """What scores, and where log-probabilities are kept."""

    cache: Annotated[
        Path | None,
        option("--cache", panel=RUN, metavar="DIR", help="Keep log-probabilities for another policy or beta.",
               show_default=False),
    ] = None  # fmt: skip
    engine: Annotated[
        Literal["local", "ray"], option("--engine", panel=CLUSTER, help="ray spreads rows over workers (extra ray).")
    ] = "local"
    workers: Annotated[int, option("--workers", panel=CLUSTER, min=1, help="Pairs loaded at once.")] = 1
    gpus_per_worker: Annotated[
        float, option("--gpus-per-worker", panel=CLUSTER, min=0, help="GPUs that each takes.")
    ] = 0


@with_shared_options
def batch(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="JSONL, .gz, .zst or Parquet; a pattern in quotes; - is stdin."),
    ] = None,
    output: Annotated[
        str,
        option(
            *("--output", "-o"),
            metavar="FILE",
            help=".jsonl, .jsonl.gz, .jsonl.zst or .parquet; a folder: one for each file; - is stdout.",
        ),
    ] = "-",
    *,
    asked: JobOptions,
    keep: Annotated[KeepOptions, "resume", "overwrite"],
    running: EngineOptions,
    outputs: Annotated[Outputs, "quiet"],
    options: PairOptions,
) -> None:
    """Score a data set: one row a row, whole and in the input's order; an interrupted run goes on.

    Rows are what `score` takes. One that cannot be scored goes to OUTPUT.errors.jsonl with its line, the rest goes on,
    and the exit code is 3. OUTPUT.journal says what scored it; --resume goes on from there, to the very same file.
    """
    from dpo_credit.batch.job import Counts
    from dpo_credit.rows.journal import Journal

    keep = replace(keep, output=output)
    jobs = asked.jobs(files or [], output)
    talk = Talk(outputs.quiet)
    sinks = [keep.sink(target, job.inputs, talk.complain) for job, target in jobs]
    engine = _engine([job for job, _ in jobs], running, options, talk, _today(sinks))
    total = Counts()
    for (job, target), sink in zip(jobs, sinks, strict=True):
        with stopping(talk, "after this chunk of rows") as stopped:
            counts = _run(job, engine, sink, talk, stopped)
        total.add(counts)
        _tell(talk, target, counts, sink)
        if stopped():
            if isinstance(sink, Journal):
                talk.notes([f"interrupted: {counts.rows} rows of {target} are kept; go on with --resume"])
            raise typer.Exit(stopped.code)
    if total.failed:
        raise typer.Exit(SOME_FAILED)


def _today(sinks: Sequence[Journal | Stream]) -> str:
    """The day on which an earlier run began that goes on now, where its chat template writes the date."""
    from dpo_credit.rows.journal import Journal

    days = (sink.begun.get("today") for sink in sinks if isinstance(sink, Journal))
    return next((str(day) for day in days if day), "")


def _engine(jobs: Sequence[Job], running: EngineOptions, options: PairOptions, talk: Talk, today: str) -> Engine:
    """What scores; `today` is the day of a run that goes on."""
    from dpo_credit.batch.local import Local
    from dpo_credit.cli.files import stdin
    from dpo_credit.cli.run import hear, notes_on_choice, notes_on_training

    piped = stdin() if any(given.is_stdin for job in jobs for given in job.inputs) else None
    load, scorer = options.loader(), options.scorer(today)
    talk.notes(notes_on_choice(options))
    if running.engine == "local" and (running.workers, running.gpus_per_worker) != (1, 0):
        raise CreditError("--workers and --gpus-per-worker go with --engine ray.")
    if running.engine == "ray":
        from dpo_credit.batch.ray import Ray

        if piped is not None or options.sequential:
            what = "--sequential keeps one machine's memory small" if options.sequential else "stdin is here alone"
            raise CreditError(
                f"--engine ray loads pairs and reads files on its workers: {what}. Leave one of them out."
            )
        talk.notes(notes_on_training(options))
        return Ray(lambda: scorer(load(), running.cache), running.workers, running.gpus_per_worker)
    with talk.working("Loading the models"):
        pair = load()
    talk.notes(pair.notes)
    hear(pair, talk)
    if pair.in_turn:
        from dpo_credit.batch.sequential import OneAtATime

        if piped is not None:
            raise CreditError("--sequential reads its input twice, which stdin does not allow. Name a file.")
        return OneAtATime(partial(scorer, pair), running.cache, lambda line: talk.notes([line]))
    return Local(scorer(pair, running.cache), piped)


def _run(job: Job, engine: Engine, sink: Journal | Stream, talk: Talk, stopped: Callable[[], bool]) -> Counts:
    """Score a job into its output, with a bar on stderr; what it added up."""
    from dpo_credit.batch.job import Counts
    from dpo_credit.batch.run import run
    from dpo_credit.rows.journal import Journal
    from dpo_credit.rows.tally import Tally

    counts, of_rows = Counts(), Tally()
    with _begun(sink, engine, job), _bar(talk) as show:
        for progress in run(job, engine, sink, stop=stopped):
            counts, of_rows = progress.counts, progress.of_rows
            show(progress)
            talk.notes(progress.notes)
    talk.notes(of_rows.lines("rows"))
    if isinstance(sink, Journal):
        talk.notes(sink.notes)
    return counts


@contextmanager
def _begun(sink: Journal | Stream, engine: Engine, job: Job) -> Iterator[None]:
    from dpo_credit.rows.journal import Journal

    if not isinstance(sink, Journal):
        yield
        return
    with sink:
        sink.begin(engine.settings(job))
        yield


@contextmanager
def _bar(talk: Talk, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[Progress], None]]:
    """Rows, tokens a second and the time left; of a run that goes on, the rate is of what it does now."""
    from rich.progress import TimeElapsedColumn, TimeRemainingColumn

    from dpo_credit.cli.bars import TEXT, bar

    start, tokens_before = clock(), None
    with bar(talk.stderr, "Scoring", TEXT, TimeElapsedColumn(), TimeRemainingColumn(), clock=clock) as scoring:

        def show(progress: Progress) -> None:
            nonlocal tokens_before
            counts, part = progress.counts, progress.part
            if tokens_before is None:
                tokens_before = counts.tokens
            rate = (counts.tokens - tokens_before) / max(clock() - start, 1e-9)
            text = progress.stage or f"{counts.rows:,} rows, {rate:,.0f} tokens/s"
            scoring.show(part or 0, None if part is None else 1, text=text)

        yield show


def _tell(talk: Talk, target: str, counts: Counts, sink: Journal | Stream) -> None:
    """The summary."""
    from dpo_credit.rows.journal import Journal

    pairs = ""
    if counts.pairs:
        won, mean = counts.won / counts.pairs, counts.margins / counts.pairs
        pairs = f"; chosen preferred in {won:.1%} of {counts.pairs:,} pairs, mean margin {mean:+.4f}"
    where = f" to {target}" if target != "-" else ""
    talk.say(f"{counts.rows - counts.failed:,} rows scored{where}{pairs}")
    if counts.checked:
        verdict = "agree with" if counts.furthest <= AGREES_NATS else "DIFFER from"
        talk.say(
            f"the reference's log-probabilities {verdict} the rows' ref_chosen_logps and ref_rejected_logps: "
            f"{counts.checked:,} compared, the furthest {counts.furthest:.2g} nats apart"
        )
    if counts.without_prompt:
        talk.say(f"{counts.without_prompt:,} rows were scored without a prompt: name its field with --prompt-key")
    if counts.failed:
        errors = f"; see {sink.errors}" if isinstance(sink, Journal) else ""
        talk.say(f"{counts.failed:,} rows could not be scored{errors}")
        if counts.failed == counts.rows and isinstance(sink, Journal):  # no single row's fault, as likely as not
            with sink.errors.open(encoding="utf-8") as lines:
                talk.say(f"no row could be scored; the first: {json.loads(next(lines))['error']}")
