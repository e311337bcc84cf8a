"""`dpo-credit batch`: rows of any number in, one scored row a row out; safe to interrupt."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dpo_credit.cli.flags import flag, option, with_shared_options
from dpo_credit.cli.keeping import mode_of
from dpo_credit.cli.options import PairOptions
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.batch.job import Job
    from dpo_credit.rows.journal import Mode

EXAMPLE = "Example: dpo-credit batch examples/posts.jsonl -o scored.jsonl"
SOME_FAILED = 3
RUN, CLUSTER = "Running", "Cluster"


@dataclass(frozen=True)
class BatchOptions:
    """Which rows, where they go, and how a run begins and goes on."""

    output: Annotated[
        str,
        option(
            *("--output", "-o"),
            metavar="FILE",
            help=".jsonl, .jsonl.gz, .jsonl.zst or .parquet; a folder: one for each file; - is stdout.",
        ),
    ] = "-"
    dataset: Annotated[
        str | None,
        option("--dataset", help="A Hugging Face dataset: a name, or what save_to_disk wrote.", show_default=False),
    ] = None
    split: Annotated[str | None, option("--split", help="Its split, such as test.", show_default=False)] = None
    prompt_key: Annotated[str | None, option("--prompt-key", help="The field that holds the prompt.")] = None
    answer_key: Annotated[str | None, option("--answer-key", help="The field that holds the answer.")] = None
    limit: Annotated[int | None, option("--limit", min=1, help="Read this many rows.", show_default="all")] = None
    resume: Annotated[bool, flag("--resume", panel=RUN, help="Go on where an interrupted run stopped.")] = False
    overwrite: Annotated[bool, flag("--overwrite", panel=RUN, help="Replace an output that is there.")] = False
    strict: Annotated[bool, flag("--strict", panel=RUN, help="Stop at the first bad row.")] = False
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
    quiet: Annotated[bool, flag("--quiet", "-q", panel=RUN, help="No notes, progress or summary on stderr.")] = False

    @property
    def mode(self) -> Mode:
        """How to treat what is there."""
        return mode_of(self.output, resume=self.resume, overwrite=self.overwrite)

    def jobs(self, files: list[str]) -> list[tuple[Job, str]]:
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

        if self.output == "-" or not (self.output.endswith("/") or Path(self.output).is_dir()):
            return [(job(*inputs), self.output)]
        names = [output_name(one) for one in inputs]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise CreditError(f"two inputs would both be {twice} in {self.output}. Name an output of its own for each.")
        return [(job(one), str(Path(self.output) / name)) for one, name in zip(inputs, names, strict=True)]


@with_shared_options
def batch(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="JSONL, .gz, .zst or Parquet; a pattern in quotes; - is stdin."),
    ] = None,
    *,
    asked: BatchOptions,
    options: PairOptions,
) -> None:
    """Score a data set: one row a row, in the input's order, with its other columns; an interrupted run goes on.

    Rows are what `score` takes. One that cannot be scored goes to OUTPUT.errors.jsonl with its line, the rest goes on,
    and the exit code is 3. OUTPUT.journal says what scored it; --resume goes on from there, to the very same file.
    """
    from dpo_credit.cli.batch_run import run_jobs

    if run_jobs(asked.jobs(files or []), asked, options).failed:
        raise typer.Exit(SOME_FAILED)
