"""Running batch jobs: outputs, progress, Ctrl-C, and the summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dpo_credit.batch.job import Counts, Engine, Job, Sink
from dpo_credit.batch.local import Local
from dpo_credit.batch.run import Stream, run
from dpo_credit.cli.files import stdin
from dpo_credit.cli.run import notes_on_choice
from dpo_credit.cli.stopping import INTERRUPTED, stopping
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError
from dpo_credit.rows.formats import format_of
from dpo_credit.rows.journal import Journal

if TYPE_CHECKING:
    from dpo_credit.cli.batch import BatchOptions
    from dpo_credit.cli.options import PairOptions

AGREES_NATS = 1e-2  # of an answer's log-probability: float32 sums of hundreds of tokens stay well below


def run_jobs(jobs: list[tuple[Job, str]], asked: BatchOptions, options: PairOptions) -> Counts:
    """Score each job into its output, and say how it went; the totals come back.

    Raises:
        CreditError: an output is another run's or cannot be written; an input cannot be read.
        typer.Exit: the run was interrupted.
    """
    talk = Talk(asked.quiet)
    sinks = [_sink(output, asked, talk) for _, output in jobs]
    reads_stdin = any(one.name == "-" and not one.dataset for job, _ in jobs for one in job.inputs)
    piped = stdin() if reads_stdin else None
    engine = _engine(asked, options, talk, piped)
    total = Counts()
    for (job, output), sink in zip(jobs, sinks, strict=True):
        with stopping(talk, "after this chunk of rows") as stopped, _begun(sink, engine, job), _bar(talk) as show:
            done = Counts()
            for progress in run(job, engine, sink, stop=stopped):
                done = progress.counts
                show(done, progress.part)
        total.add(done)
        _say(talk, output, done, sink)
        if stopped():
            if isinstance(sink, Journal):
                talk.notes([f"interrupted: {done.rows} rows of {output} are kept; go on with --resume"])
            raise typer.Exit(INTERRUPTED)
    return total


def _sink(output: str, asked: BatchOptions, talk: Talk) -> Journal | Stream:
    mode = asked.mode
    if output == "-":
        if mode != "new":
            raise CreditError(f"--{mode} needs a file: -o scored.jsonl. What went to stdout is gone.")

        def write(data: bytes) -> None:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()

        return Stream(write, talk.complain)
    path = Path(output)
    if output.startswith(f"{asked.output.rstrip('/')}/"):
        path.parent.mkdir(parents=True, exist_ok=True)
    journal = Journal(path, mode, format_of(path))
    journal.check()
    return journal


def _engine(asked: BatchOptions, options: PairOptions, talk: Talk, piped: Any) -> Engine:
    """What scores."""
    load, scorer = options.loader(), options.scorer()
    talk.notes(notes_on_choice(options))
    if asked.engine == "ray":
        from dpo_credit.batch.ray import Ray

        if piped is not None or options.sequential:
            what = "--sequential keeps one machine's memory small" if options.sequential else "stdin is here alone"
            raise CreditError(
                f"--engine ray loads pairs and reads files on its workers: {what}. Leave one of them out."
            )
        return Ray(lambda: scorer(load(), asked.cache), asked.workers, asked.gpus_per_worker)
    with talk.working("Loading the models"):
        pair = load()
    talk.notes(pair.notes)
    if pair.in_turn:
        from dpo_credit.batch.sequential import OneAtATime

        if piped is not None:
            raise CreditError("--sequential reads its input twice, which stdin does not allow. Name a file.")
        return OneAtATime(partial(scorer, pair), asked.cache, lambda line: talk.notes([line]))
    return Local(scorer(pair, asked.cache), piped)


@contextmanager
def _begun(sink: Sink, engine: Engine, job: Job) -> Iterator[None]:
    if not isinstance(sink, Journal):
        yield
        return
    with sink:
        sink.begin(engine.settings(job))
        yield


@contextmanager
def _bar(talk: Talk) -> Iterator[Callable[[Counts, float | None], None]]:
    """Rows, tokens a second and the time left, on stderr where that is a terminal."""
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}")),
        *(TimeElapsedColumn(), TextColumn("{task.fields[left]}")),
    )
    with Progress(*columns, console=talk.stderr, transient=True, disable=not talk.stderr.is_terminal) as bar:
        task = bar.add_task("Scoring", total=None, said="", left="")
        start, first = time.monotonic(), Counts()

        def show(counts: Counts, part: float | None) -> None:
            nonlocal first
            seconds = time.monotonic() - start
            if not first.rows:
                first = Counts(counts.rows, tokens=counts.tokens)
            rate = (counts.tokens - first.tokens) / seconds if seconds else 0
            left = f"{seconds * (1 - part) / part / 60:.0f} min left" if part else ""
            said = f"{counts.rows:,} rows, {rate:,.0f} tokens/s"
            bar.update(task, total=None if part is None else 1, completed=part or 0, said=said, left=left)

        yield show


def _say(talk: Talk, output: str, done: Counts, sink: Sink) -> None:
    """The summary."""
    pairs = ""
    if done.pairs:
        won, mean = done.won / done.pairs, done.margins / done.pairs
        pairs = f"; chosen preferred in {won:.1%} of {done.pairs:,} pairs, mean margin {mean:+.4f}"
    where = f" to {output}" if output != "-" else ""
    talk.say(f"{done.rows - done.failed:,} rows scored{where}{pairs}")
    if done.checked:
        verdict = "agree with" if done.furthest <= AGREES_NATS else "DIFFER from"
        talk.say(
            f"the reference's log-probabilities {verdict} the rows' ref_chosen_logps and ref_rejected_logps: "
            f"{done.checked:,} compared, the furthest {done.furthest:.2g} nats apart"
        )
    if done.failed:
        errors = f"; see {sink.errors}" if isinstance(sink, Journal) else ""
        talk.say(f"{done.failed:,} rows could not be scored{errors}")
