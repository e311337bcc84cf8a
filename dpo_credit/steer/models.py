"""The three models of steering, and whether they go together."""

from __future__ import annotations

from dataclasses import replace

from dpo_credit.credit import CreditError
from dpo_credit.models.checkpoints import compare_tokenizers, find, load_tokenizer
from dpo_credit.models.devices import devices
from dpo_credit.models.loading import load_side
from dpo_credit.models.pair import Loading, ModelPair
from dpo_credit.models.side import require
from dpo_credit.models.torch_side import TorchSide
from dpo_credit.steer.steer import Sampling


def check(sampling: Sampling, loading: Loading) -> None:
    """Refuse what cannot be steered, before the models are loaded.

    Raises:
        CreditError: more answers are wanted than there are, or three models of which one is held at a time.
    """
    if sampling.count > 1 and not sampling.draw and sampling.count > sampling.num_beams:
        raise CreditError(f"-n {sampling.count}: one greedy answer is all there is. Add --sample, or --num-beams.")
    if loading.sequential:
        raise CreditError("--sequential holds one model at a time; steering runs three. Leave it out.")


def base_of(pair: ModelPair, name: str | None, loading: Loading) -> tuple[TorchSide, tuple[str, ...]]:
    """The model to steer, loaded, and what the user should be told; without a name it is the pair's reference.

    Raises:
        CreditError: it cannot be loaded, or its tokenizer is another.
    """
    if name is None:
        note = "no --base: the reference is steered, so strength 1 is the policy and 0 the reference"
        return require(pair.reference, TorchSide, "steering"), (note,)
    checkpoint = replace(
        find(name, "reference", replace(loading, revision=None, subfolder=None, gguf=None)), role="base"
    )
    notes = compare_tokenizers(pair.tokenizer, load_tokenizer(checkpoint, loading))
    return load_side(checkpoint, devices(loading.device)[0], loading), notes
