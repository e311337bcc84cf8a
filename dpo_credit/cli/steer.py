"""`dpo-credit steer`: an answer from a base model steered by a DPO pair, coloured by how far each token was moved."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpo_credit.cli.flags import MOST_BEAMS, seed_option, with_shared_options
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.outputs import Outputs
from dpo_credit.cli.reading import PickOptions
from dpo_credit.cli.talk import Talk
from dpo_credit.views.look import written_out

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXAMPLE = "Example: dpo-credit steer examples/travel.json --strength 2 --max-new-tokens 60"


@with_shared_options
def steer(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A row as for score, or its prompt alone; - is stdin.")],
    base: Annotated[str | None, typer.Option("--base", help="The model to steer; without it, the reference.")] = None,
    strength: Annotated[float, typer.Option("--strength", help="The exponent of pi / pi_ref.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")] = 128,
    num_beams: Annotated[int, typer.Option("--num-beams", min=1, max=MOST_BEAMS, help="Beam search, if above 1.")] = 1,
    sample: Annotated[bool, typer.Option("--sample", help="Draw instead of taking the likeliest.")] = False,
    temperature: Annotated[float, typer.Option("--temperature", min=1e-3, help="Of --sample.")] = 1.0,
    top_p: Annotated[float, typer.Option("--top-p", min=0.0, max=1.0, help="Of --sample.")] = 1.0,
    seed: Annotated[int, seed_option("Of --sample.")] = 0,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=MOST_BEAMS, help="How many answers to draw.")] = 1,
    *,
    picking: PickOptions,
    outputs: Annotated[Outputs, "json", "svg", "theme", "quiet"],
    options: PairOptions,
) -> None:
    """Generate from base * (policy / reference)^strength (Rafailov et al. 2024, Eq. 14).

    Each token is coloured by log pi_steered - log pi_base; below stand those that the base would not have said.
    """
    from dpo_credit.cli.prompt import prompt_ids
    from dpo_credit.cli.run import load
    from dpo_credit.rows.output import json_line
    from dpo_credit.steer.models import base_of, check
    from dpo_credit.steer.steer import Sampling, record
    from dpo_credit.steer.steer import steer as steered
    from dpo_credit.views.terminal import steer as terminal

    outputs.check()
    loading, talk = options.loading(), Talk(outputs.quiet)
    row = picking.row(file, answers="optional")
    talk.notes(row.notes)
    sampling = Sampling(max_new_tokens, num_beams, sample, temperature, top_p, seed, count)
    check(sampling, loading)
    pair = load(options, talk)
    side, notes = base_of(pair, base, loading)
    talk.notes(notes)
    ids = prompt_ids(pair, row, options, talk, max_new_tokens=max_new_tokens)
    grows = talk.stderr.is_terminal and not outputs.quiet and num_beams == count == 1
    streamer = _growing(pair.tokenizer) if grows else None
    answers = steered(side, pair, ids, strength=strength, sampling=sampling, streamer=streamer)
    outputs.write(
        partial(terminal.render, answers),
        json=lambda: "".join(json_line(record(answer, row.prompt)) + "\n" for answer in answers),
    )


def _growing(tokenizer: PreTrainedTokenizerBase) -> Any:
    """Writes the text to stderr while it grows."""
    from transformers import TextStreamer

    class Growing(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            sys.stderr.write(written_out(text) + ("\n" if stream_end else ""))
            sys.stderr.flush()

    return Growing(tokenizer, skip_prompt=True)
