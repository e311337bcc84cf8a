"""The program in a child that has torch already: ended at a chosen write, or by a signal at any moment."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

_PRELOADED = [
    "killed",
    "tiny",
    "transformers",
    "dpo_credit.cli.app",
    "dpo_credit.models.loading",
    "dpo_credit.batch.run",
]


def server() -> ForkServerContext:
    """Where children come from: one process that has imported what takes seconds, and no threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def start(
    context: ForkServerContext, arguments: Sequence[object], said: Path, die_at: int | None = None
) -> BaseProcess:
    """The program with these arguments; what it says goes to a file.

    Args:
        context: see `server`.
        arguments: of the program.
        said: the file.
        die_at: the write or sync, counted from 0, amid which the process kills itself.
    """
    process = context.Process(target=_child, args=([*map(str, arguments)], str(said), die_at))
    process.start()
    return process


def _child(arguments: list[str], said: str, die_at: int | None) -> None:
    import torch

    from dpo_credit.cli.app import main

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    sys.argv = ["dpo-credit", *arguments]
    if die_at is not None:
        _die_at(die_at)
    main()


def _die_at(left: int) -> None:
    """Let half of a chosen write arrive, or nothing of a chosen sync, truncation or renaming, and kill the process."""

    def deadly(name: str) -> None:
        call = getattr(os, name)

        def counted(*arguments: object, **named: object) -> object:
            nonlocal left
            if name == "write" and arguments[0] in (1, 2):
                return call(*arguments)
            left -= 1
            if left < 0:
                if name == "write":
                    call(arguments[0], bytes(arguments[1])[: len(bytes(arguments[1])) // 2])  # type: ignore[call-overload]
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        setattr(os, name, counted)

    for name in ("write", "fsync", "ftruncate", "replace"):
        deadly(name)
