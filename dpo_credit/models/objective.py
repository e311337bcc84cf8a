"""What a run's arguments mean for its rewards: under which losses they are beta × log-ratio, and where rows were cut.

Source: TRL's DPOTrainer (`_compute_loss` of 1.16; 0.8 to 0.18 for `kto_pair`, `aot_pair`, `reference_free`) and KTO's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dpo_credit.credit import LARGEST
from dpo_credit.models.pair import Cut


@dataclass(frozen=True, slots=True)
class Loss:
    """What a loss takes beta times: log-ratios' `sum`, their `mean` over the answer's tokens, or nothing (`none`).

    `word`: what the user should know of its rewards.
    """

    takes: Literal["sum", "mean", "none"]
    word: str = ""


_AS_DPO = "rewards are beta × log-ratio, as in DPO"
_NO_ODDS = f"{_AS_DPO}, but no probability was fitted to their margin"
_MEAN = "rewards are beta / T × log-ratio, T the answer's tokens (TRL's log has beta × log-ratio)"

LOSSES = {
    "sigmoid": Loss("sum"),
    "hinge": Loss("sum", _NO_ODDS),
    "ipo": Loss("mean", f"{_MEAN}, beta is its τ, and no probability was fitted to their margin"),
    "exo_pair": Loss("sum", _AS_DPO),
    "nca_pair": Loss("sum", _NO_ODDS),
    "robust": Loss("sum", f"{_AS_DPO}; their margin's probability is that of the label before noise"),
    "bco_pair": Loss("sum", _NO_ODDS),
    "sppo_hard": Loss("sum", _NO_ODDS),
    "aot": Loss("sum", _NO_ODDS),
    "aot_unpaired": Loss("sum", _NO_ODDS),
    "aot_pair": Loss("sum", _NO_ODDS),
    "apo_zero": Loss("sum", _NO_ODDS),
    "apo_zero_unpaired": Loss("sum", _NO_ODDS),
    "apo_down": Loss("sum", _NO_ODDS),
    "kto": Loss("sum", _NO_ODDS),
    "kto_pair": Loss("sum", _NO_ODDS),
    "discopop": Loss("sum", _NO_ODDS),
    "sft": Loss("none"),
    "sigmoid_norm": Loss("mean", _MEAN),
}


@dataclass(frozen=True, slots=True)
class Objective:
    """What a run trained for. `beta` is None where its arguments hold no usable one.

    `words` follow "was trained with"; so does `refusal`, which says why its rewards are no sum of log-ratios ("" where
    they are).
    """

    losses: tuple[str, ...]
    beta: float | None
    length_normalised: bool
    words: tuple[str, ...] = ()
    refusal: str = ""
    cut: Cut | None = None


def averages(losses: Sequence[str]) -> bool:
    """Whether one of these losses takes the mean over an answer's tokens."""
    return any(LOSSES[loss].takes == "mean" for loss in losses if loss in LOSSES)


def objective(arguments: Mapping[str, Any]) -> Objective:
    """What the arguments of TRL's `DPOConfig` (or `KTOConfig`) say, those of older versions too.

    Args:
        arguments: by name; those that an older version lacks have TRL's defaults.
    """
    losses = _losses(arguments)
    words = [f"loss {loss}: {LOSSES[loss].word}" for loss in losses if loss in LOSSES and LOSSES[loss].word]
    if arguments.get("sync_ref_model") is True:
        words.append("a reference that moved along (sync_ref_model): at the end it was not the one it began as")
    beta = _number(arguments, "beta")
    return Objective(
        losses=losses,
        beta=beta if beta is not None and beta > 0 else None,
        length_normalised=averages(losses),
        words=tuple(words),
        refusal=_refusal(arguments, losses),
        cut=_cut(arguments),
    )


def _losses(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the losses that count; one with a weight of zero does not."""
    given = arguments.get("loss_type", "sigmoid")
    names = given if isinstance(given, list) else [given]
    weights = arguments.get("loss_weights")
    counts = [weight != 0 for weight in weights] if isinstance(weights, list) else [True] * len(names)
    return tuple(str(name) for name, counted in zip(names, counts, strict=False) if counted)


def _refusal(arguments: Mapping[str, Any], losses: Sequence[str]) -> str:
    takes = {LOSSES[loss].takes for loss in losses if loss in LOSSES} - {"none"}
    unknown = [loss for loss in losses if loss not in LOSSES]
    divergence = str(arguments.get("f_divergence_type", "reverse_kl")).lower()  # some Pythons pickle an enum's name
    length = _number(arguments, "ld_alpha")
    if unknown:
        return f"loss {unknown[0]}, whose rewards are not known here"
    if not takes:
        return f"loss {', '.join(losses)} alone, which knows no reference and so no rewards"
    if len(takes) > 1:
        return f"losses {', '.join(losses)}, some of which take a mean over tokens and some a sum"
    if arguments.get("reference_free") is True:
        return "reference_free, whose rewards are beta × log π, with no reference in them"
    if divergence != "reverse_kl":
        return (
            f"f-divergence {divergence}, whose rewards are beta × f'(π / π_ref) of whole answers and no sum over tokens"
        )
    if length is not None and length != 1.0:
        return f"ld_alpha {length:g}, under which tokens past the shorter answer's length count {length:g} times"
    return ""


def _cut(arguments: Mapping[str, Any]) -> Cut | None:
    total, prompt, answer = (
        None if (limit := _number(arguments, name)) is None else int(limit)
        for name in ("max_length", "max_prompt_length", "max_completion_length")
    )
    if "max_target_length" in arguments or "max_completion_length" not in arguments:
        prompt = answer = None  # an early TRL, which cut prompts of rows above max_length alone
    keeps = arguments.get("truncation_mode")
    if total is prompt is answer is None:
        return None
    return Cut(total, prompt, answer, keeps if isinstance(keeps, str) else "keep_start")


def _number(arguments: Mapping[str, Any], name: str) -> float | None:
    value = arguments.get(name)
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    return float(value) if usable else None  # type: ignore[arg-type]
