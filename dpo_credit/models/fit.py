"""Whether the weights that files hold are those that a model is made of: none missing, none left over.

transformers and PEFT go on with random weights for what is missing and drop what is left over, with a warning at most.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from safetensors import safe_open
from torch import nn

from dpo_credit.credit import CreditError
from dpo_credit.models.checkpoints import NAME_BASE, Checkpoint
from dpo_credit.models.locations import Location, json_object

_NAMED = 3  # of all names of weights that a message is about
_HEADS = re.compile(r"^(v_head|value_head|reward_head|score|classifier|qa_outputs|multiple_choice_head)\.")
_HARMLESS = (  # names of weights that no next token's probability depends on
    _HEADS,
    re.compile(r"(^|\.)(attn|attention|self_attention)\.(bias|masked_bias|causal_mask)$"),  # masks, once saved
    re.compile(r"(^|\.)(rotary_emb\.(inv_freq|cos_cached|sin_cached)|position_ids)$"),  # made from the config today
    re.compile(r"(^|\.)(mtp|mtp_layers)\."),  # heads for the tokens after the next
    re.compile(r"(^|\.)(visual|vision_tower|vision_model|audio_tower|multi_modal_projector)\."),
)


def require_fit(checkpoint: Checkpoint, info: dict[str, Any]) -> None:
    """Make sure that a model's weights are those that its config asks for.

    Args:
        checkpoint: the model.
        info: transformers' `output_loading_info`.

    Raises:
        CreditError: some are missing, of another shape, or left over that decide numbers.
    """
    what = f"{checkpoint.role} {checkpoint.name}"
    mend = f"Mend the config.json in {checkpoint.model.path}, or save model and config together."
    if info["mismatched_keys"]:
        others: Collection[tuple[str, Sequence[int], Sequence[int]]] = info["mismatched_keys"]
        name, saved, wanted = min(others)
        raise CreditError(
            f"the weights of {what} are not of its config's shapes ({len(others)}; first: {name} is {list(saved)}, and "
            f"the config asks for {list(wanted)}). {mend}"
        )
    left_over = [name for name in info["unexpected_keys"] if not any(known.search(name) for known in _HARMLESS)]
    if info["missing_keys"]:
        instead = f" Its files hold others ({_some(left_over)})." if left_over else ""
        raise CreditError(
            f"{what} lacks weights that its config asks for ({_some(info['missing_keys'])}).{instead} Its files are "
            f"incomplete, or it is no causal language model. {mend}"
        )
    if left_over:
        raise CreditError(
            f"{what} holds weights that its config does not ask for ({_some(left_over)}): without them it is another "
            f"model. {mend}"
        )


def heads_left_out(checkpoint: Checkpoint) -> tuple[str, ...]:
    """A note on what a model's files hold beside it: the head of a reward model, a critic or a classifier."""
    heads = sorted(filter(_HEADS.search, _stored(checkpoint.model, checkpoint.role)))
    if not heads:
        return ()
    return (
        f"{checkpoint.role} {checkpoint.name} holds {heads[0]}, which is no part of a language model and is left out: "
        "is it a reward model or a classifier?",
    )


def _stored(place: Location, role: str) -> tuple[str, ...]:
    """The names of the weights in a model's safetensors files; none of files that cannot be read."""
    try:
        whole = place.file("model.safetensors", role)
        if whole is not None:
            with safe_open(whole, "pt") as weights:
                return tuple(weights.keys())
        index = place.file("model.safetensors.index.json", role)
        return () if index is None else tuple(json_object(index)["weight_map"])
    except Exception:  # whatever it is, loading says it
        return ()


@contextmanager
def fitting(module: nn.Module, checkpoint: Checkpoint) -> Iterator[None]:
    """While it is open, PEFT may load adapters' weights onto a module; what it would only drop is refused.

    Raises:
        CreditError: an adapter's file holds weights that nothing of the module takes.
    """
    unexpected: list[str] = []
    # PEFT hands on what is missing, and nothing of what is left over
    handle = module.register_load_state_dict_post_hook(lambda _, keys: unexpected.extend(keys.unexpected_keys))
    try:
        yield
    finally:
        handle.remove()
    # a prompt's embeddings are elsewhere; embeddings that were trained whole are saved twice
    left_over = [name for name in unexpected if name.startswith("base_model.") and ".modules_to_save." not in name]
    if left_over:
        raise CreditError(
            f"the adapter of {checkpoint.role} {checkpoint.name} holds weights that fit nothing ({_some(left_over)}): "
            f"its adapter_config.json is not the one it was trained with, or its base is another than "
            f"{checkpoint.model.path}. Save the adapter again with its configuration. {NAME_BASE}"
        )


def refuse_missing(checkpoint: Checkpoint, missing: Collection[str]) -> None:
    """Refuse an adapter that lacks weights, if it does.

    Raises:
        CreditError: it does.
    """
    if missing:
        raise CreditError(
            f"the adapter of {checkpoint.role} {checkpoint.name} lacks weights that its adapter_config.json asks for "
            f"({_some(missing)}): its file is not whole, or its base is another than {checkpoint.model.name}. "
            f"{NAME_BASE}"
        )


def _some(names: Collection[str]) -> str:
    """How many, and the first few."""
    shown = sorted(names)
    return f"{len(shown)}; first: {', '.join(shown[:_NAMED])}"
