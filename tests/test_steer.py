"""Steering (Eq. 14): what it must equal where it can be known, with caches as without, and the command around it."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from program import run
from tiny import VOCABULARY, language_model, randomise, save, tokenizer
from transformers import AutoModelForCausalLM, LogitsProcessor, LogitsProcessorList

from dpo_credit.credit import CreditError
from dpo_credit.models.loading import load_pair
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.side import require
from dpo_credit.models.torch_side import TorchSide
from dpo_credit.steer.steer import Sampling, steer
from dpo_credit.steer.steering import Steering, steered
from dpo_credit.text.generated import tokens_of

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMPT = torch.tensor([[5, 9, 17, 3]])
# float32 sums over some hundred entries; a cache adds them in another order.
CLOSE = 1e-5


@pytest.fixture(scope="module")
def trio() -> tuple[Any, Any, Any]:
    """Base, policy and reference."""
    return language_model(seed=1), language_model(seed=2), language_model(seed=3)


def logps(model: Any, ids: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False).logits[:, -1].log_softmax(-1)


class Naive(LogitsProcessor):
    """Eq. 14 with both models run over the whole text at every step, in float64."""

    def __init__(self, policy: Any, reference: Any, strength: float) -> None:
        self.policy, self.reference, self.strength = policy, reference, strength

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        ratio = logps(self.policy, input_ids).double() - logps(self.reference, input_ids).double()
        return (scores.double().log_softmax(-1) + self.strength * ratio).log_softmax(-1).float()


def generated(base: Any, processor: LogitsProcessor, **choice: Any) -> torch.Tensor:
    torch.manual_seed(0)
    return base.generate(
        input_ids=PROMPT,
        attention_mask=torch.ones_like(PROMPT),
        logits_processor=LogitsProcessorList([processor]),
        max_new_tokens=12,
        eos_token_id=None,
        **choice,
    )


def test_equal_proxies_leave_the_base_as_it_is(trio):
    base, policy, _ = trio
    scores = logps(base, PROMPT)
    assert torch.allclose(Steering(policy, policy, 3.0)(PROMPT, scores), scores, atol=CLOSE)


def test_the_reference_as_base_at_strength_one_gives_the_policy(trio):
    _, policy, reference = trio
    found = Steering(policy, reference)(PROMPT, logps(reference, PROMPT))
    assert torch.allclose(found, logps(policy, PROMPT), atol=CLOSE)


def test_eq_15_holds_with_the_pairs_optimal_values(trio):
    """Q* - V* = beta log pi - beta log pi_ref of the pair, so its exponent is strength / beta."""
    base, policy, reference = trio
    beta, strength = 0.1, 1.7
    raw = policy(input_ids=PROMPT).logits[:, -1]
    prior = logps(reference, PROMPT)
    q, v = beta * raw - beta * prior, beta * raw.logsumexp(-1, keepdim=True)  # r + V*(s') of Eq. 10, and V*(s)
    expected = (logps(base, PROMPT) + strength / beta * (q - v)).log_softmax(-1)
    found = Steering(policy, reference, strength)(PROMPT, logps(base, PROMPT))
    assert torch.allclose(found, expected, atol=10 * CLOSE)  # 1 / beta enlarges rounding tenfold


@pytest.mark.parametrize(
    "choice",
    [{"do_sample": False}, {"do_sample": True, "num_return_sequences": 3}, {"num_beams": 4, "num_return_sequences": 2}],
    ids=["greedy", "drawn", "beams"],
)
def test_caches_change_nothing(trio, choice):
    base, policy, reference = trio
    cached = generated(base, Steering(policy, reference, 0.8), **choice)
    assert cached.tolist() == generated(base, Naive(policy, reference, 0.8), **choice).tolist()


def test_a_processor_that_meets_another_text_begins_anew(trio):
    base, policy, reference = trio
    processor = Steering(policy, reference)
    other = PROMPT.flip(1)
    processor(PROMPT, logps(base, PROMPT))
    expected = steered(logps(base, other), logps(policy, other), logps(reference, other), 1.0)
    assert torch.allclose(processor(other, logps(base, other)), expected, atol=CLOSE)


def test_vocabularies_of_other_sizes_are_refused_with_their_sizes(trio):
    base, policy, _ = trio
    large = language_model(seed=4, vocab_size=VOCABULARY + 8)
    with pytest.raises(CreditError, match=rf"base {VOCABULARY}, policy {VOCABULARY}, reference {VOCABULARY + 8} "):
        Steering(policy, large)(PROMPT, logps(base, PROMPT))


def test_what_is_reported_is_how_far_each_token_was_moved(trio):
    base, policy, reference = trio
    models = [TorchSide(name, one, _logits(one)) for name, one in zip("bpr", trio, strict=True)]
    pair = ModelPair(models[1], models[2], tokenizer())
    (answer,) = steer(models[0], pair, PROMPT[0].tolist(), strength=0.8, sampling=Sampling(max_new_tokens=6))
    ids = PROMPT
    for t, token in enumerate(answer.tokens.answer_ids):
        plain = logps(base, ids)[0]
        moved = steered(plain, logps(policy, ids)[0], logps(reference, ids)[0], 0.8)
        assert answer.rewards[t] == pytest.approx(float(moved[token] - plain[token]), abs=10 * CLOSE)
        assert answer.reference_top[t][0].logp == pytest.approx(float(plain.max()), abs=CLOSE)
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


@pytest.mark.parametrize("own_reference", [False, True], ids=["base with its adapter off", "adapter named ref"])
@pytest.mark.parametrize("choice", [{}, {"num_beams": 3}, {"draw": True}], ids=["greedy", "beams", "drawn"])
def test_an_adapter_pair_on_one_base_is_steered_as_two_models_are(tmp_path, own_reference, choice):
    paths, models = adapter_pair(tmp_path, own_reference=own_reference)
    policy, reference = ({"policy": paths[0]} | extra for extra in ({}, {"reference": paths[1]}))
    sampling = Sampling(max_new_tokens=12, **choice)
    prompt, strength = PROMPT[0].tolist(), 1.6
    one, two = load_pair(**policy), load_pair(**reference)
    assert one.policy.module is one.reference.module and two.policy.module is not two.reference.module
    outcomes = [
        steer(require(pair.reference, TorchSide, ""), pair, prompt, strength=strength, sampling=sampling)[0]
        for pair in (one, two)
    ]
    assert outcomes[0].tokens.answer_ids == outcomes[1].tokens.answer_ids
    for answer in outcomes:
        naive = [naive_distribution(model, prompt, answer.tokens.answer_ids) for model in models]
        moved = (naive[1] + strength * (naive[0] - naive[1])).log_softmax(-1)
        ids = torch.tensor(answer.tokens.answer_ids)[:, None]
        assert answer.policy_logps == pytest.approx(moved.gather(1, ids)[:, 0].tolist(), abs=10 * CLOSE)
        assert answer.reference_logps == pytest.approx(naive[1].gather(1, ids)[:, 0].tolist(), abs=10 * CLOSE)
        if not choice:  # what was chosen at each step is what Eq. 14 finds likeliest
            assert answer.tokens.answer_ids == tuple(moved.argmax(1).tolist())


def test_a_third_model_is_steered_by_an_adapter_pair_on_one_base(tmp_path, trio):
    base, *_ = trio
    paths, models = adapter_pair(tmp_path, own_reference=True)
    pair = load_pair(paths[0])
    side = TorchSide("b", base, _logits(base))
    (answer,) = steer(side, pair, PROMPT[0].tolist(), strength=0.8, sampling=Sampling(max_new_tokens=8))
    plain, policy, reference = (
        naive_distribution(model, PROMPT[0].tolist(), answer.tokens.answer_ids)
        for model in (deepcopy(base).double(), *models)
    )
    moved = (plain + 0.8 * (policy - reference)).log_softmax(-1)
    assert answer.tokens.answer_ids == tuple(moved.argmax(1).tolist())


def test_the_reference_as_base_is_not_run_a_second_time(trio):
    """Of the pair alone two models run at each step; a base of its own is a third."""
    runs = dict.fromkeys("prb", 0)

    def counted(name: str) -> Any:
        return lambda *_: runs.update({name: runs[name] + 1})

    named = dict(zip("prb", trio, strict=True))
    hooks = [model.register_forward_hook(counted(name)) for name, model in named.items()]
    sides = {name: TorchSide(name, model, _logits(model)) for name, model in named.items()}
    pair = ModelPair(sides["p"], sides["r"], tokenizer())
    try:
        for name, others in (("r", {"b": 0}), ("b", {})):
            runs.update(dict.fromkeys(runs, 0))
            (answer,) = steer(sides[name], pair, PROMPT[0].tolist(), sampling=Sampling(max_new_tokens=5))
            steps = len(answer.tokens.answer_ids)
            assert runs == {**dict.fromkeys("prb", steps + 1), **others}  # 1: over the whole answer, for its numbers
    finally:
        for hook in hooks:
            hook.remove()


def adapter_pair(directory: Path, *, own_reference: bool) -> tuple[tuple[Path, Path], list[Any]]:
    """An adapter (with one named "ref" beside it) and its reference, as files; both as whole models in float64."""
    base = save(language_model(seed=6), directory / "base", tokenizer())
    config = LoraConfig(r=4, target_modules=["query_key_value"], task_type="CAUSAL_LM")  # type: ignore[arg-type]
    module = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    if own_reference:
        module.add_adapter("ref", config)
    randomise(module, seed=7, scale=0.2, only="lora_")
    module.save_pretrained(directory / "policy")
    policy = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), directory / "policy")
    whole = policy.merge_and_unload()
    other = AutoModelForCausalLM.from_pretrained(base)
    if own_reference:
        other = PeftModel.from_pretrained(other, directory / "policy" / "ref").merge_and_unload()
    reference = save(other, directory / "reference", tokenizer())
    return (directory / "policy", reference), [whole.eval().double(), other.eval().double()]


def naive_distribution(model: Any, prompt: list[int], answer: tuple[int, ...]) -> torch.Tensor:
    """(T, V) log-probabilities at each position of an answer, from one run over the whole text."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0]
    return logits[len(prompt) - 1 : -1].log_softmax(-1)


def _logits(module: Any) -> Any:
    from dpo_credit.forward.logprobs import causal_lm

    return causal_lm(module)


def test_generated_ids_own_whole_characters():
    made = tokenizer()
    ids = made("My 👩 rent")["input_ids"]
    tokens = tokens_of(made, [1], [*ids, made.eos_token_id, 5])
    assert tokens.answer == "My 👩 rent" and tokens.answer_ids == (*ids, made.eos_token_id)
    assert tokens.spans[-1] == (len(tokens.answer),) * 2
    covered = sorted(set(tokens.spans[:-1]))
    assert "".join(tokens.answer[slice(*span)] for span in covered) == tokens.answer


def test_the_command_steers_from_the_reference_to_the_policy():
    """Strength 0 is the reference's own greedy answer: nothing moved."""
    asked = ("steer", EXAMPLES / "travel.json", "--max-new-tokens", "12", "--device", "cpu")
    still = run(*asked, "--strength", "0", "--json", "-")
    row = json.loads(still.stdout)
    assert row["schema"] == "dpo-credit/steer@1"
    assert row["steered_logps"] == pytest.approx(row["base_logps"], abs=CLOSE)
    moved = run(*asked, "--strength", "3")
    assert moved.code in (0, None), moved.stderr
    assert "log π_steered" in moved.stdout and "no --base" in moved.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        (b'{"answer": "x"}', (), "no prompt to answer"),
        (b"", (), "empty"),
        (b'{"prompt": "x"}', ("-n", "3"), "one greedy answer is all there is"),
        (b'{"prompt": "x"}', ("--max-new-tokens", "5000"), "over the models' limit"),
        (b'{"prompt": "x"}', ("--sequential",), "one model at a time"),
        (b'{"prompt": "x"}', ("--base", "./nowhere"), "does not exist"),
    ],
)
def test_bad_input_is_one_line(tmp_path, content, arguments, said):
    path = tmp_path / "row.json"
    path.write_bytes(content)
    ended = run("steer", path, *arguments, "--device", "cpu")
    assert ended.code == 2 and said in ended.stderr.splitlines()[-1]
    assert not ended.stdout


def test_a_base_with_another_tokenizer_is_refused(tmp_path):
    save(language_model(seed=5), tmp_path / "base", tokenizer())
    ended = run("steer", EXAMPLES / "travel.json", "--base", tmp_path / "base", "--device", "cpu")
    assert ended.code == 2 and "token" in ended.stderr.splitlines()[-1]
