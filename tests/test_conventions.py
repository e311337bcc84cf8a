"""Numbers that a script made under another convention are recognised, and the convention is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from naive import Ids, log_likelihoods, reward
from tiny import CHATML, TURN, TURN_END, language_model, tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from dpo_credit.forward.logprobs import causal_lm
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.torch_side import TorchSide
from dpo_credit.rows.records import parse_row
from dpo_credit.verify.conventions import PEERS, Way, table
from dpo_credit.verify.rewards import Rewards
from dpo_credit.verify.targets import Target, Trial
from dpo_credit.verify.verify import verify

BETA = 0.25
POLICY, REFERENCE = (language_model(seed=seed, max_position_embeddings=1600, num_hidden_layers=1) for seed in (1, 2))

TEXT = [
    {"prompt": "My landlord raised the rent.\n\nTL;DR:", "chosen": " Rent is up.", "rejected": " Rent is down, by us."},
    {"prompt": "Is Sydney the capital of Australia?", "chosen": " No, it is Canberra.", "rejected": " Yes."},
    {"prompt": "I was offered a job in Lisbon:", "chosen": " 54000 a year", "rejected": " nobody talks to me"},
]
STRADDLING = [  # "raised", "Canberra" and "landlord" are tokens, so the joint encoding merges over the prompt's end
    {"prompt": "My landlord rai", "chosen": "sed the rent by 120 dollars.", "rejected": "sed nobody."},
    {"prompt": "The capital is Canb", "chosen": "erra, not Sydney", "rejected": "erra."},
    {"prompt": "A land", "chosen": "lord gave me ten days", "rejected": "lord never argued"},
]
LONG = [
    {**row, "prompt": "We drove to the lake on Sunday. " * (4 + 9 * n) + row["prompt"]} for n, row in enumerate(TEXT)
]
IMPLICIT = [
    {"chosen": "The capital? TL;DR: My landlord knows", "rejected": "The capital? TL;DR: My landlord asked me"},
    {"chosen": "Rent? TL;DR: In Lisbon, tell nobody", "rejected": "Rent? TL;DR: In Lisbon, ten days"},
]
WORDY = [{**TEXT[0], "chosen": " We drove to the lake on Sunday." * 4}]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


CHAT = [
    {
        "prompt": [turn("user", "Is Sydney the capital?")],
        "chosen": [turn("assistant", "No, it is Canberra.")],
        "rejected": [turn("assistant", "Yes, and by the lake.")],
    },
    {
        "prompt": [turn("user", "Rent?"), turn("assistant", "Up."), turn("user", "By how much?")],
        "chosen": [turn("assistant", "120 dollars")],
        "rejected": [turn("assistant", "ten days")],
    },
]


def with_bos(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with a BOS that it puts before every text."""
    made = tokenizer(chat_template=chat_template)
    made.bos_token = TURN
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{TURN} $A", special_tokens=[(TURN, made.convert_tokens_to_ids(TURN))]
    )
    return made


PLAIN, CHATS, CLOSED, BOS = (
    tokenizer(),
    tokenizer(chat_template=CHATML),
    tokenizer(chat_template=CHATML, end=TURN_END),
    with_bos(),
)
EOS, TURN_EOS, BOS_ID = PLAIN.eos_token_id, CLOSED.eos_token_id, BOS.bos_token_id


def alone(text: str) -> list[int]:
    """A text's tokens, without what a tokenizer adds."""
    return PLAIN(text, add_special_tokens=False)["input_ids"]


def jointly(prompt: str, answer: str) -> Ids:
    """For prompts that end where a token of the joint encoding does."""
    whole = alone(prompt + answer)
    assert whole[: len(alone(prompt))] == alone(prompt)
    return alone(prompt), whole[len(alone(prompt)) :]


def ended(prompt: str, answer: str) -> Ids:
    before, after = jointly(prompt, answer)
    return before, [*after, EOS]


def counted(prompt: str, answer: str) -> Ids:
    whole, length = alone(prompt + answer), len(alone(prompt))
    start = length if whole[:length] == alone(prompt) else length - 1
    return whole[:start], [*whole[start:], EOS]


def chat(prompt: list[dict[str, str]], answer: list[dict[str, str]]) -> Ids:
    """By the ChatML template: the last turn opened, then the answer and its end."""
    opened = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in prompt)
    return jointly(f"{opened}<|im_start|>assistant\n", f"{answer[0]['content']}<|im_end|>\n")


def transcript(prompt: list[dict[str, str]], answer: list[dict[str, str]]) -> tuple[str, str]:
    names = {"user": "Human", "assistant": "Assistant"}
    turns = "".join(f"\n\n{names[one['role']]}: {one['content']}" for one in prompt)
    return f"{turns}\n\nAssistant:", f" {answer[0]['content']}"


def rewardbench(prompt: list[dict[str, str]], answer: list[dict[str, str]]) -> Ids:
    """The prompt's turns closed; all of the text but the prompt is the answer; BOS before and EOS behind it."""
    closed = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in prompt)
    before, after = counted(closed, f"<|im_start|>assistant\n{answer[0]['content']}<|im_end|>\n")
    return [EOS, *before], after  # the tiny tokenizer has no BOS: RewardBench takes EOS for it


Naive = Callable[[Any, Any], Ids]


def on(ids: Naive, change: Callable[[Ids], Ids]) -> Naive:
    return lambda prompt, answer: change(ids(prompt, answer))


# name: tokenizer, rows, the way of the options given, and a script's ids for a prompt and an answer
CASES: dict[str, tuple[PreTrainedTokenizerFast, list, Way, Naive]] = {
    "EOS never": (PLAIN, TEXT, Way(), jointly),
    "EOS always": (PLAIN, TEXT, Way(eos="never"), ended),
    "EOS auto": (CHATS, CHAT, Way(eos="never"), chat),
    "EOS again": (CLOSED, CHAT, Way(), on(chat, lambda ids: (ids[0], [*ids[1], TURN_EOS]))),
    "separate encoding": (PLAIN, STRADDLING, Way(), lambda p, a: (alone(p), [*alone(a), EOS])),
    "prompt counted alone": (PLAIN, STRADDLING, Way(), counted),
    "no BOS": (BOS, TEXT, Way(), ended),
    "BOS twice": (BOS, TEXT, Way(), on(ended, lambda ids: ([BOS_ID, BOS_ID, *ids[0]], ids[1]))),
    "BOS before the answer": (
        BOS,
        TEXT,
        Way(),
        on(ended, lambda ids: ([BOS_ID, *ids[0]], [BOS_ID, *ids[1]])),
    ),
    "template on": (CHATS, TEXT, Way(), lambda p, a: chat([turn("user", p)], [turn("assistant", a)])),
    "template off": (CHATS, CHAT, Way(), lambda p, a: ended(*transcript(p, a))),
    "template auto": (CHATS, CHAT, Way(template="none"), chat),
    "first 40 tokens": (PLAIN, TEXT + WORDY, Way(max_length=40), on(ended, lambda ids: _within(*ids, "end"))),
    "last 40 tokens": (PLAIN, TEXT + LONG[:1], Way(max_length=40), on(ended, lambda ids: _within(*ids, "start"))),
    "last 128 of the prompt": (PLAIN, LONG, Way(), on(ended, lambda ids: (ids[0][-128:], ids[1]))),
    "first 128 of the prompt": (PLAIN, LONG, Way(), on(ended, lambda ids: (ids[0][:128], ids[1]))),
    "TRL 0.12 to 0.27": (
        CLOSED,
        [{**row, "prompt": [turn("user", "No. " * 400 + "Yes?")]} for row in CHAT],
        Way(),
        on(chat, lambda ids: (ids[0][-512:], [*ids[1], TURN_EOS])),
    ),
    "original DPO code": (
        BOS,
        [*LONG, {**TEXT[0], "prompt": "We drove to the lake on Sunday. " * 60}],
        Way(),
        on(ended, lambda ids: (ids[0][:256] if sum(map(len, ids)) > 512 else ids[0], ids[1])),
    ),
    "RewardBench": (CHATS, CHAT, Way(), rewardbench),
}


def _within(prompt: list[int], answer: list[int], side: str) -> Ids:
    if side == "end":
        return prompt[:40], answer[: max(0, 40 - len(prompt))]
    return prompt[max(0, len(prompt) + len(answer) - 40) :], answer


def rewards_of(made: PreTrainedTokenizerFast, rows: list, way: Way, **pair: Any) -> Rewards:
    models = [TorchSide(name, module, causal_lm(module)) for name, module in (("p", POLICY), ("r", REFERENCE))]
    read = [parse_row(row, str(n)) for n, row in enumerate(rows)]
    return Rewards(ModelPair(*models, made, BETA, 1600, **pair), read, replace(way, beta=BETA))


def script(rows: list, ids: Naive, beta: float = BETA, average: bool = False) -> Target:
    """What a script gives for chosen and rejected."""
    numbers = tuple(
        tuple(
            reward(POLICY, REFERENCE, ids(row["prompt"], row[side]), beta, average=average)
            for side in ("chosen", "rejected")
        )
        for row in rows
    )
    return Target("a script", "the script", numbers)  # type: ignore[arg-type]


def best(rewards: Rewards, target: Target) -> Trial:
    return verify(rewards, [target]).comparisons[0].trials[0]


@pytest.mark.parametrize("name", CASES)
def test_a_convention_is_recognised_by_its_numbers(name: str) -> None:
    made, rows, way, ids = CASES[name]
    found = best(rewards_of(made, rows, way), script(rows, ids, 1.0 if name == "RewardBench" else BETA))
    assert (found.meets, found.name) == (True, name), found
    assert found.agreeing == found.of == len(rows)


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("prompt's start cut to 40", lambda prompt, over: prompt[over:]),
        ("prompt's end cut to 40", lambda prompt, over: prompt[: len(prompt) - over]),
    ],
)
def test_a_prompt_cut_to_fit_is_recognised(name: str, cut: Callable[[list[int], int], list[int]]) -> None:
    rows = TEXT + LONG[:1]
    numbers = []
    for row in rows:  # both answers follow the same prompt, so the longer one says how much of it goes
        both = [ended(row["prompt"], row[side]) for side in ("chosen", "rejected")]
        over = max(0, len(both[0][0]) + max(len(answer) for _, answer in both) - 40)
        numbers.append(tuple(reward(POLICY, REFERENCE, (cut(prompt, over), answer), BETA) for prompt, answer in both))
    found = best(rewards_of(PLAIN, rows, Way(max_length=40)), Target("a script", "it", tuple(numbers)))  # type: ignore[arg-type]
    assert (found.meets, found.name) == (True, name)
    assert found.flags == ("--max-length 40 --truncate prompt-start" if "start" in name else "")


def test_a_prompt_that_is_the_longest_common_prefix_is_recognised() -> None:
    # the answers begin alike; the space before the first difference goes to them, and "te" is less than a token of
    # "tell" and "ten", which is why its token is the answers' too
    prompts = ["The capital? TL;DR: My landlord", "Rent? TL;DR: In Lisbon, te"]
    numbers = []
    for row, prompt in zip(IMPLICIT, prompts, strict=True):
        wholes = [[*alone(row[side]), EOS] for side in ("chosen", "rejected")]
        shared = next(n for n in range(99) if any(whole[n] != (*alone(prompt), None)[n] for whole in wholes))
        numbers.append(tuple(reward(POLICY, REFERENCE, (whole[:shared], whole[shared:]), BETA) for whole in wholes))
    found = best(rewards_of(PLAIN, IMPLICIT, Way()), Target("a script", "it", tuple(numbers)))  # type: ignore[arg-type]
    assert (found.meets, found.name) == (True, "longest common prefix")


def test_an_average_is_recognised() -> None:
    found = best(rewards_of(PLAIN, TEXT, Way()), script(TEXT, ended, average=True))
    assert (found.meets, found.name) == (True, "average")


def test_another_beta_is_recognised_and_named() -> None:
    found = best(rewards_of(PLAIN, TEXT, Way()), script(TEXT, ended, beta=0.01))
    assert (found.meets, found.name, found.flags) == (True, "beta 0.01", "--beta 0.01")


def test_a_missing_reference_and_swapped_models_are_recognised() -> None:
    ours = script(TEXT, ended)
    swapped = Target("s", "s", tuple((-a, -b) for a, b in ours.numbers if a or b))  # type: ignore[misc]
    assert best(rewards_of(PLAIN, TEXT, Way()), swapped).name == "swapped models"
    policy = tuple(
        tuple(
            BETA * float(log_likelihoods(POLICY, *ended(row["prompt"], row[side])).sum())
            for side in ("chosen", "rejected")
        )
        for row in TEXT
    )
    assert best(rewards_of(PLAIN, TEXT, Way()), Target("s", "s", policy)).name == "no reference"  # type: ignore[arg-type]


def test_two_conventions_together_are_found_where_one_is_not_enough() -> None:
    found = best(rewards_of(PLAIN, TEXT, Way()), script(TEXT, jointly, average=True))
    assert (found.meets, found.name) == (True, "EOS never, average")
    found = best(rewards_of(PLAIN, TEXT, Way()), script(TEXT, jointly, beta=0.05))
    assert (found.meets, found.name, found.flags) == (True, "EOS never, beta 0.05", "--eos never --beta 0.05")


def test_what_gives_the_same_numbers_on_these_rows_is_named_too() -> None:
    found = best(rewards_of(PLAIN, TEXT, Way(eos="never")), script(TEXT, ended))
    assert found.name == "EOS always" and {"EOS auto", "TRL 0.12 to 0.27"} <= set(found.also)


def test_the_same_way_needs_no_convention() -> None:
    report = verify(rewards_of(PLAIN, TEXT, Way()), [script(TEXT, ended)])
    assert report.agrees and [one.name for one in report.comparisons[0].trials] == ["the options given"]


def test_one_row_of_many_that_differs_is_no_agreement() -> None:
    target = script(TEXT, ended)
    last = target.numbers[-1]
    assert last is not None
    numbers = (*target.numbers[:-1], (last[0], last[1] + 1e-3))  # float32 sums of 100 nats err by 1e-5
    report = verify(rewards_of(PLAIN, TEXT, Way()), [replace(target, numbers=numbers)])
    ours = next(one for one in report.comparisons[0].trials if not one.conventions)
    assert (report.agrees, ours.agreeing, ours.of) == (False, len(TEXT) - 1, len(TEXT))
    assert ours.largest == pytest.approx(1e-3, abs=1e-4)


def test_every_convention_of_the_table_has_its_case_here_or_beside() -> None:
    named = {
        one.name
        for one in table(
            Way(eos="never", template="none", max_length=40), half=False, adapter=False, own_reference=False
        )
    }
    named |= {one.name for one in table(Way(), half=False, adapter=False, own_reference=False)}
    tested = {*CASES, "prompt's start cut to 40", "prompt's end cut to 40", "longest common prefix", "average"}
    tested |= {"no reference", "swapped models", "bfloat16 autocast", "bfloat16 weights"}  # test_numerics.py
    tested |= {"all turns", "last turn", "assistant's turns", "prompt repeated", "fields as a table's"}
    tested |= {"no tools", "no thoughts", *(name for name in named if name.startswith("date "))}  # test_verify_chats.py
    same = {name for name in named if any(f"{limit}" in name for limit in (256, 512, 1024, 2048))}  # other limits
    assert named - tested - same - {peer.name for peer in PEERS} == set()
