"""Text or chat -> Tokens: where the prompt ends, which characters each token owns, and which token ends the answer.

Prompt and answer are encoded jointly, as TRL's DPOTrainer and generation do, and cut at the prompt's end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from dpo_credit.credit import CreditError, Example, Message, Tokens
from dpo_credit.text.chat import Rendered, render, render_prompt
from dpo_credit.text.conventions import Conventions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, example: Example, conventions: Conventions = Conventions()) -> Tokens:
    """Encode prompt and answer jointly and cut them at the prompt's end: `encode_answers` of a single one."""
    return encode_answers(tokenizer, [example], conventions)[0]


def encode_answers(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], conventions: Conventions = Conventions()
) -> list[Tokens]:
    """Encode answers to one prompt, each jointly with it, and cut all of them at the same token, as TRL does.

    A token that straddles the prompt's end is counted to the answer, and a note says so; where the end of the prompt
    merges with one answer only, the others are cut as early. What a prompt is truncated by is the same for all.

    Raises:
        CreditError: an answer is empty, the text cannot be encoded, a template rejects the chat, the tokenizer lacks
            what a convention asks for, or the result is longer than `max_length`.
    """
    encoded = [_encode(tokenizer, example, conventions) for example in examples]
    cut = min(len(tokens.prompt_ids) for tokens in encoded)
    encoded = [_cut_earlier(tokenizer, tokens, cut) for tokens in encoded]
    longest = max(range(len(encoded)), key=lambda n: len(encoded[n].answer_ids))
    over = _excess(encoded[longest], examples[longest], conventions, tokenizer.bos_token_id)
    return [_truncate(tokens, over, conventions, tokenizer.bos_token_id) for tokens in encoded] if over else encoded


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str | tuple[Message, ...],
    conventions: Conventions = Conventions(),
    *,
    given: Mapping[str, Any] | None = None,
    name: str = "the prompt",
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The ids (P,) that a generated answer continues, and what the user should be told about them.

    An empty prompt is the beginning-of-sequence token alone; `given` is what else a chat's template is given.

    Raises:
        CreditError: the text cannot be encoded, a template rejects the chat, or there is no token to start from.
    """
    rendered = render_prompt(conventions.template(tokenizer), prompt, given)
    _refuse_half_pairs(rendered, name)
    ids, _ = tokenise(tokenizer, rendered)
    return tuple(ids) or (_prefix_id(tokenizer, name),), rendered.notes


def _cut_earlier(tokenizer: PreTrainedTokenizerBase, tokens: Tokens, cut: int) -> Tokens:
    moved = tokens.prompt_ids[cut:]
    if not moved:
        return tokens
    names = tuple(_name(tokenizer, token_id) for token_id in moved)
    note = f"the prompt's end {''.join(names)!r} merges with another answer's first token; it is counted to the answers"
    return replace(
        tokens,
        prompt_ids=tokens.prompt_ids[:cut],
        answer_ids=(*moved, *tokens.answer_ids),
        roles=(*("",) * len(moved), *tokens.roles) if tokens.roles else (),
        pieces=(*names, *tokens.pieces),
        spans=(*((0, 0),) * len(moved), *tokens.spans),
        notes=(*tokens.notes, note),
    )


def _encode(tokenizer: PreTrainedTokenizerBase, example: Example, conventions: Conventions) -> Tokens:
    if not example.answer and not example.turns:
        raise CreditError(f"{example.id}: the answer is empty. There is no token to score.")
    rendered = render(conventions.template(tokenizer), example, conventions.turns)
    _refuse_half_pairs(rendered, example.id)
    ids, spans = tokenise(tokenizer, rendered)
    notes = list(rendered.notes)
    cut = next((t for t, (start, end) in enumerate(spans) if start < end and end > rendered.cut), len(ids))
    if cut < len(ids) and spans[cut][0] < rendered.cut:
        notes.append(
            f"token {rendered.text[slice(*spans[cut])]!r} straddles the prompt's end; it is counted to the answer "
            "(end the prompt before a space to avoid this)"
        )
    if not rendered.cut:
        notes.append("no prompt: the answer is scored from the beginning-of-sequence token alone")
    if not cut:
        ids, spans, cut = [_prefix_id(tokenizer, example.id), *ids], [(0, 0), *spans], 1
    shared = _shared(spans)
    pieces = tuple(
        rendered.text[slice(*spans[t])] if spans[t][0] < spans[t][1] and not shared[t] else _name(tokenizer, ids[t])
        for t in range(cut, len(ids))
    )
    tokens = Tokens(
        prompt_ids=tuple(ids[:cut]),
        answer_ids=tuple(ids[cut:]),
        pieces=pieces,
        spans=tuple(_within(span, rendered.start, rendered.stop) for span in spans[cut:]),
        answer=rendered.text[rendered.start : rendered.stop],
        notes=tuple(notes),
        scored=conventions.turns,
        roles=_roles(rendered, spans[cut:]) if rendered.turns else (),
        date=rendered.date,
    )
    shown = any(start < stop for start, stop in tokens.spans)
    tokens = _end(tokenizer, tokens, rendered, conventions.eos)
    if not shown:
        raise CreditError(f"{example.id}: the answer {example.answer!r} makes no token. There is nothing to score.")
    return tokens


def _refuse_half_pairs(rendered: Rendered, name: str) -> None:
    if half := re.search("[\ud800-\udfff]", rendered.text):
        raise CreditError(
            f"{name}: the text holds {half[0]!r}, half of a surrogate pair, which no tokenizer takes. Remove it."
        )


def tokenise(tokenizer: PreTrainedTokenizerBase, rendered: Rendered) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and the [start, end) characters of each in the text: no gaps, and ends never decrease.

    Raises:
        CreditError: the tokenizer cannot say which characters its tokens cover, or gives up on the text.
    """
    if not tokenizer.is_fast:
        raise CreditError(
            f"the tokenizer {type(tokenizer).__name__} cannot say which characters its tokens cover. "
            "Save a fast version of it (a tokenizer.json) beside the model."
        )
    try:
        encoded = tokenizer(
            rendered.text,
            add_special_tokens=not rendered.templated,  # a template writes its own
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            verbose=False,
        )
    except BaseException as error:  # a panic of the library, such as of a pattern that tries too often, is no Exception
        if type(error).__name__ != "PanicException":
            raise
        raise CreditError(
            f"the tokenizer of {tokenizer.name_or_path or 'the model'} gives up on this text: {error}. Its "
            "tokenizer.json is broken or hostile: give models with another."
        ) from None
    ids = list(encoded["input_ids"])
    added = encoded["special_tokens_mask"]
    while ids and added[len(ids) - 1] and encoded["offset_mapping"][len(ids) - 1][1] == 0:
        ids.pop()  # an end token that the tokenizer adds by itself: `_end` decides about that
    spans: list[tuple[int, int]] = []
    covered = 0
    pieces = tokenizer.convert_ids_to_tokens(ids)
    written = set(tokenizer.added_tokens_decoder) if _is_byte_level(tokenizer) else set(ids)  # as the text has them
    for token_id, (start, end), piece in zip(ids, encoded["offset_mapping"], pieces, strict=False):
        if start == covered < end and not piece.endswith("Ġ"):  # as nearly all are
            spans.append((start, end))
            covered = end
            continue
        # byte-level tokenizers may leave spaces ("Ġ") out of a token's offsets
        after = 0 if token_id in written else len(piece) - len(piece.rstrip("Ġ"))
        if after and after == len(piece):
            start, end = covered, covered + after
        elif after and rendered.text[end - 1] != " ":
            end += after
        if start == end <= covered:  # a special token that shows no text
            spans.append((covered, covered))
        else:  # byte-level tokenizers may leave a leading space out of a token's offsets: it belongs to that token
            spans.append((min(start, covered), max(end, covered)))
        covered = spans[-1][1]
    last = next((t for t in reversed(range(len(spans))) if spans[t][0] < spans[t][1]), None)
    if last is not None:  # white space at the end that the tokenizer drops
        spans[last:] = [(spans[last][0], len(rendered.text)), *[(len(rendered.text),) * 2] * (len(spans) - last - 1)]
    return ids, spans


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether pieces stand for bytes, with "Ġ" for a space; in others' a "Ġ" is that letter itself."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    parts = (backend.pre_tokenizer, backend.decoder)  # each as JSON, with all that a sequence holds
    return any(b'"type":"ByteLevel"' in part.__getstate__() for part in parts if part is not None)


def _shared(spans: list[tuple[int, int]]) -> list[bool]:
    """Whether each token shares a character with a neighbour."""
    overlaps = [a[0] < a[1] and b[0] < a[1] for a, b in pairwise(spans)]
    return [before or after for before, after in zip([False, *overlaps], [*overlaps, False], strict=True)]


def _within(span: tuple[int, int], start: int, stop: int) -> tuple[int, int]:
    """A span of the text as a span of the answer; what a template wrote around the answer becomes empty."""
    return min(max(span[0], start), stop) - start, min(max(span[1], start), stop) - start


def _roles(rendered: Rendered, spans: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """Whose turn each token begins in; "" of what a template writes before a turn."""
    turns = iter(rendered.turns)
    turn, roles = next(turns), []
    for start, end in spans:
        first = next((at for at in range(start, end) if not rendered.text[at].isspace()), start)
        while first >= turn.end and (later := next(turns, None)) is not None:
            turn = later
        roles.append(turn.role if first >= turn.start else "")
    return tuple(roles)


def _name(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    name = tokenizer.convert_ids_to_tokens(token_id)
    return name if isinstance(name, str) else f"<{token_id}>"


def _prefix_id(tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    for token_id in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token_id is not None:
            return token_id
    raise CreditError(f"{name}: no prompt, and the tokenizer has no BOS or EOS token to start from. Give a prompt.")


def _end(tokenizer: PreTrainedTokenizerBase, tokens: Tokens, rendered: Rendered, eos: str) -> Tokens:
    length = len(tokens.answer)
    inside = next((n for n in range(len(tokens.spans), 0, -1) if tokens.spans[n - 1] != (length, length)), 0)
    if eos == "never":
        return replace(
            tokens,
            answer_ids=tokens.answer_ids[:inside],
            pieces=tokens.pieces[:inside],
            spans=tokens.spans[:inside],
            roles=tokens.roles[:inside],
        )
    if eos == "auto" and rendered.templated:
        return replace(tokens, end="template" if inside < len(tokens.spans) else "none")
    eos_id = tokenizer.eos_token_id
    if eos_id is None:
        if eos == "always":
            raise CreditError("--eos always, but the tokenizer has no EOS token. Use --eos never.")
        return replace(tokens, notes=(*tokens.notes, "the tokenizer has no EOS token: the answer's end is not scored"))
    if eos_id in tokens.answer_ids[inside:]:
        return replace(tokens, end="template")
    if tokens.answer_ids and tokens.answer_ids[-1] == eos_id:
        return replace(tokens, end="in-text")
    return replace(
        tokens,
        answer_ids=(*tokens.answer_ids, eos_id),
        pieces=(*tokens.pieces, _name(tokenizer, eos_id)),
        roles=(*tokens.roles, tokens.roles[-1]) if tokens.roles else (),
        spans=(*tokens.spans, (length, length)),
        end="appended",
    )


def _excess(tokens: Tokens, example: Example, conventions: Conventions, bos_id: int | None) -> int:
    """How many tokens of the prompt must go; 0 if all fit."""
    limit = conventions.max_length
    prompt, answer = len(tokens.prompt_ids), len(tokens.answer_ids)
    if limit is None or prompt + answer <= limit:
        return 0
    lengths = f"{example.id}: {prompt} prompt + {answer} answer tokens are over the limit of {limit}"
    over = prompt + answer - limit
    if over >= prompt - _kept(tokens, bos_id):
        raise CreditError(f"{lengths}. The answer leaves no room for a prompt: raise --max-length.")
    if conventions.truncate == "error":
        raise CreditError(
            f"{lengths}. --truncate prompt-start cuts the prompt's first {over} tokens; or raise --max-length."
        )
    return over


def _truncate(tokens: Tokens, over: int, conventions: Conventions, bos_id: int | None) -> Tokens:
    kept = _kept(tokens, bos_id)
    note = f"the prompt's first {over} of {len(tokens.prompt_ids)} tokens were cut to fit {conventions.max_length}"
    return replace(
        tokens,
        prompt_ids=tokens.prompt_ids[:kept] + tokens.prompt_ids[kept + over :],
        notes=(*tokens.notes, note),
    )


def _kept(tokens: Tokens, bos_id: int | None) -> int:
    """Tokens at the start that truncation leaves: a beginning-of-sequence token."""
    return 1 if tokens.prompt_ids[0] == bos_id else 0
