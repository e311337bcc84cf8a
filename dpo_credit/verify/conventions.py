"""The conventions under which implicit rewards are computed, ours and other people's, as one table.

Sources: TRL's DPOTrainer (1.16 and, for 0.12 to 0.27, its `tokenize_row`), `preference_datasets.py` of the original DPO
code, and RewardBench's `dpo.py`. Two programs that differ in one of these give different rewards for the same models.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from dpo_credit.text.chat import Turns

LIMITS = (512, 1024, 2048)  # tokens of a sequence that trainers cut at by default
PROMPT_LIMITS = (128, 256, 512)  # tokens of a prompt, likewise
DAYS = 8  # that a template's date is tried on, today first
Numerics = Literal["ours", "body head", "body softmax", "float32", "bfloat16 autocast", "bfloat16 weights"]
Adapter = Literal["as loaded", "merged", "policy off", "reference off", "own reference"]


@dataclass(frozen=True, slots=True)
class Way:
    """Everything that decides an answer's reward besides the two models; the defaults are ours.

    `eos`: as `encode.Conventions` has it; "again" appends EOS whatever the answer ends with.
    `encoding`: "joint"; "separate" encodes prompt and answer apart; "counted" cuts the joint ids after as many as the
    prompt has alone (one less where its last one merged).
    `bos`: "auto" is the tokenizer's and the template's own; "none" lets the tokenizer add none; "more" puts one more
    before the prompt; "both" lets the tokenizer add one to the answer too; "put" is none and then one.
    `template`: as `encode.Conventions` has it; "turn" makes plain text a user's turn and its answer.
    `prompt`: "given"; the longest "common prefix" of the two texts where the row names no prompt; or "repeated" before
    chats that bring it too.
    `everywhere`: the answer is the text without any occurrence of the prompt, whose turn is left unopened.
    `cut`: what goes over `max_length`: nothing may ("error"), the prompt's start or end, or the sequence's. With
    `max_prompt` the prompt is cut to so many tokens, if over `max_length` (always, without one).
    `turns`, `date`, `today`: as `text.conventions` has them. `fields`: the row's own, or as an Arrow "table" of all
    rows holds them, where each has the fields of the others as null. `tools`: "none" leaves out what a row gives its
    template beside messages. `thoughts`: "none" leaves out what an assistant thought.
    `numerics`: in which dtype what is computed; `adapter`: in which state the policy's adapter is.
    `reference`: "given", "none" (the policy alone) or "swapped" with the policy. `mean`: per token, not summed.
    """

    eos: Literal["auto", "always", "never", "again"] = "auto"
    encoding: Literal["joint", "separate", "counted"] = "joint"
    bos: Literal["auto", "none", "more", "both", "put"] = "auto"
    template: str = "auto"
    prompt: Literal["given", "common prefix", "repeated"] = "given"
    everywhere: bool = False
    cut: Literal["error", "prompt-start", "prompt-end", "start", "end"] = "error"
    max_length: int | None = None
    max_prompt: int | None = None
    turns: Turns = "all"
    date: str = ""
    today: str = ""
    fields: Literal["given", "table"] = "given"
    tools: Literal["given", "none"] = "given"
    thoughts: Literal["given", "none"] = "given"
    numerics: Numerics = "ours"
    adapter: Adapter = "as loaded"
    reference: Literal["given", "none", "swapped"] = "given"
    mean: bool = False
    beta: float = 0.1


@dataclass(frozen=True, slots=True)
class Convention:
    """One known convention: its name, what a program that has it did, our flags for it ("" if none lead there).

    `changes` are the fields of a `Way` that it sets.
    """

    name: str
    did: str
    flags: str = ""
    changes: dict[str, Any] = field(default_factory=dict)

    def applied(self, way: Way) -> Way:
        """The way with this convention's fields set."""
        return replace(way, **self.changes)

    def excludes(self, other: Convention) -> bool:
        """Whether the two set a field in common."""
        return bool(self.changes.keys() & other.changes.keys())


PEERS = (
    Convention(
        "TRL 0.12 to 0.27",
        "encoded prompt and answer separately without BOS, appended EOS to all, kept the prompt's last 512 tokens",
        changes={"encoding": "separate", "bos": "none", "eos": "again", "max_prompt": 512, "cut": "prompt-start"},
    ),
    Convention(
        "original DPO code",
        "encoded prompt and answer separately without BOS or template, appended EOS, cut prompts to 256 of 512 tokens",
        changes={
            **{"encoding": "separate", "bos": "none", "eos": "again", "template": "none"},
            **{"max_prompt": 256, "max_length": 512, "cut": "prompt-end"},
        },
    ),
    Convention(
        "RewardBench",
        "put BOS before and EOS after every text, a chat's too, and multiplied by no beta",
        changes={
            **{"encoding": "counted", "bos": "put", "eos": "again", "everywhere": True, "beta": 1.0},
            **{"max_prompt": 128, "max_length": 2048, "cut": "prompt-start"},
        },
    ),
)

_SINGLE = (
    Convention("EOS always", "appended EOS", "--eos always", {"eos": "always"}),
    Convention("EOS auto", "ended plain text with EOS and a chat as its template does", "--eos auto", {"eos": "auto"}),
    Convention("EOS never", "appended no EOS", "--eos never", {"eos": "never"}),
    Convention("EOS again", "appended EOS to what had ended already", changes={"eos": "again"}),
    Convention("separate encoding", "encoded prompt and answer separately", changes={"encoding": "separate"}),
    Convention(
        "prompt counted alone",
        "cut the text's tokens after as many as the prompt has alone",
        changes={"encoding": "counted"},
    ),
    Convention("no BOS", "let the tokenizer add no BOS", changes={"bos": "none"}),
    Convention("BOS twice", "put one more BOS before the prompt", changes={"bos": "more"}),
    Convention(
        "BOS before the answer",
        "encoded prompt and answer separately, each with a BOS",
        changes={"bos": "both", "encoding": "separate"},
    ),
    Convention("template off", "used no chat template", "--chat-template none", {"template": "none"}),
    Convention("template auto", "used the tokenizer's chat template", "--chat-template auto", {"template": "auto"}),
    Convention("template on", "put the text through the chat template as a user's turn", changes={"template": "turn"}),
    Convention(
        "longest common prefix",
        "took what chosen and rejected begin with in common for the prompt",
        changes={"prompt": "common prefix"},
    ),
    Convention("prompt repeated", "rendered the prompt before chats that bring it too", changes={"prompt": "repeated"}),
    Convention("all turns", "counted all turns of a chat's answer", "--turns all", {"turns": "all"}),
    Convention("last turn", "counted the last assistant's turn alone", "--turns last", {"turns": "last"}),
    Convention("assistant's turns", "counted the assistant's turns alone", "--turns assistant", {"turns": "assistant"}),
    Convention(
        "fields as a table's",
        "gave every row the fields of the others as null, as an Arrow table does (text that is JSON stays as it is)",
        changes={"fields": "table"},
    ),
    Convention("no tools", "rendered chats without their tools and template arguments", changes={"tools": "none"}),
    Convention("no thoughts", "left out what the assistant thought", changes={"thoughts": "none"}),
    Convention("average", "averaged over the tokens (length-normalised)", changes={"mean": True}),
    Convention("no reference", "left out the reference", changes={"reference": "none"}),
    Convention("swapped models", "had policy and reference the other way round", changes={"reference": "swapped"}),
)

_ADAPTER = (
    Convention("adapter merged", "merged the adapter into the policy's weights", changes={"adapter": "merged"}),
    Convention("adapter off", "ran the policy without its adapter", changes={"adapter": "policy off"}),
    Convention("reference: adapter off", "had the base as the reference", changes={"adapter": "reference off"}),
)
_OWN_REFERENCE = Convention(
    "reference: adapter's own", "had the adapter's own reference", "no --reference", {"adapter": "own reference"}
)

_HALF = (  # for a body in half precision
    Convention("LM head in the body's dtype", "ran the LM head in the body's dtype", changes={"numerics": "body head"}),
    Convention(
        "log-softmax in the body's dtype",
        "ran LM head, log-softmax and sum in the body's dtype",
        changes={"numerics": "body softmax"},
    ),
    Convention("float32", "computed in float32", "--dtype float32", {"numerics": "float32"}),
)
_FULL = (
    Convention(
        "bfloat16 autocast",
        "ran float32 weights under bfloat16 autocast (bf16=True)",
        changes={"numerics": "bfloat16 autocast"},
    ),
    Convention(
        "bfloat16 weights", "held the weights in bfloat16", "--dtype bfloat16", {"numerics": "bfloat16 weights"}
    ),
)


def table(base: Way, *, half: bool, adapter: bool, own_reference: bool) -> tuple[Convention, ...]:
    """The conventions that change something of the way we were asked to go, one at a time; the peers' sets are last.

    Args:
        base: the way of the options given.
        half: the models' bodies run in half precision.
        adapter: the policy is an adapter on its base.
        own_reference: it is, and another reference was named.
    """
    conventions = [
        *_SINGLE,
        *_cuts(sorted({*LIMITS, *((base.max_length,) if base.max_length else ())})),
        *_dates(),
        *(_ADAPTER if adapter else ()),
        *((_OWN_REFERENCE,) if own_reference else ()),
        *(_HALF if half else _FULL),
        *PEERS,
    ]
    return tuple(convention for convention in conventions if convention.applied(base) != base)


def _cuts(limits: Sequence[int]) -> list[Convention]:
    made = []
    for limit in limits:
        keep: dict[str, Any] = {"max_length": limit, "max_prompt": None}
        made += [
            Convention(f"first {limit} tokens", f"kept the first {limit} tokens", changes={**keep, "cut": "end"}),
            Convention(f"last {limit} tokens", f"kept the last {limit} tokens", changes={**keep, "cut": "start"}),
            Convention(
                f"prompt's start cut to {limit}",
                f"cut the prompt's start to fit {limit} tokens",
                f"--max-length {limit} --truncate prompt-start",
                {**keep, "cut": "prompt-start"},
            ),
            Convention(
                f"prompt's end cut to {limit}",
                f"cut the prompt's end to fit {limit} tokens",
                changes={**keep, "cut": "prompt-end"},
            ),
        ]
    for limit in PROMPT_LIMITS:
        keep = {"max_length": None, "max_prompt": limit}
        made += [
            Convention(
                f"last {limit} of the prompt",
                f"kept the prompt's last {limit} tokens",
                changes={**keep, "cut": "prompt-start"},
            ),
            Convention(
                f"first {limit} of the prompt",
                f"kept the prompt's first {limit} tokens",
                changes={**keep, "cut": "prompt-end"},
            ),
        ]
    return made


def _dates() -> list[Convention]:
    """A template's own date today and on the days before, when the numbers may have been made."""
    today = datetime.date.today()
    days = [(today - datetime.timedelta(days=n)).isoformat() for n in range(DAYS)]
    return [
        Convention(
            f"date {day}", f"let the chat template write the date {day}", f"--date {day}", {"date": "", "today": day}
        )
        for day in days
    ]


def is_arithmetic(convention: Convention) -> bool:
    """Whether it changes nothing but rounding: the same ids, weights and formula."""
    return "numerics" in convention.changes or convention.changes.get("adapter") == "merged"


def beta_convention(beta: float) -> Convention:
    """Another beta, which the numbers themselves tell."""
    return Convention(f"beta {beta:g}", f"multiplied by a beta of {beta:g}", f"--beta {beta:g}", {"beta": beta})


ID_FIELDS = (
    *("eos", "encoding", "bos", "template", "prompt", "everywhere", "cut", "max_length", "max_prompt"),
    *("turns", "date", "today", "fields", "tools", "thoughts"),
)


def ids(way: Way) -> dict[str, Any]:
    """What of a way decides the token ids: the other fields are about arithmetic."""
    return {name: getattr(way, name) for name in ID_FIELDS}
