"""What of a text is scored: the prompt up to its boundary, and each token of the answer with where it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Literal

from dpo_credit.credit import Example, Tokens
from dpo_credit.text.chat import Rendered, render
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_answers, tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Origin = Literal["text", "added", "end"]


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run of the prompt as the model sees it: the user's own "text", or what a template or the tokenizer "added"."""

    text: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class Cell:
    """A token that counts: its text (or its name, where it shows none), and where it came from.

    `straddles`: it begins before the boundary, in the prompt.
    """

    text: str
    token_id: int
    origin: Origin
    straddles: bool = False


@dataclass(frozen=True, slots=True)
class ScoredText:
    """One answer after its prompt, as it is scored.

    `cut_tokens` of the prompt's start were truncated; `end` says where the end token came from (see `Tokens`).
    """

    id: str
    prompt: tuple[Stretch, ...]
    answer: tuple[Cell, ...]
    prompt_tokens: int
    cut_tokens: int
    end: str
    notes: tuple[str, ...]


def read_answers(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], conventions: Conventions
) -> tuple[tuple[ScoredText, Tokens], ...]:
    """What is scored of each of several answers to one prompt, with its tokens.

    Raises:
        CreditError: see `encode_answers`.
    """
    whole = encode_answers(tokenizer, examples, replace(conventions, max_length=None))
    fitted = encode_answers(tokenizer, examples, conventions)
    return tuple(
        (_read(tokenizer, example, conventions, all_of_it, tokens), tokens)
        for example, all_of_it, tokens in zip(examples, whole, fitted, strict=True)
    )


def _read(
    tokenizer: PreTrainedTokenizerBase, example: Example, conventions: Conventions, whole: Tokens, tokens: Tokens
) -> ScoredText:
    rendered = render(conventions.template(tokenizer), example, conventions.turns)
    ids, spans = tokenise(tokenizer, rendered)
    # without a prompt, encode puts a token before the first: it is no token of the text
    before = len(whole.prompt_ids) - (0 if tuple(ids[: len(whole.prompt_ids)]) == whole.prompt_ids else 1)
    cut = len(whole.prompt_ids) - len(tokens.prompt_ids)
    kept = 0 if not cut or tokens.prompt_ids[0] != whole.prompt_ids[0] else 1
    gone = set(range(kept, kept + cut)) if cut else set()
    own = _own_characters(rendered, example)
    stretches: list[Stretch] = []
    if before < len(whole.prompt_ids):
        stretches.append(Stretch(_name(tokenizer, whole.prompt_ids[0]), "added"))
    reached = 0
    for t in range(before):
        start, end = max(reached, spans[t][0]), spans[t][1]
        reached = max(reached, end)
        if t in gone:
            continue
        if spans[t][0] == spans[t][1]:
            stretches.append(Stretch(_name(tokenizer, ids[t]), "added"))
            continue
        for mine, run in groupby(range(start, end), key=lambda at: at in own):
            stretches.append(Stretch("".join(rendered.text[at] for at in run), "text" if mine else "added"))
    cells = tuple(
        _cell(tokenizer, tokens, n, spans[before + n] if before + n < len(spans) else None, rendered)
        for n in range(len(tokens.answer_ids))
    )
    return ScoredText(
        id=example.id,
        prompt=_joined(stretches),
        answer=cells,
        prompt_tokens=len(tokens.prompt_ids),
        cut_tokens=cut,
        end=tokens.end,
        notes=tokens.notes,
    )


def _cell(
    tokenizer: PreTrainedTokenizerBase, tokens: Tokens, n: int, span: tuple[int, int] | None, rendered: Rendered
) -> Cell:
    token_id = tokens.answer_ids[n]
    start, end = tokens.spans[n]
    straddles = span is not None and span[0] < rendered.cut and span[0] < span[1]
    if tokens.roles and not tokens.roles[n]:
        origin: Origin = "added"  # before another turn of the answer
    elif start < end or straddles:
        origin = "text"
    else:
        origin = "end" if token_id == tokenizer.eos_token_id else "added"
    return Cell(tokens.pieces[n], token_id, origin, straddles)


def _own_characters(rendered: Rendered, example: Example) -> set[int]:
    """Where in the text the prompt's own characters stand: all of a plain one, the messages' contents of a chat."""
    if isinstance(example.prompt, str):
        return set(range(rendered.cut))
    own: set[int] = set()
    at = 0
    for message in example.prompt:
        for content in (message.text, message.text.strip()):  # templates strip what they are given
            place = rendered.text.find(content, at, rendered.cut) if content else -1
            if place >= 0:
                own |= set(range(place, place + len(content)))
                at = place + len(content)
                break
    return own


def _joined(stretches: Sequence[Stretch]) -> tuple[Stretch, ...]:
    return tuple(
        Stretch("".join(stretch.text for stretch in run), origin)  # type: ignore[arg-type]
        for origin, run in groupby(stretches, key=lambda stretch: stretch.origin)
    )


def _name(tokenizer: PreTrainedTokenizerBase, token_id: int) -> str:
    return str(tokenizer.convert_ids_to_tokens(token_id))


def doubled(ids: Sequence[int], token_id: int | None) -> bool:
    """Whether a token stands twice in a row at the beginning."""
    return token_id is not None and any(a == b == token_id for a, b in pairwise(ids[:2]))
