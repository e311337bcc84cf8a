"""The `dpo-credit` program: its commands, and one line instead of a traceback for what is wrong with the input."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from typing import Annotated

import typer

from dpo_credit import CreditError, __version__
from dpo_credit.cli import (
    batch,
    compare,
    corrupt,
    diff,
    export,
    filter,
    image,
    inspect,
    localise,
    mdp,
    pairs,
    refine,
    render,
    report,
    score,
    search,
    steer,
    train,
    trajectory,
    verify,
)
from dpo_credit.cli.stopping import ending
from dpo_credit.cli.terminal import Program, one_line
from dpo_credit.views.look import STAND_INS

BAD_INPUT = 2

app = typer.Typer(
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "token_normalize_func": lambda token: token.replace("_", "-"),  # --chat_template is --chat-template
    },
)
app.command(no_args_is_help=True, epilog=score.EXAMPLE)(score.score)
app.command(no_args_is_help=True, epilog=diff.EXAMPLE)(diff.diff)
app.command(no_args_is_help=True, epilog=compare.EXAMPLE)(compare.compare)
app.command(no_args_is_help=True, epilog=search.EXAMPLE)(search.search)
app.command(no_args_is_help=True, epilog=steer.EXAMPLE)(steer.steer)
app.command(no_args_is_help=True, epilog=batch.EXAMPLE)(batch.batch)
app.command(no_args_is_help=True, epilog=render.EXAMPLE)(render.render)
app.command(no_args_is_help=True, epilog=report.EXAMPLE)(report.report)
app.command(no_args_is_help=True, epilog=filter.EXAMPLE)(filter.filter)
app.command(no_args_is_help=True, epilog=export.EXAMPLE)(export.export)
app.command(no_args_is_help=True, epilog=verify.EXAMPLE)(verify.verify)
app.command(epilog=inspect.EXAMPLE)(inspect.inspect)
app.command(epilog=pairs.EXAMPLE)(pairs.pairs)
app.command(no_args_is_help=True, epilog=localise.EXAMPLE)(localise.localise)
app.command(no_args_is_help=True, epilog=train.EXAMPLE)(train.train)
app.command(no_args_is_help=True, epilog=refine.EXAMPLE)(refine.refine)
app.command(no_args_is_help=True, epilog=trajectory.EXAMPLE)(trajectory.trajectory)
app.command(no_args_is_help=True, epilog=mdp.EXAMPLE)(mdp.mdp)
app.command(no_args_is_help=True, epilog=corrupt.EXAMPLE)(corrupt.corrupt)
app.add_typer(image.app, name="image")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"dpo-credit {__version__}")
        raise typer.Exit


@app.callback()
def dpo_credit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Which tokens does a DPO-trained model reward, and which does it punish?"""


def main() -> None:
    """Run a command; exit with 2 and one line on stderr if its input is at fault."""
    try:
        _prepare()
        with ending():
            app()
    except KeyboardInterrupt:  # before that heard it
        sys.exit(128 + signal.SIGINT)
    except CreditError as error:
        _fail(str(error))
    except OSError as error:  # a name would mean a file, which `files` answers for: without one it is stdout
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in its buffer goes nowhere
        _fail(f"cannot write stdout: {error.strerror}.")


def _prepare() -> None:
    # Threads that wait for one another sleep: where they spin and another process has one of their cores, a model run a
    # token at a time takes several times as long. OpenMP reads it once, when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # none where it is closed
            stream.reconfigure(errors=STAND_INS)


def _fail(message: str) -> None:
    print(f"dpo-credit: {one_line(message)}", file=sys.stderr)
    sys.exit(BAD_INPUT)
