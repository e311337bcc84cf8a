"""Long work says a plain line every 30 s where stderr is no terminal, and nothing where it is quiet, or a terminal."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console
from rich.progress import MofNCompleteColumn, TimeElapsedColumn, TimeRemainingColumn

from dpo_credit.batch.job import Counts, Progress
from dpo_credit.cli import batch, heartbeat
from dpo_credit.cli.bars import TEXT, bar
from dpo_credit.cli.heartbeat import EVERY_S, Stage, beat, duration
from dpo_credit.cli.talk import Talk


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def console(*, terminal: bool = False, quiet: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, quiet=quiet, width=40)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], str]]:
    """What heartbeats would say, which no thread says here."""
    caught: list[Callable[[], str]] = []

    @contextmanager
    def catch(stderr: Console, line: Callable[[], str]) -> Iterator[None]:
        caught.append(line)
        yield

    monkeypatch.setattr("dpo_credit.cli.bars.heartbeat", catch)
    return caught


def test_a_line_comes_each_time_that_30_seconds_have_passed_and_none_before() -> None:
    clock, said = Clock(), []
    ends = clock.now + 100  # so lines after 30, 60 and 90 s

    def wait(seconds: float) -> bool:
        clock.now = min(clock.now + seconds, ends)
        return clock.now == ends

    beat(wait, lambda: said.append(clock.now - 1000))
    assert EVERY_S == 30 and said == [30, 60, 90]


def test_a_heart_beats_beside_the_work_and_stops_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.0)
    said, stderr = threading.Event(), console()

    def line() -> str:
        said.set()
        return "[bold]at it[/x] " * 4  # no markup, and not folded at 40 columns

    with heartbeat.heartbeat(stderr, line):
        assert said.wait(60)
        threads = threading.active_count()
    assert threading.active_count() == threads - 1
    assert stderr.file.getvalue().splitlines()[0] == line()  # type: ignore[attr-defined]


@pytest.mark.parametrize("stderr", [console(terminal=True), console(quiet=True)], ids=["terminal", "quiet"])
def test_no_heart_beats_where_nobody_asked_for_lines(stderr: Console) -> None:
    threads = threading.active_count()
    with heartbeat.heartbeat(stderr, lambda: "x"):
        assert threading.active_count() == threads


def test_a_bar_tells_in_words_what_its_columns_show(lines: list[Callable[[], str]]) -> None:
    clock = Clock()
    columns = (MofNCompleteColumn(), TEXT, TimeElapsedColumn(), TimeRemainingColumn())
    with bar(console(), "Training", *columns, clock=clock) as training:
        training.show(0, 100)
        for done in (10, 20):
            clock.now += 30
            training.show(done, 100, text="loss 0.500 [x]")
        # 10 steps in the 30 s between the two, so 80 in 240 s
        assert lines[0]() == "Training: 20/100, loss 0.500 [x], 60 s so far, 4 min left"


def test_a_batch_tells_rows_tokens_a_second_and_the_time_left(
    lines: list[Callable[[], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    with batch._bar(Talk(quiet=False), clock) as show:
        show(Progress(Counts(rows=1000, tokens=50_000), None))  # an earlier run's: none of this one's rate
        for rows, tokens, part in ((1100, 51_200, 0.5), (1200, 53_600, 0.6)):
            clock.now += 60
            show(Progress(Counts(rows=rows, tokens=tokens), part))
        # 3,600 tokens in 120 s; a tenth of the rows in 60 s, so 0.4 in 240 s
        assert lines[0]() == "Scoring: 1,200 rows, 30 tokens/s, 2 min so far, 4 min left"
        show(Progress(Counts(rows=1200, tokens=53_600), None, stage="p has been through 9 rows"))
        assert lines[0]().startswith("Scoring: p has been through 9 rows, 2 min so far")


def test_a_stage_tells_what_it_is_at_and_for_how_long() -> None:
    clock = Clock()
    with console().status("Loading") as status:
        stage = Stage(status, "Loading", clock)
        clock.now += 45
        assert stage.line() == "Loading (45 s so far)"
        stage.update("Comparing: EOS never")
        clock.now += 75
        assert stage.line() == "Comparing: EOS never (2 min so far)"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (600, "10 min"), (5400, "1.5 h")]
)
def test_a_duration_is_in_the_unit_that_people_use(seconds: float, said: str) -> None:
    assert duration(seconds) == said
