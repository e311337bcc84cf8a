"""`dpo-credit compare`: several policies on the same answers, or on a data set of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from dpo_credit.cli.aside import BadRows, end
from dpo_credit.cli.flags import option, with_shared_options
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Colours, Outputs
from dpo_credit.cli.reading import PickOptions, ReadingOptions
from dpo_credit.cli.run import hear
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

    from dpo_credit.compare.compare import Policy
    from dpo_credit.compare.reward_model import RewardModel
    from dpo_credit.models.pair import ModelPair
    from dpo_credit.rows.aside import SetAside
    from dpo_credit.rows.records import Row
    from dpo_credit.views.look import Look

EXAMPLE = "Example: dpo-credit compare examples/vet.json -m embedded -r embedded --beta 0.1 --beta 0.5"


@with_shared_options
def compare(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="A row, or many; - is stdin.")],
    policies: Annotated[
        list[str],
        option("--policy", "--model", "-m", help="A DPO-trained model; give it once for each.", panel="Models"),
    ],
    references: Annotated[
        list[str] | None,
        option(
            *("--reference", "--ref-model", "-r"),
            help="The SFT model they were trained from; or one for each policy, in their order.",
            panel="Models",
            show_default="an adapter's own base",
        ),
    ] = None,
    betas: Annotated[
        list[float] | None,
        option(
            "--beta",
            help="One for all, one for each policy in their order, or several for a single policy.",
            panel="Models",
            show_default="what each one's training left beside it, else 0.1",
        ),
    ] = None,
    reward_models: Annotated[
        list[str] | None,
        option(
            "--reward-model",
            help="An explicit reward model to compare with: a sequence classifier with one output, a directory or a "
            "hub name; may be given several times.",
            panel="Models",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int | None, option("--limit", min=1, help="Read this many rows.", show_default="all")] = None,
    *,
    picking: PickOptions,
    reading: ReadingOptions,
    bad: BadRows,
    outputs: Outputs,
    colours: Annotated[Colours, "by", "scale", "palette", "rows", "width_in"],
    options: Annotated[
        PairOptions,
        *("length_normalised", "device", "dtype", "attn_implementation", "device_map", "adapter_base"),
        *("tokenizer", "load_in_4bit", "load_in_8bit", "sequential", "tokens_per_batch"),
        *("eos", "chat_template", "max_length", "truncate", "turns", "date", "trust_remote_code", "allow_pickle"),
    ],
) -> None:
    """Compare policies on the same answers: token by token, where they disagree most, and over a data set.

    An explicit reward model gives a number for a whole answer: it joins the figures over rows.

    One pair is in memory at a time. Of one row, its answers stand under each other on one scale of colours; of many,
    rank correlations of margins and rewards, and how many pairs each policy gets right.
    """
    from dpo_credit.rows.output import json_line

    outputs.check()
    shading = colours.shading
    if shading.limit == "per-answer":
        raise CreditError("--scale per-answer colours each answer by itself, and policies are compared on one scale.")
    talk, aside = Talk(outputs.quiet), bad.aside()
    named = _policies(policies, references or [], betas or [], options, talk)
    rows = _rows(files, picking, reading, talk, aside, limit)
    with talk.working("Loading the models") as stage:
        from dpo_credit.compare.compare import Judge
        from dpo_credit.compare.compare import compare as measure
        from dpo_credit.compare.saved import record

        judges = [Judge(name, partial(_load_judge, name, options)) for name in reward_models or ()]
        conventions = options.conventions()
        comparison = measure(named, rows, judges=judges, conventions=conventions, aside=aside, say=stage.update)
    talk.notes_of([credit for answers in row for credit in answers] for row in zip(*comparison.credits, strict=True))
    unit = shading.unit_of_signs

    def page() -> str:
        from dpo_credit.views.page import compare as view

        return view.render(comparison, shading)

    def figure() -> Figure:
        from dpo_credit.views.figure import compare as view

        return view.render(comparison, shading=shading, width_in=colours.width_in)

    def terminal(look: Look) -> RenderableType:
        from dpo_credit.views.terminal import compare as view

        return view.render(comparison, look, rows=colours.rows, shading=shading)

    outputs.write(terminal, json=lambda: json_line(asdict(record(comparison, unit))) + "\n", page=page, figure=figure)
    end(aside, talk)


def _rows(
    files: Sequence[str],
    picking: PickOptions,
    reading: ReadingOptions,
    talk: Talk,
    aside: SetAside,
    limit: int | None,
) -> list[Row]:
    if picking.picks:
        if len(files) > 1:
            raise CreditError("--row and --id pick a row of one file. Give one.")
        return [picking.row(files[0], reading)]
    rows = list(islice(talk.noted(reading.rows(files, aside)), limit))
    aside.require(rows)
    return rows


def _policies(
    policies: Sequence[str], references: Sequence[str], betas: Sequence[float], options: PairOptions, talk: Talk
) -> list[Policy]:
    """What is compared.

    Raises:
        CreditError: there are more or fewer references or betas than policies.
    """
    from dpo_credit.compare.compare import Policy

    count = len(policies)
    for flag, given in (("--reference", references), ("--beta", betas)):
        if len(given) not in (0, 1, count) and not (flag == "--beta" and count == 1):
            raise CreditError(
                f"{flag} is given {len(given)} times for {count} policies: once for all, or once for each."
            )
    made = []
    for n, policy in enumerate(policies):
        reference = references[n] if len(references) == count else references[0] if references else None
        own = tuple(betas) if count == 1 else (betas[n],) if len(betas) == count else tuple(betas)
        # the pair is loaded with the first of its betas, so that nothing is assumed of them
        chosen = replace(options, policy=policy, reference=reference, beta=own[0] if own else None)
        made.append(Policy(policy, partial(_load, chosen, talk), own))
    return made


def _load(options: PairOptions, talk: Talk) -> ModelPair:
    pair = options.load_pair()
    talk.notes(pair.notes)
    hear(pair, talk)
    return pair


def _load_judge(name: str, options: PairOptions) -> RewardModel:
    from dpo_credit.compare.reward_model import load_reward_model

    return load_reward_model(name, options.loading())
