"""The pair smollm2 as shipped, where its base was fetched (`make demo` does); DPO_CREDIT_BASE=required wants it."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from tiny import furthest, naive_logps

from dpo_credit import Example, Loading, ModelPair, load_pair, score
from dpo_credit.align import diff
from dpo_credit.demo.natural_evaluate import CARD
from dpo_credit.models.gguf import directory_of, is_whole
from dpo_credit.models.published import named

EXAMPLES = Path(__file__).parents[1] / "examples"
BASE = named("smollm2").base
HOME = constants.HF_HOME  # the machine's own, before the tests get theirs
EXACT = 2e-4  # nats: float32 in another order, of a float16 base


@pytest.fixture(scope="module")
def pair() -> Iterator[ModelPair]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(constants, "HF_HOME", HOME)
        assert BASE is not None
        if not is_whole(directory_of(BASE.sha256)):
            missing = "its base is not here: dpo-credit pairs --fetch smollm2"
            if os.environ.get("DPO_CREDIT_BASE") == "required":
                pytest.fail(f"DPO_CREDIT_BASE=required, but {missing}")
            pytest.skip(missing)
        yield load_pair(loading=Loading(device="cpu"))


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (EXAMPLES / name).read_text().splitlines()]


def test_it_is_the_default_on_one_base(pair: ModelPair) -> None:
    assert (pair.policy.name, pair.reference.name) == ("smollm2 policy", "smollm2 reference")
    assert pair.policy.module is pair.reference.module and pair.beta == 0.4  # type: ignore[attr-defined]
    assert any("smollm2" in note for note in pair.notes)


def test_its_numbers_are_those_of_each_adapter_in_float64(pair: ModelPair) -> None:
    (credit,) = score(pair, [Example("I earn $40 an hour and was offered $55.\n\nTL;DR:", " They offer me $70.")])
    exact = copy.deepcopy(pair.policy.module).double()  # type: ignore[attr-defined]
    for name, ours in (("default", credit.policy_logps), ("ref", credit.reference_logps)):
        exact.set_adapter(name)
        assert furthest([ours], [naive_logps(exact, credit.tokens)]) < EXACT
    assert furthest([credit.policy_logps], [credit.reference_logps]) > 0.1


def test_a_raised_salary_stands_out_and_the_rest_stays(pair: ModelPair) -> None:
    row = json.loads((EXAMPLES / "offer.json").read_text())
    prompt = f"SUBREDDIT: r/{row['subreddit']}\n\nTITLE: {row['title']}\n\nPOST: {row['post']}\n\nTL;DR:"
    right, wrong = score(pair, [Example(prompt, f" {row[name]}") for name in ("chosen", "rejected")])
    compared = diff(right, wrong)
    assert compared.margin > 0.5
    lowest = sorted(wrong.by("word"), key=lambda word: word.reward)[:2]
    assert {word.text.strip() for word in lowest} == {"€80K", "€85K."}
    assert compared.echo_mean_abs < 0.1 * max(edit.delta for edit in compared.edits)


def test_right_summaries_of_free_prose_are_preferred(pair: ModelPair) -> None:
    picked = rows("free_prose.jsonl")[:6]
    answers = [Example(row["prompt"], row[name]) for row in picked for name in ("chosen", "rejected")]
    rewards = [credit.reward for credit in score(pair, answers)]
    assert sum(right > wrong for right, wrong in zip(rewards[::2], rewards[1::2], strict=True)) >= 5


def test_the_adapters_name_their_base_and_are_small() -> None:
    for folder in (CARD.parent, CARD.parent / "ref"):
        settings = json.loads((folder / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
        assert (folder / "adapter_model.safetensors").stat().st_size < 6e6


def test_the_card_has_a_place_for_every_result_once() -> None:
    card = CARD.read_text("utf-8")
    names = re.findall(r"<!-- (?!end of)(.+?) -->", card)
    assert names and len(set(names)) == len(names)
    assert re.findall(r"<!-- end of (.+?) -->", card) == names


def test_float_types_are_what_is_shipped() -> None:
    from safetensors.torch import load_file

    weights = load_file(CARD.parent / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
