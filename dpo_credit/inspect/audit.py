"""What exactly is being scored, and is the pair what it should be: sizes, weights, templates, tokens, and findings.

Nothing is credited: the models run, if they fit, only to see how surprising the answers are to each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpo_credit.credit import Credit, CreditError, Example, NotFiniteError, not_finite
from dpo_credit.inspect import findings as rules
from dpo_credit.inspect.findings import Finding, Surprise
from dpo_credit.inspect.footprint import Footprint, footprint, without_adapters
from dpo_credit.inspect.memory import Need, Size, needs, size_of
from dpo_credit.inspect.scored_text import ScoredText, doubled, read_answers
from dpo_credit.models.adapters import fitted
from dpo_credit.models.checkpoints import (
    Checkpoint,
    compare_tokenizers,
    find_pair,
    load_tokenizer,
    max_length,
)
from dpo_credit.models.devices import devices
from dpo_credit.models.loading import load_pair
from dpo_credit.models.pair import Loading, ModelPair
from dpo_credit.models.torch_side import TorchSide
from dpo_credit.models.training import training_of
from dpo_credit.rows.output import json_line
from dpo_credit.scoring import score
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_answers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ORDER = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """One model of the pair: `base` is what an adapter sits on; `words` counts its tokenizer's tokens."""

    name: str
    base: str | None
    size: Size
    words: int
    max_length: int | None
    has_template: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """A pair and what it scores, looked at closely.

    `shared`: the reference is the policy's own base. `footprint` is None where weights could not be compared,
    `surprises` are empty where the models did not run; a finding then says why.
    """

    policy: ModelSummary
    reference: ModelSummary
    shared: bool
    texts: tuple[ScoredText, ...]
    footprint: Footprint | None
    needs: tuple[Need, ...]
    surprises: tuple[Surprise, ...]
    findings: tuple[Finding, ...]


def audit(
    policy: str | Path | None = None,
    reference: str | Path | None = None,
    *,
    examples: Sequence[Example] = (),
    conventions: Conventions = Conventions(),
    loading: Loading = Loading(),
    given: tuple[float | None, bool | None] = (None, None),
) -> Audit:
    """Look at a pair, and at answers to one prompt if there are any; `given`: beta and length_normalised, if they are.

    Raises:
        CreditError: a model cannot be found, or an answer cannot be encoded.
    """
    chosen, other = find_pair(policy, reference, loading)
    shared = other.own
    tokenizer = load_tokenizer(chosen, loading)
    theirs = tokenizer if shared else load_tokenizer(other, loading, default=tokenizer)
    chosen, other, _ = fitted(chosen, other, (tokenizer, theirs), loading)
    sides = [(chosen, tokenizer), (other, theirs)]
    limit = min((n for findings, _ in sides if (n := max_length(findings, loading))), default=None)
    conventions = conventions if conventions.max_length is not None else replace(conventions, max_length=limit)
    read = read_answers(tokenizer, examples, conventions) if examples else ()
    texts, batch = tuple(text for text, _ in read), [tokens for _, tokens in read]
    sizes = [
        size_of(findings, device, loading, batch)
        for (findings, _), device in zip(sides, devices(loading.device), strict=True)
    ]
    needed = needs(*sizes, shared=shared)
    findings = [
        *_training(chosen, given),
        *_tokenizers(tokenizer, theirs, sizes),
        *rules.templates(
            tokenizer.chat_template,  # type: ignore[arg-type]
            theirs.chat_template,  # type: ignore[arg-type]
            conventions.chat_template,
            _same_tokens(tokenizer, theirs, examples, conventions),
        ),
        *rules.texts(
            texts,
            [doubled(tokens.prompt_ids, tokenizer.bos_token_id) for tokens in batch],
            {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()},
            chat_without_template=_is_transcript(tokenizer, examples, conventions),
        ),
        *rules.room(needed, shared=shared, sequential=loading.sequential),
    ]
    weights: Footprint | None = None
    surprises: tuple[Surprise, ...] = ()
    if _blocked(findings):
        message = "the models were not loaded, so their weights and the answers' perplexity are not compared."
        findings.append(Finding("not-loaded", "note", message, "Mend the errors first."))
    else:
        try:
            pair = load_pair(policy, reference, length_normalised=False, loading=loading)  # no reward is looked at
        except CreditError as error:
            findings.append(_not_loaded(error, chosen))
        else:
            more: list[Finding] = []
            try:
                _refuse_broken(pair)
                weights, more = _weights(pair, chosen, other, sizes)
                surprises = tuple(_surprise(pair, credit) for credit in score(pair, examples, conventions=conventions))
            except NotFiniteError as error:
                more.append(Finding("not-finite", "error", str(error), "See the message."))
            if not any(finding.level == "error" for finding in more):  # an error there explains any perplexity
                more += rules.base_as_reference(surprises, chosen.model.name if shared else other.name)
            findings += more
    ours, its = (_side(*side, size, loading) for side, size in zip(sides, sizes, strict=True))
    return Audit(
        policy=ours,
        reference=its,
        shared=shared,
        texts=texts,
        footprint=weights,
        needs=needed,
        surprises=surprises,
        findings=tuple(sorted(findings, key=lambda finding: _ORDER.index(finding.level))),
    )


def _side(checkpoint: Checkpoint, tokenizer: PreTrainedTokenizerBase, size: Size, loading: Loading) -> ModelSummary:
    return ModelSummary(
        name=checkpoint.name,
        base=checkpoint.model.name if checkpoint.adapter else None,
        size=size,
        words=len(tokenizer),
        max_length=max_length(checkpoint, loading),
        has_template=bool(tokenizer.chat_template),
    )


def to_json(audit: Audit) -> str:
    """One line of JSON; a relative change that is infinite (the reference is zero there) is null."""
    fields = {"schema": "dpo-credit/inspect@1", **asdict(audit)}
    return json_line(_finite(fields))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _training(chosen: Checkpoint, given: tuple[float | None, bool | None]) -> list[Finding]:
    """What rewards would be computed with."""
    try:
        training = training_of(chosen, *given)
    except CreditError as error:
        said, _, fix = str(error).partition(". To score ")
        return [Finding("training", "error", f"{said}.", f"To score {fix}" if fix else "See the message.")]
    fix = "Name the policy's own with --beta." if training.assumed else "Nothing, if that is what you mean."
    return [Finding("training", "note", f"{note}.", fix) for note in training.notes]


def _tokenizers(
    policy: PreTrainedTokenizerBase, reference: PreTrainedTokenizerBase, sizes: Sequence[Size]
) -> list[Finding]:
    findings = []
    try:
        notes = compare_tokenizers(policy, reference)
    except CreditError as error:
        message, _, _ = str(error).partition(" Scores need")
        fix = "Load the SFT checkpoint that the policy was trained from: both models must read the same ids."
        return [Finding("tokenizers-differ", "error", message, fix)]
    if notes:
        findings.append(Finding("tokenizers-differ", "note", f"{notes[0]}.", "Nothing, unless a text here uses them."))
    ours, theirs = (size.vocabulary for size in sizes)
    if ours != theirs:
        message = f"the policy has {ours} embeddings and the reference {theirs}: one is padded."
        findings.append(Finding("vocabularies-differ", "note", message, "Nothing: the ids mean the same to both."))
    return findings


def _same_tokens(
    policy: PreTrainedTokenizerBase,
    reference: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    conventions: Conventions,
) -> bool | None:
    """Whether the examples give the same ids under the two templates in question; None without examples."""
    if not examples:
        return None
    used = conventions.chat_template
    pair = (policy.chat_template, reference.chat_template) if used == "auto" else (policy.chat_template, used)
    try:
        ours, theirs = (
            encode_answers(
                policy, examples, replace(conventions, chat_template=template or "none", truncate="prompt-start")
            )
            for template in pair
        )
    except CreditError:  # one of them rejects the chat
        return False
    return [(answer.prompt_ids, answer.answer_ids) for answer in ours] == [
        (answer.prompt_ids, answer.answer_ids) for answer in theirs
    ]


def _is_transcript(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], conventions: Conventions) -> bool:
    unwritten = conventions.chat_template == "auto" and not tokenizer.chat_template
    return unwritten and any(not isinstance(example.prompt, str) for example in examples)


def _blocked(findings: Sequence[Finding]) -> bool:
    """Whether there is no point in loading the models."""
    return any(finding.level == "error" and finding.kind in ("no-room", "tokenizers-differ") for finding in findings)


def _not_loaded(error: CreditError, chosen: Checkpoint) -> Finding:
    message = str(error)
    if chosen.adapter and "adapter of policy" in message and re.search("size mismatch|Target modules", message):
        return Finding(
            "wrong-base",
            "error",
            f"the policy's adapter does not fit {chosen.model.name}, its base_model_name_or_path: {message}",
            "Name the model it was trained on with --base, or correct its adapter_config.json.",
        )
    return Finding("not-loaded", "error", f"the pair does not load: {message}", "See the message.")


def _refuse_broken(pair: ModelPair) -> None:
    """Make sure that the weights in memory are numbers: nothing compares with what is none.

    Raises:
        CreditError: one of them is not finite.
    """
    for role, side in (("reference", pair.reference), ("policy", pair.policy)):
        for name, weight in side.module.named_parameters() if isinstance(side, TorchSide) else ():
            if weight.is_floating_point() and not bool(weight.isfinite().all()):
                raise not_finite(f"{role} {side.name} has weights that are not finite (first: {name})", side.dtype)


def _weights(
    pair: ModelPair, chosen: Checkpoint, base: Checkpoint, sizes: Sequence[Size]
) -> tuple[Footprint | None, list[Finding]]:
    policy, reference = pair.policy, pair.reference
    if not (isinstance(policy, TorchSide) and isinstance(reference, TorchSide)):
        message = "weights are compared with both models in memory, which --sequential avoids."
        return None, [Finding("not-compared", "note", message, "Leave --sequential out to compare them.")]
    compared = footprint(policy, reference)
    if compared is None:
        message = "the adapter is none that adds to weights, so its footprint has no size in them."
        return None, [Finding("not-compared", "note", message, "Nothing.")]
    findings: list[Finding] = []
    if chosen.adapter and not base.own:
        bases = footprint(without_adapters(policy), without_adapters(reference))
        findings += rules.wrong_base(bases, chosen.model.name, base.name) if bases else ()
    if not findings:
        findings += [*rules.same_weights(compared), *rules.unrelated(compared, *sizes)]
    return compared, findings


def _surprise(pair: ModelPair, credit: Credit) -> Surprise:
    last = credit.tokens.answer_ids[-1] == pair.tokenizer.eos_token_id and len(credit.tokens.answer_ids) > 1
    text = slice(0, -1 if last else None)
    policy, reference = credit.policy_logps, credit.reference_logps
    return Surprise(
        id=credit.id,
        policy=_perplexity(policy[text]),
        reference=_perplexity(reference[text]),
        nats_per_token=(credit.policy_logp - credit.reference_logp) / len(policy),
        policy_end=policy[-1] if last else None,
        reference_end=reference[-1] if last else None,
    )


def _perplexity(logps: Sequence[float]) -> float:
    return math.exp(min(-math.fsum(logps) / len(logps), 700.0))  # exp overflows a float from 710 on
