"""`dpo-credit export`: scored rows in the shapes that other programs read, without a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.flags import option, with_shared_options
from dpo_credit.cli.outputs import Outputs
from dpo_credit.credit import CreditError
from dpo_credit.export.form import FLAT, Form
from dpo_credit.segments import Unit

if TYPE_CHECKING:
    from dpo_credit.export.exporter import Exporter

EXAMPLE = "Example: dpo-credit export scored.jsonl --to trl-reference -o preferences.jsonl"
_FILES = "What score --json or batch wrote: JSONL, also .gz or .zst, or Parquet; - is stdin."
_TRL_LENGTH = 1024  # tokens: the max_length of TRL's DPOConfig


@with_shared_options
def export(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=_FILES)],
    to: Annotated[
        Form,
        option(
            "--to",
            metavar="FORM",
            help="columns: each row with its numbers beside its own columns. tokens: a line a token, or --by. "
            "token-weights: TRL's rows with a weight for each token. trl-reference: TRL's rows with ref_chosen_logps "
            "and ref_rejected_logps. prime-rl, rollout-viz: a line an answer, for these.",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            help=".jsonl, .jsonl.gz, .jsonl.zst, .parquet, .csv (columns, tokens), or a folder/ for a Hugging Face "
            "dataset; - is stdout.",
        ),
    ] = "-",
    keep: Annotated[
        str | None,
        option(
            "--keep",
            metavar="top:0.3|above:X|sign",
            help="Of token-weights, which tokens get a 1: the share with the highest rewards, those above X, or above "
            "0; of a rejected answer the lowest, and those below -X.",
            show_default="top:0.3",
        ),
    ] = None,
    by: Annotated[Unit, option("--by", help="Of tokens: a line a word, sentence, line, step or turn.")] = "token",
    beta: Annotated[float | None, option("--beta", help="Another beta than the saved one.", show_default=False)] = None,
    *,
    bad: BadRows,
    outputs: Annotated[Outputs, "quiet"],
) -> None:
    """Write scored rows as TRL, prime-rl, rollout_viz, pandas, polars and Hugging Face datasets read them.

    No model is needed. A row that the form has no line for is set aside, and the exit code is 3.
    """
    from dpo_credit.cli.scored import ScoredFiles
    from dpo_credit.cli.talk import Talk
    from dpo_credit.cli.written import written
    from dpo_credit.export.exporter import Exporter
    from dpo_credit.export.files import file_format
    from dpo_credit.export.weights import keep_of
    from dpo_credit.rows.output import json_line

    if keep is not None and to != "token-weights":
        raise CreditError(f"--keep goes with --to token-weights, and this is --to {to}.")
    if by != "token" and to != "tokens":
        raise CreditError(f"--by goes with --to tokens, and this is --to {to}.")
    exporter = Exporter(to, keep_of(keep or "top:0.3"), by)
    _check(output)
    talk, aside = Talk(outputs.quiet), bad.aside()
    with (
        ScoredFiles(files, aside, quiet=outputs.quiet, again=False, beta=beta) as scored,
        written(output, file_format(output, scored.inputs, flat=to in FLAT), talk.notes) as write,
    ):
        for row in scored.rows():
            try:
                lines = exporter.lines_of(row)
            except CreditError as error:
                aside.add(row.id, row.row.place, error)
                continue
            for line in lines:
                write(f"{json_line(line)}\n".encode())
        aside.require(range(exporter.rows))
    for said in _summary(exporter, output):
        talk.say(said)
    end(aside, talk)


def _check(output: str) -> None:
    """Refuse what cannot be written, before anything is read."""
    from dpo_credit.cli.files import check_writable

    if not output.endswith("/"):
        check_writable(output, rows=True)
        return
    folder = Path(output)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CreditError(f"{output} is there already. Name another folder, or remove it.")
    if not folder.parent.is_dir() or not os.access(folder.parent, os.W_OK):
        raise CreditError(f"cannot write {output}: its folder is not there or refuses it. Nothing was written.")


def _summary(exporter: Exporter, output: str) -> list[str]:
    where = "" if output == "-" else f" to {output}"
    what = f", {exporter.lines:,} lines" if exporter.lines != exporter.rows else ""
    lines = [f"{exporter.rows:,} rows{what} exported{where}"]
    if exporter.tokens:
        lines.append(
            f"{exporter.kept:,} of {exporter.tokens:,} tokens are kept ({exporter.kept / exporter.tokens:.1%})"
        )
    if exporter.form in ("trl-reference", "token-weights") and exporter.longest > _TRL_LENGTH:
        lines.append(
            f"the longest row has {exporter.longest:,} tokens: train with max_length={exporter.longest} at least, or "
            "TRL cuts answers that these numbers are of"
        )
    return lines
