"""Progress bars on stderr, where that is a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dpo_credit.cli.talk import Talk

_LOGGED = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "mean_token_accuracy": "tokens right",
}


@contextmanager
def counting(task: str, talk: Talk, done: int, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for a known number of steps; what it gives is told how many are done."""
    columns = (TextColumn(task), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=talk.stderr, transient=True, disable=not talk.stderr.is_terminal) as bar:
        shown = bar.add_task("", total=total, completed=done)
        yield lambda count: bar.update(shown, completed=count)


@contextmanager
def training(talk: Talk) -> Iterator[Callable[[int, int, Mapping[str, float]], None]]:
    """A bar of a training's steps, or, where there is no terminal, a line for each line of TRL's log.

    What it gives is told the step, of how many, and what TRL logs.
    """
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}")),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=talk.stderr, disable=not talk.stderr.is_terminal) as bar:
        task = bar.add_task("Training", total=None, figures="")

        def show(step: int, steps: int, logs: Mapping[str, float]) -> None:
            figures = ", ".join(f"{name} {logs[key]:.3f}" for key, name in _LOGGED.items() if key in logs)
            bar.update(task, completed=step, total=steps)
            if figures:
                bar.update(task, figures=figures)
            if figures and not talk.stderr.is_terminal:
                talk.say(f"step {step} of {steps}: {figures}")

        yield show
