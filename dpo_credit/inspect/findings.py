"""What may be wrong with a pair and its texts: each rule says what, how bad it is, and what to do.

Rules look at facts that others gathered and load nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from dpo_credit.inspect.footprint import Footprint
from dpo_credit.inspect.memory import Need, Size
from dpo_credit.inspect.scored_text import ScoredText

UNRELATED = 0.5  # median relative change of the matrices: fine-tuning moves them by a few percent, a fresh draw by 1.4
LIKELIER_NATS = 0.5  # a token; DPO keeps the policy near its reference: hundredths to tenths of a nat a token
END_NATS = 3.0  # how much likelier the policy ends an answer than the reference
UNSURE_END = 0.05  # the reference's probability of the end token, below which it does not know the format


@dataclass(frozen=True, slots=True)
class Finding:
    """Something the user should know: a short name, how bad, what it is, and what to do about it.

    "error": rewards are wrong or none can be computed; "warning": they may mislead; "note": worth knowing.
    """

    kind: str
    level: Literal["error", "warning", "note"]
    said: str
    fix: str


@dataclass(frozen=True, slots=True)
class Surprise:
    """How surprising an answer is to both models: the perplexity of its text, and its end token's log-probability.

    The perplexity is exp(-mean log p) over the answer's tokens but the last end token; `*_end` is None without one.
    """

    id: str
    policy: float
    reference: float
    nats_per_token: float  # mean log pi - log pi_ref over all tokens
    policy_end: float | None
    reference_end: float | None


def same_weights(footprint: Footprint) -> Iterator[Finding]:
    """Two copies of one model: nothing is credited."""
    if footprint.tensors and not footprint.changed and not footprint.unlike:
        yield Finding(
            "equal-weights",
            "error",
            f"policy and reference have equal weights (all {len(footprint.tensors)} tensors), so every reward is zero.",
            "Check both names: the policy is the DPO-trained model, the reference the one before.",
        )


def unrelated(footprint: Footprint, policy: Size, reference: Size) -> Iterator[Finding]:
    """The policy was not trained from this reference: other shapes, or weights with nothing in common."""
    if policy.architecture != reference.architecture or footprint.unlike:
        what = (
            f"{len(footprint.unlike)} tensors have other shapes, such as {footprint.unlike[0]}"
            if footprint.unlike
            else f"the policy is a {policy.architecture}, the reference a {reference.architecture}"
        )
        yield Finding(
            "unrelated-models",
            "error",
            f"the policy was not trained from this reference: {what}.",
            "Name the SFT checkpoint that DPO started from with --reference.",
        )
    elif footprint.median > UNRELATED:
        yield Finding(
            "unrelated-models",
            "error",
            f"the policy was not trained from this reference, by its weights: {footprint.changed} of "
            f"{len(footprint.tensors)} tensors differ, and half of the matrices by {footprint.median:.0%} or more. "
            f"Fine-tuning moves them by a few percent; unrelated models differ by about 140 %. (Heuristic: a median above "
            f"{UNRELATED:.0%}.)",
            "Name the SFT checkpoint that DPO started from with --reference.",
        )


def wrong_base(bases: Footprint, base: str, reference: str) -> Iterator[Finding]:
    """The policy is an adapter, and what it sits on is not the reference."""
    if bases.changed or bases.unlike:
        yield Finding(
            "wrong-base",
            "error",
            f"the policy's adapter sits on {base} (base_model_name_or_path), whose weights are not those of the "
            f"reference {reference}: {bases.changed + len(bases.unlike)} of "
            f"{len(bases.tensors) + len(bases.unlike)} tensors differ, by {bases.median:.2g} in the median.",
            "Leave --reference out, so that the adapter's own base is the reference; or correct "
            "base_model_name_or_path in its adapter_config.json, if DPO started from the reference.",
        )


def base_as_reference(surprises: Sequence[Surprise], reference: str) -> Iterator[Finding]:
    """The reference does not know the answers' format: it may be the base model before SFT, not after.

    DPO holds the policy near its reference and mostly makes answers less likely, so a policy that finds every answer
    much likelier, or ends every answer much more surely, learned that in SFT.
    """
    if not surprises:
        return
    gained = min(surprise.nats_per_token for surprise in surprises)
    ends = [(surprise.policy_end, surprise.reference_end) for surprise in surprises]
    surer = [p - r for p, r in ends if p is not None and r is not None]
    unsure = max((r for _, r in ends if r is not None), default=0.0)
    likelier = gained > LIKELIER_NATS
    knows_no_end = len(surer) == len(ends) and min(surer) > END_NATS and math.exp(unsure) < UNSURE_END
    if not (likelier or knows_no_end):
        return
    mean = fmean(surprise.nats_per_token for surprise in surprises)
    evidence = []
    if likelier:
        evidence.append(
            f"each answer is likelier under the policy by at least {gained:.2f} nats a token ({mean:.2f} on average; "
            f"perplexity {fmean(surprise.policy for surprise in surprises):.3g} and "
            f"{fmean(surprise.reference for surprise in surprises):.3g})"
        )
    if knows_no_end:
        evidence.append(f"the policy ends each answer more surely by at least {min(surer):.1f} nats")
    yield Finding(
        "base-as-reference",
        "warning",
        f"the reference {reference} looks like the base model, not the SFT model: {', and '.join(evidence)}. "
        f"(Heuristic: above {LIKELIER_NATS} nats a token, or {END_NATS:g} on the end token, for every answer; "
        "DPO alone moves less.)",
        "If the policy was trained from an SFT checkpoint, name that one with --reference.",
    )


def room(needed: Sequence[Need], *, shared: bool, sequential: bool) -> Iterator[Finding]:
    """A device has not the memory, for both models at once or, with `sequential`, for one at a time."""
    for need in needed:
        fits, asked = (need.fits_sequentially, need.sequential) if sequential else (need.fits, need.both)
        if fits is not False or need.free is None:
            continue
        fix = "Use --dtype bfloat16, --load-in-8bit or --load-in-4bit, --device-map auto, or another --device."
        if need.fits_sequentially and not shared:
            fix = "Add --sequential: one model at a time fits."
        yield Finding(
            "no-room",
            "error",
            f"scoring needs about {amount(asked)} on {need.device}, which has {amount(need.free)} free.",
            fix,
        )


def templates(policy: str | None, reference: str | None, used: str, same: bool | None) -> Iterator[Finding]:
    """Chat templates: of the two tokenizers, and the one in use.

    Args:
        policy: the policy tokenizer's.
        reference: likewise.
        used: "auto", "none" or a template of the user's own.
        same: whether the texts at hand give the same tokens under both; None without any.
    """
    here = {None: "", True: " (not for the texts here: both give the same tokens)", False: ", for the texts here too"}[
        same
    ]
    level: Literal["warning", "note"] = "note" if same else "warning"
    if used == "auto" and policy != reference:
        message = "the two tokenizers have different chat templates"
        if policy is None or reference is None:
            message = f"only the {'reference' if policy is None else 'policy'}'s tokenizer has a chat template"
        yield Finding(
            "template-differs",
            level,
            f"{message}{here}. The policy's is used for both models.",
            "Give the one that DPO was trained with: --chat-template FILE.",
        )
    elif used != "auto" and policy is not None and used != policy:
        what = "no chat template is used, though the policy's tokenizer has one"
        if used != "none":
            what = "the chat template in use is not the one of the policy's tokenizer"
        yield Finding(
            "template-differs",
            level,
            f"{what}{here}.",
            "Use --chat-template auto, unless DPO was trained with yours.",
        )


def texts(
    read: Sequence[ScoredText], bos: Sequence[bool], special: Set[int], *, chat_without_template: bool
) -> Iterator[Finding]:
    """What the tokens of the answers show.

    Args:
        read: the answers.
        bos: whether each one's prompt begins with the beginning-of-sequence token twice.
        special: ids of the tokens that the tokenizer sets apart from text.
        chat_without_template: they are turns of a chat, and no template writes them.
    """

    def which(hit: Sequence[bool]) -> str:
        return "the text" if len(hit) == 1 else f"{sum(hit)} of {len(hit)} texts"

    if any(bos):
        yield Finding(
            "doubled-bos",
            "warning",
            f"the beginning-of-sequence token stands twice at the start of {which(bos)}, which the models never saw in "
            "training.",
            "Take it out of the prompt, or out of the chat template: the tokenizer adds its own.",
        )
    if any(open_ended := [text.end == "none" for text in read]):
        yield Finding(
            "missing-eos",
            "warning",
            f"no end token is scored in {which(open_ended)}, so whether the answer should stop there earns nothing. "
            "TRL and the original DPO code train with one.",
            "Use --eos always, unless the policy was trained without.",
        )
    plain_ends = [text.end == "template" and special.isdisjoint(_added(text)) for text in read]
    if any(plain_ends):
        yield Finding(
            "plain-end",
            "warning",
            f"what the template closes {which(plain_ends)} with is ordinary text to the tokenizer, no special token: "
            "the models may never have seen it as an end.",
            "Give the template the policy was trained with (--chat-template FILE), or the tokenizer with its tokens.",
        )
    if any(straddling := [any(cell.straddles for cell in text.answer) for text in read]):
        yield Finding(
            "straddles",
            "note",
            f"in {which(straddling)} a token begins in the prompt and ends in the answer; it is counted to the answer.",
            "End the prompt before a space, and begin the answer with it.",
        )
    if cut := max((text.cut_tokens for text in read), default=0):
        yield Finding(
            "truncated",
            "warning",
            f"the prompt's first {cut} of {cut + read[0].prompt_tokens} tokens are cut, so the models do not see them.",
            "Raise --max-length if the models take more, or shorten the prompt yourself.",
        )
    if chat_without_template:
        yield Finding(
            "no-template",
            "warning",
            "the chat is scored as a plain Human/Assistant transcript: no template writes it.",
            "Give the template that the policy was trained with: --chat-template FILE.",
        )


def _added(read: ScoredText) -> list[int]:
    """Ids of the answer's tokens that are not its text."""
    return [cell.token_id for cell in read.answer if cell.origin != "text"]


def amount(size: int) -> str:
    """Bytes for people: 1.2 GB."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} GB" if value < 1000 else f"{value / 1000:.3g} TB"
