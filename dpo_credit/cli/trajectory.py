"""`dpo-credit trajectory`: how rewards grew over a training's checkpoints, answer by answer and token by token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dpo_credit.cli.flags import flag, option, with_shared_options
from dpo_credit.cli.keeping import mode_of
from dpo_credit.cli.options import PairOptions

if TYPE_CHECKING:
    from dpo_credit.rows.journal import Mode

EXAMPLE = "Example: dpo-credit trajectory tldr/dpo pairs.jsonl --png fig3.png --html out.html -o kept.jsonl"
RUNNING, VIEW = "Running", "Views"


@dataclass(frozen=True)
class FollowOptions:
    """What is followed, what is written where, and how a run goes on."""

    output: Annotated[
        str | None, option("--output", "-o", metavar="FILE", help="Keep all numbers (JSONL).", show_default=False)
    ] = None
    png: Annotated[
        str | None, option("--png", metavar="FILE", help="Draw Figure 3: .png, .svg or .pdf.", show_default=False)
    ] = None
    html: Annotated[
        str | None, option("--html", metavar="FILE", help="Write a self-contained page.", show_default=False)
    ] = None
    json: Annotated[
        str | None, option("--json", metavar="FILE", help="Write the figures; - is stdout.", show_default=False)
    ] = None
    limit: Annotated[int | None, option("--limit", min=1, help="Read this many rows.", show_default="all")] = None
    every: Annotated[int, option("--every", min=1, help="Take each so-many-th checkpoint, and the last.")] = 1
    samples: Annotated[
        int, option("--samples", min=0, help="Answers drawn from the reference for Eq. 16; 0 for none.")
    ] = 64
    max_new_tokens: Annotated[int, option("--max-new-tokens", min=1, help="The longest of them.")] = 128
    seed: Annotated[int, option("--seed", help="Of their draw.")] = 0
    resume: Annotated[bool, flag("--resume", panel=RUNNING, help="Go on where an interrupted run stopped.")] = False
    overwrite: Annotated[bool, flag("--overwrite", panel=RUNNING, help="Replace an output that is there.")] = False
    labels: Annotated[
        str | None,
        option("--labels", panel=VIEW, metavar="A,B", help="What kept files are called.", show_default="their names"),
    ] = None
    theme: Annotated[
        Literal["auto", "dark", "light"], option("--theme", panel=VIEW, help="The terminal's background.")
    ] = "auto"
    quiet: Annotated[bool, flag("--quiet", "-q", panel=VIEW, help="No notes or progress on stderr.")] = False

    @property
    def mode(self) -> Mode:
        """How to treat what is there."""
        return mode_of(self.output, resume=self.resume, overwrite=self.overwrite)


@with_shared_options
def trajectory(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN ROWS",
            help="A trainer's folder (or models with commas, or NAME@REVISION,...) and preferences; or kept files.",
        ),
    ],
    *,
    asked: FollowOptions,
    options: PairOptions,
) -> None:
    """Follow the implicit reward of chosen and rejected answers over a training (Rafailov et al. 2024, Sec. 5.4).

    One model is in memory at a time. Eq. 16, the expected reward under the reference, is -beta KL(pi_ref || pi),
    estimated from answers drawn from the reference. Files that -o kept are drawn again without a model, side by side:
    dpo-credit trajectory with_sft.jsonl without_sft.jsonl --png figure3.png
    """
    from dpo_credit.cli.trajectory_run import run

    run(sources, asked, options)
