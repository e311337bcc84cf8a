"""Files that long commands keep: how a run treats what is there, and what kept files are called when drawn again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.rows.journal import Mode


def mode_of(output: str | None, *, resume: bool, overwrite: bool) -> Mode:
    """How to treat an output that is there.

    Raises:
        CreditError: both were asked for, or one without an output.
    """
    if resume and overwrite:
        raise CreditError("--resume and --overwrite exclude each other.")
    if (resume or overwrite) and output is None:
        raise CreditError("--resume and --overwrite go with -o FILE.")
    return "resume" if resume else "overwrite" if overwrite else "new"


def labels_of(files: Sequence[str], asked: str | None) -> tuple[str, ...]:
    """What kept files are called: as `asked`, with commas between, or by their names.

    Raises:
        CreditError: there are not as many labels as files.
    """
    labels = tuple(Path(file).stem.replace("_", " ") for file in files)
    if asked is not None:
        labels = tuple(part.strip() for part in asked.split(","))
    if len(labels) != len(files):
        raise CreditError(f"--labels names {len(labels)} of {len(files)} files. Give one for each.")
    return labels
