"""Files that long commands keep: how a run treats what is there, and what kept files are called when drawn again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from dpo_credit.cli.files import check_writable
from dpo_credit.cli.flags import flag, option
from dpo_credit.cli.terminal import data_stream
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.batch.run import Stream
    from dpo_credit.rows.journal import Journal, Mode
    from dpo_credit.rows.kept import Kept
    from dpo_credit.rows.sources import Input

KEEPING = "Keeping"


@dataclass(frozen=True)
class KeepOptions:
    """The file that all numbers are kept in, and how it is gone on with or drawn again."""

    output: Annotated[
        str | None,
        option(
            *("--output", "-o"), panel=KEEPING, metavar="FILE", help="Keep all numbers (JSONL).", show_default=False
        ),
    ] = None
    resume: Annotated[bool, flag("--resume", panel=KEEPING, help="Go on where an interrupted run stopped.")] = False
    overwrite: Annotated[bool, flag("--overwrite", panel=KEEPING, help="Replace an output that is there.")] = False
    labels: Annotated[
        str | None,
        option(
            "--labels", panel=KEEPING, metavar="A,B", help="What kept files are called.", show_default="their names"
        ),
    ] = None

    @property
    def mode(self) -> Mode:
        """How to treat what is there."""
        return mode_of(self.output, resume=self.resume, overwrite=self.overwrite)

    def check(self) -> None:
        """Refuse what cannot be kept, before the models are loaded.

        Raises:
            CreditError: the flags exclude each other, or the file cannot be written.
        """
        _ = self.mode
        if self.output is not None:
            check_writable(self.output)

    def sink(self, target: str, inputs: Sequence[Input], complain: Callable[[str], None]) -> Journal | Stream:
        """Where rows go: the output, a file in the folder that it is, or stdout for "-".

        Raises:
            CreditError: it is there and was not to be replaced, or stdout cannot be gone on with.
        """
        from dpo_credit.batch.run import Stream
        from dpo_credit.rows.formats import format_of
        from dpo_credit.rows.journal import Journal

        if target == "-":
            if self.mode != "new":
                raise CreditError(f"--{self.mode} needs a file: -o scored.jsonl. What went to stdout is gone.")
            stream = data_stream()

            def write(data: bytes) -> None:
                stream.write(data)
                sys.stdout.flush()

            return Stream(write, complain)
        path = Path(os.path.realpath(target) if os.path.islink(target) else target)  # a link stays one
        if target != self.output:  # a file in the folder that is the output
            path.parent.mkdir(parents=True, exist_ok=True)
        journal = Journal(path, self.mode, format_of(path, inputs))
        journal.check()
        return journal

    def kept(self) -> Kept | None:
        """The file, if there is one; nothing is written yet.

        Raises:
            CreditError: it is there and was not to be replaced, or another run is writing it.
        """
        if self.output is None:
            return None
        from dpo_credit.rows.kept import Kept

        kept = Kept(Path(self.output), self.mode)
        kept.check()
        return kept

    @staticmethod
    def today(kept: Kept | None) -> str:
        """The day on which a run began that goes on now, where its chat template writes the date."""
        made_by = {} if kept is None else kept.begun.get("made_by")
        return str(made_by.get("today") or "") if isinstance(made_by, dict) else ""

    def interrupted(self, count: str) -> str:
        """What is said of a run that was ended after so many of something."""
        where = "; go on with --resume" if self.output is not None else "; -o FILE would keep them"
        return f"interrupted after {count}{where}"

    def names_of(self, files: Sequence[str]) -> tuple[str, ...]:
        """What kept files are called: as `--labels` has it, or by their names.

        Raises:
            CreditError: there are not as many labels as files.
        """
        names = tuple(Path(file).stem.replace("_", " ") for file in files)
        if self.labels is not None:
            names = tuple(part.strip() for part in self.labels.split(","))
        if len(names) != len(files):
            raise CreditError(f"--labels names {len(names)} of {len(files)} files. Give one for each.")
        return names


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
