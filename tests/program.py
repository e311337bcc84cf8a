"""Run the program inside the tests' process, with its own arguments, streams and environment."""

from __future__ import annotations

import io
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from transformers.utils import logging as transformers_logging

from dpo_credit.cli.app import main

ESCAPE = "\x1b["


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended; `data` are the bytes of its stdout."""

    code: int | str | None
    stdout: str
    stderr: str
    data: bytes = field(default=b"", repr=False, compare=False)


def run(*arguments: str | Path, stdin: bytes = b"", encoding: str = "utf-8", **environment: str) -> Ended:
    """Run the program in this process (its own takes seconds to import torch), with 80 columns and no terminal."""
    transformers_logging.disable_progress_bar()  # the program does so before it imports transformers
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    err = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")  # as Python opens stderr
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLORFGBG")}
    with (
        patch.dict(os.environ, {**kept, "COLUMNS": "80", "TERM": "xterm", **environment}, clear=True),
        patch.multiple(sys, argv=["dpo-credit", *map(str, arguments)], stdout=out, stderr=err),
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
    ):
        answers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            main()
            code: int | str | None = 0
        except SystemExit as ended:
            code = ended.code
        finally:  # the program leaves them to the system
            for number, answer in answers.items():
                signal.signal(number, answer)
        out.flush(), err.flush()  # a closed one would fail to
    data, talk = (stream.buffer.getvalue() for stream in (out, err))  # type: ignore[attr-defined]
    return Ended(code, data.decode(encoding, "replace"), talk.decode(encoding), data)
