"""Running `steer`: the prompt, three models, the text while it grows, and what to show of it."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from dpo_credit.cli.files import write
from dpo_credit.cli.options import PairOptions
from dpo_credit.cli.present import look_of
from dpo_credit.cli.prompt import prompt_ids
from dpo_credit.cli.run import load
from dpo_credit.cli.talk import Talk
from dpo_credit.credit import Credit, CreditError
from dpo_credit.rows.output import json_line
from dpo_credit.rows.records import Prompt

if TYPE_CHECKING:
    from dpo_credit.steer.steer import Sampling


def steered(
    prompt: Prompt, base: str | None, options: PairOptions, *, strength: float, sampling: Sampling, quiet: bool
) -> list[Credit]:
    """The answers, with the text on stderr while it grows.

    Raises:
        CreditError: a model cannot be loaded, or the three do not go together.
    """
    from transformers import TextStreamer

    from dpo_credit.models.checkpoints import compare_tokenizers, find, load_tokenizer
    from dpo_credit.models.devices import devices
    from dpo_credit.models.loading import load_side
    from dpo_credit.models.side import require
    from dpo_credit.models.torch_side import TorchSide
    from dpo_credit.steer.steer import steer

    class Growing(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            sys.stderr.write(text + ("\n" if stream_end else ""))
            sys.stderr.flush()

    if sampling.count > 1 and not sampling.draw and sampling.count > sampling.num_beams:
        raise CreditError(f"-n {sampling.count}: one greedy answer is all there is. Add --sample, or --num-beams.")
    talk = Talk(quiet)
    if options.sequential:
        raise CreditError("--sequential holds one model at a time; steering runs three. Leave it out.")
    pair = load(options, talk)
    loading = options.loading()
    if base is None:
        side = require(pair.reference, TorchSide, "steering")
        talk.notes(["no --base: the reference is steered, so strength 1 is the policy and 0 the reference"])
    else:
        found = replace(find(base, "reference", replace(loading, revision=None)), role="base")
        talk.notes(compare_tokenizers(pair.tokenizer, load_tokenizer(found, loading)))
        side = load_side(found, devices(loading.device)[0], loading)
    ids = prompt_ids(pair, prompt, options, talk, max_new_tokens=sampling.max_new_tokens)
    grows = talk.stderr.is_terminal and not quiet and sampling.num_beams == sampling.count == 1
    streamer = Growing(pair.tokenizer, skip_prompt=True) if grows else None
    return steer(side, pair, ids, strength=strength, sampling=sampling, streamer=streamer)


def show(answers: list[Credit], prompt: Prompt, json: str | None) -> None:
    """Write the JSON lines that were asked for, and the view to stdout unless they go there."""
    if json is not None:
        write(json, "".join(json_line(_record(answer, prompt)) + "\n" for answer in answers))
    if json == "-":
        return
    from dpo_credit.views.terminal import steer as terminal_steer

    console = Console(highlight=False, markup=False, emoji=False)
    console.print(terminal_steer.render(answers, look_of(console, "auto")))


def _record(answer: Credit, prompt: Prompt) -> dict[str, object]:
    """A row that `batch` takes: prompt and completion, with what steering did."""
    tokens = answer.tokens
    return {
        "schema": "dpo-credit/steer@1",
        "id": answer.id,
        "prompt": prompt if isinstance(prompt, str) else [message._asdict() for message in prompt],
        "completion": tokens.answer,
        "base": answer.source.reference,
        "steer_tokens": list(tokens.pieces),
        "steered_logps": list(answer.policy_logps),
        "base_logps": list(answer.reference_logps),
        "base_would_say": [position[0].piece for position in answer.reference_top],
    }
