"""`dpo-credit steer`: an answer from a base model steered by a DPO pair, coloured by how far each token was moved."""

from __future__ import annotations

from typing import Annotated

import typer

from dpo_credit.cli.files import check_writable
from dpo_credit.cli.flags import with_shared_options
from dpo_credit.cli.options import PairOptions

EXAMPLE = "Example: dpo-credit steer examples/travel.json --strength 2 --max-new-tokens 60"


@with_shared_options
def steer(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A row as for score, or its prompt alone; - is stdin.")],
    base: Annotated[str | None, typer.Option("--base", help="The model to steer; without it, the reference.")] = None,
    strength: Annotated[float, typer.Option("--strength", help="The exponent of pi / pi_ref.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="Longest answer.")] = 128,
    num_beams: Annotated[int, typer.Option("--num-beams", min=1, help="Beam search, if above 1.")] = 1,
    sample: Annotated[bool, typer.Option("--sample", help="Draw instead of taking the likeliest.")] = False,
    temperature: Annotated[float, typer.Option("--temperature", min=1e-3, help="Of --sample.")] = 1.0,
    top_p: Annotated[float, typer.Option("--top-p", min=0.0, max=1.0, help="Of --sample.")] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of --sample.")] = 0,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many answers to draw.")] = 1,
    json: Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON lines; - is stdout.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr.")] = False,
    *,
    options: PairOptions,
) -> None:
    """Generate from base * (policy / reference)^strength (Rafailov et al. 2024, Eq. 14).

    Each token is coloured by log pi_steered - log pi_base; below stand those that the base would not have said.
    """
    from dpo_credit.cli.prompt import prompt_in
    from dpo_credit.cli.steer_run import show, steered
    from dpo_credit.steer.steer import Sampling

    if json is not None:
        check_writable(json)
    prompt = prompt_in(file)
    sampling = Sampling(max_new_tokens, num_beams, sample, temperature, top_p, seed, count)
    answers = steered(prompt, base, options, strength=strength, sampling=sampling, quiet=quiet)
    show(answers, prompt, json)
