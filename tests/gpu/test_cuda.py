"""On a CUDA device: every way of scoring against naive float64 models on the CPU. `pytest tests/gpu -m gpu`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from sides import unshared
from tiny import FAMILIES, furthest, language_model, naive_logps, random_tokens
from tiny import of_family as narrow
from torch import nn

from dpo_credit.credit import Credit, Example, Tokens
from dpo_credit.forward import sharing
from dpo_credit.forward.attention import Kind
from dpo_credit.forward.lm_head import streamed_logps
from dpo_credit.models import torch_side
from dpo_credit.models.pair import ModelPair
from dpo_credit.models.torch_side import TorchSide, side_of
from dpo_credit.scoring import Scorer
from dpo_credit.text.conventions import Conventions

pytestmark = pytest.mark.gpu
EXACT = 2e-5  # nats, float32; TF32 is off, and sums run in another order than a CPU's
HALF = {torch.bfloat16: 0.5, torch.float16: 0.1}  # weights alone are 2^-9 or 2^-12 off, at logits of about 5
PLAIN = {"gemma2", "mistral", "mamba", "falcon-h1", "lfm2"}
# Prompts with one answer and with several; 1,000 tokens in all.
LENGTHS = [(5, 3), (1, 2), (20, 11), (90, 40), (200, 30), (310, 12), (64, 64), (7, 130)]


def of_family(family: str) -> nn.Module:
    """A random model whose heads are as wide as FlexAttention's kernel asks."""
    heads = {"head_dim": 16} if "head_dim" in FAMILIES[family] else {}
    return narrow(family, hidden_size=64, scale=0.15, **heads)


@pytest.fixture(autouse=True)
def compiled_early(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kernel for packs of 512 tokens, where packs over 256 are not small."""
    torch._dynamo.reset()
    monkeypatch.setattr(sharing, "DENSE_TOKENS", 256)
    yield


def batch_of(seed: int) -> list[Tokens]:
    """Answers of many lengths, some to one prompt and with a common beginning."""
    batch = random_tokens(LENGTHS, seed=seed)
    for tokens in batch[:5]:
        half = len(tokens.answer_ids) // 2
        ids = (*tokens.answer_ids[:half], *reversed(tokens.answer_ids[half:]))
        batch.append(replace(tokens, answer_ids=ids))
    return batch


def on_cuda(module: nn.Module, dtype: torch.dtype = torch.float32, device: str = "cuda") -> TorchSide:
    return side_of(copy.deepcopy(module).to(device, dtype), "m")


def numbers(side: TorchSide, batch: list[Tokens], tokens: int = 512) -> list[tuple[float, ...]]:
    side.budget.tokens = tokens
    return [logps.logps for logps in side.logps(batch)]


def expected_of(module: nn.Module, batch: list[Tokens]) -> list[tuple[float, ...]]:
    exact = copy.deepcopy(module).double()
    return [naive_logps(exact, tokens) for tokens in batch]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_numbers_equal_a_naive_float64_computation(family: str) -> None:
    module, batch = of_family(family), batch_of(0)
    side, expected = on_cuda(module), expected_of(module, batch)
    assert (side.shared is not None) == (family not in PLAIN)
    for tokens in (4096, 200, 64):  # whole, several packs, one tree a pack
        assert furthest(numbers(side, batch, tokens), expected) < EXACT
    plain = replace(side, shared=None)
    assert furthest(numbers(plain, batch), expected) < EXACT


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - PLAIN))
@pytest.mark.parametrize("kind", ["trees", "dense", "flex"])
def test_every_way_of_attention_equals_it(family: str, kind: Kind) -> None:
    module, batch = of_family(family), batch_of(1)
    shared = on_cuda(module).shared
    assert shared is not None
    lines: list[str] = []
    if kind not in shared.kinds and not (kind == "flex" and shared.compiles(512, lines.append)):
        pytest.skip(
            f"the trial does not let {family} have it: {lines}"
        )  # as GPT-2, which asks masks for what they lack
    ours: dict[int, tuple[float, ...]] = {}
    for pack, _ in shared.pieces(batch, 512, compiled=kind == "flex"):
        if kind != "flex" or len(pack) % 128 == 0:
            ours.update(zip(pack.answers, (logps.logps for logps in shared.score(pack, kind)), strict=True))
    expected = expected_of(module, batch)
    assert len(ours) > len(batch) / 2
    assert furthest([ours[n] for n in sorted(ours)], [expected[n] for n in sorted(ours)]) < EXACT


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("family", ["gpt-neox", "llama", "qwen2"])
def test_half_precision_stays_within_its_noise_compiled_or_not(family: str, dtype: torch.dtype) -> None:
    module, batch = of_family(family), batch_of(2)
    side, expected = on_cuda(module, dtype), expected_of(module, batch)
    before = numbers(side, batch)
    side.budget.done = 1 << 60
    after = numbers(side, batch)
    assert furthest(before, expected) < HALF[dtype]
    assert furthest(after, expected) < HALF[dtype]
    assert side.shared is not None and side.shared.compiles(512, print)


def test_a_heads_half_precision_product_has_float32_sums() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 256, generator=generator) for n in (300, 5000))
    at, labels = torch.randint(0, 300, (900,), generator=generator), torch.randint(0, 5000, (900,), generator=generator)
    for dtype in HALF:
        stored = hidden.to(dtype), weight.to(dtype)
        logits = stored[0].double() @ stored[1].double().T
        expected = logits.log_softmax(-1)[at, labels].tolist()
        given = (part.cuda() for part in (*stored, at, labels))
        cuda_hidden, cuda_weight, cuda_at, cuda_labels = given
        ours = streamed_logps(cuda_hidden, cuda_weight, None, cuda_at, cuda_labels).tolist()
        assert furthest([ours], [expected]) < 1e-4  # logits of up to 80 in float32: steps of 8e-6, a few of them


def test_an_adapter_on_and_off_is_policy_and_reference() -> None:
    peft = pytest.importorskip("peft")
    module = of_family("llama")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    torch.manual_seed(0)
    adapted = peft.get_peft_model(copy.deepcopy(module), config).eval()
    batch = batch_of(3)
    expected = expected_of(module, batch)
    merged = copy.deepcopy(adapted).merge_and_unload()
    on = side_of(copy.deepcopy(adapted).cuda(), "on")
    assert furthest(numbers(on, batch), expected_of(merged, batch)) < EXACT
    on.budget.done = 1 << 60
    assert furthest(numbers(on, batch), expected_of(merged, batch)) < EXACT
    assert on.shared is not None and on.shared.compiles(512, print)
    assert furthest(expected_of(merged, batch), expected) > 0.01
    with on.module.disable_adapter():
        assert furthest(numbers(on, batch), expected) < EXACT


def credits_of(pair: ModelPair, rows: list[list[Example]]) -> list[Credit]:
    scorer = Scorer(pair, conventions=Conventions(eos="never"), noise=0.0)
    finishes: list[Callable[[], list[tuple[Credit, ...]]]] = []
    for begin in range(0, len(rows), 2):
        window = rows[begin : begin + 2]
        finishes.append(scorer.begin(window, scorer.encode(window)))  # type: ignore[arg-type]
    return [credit for finish in finishes for answers in finish() for credit in answers]


@pytest.mark.parametrize("devices", [("cuda:0", "cuda:0"), ("cuda:0", "cuda:1")])
def test_windows_that_are_begun_before_others_are_finished_get_their_own_numbers(
    devices: tuple[str, str], tiny_pair: ModelPair
) -> None:
    if torch.cuda.device_count() < len(set(devices)):
        pytest.skip("there is one device")
    rows = [[Example(f"Question {n}?", " yes, " * (n + 1)), Example(f"Question {n}?", f" no {n}")] for n in range(8)]
    sides = [
        on_cuda(side.module, device=device)
        for side, device in zip((tiny_pair.policy, tiny_pair.reference), devices, strict=True)
        if isinstance(side, TorchSide)
    ]
    pair = replace(tiny_pair, policy=sides[0], reference=sides[1])
    assert Scorer(pair, noise=0.0).runs_ahead
    for ours, theirs in zip(credits_of(pair, rows), credits_of(tiny_pair, rows), strict=True):
        assert furthest([ours.policy_logps], [theirs.policy_logps]) < EXACT
        assert furthest([ours.reference_logps], [theirs.reference_logps]) < EXACT


def test_memory_that_runs_out_halves_the_tokens_and_no_number_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = language_model(seed=1), batch_of(4)
    side = on_cuda(module)
    real, lacking = sharing.SharedPrompts.logps, 3

    def scarce(self: sharing.SharedPrompts, pack: object, kind: Kind = "trees") -> torch.Tensor:
        nonlocal lacking
        lacking -= 1
        if lacking >= 0:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, pack, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(sharing.SharedPrompts, "logps", scarce)
    assert furthest(numbers(side, batch, 1024), expected_of(module, batch)) < EXACT
    assert side.budget.tokens == 128 and len(side.budget.notes) == 3


def test_a_few_rows_compile_nothing() -> None:
    torch._dynamo.utils.counters.clear()
    side = on_cuda(of_family("llama"))
    for seed in range(3):
        numbers(side, batch_of(seed))
    assert not torch._dynamo.utils.counters["frames"]
    assert unshared(side.module).shared is None and torch_side.COMPILE_FLOPS > 0
