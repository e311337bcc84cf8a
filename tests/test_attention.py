"""Three ways of attention over a pack: each against naive float64 models, and its mask against a comparison by hand."""

from __future__ import annotations

import copy
import random
import re
import shutil
from dataclasses import replace

import pytest
import torch
from sides import unshared
from test_sharing import EXACT, SHARED, batch_of, shared_of
from tiny import furthest, language_model, naive_logps, of_family, random_tokens
from torch import nn

from dpo_credit.credit import Logps, Tokens
from dpo_credit.forward import attention, compiling, sharing
from dpo_credit.forward.attention import BLOCK, Kind, block_mask, dense_mask
from dpo_credit.forward.budget import Budget
from dpo_credit.forward.packing import Pack, packs
from dpo_credit.forward.sharing import SharedPrompts
from dpo_credit.models import torch_side

needs_a_compiler = pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler")
WHOLE = 2 * BLOCK  # tokens in a pack for FlexAttention
# FlexAttention as it is written, not compiled, says so; GPT-2's own code asks a mask for what block masks lack.
pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),  # of its compiler's own parts
]


def scored(shared: SharedPrompts, batch: list[Tokens], kind: Kind, length: int) -> list[tuple[float, ...]]:
    """What packs of one length give under a way of attention."""
    by_answer: dict[int, Logps] = {}
    for pack in packs(batch, length, lambda used, budget: budget):
        by_answer.update(zip(pack.answers, shared.score(pack, kind), strict=True))
    return [by_answer[index].logps for index in range(len(batch))]


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers as they are: the same attention without a compiler."""
    monkeypatch.setattr(compiling, "_layers", lambda model: [])


@pytest.mark.parametrize("kind", ["dense", "flex"])
@pytest.mark.parametrize("family", SHARED)
def test_masks_equal_a_naive_float64_computation(family: str, kind: Kind, uncompiled: None) -> None:
    if (family, kind) == ("gpt2", "flex"):
        pytest.skip("its own code asks the mask for its number of dimensions")
    module, batch = of_family(family), batch_of()
    shared = shared_of(module)
    assert shared is not None
    exact = copy.deepcopy(module).double()
    expected = [naive_logps(exact, tokens) for tokens in batch]
    assert furthest(scored(shared, batch, kind, WHOLE), expected) < EXACT


def test_flex_masks_of_packs_longer_than_a_block_equal_dense_ones(uncompiled: None) -> None:
    batch = random_tokens([(90, 20), (7, 30), (150, 60), (40, 40)] * 4, seed=3)
    shared = shared_of(language_model(seed=1, num_hidden_layers=3))
    assert shared is not None
    ours, dense = (scored(shared, batch, kind, 8 * BLOCK) for kind in ("flex", "dense"))
    assert furthest(ours, dense) < EXACT


def random_pack(seed: int) -> Pack:
    draw = random.Random(seed)
    batch = []
    for _ in range(6):
        prompt = tuple(draw.randrange(5) for _ in range(draw.randrange(1, 90)))
        for _ in range(draw.randrange(1, 4)):
            answer = tuple(draw.randrange(2) for _ in range(draw.randrange(1, 60)))
            batch.append(Tokens(prompt, answer, ("x",) * len(answer), ((0, 1),) * len(answer), "x"))
    (pack,) = packs(batch, 10_000, lambda length, budget: -(-length // BLOCK) * BLOCK + BLOCK)
    return pack


@pytest.mark.parametrize("seed", range(6))
def test_block_masks_hold_every_block_in_which_somebody_sees(seed: int) -> None:
    pack = random_pack(seed)
    end = pack.stream.end.tolist()
    sees = [[k <= q < end[k] for k in range(len(end))] for q in range(len(end))]
    mask = block_mask(pack.stream.end, pack.stream.end)
    tiles = torch.tensor(sees).view(len(end) // BLOCK, BLOCK, -1, BLOCK).transpose(1, 2)
    assert mask.to_dense()[0, 0].bool().equal(tiles.any(-1).any(-1))
    whole = torch.zeros(len(tiles), len(tiles), dtype=torch.bool)
    assert mask.full_kv_num_blocks is not None and mask.full_kv_indices is not None
    for row, count in enumerate(mask.full_kv_num_blocks[0, 0].tolist()):
        whole[row, mask.full_kv_indices[0, 0, row, :count].long()] = True
    assert whole.equal(tiles.all(-1).all(-1))
    assert not tiles.all() and tiles.all(-1).all(-1).any() == bool(whole.any())
    assert dense_mask(pack.stream.end, torch.float32)[0, 0].eq(0).equal(torch.tensor(sees))


@pytest.mark.slow
@needs_a_compiler
@pytest.mark.parametrize("family", ["gpt-neox", "llama", "qwen2"])
def test_compiled_layers_equal_a_naive_float64_computation(family: str) -> None:
    module, batch = of_family(family), batch_of()
    shared = shared_of(module)
    assert shared is not None
    exact = copy.deepcopy(module).double()
    expected = [naive_logps(exact, tokens) for tokens in batch]
    assert furthest(scored(shared, batch, "flex", WHOLE), expected) < EXACT


@pytest.mark.slow
@needs_a_compiler
def test_layers_are_compiled_once_for_all_packs_and_both_models() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    sides = [shared_of(language_model(seed=seed, num_hidden_layers=4)) for seed in (1, 2)]
    for seed in range(3):
        for shared in sides:
            assert shared is not None
            scored(shared, batch_of(seed), "flex", BLOCK)
    assert torch._dynamo.utils.counters["frames"]["total"] == 1


def test_layers_run_as_they_did_after_a_compiled_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def compiler(function: object, **options: object) -> object:
        def counted(*args: object, **given: object) -> object:
            calls.extend([function] if hasattr(function, "__self__") else [])  # a layer's, not the attention's own
            return function(*args, **given)  # type: ignore[operator]

        return counted

    monkeypatch.setattr(torch, "compile", compiler)
    module = language_model(num_hidden_layers=4)
    shared = shared_of(module)
    assert shared is not None
    scored(shared, batch_of(), "flex", WHOLE)
    assert len(calls) == 3  # all layers but the last, one pack
    shared.score(packs(batch_of(), WHOLE)[0])
    assert len(calls) == 3


def test_layers_with_anything_about_them_are_not_compiled() -> None:
    module = language_model(num_hidden_layers=4)
    layers = compiling._layers(module)
    assert len(layers) == 4 and all(map(compiling._is_plain, layers))
    layers[0].register_forward_hook(lambda *_: None)
    layers[1].mlp = type("Adapter", (nn.Linear,), {"__module__": "peft.tuners.lora"})(4, 4)  # type: ignore[assignment]
    layers[2]._hf_hook = object()  # type: ignore[assignment]
    assert [compiling._is_plain(layer) for layer in layers] == [False, False, False, True]


def on_a_gpu(module: nn.Module) -> SharedPrompts:
    """A scorer that goes about packs as on a GPU, on this machine."""
    shared = shared_of(module)
    assert shared is not None
    assert not shared._fault("dense", 100)
    return replace(shared, kinds=frozenset({"trees", "dense"}))


@pytest.mark.parametrize("compiled", [False, True])
def test_small_packs_are_dense_whole_ones_compiled_and_what_is_longer_goes_by_trees(
    compiled: bool, monkeypatch: pytest.MonkeyPatch, uncompiled: None
) -> None:
    monkeypatch.setattr(sharing, "DENSE_TOKENS", 128)
    module = of_family("llama")
    shared = on_a_gpu(module)
    batch = random_tokens([(30, 20)] * 9 + [(300, 11)], seed=2)
    kinds: dict[Kind, list[int]] = {}
    by_answer: dict[int, Logps] = {}
    for pack, kind in shared.pieces(batch, 250, compiled=compiled):
        kinds.setdefault(kind, []).append(len(pack))
        by_answer.update(zip(pack.answers, shared.score(pack, kind), strict=True))
    # trees of 49 tokens: two in 128, five in 250; the last is longer than any pack
    expected = {"trees": [320], "dense": [128] * 4 + [64]} if not compiled else {"trees": [320], "flex": [256] * 2}
    assert {kind: sorted(lengths, reverse=True) for kind, lengths in kinds.items()} == expected
    exact = copy.deepcopy(module).double()
    numbers = [by_answer[index].logps for index in range(len(batch))]
    assert furthest(numbers, [naive_logps(exact, tokens) for tokens in batch]) < EXACT


def test_a_compiled_kernel_is_tried_once_and_said_before(monkeypatch: pytest.MonkeyPatch, uncompiled: None) -> None:
    monkeypatch.setattr(sharing, "DENSE_TOKENS", 128)
    shared, lines = on_a_gpu(of_family("llama")), []
    assert not shared.compiles(128, lines.append) and lines == []  # nothing would be long enough
    assert shared.compiles(250, lines.append) and shared.compiles(250, lines.append)
    assert lines == ["compiling the scorer, about 10 s; once"]


def test_a_kernel_that_gives_other_numbers_is_not_used(monkeypatch: pytest.MonkeyPatch, uncompiled: None) -> None:
    monkeypatch.setattr(sharing, "DENSE_TOKENS", 128)
    shared, lines = on_a_gpu(of_family("llama")), []

    def wrong(query: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        return query * 1.1

    monkeypatch.setattr(attention, "flex_attention", wrong)
    assert not shared.compiles(250, lines.append)
    assert re.fullmatch(
        r"going on without the compiled scorer: it is \d[\d.]* nats off the plain model's numbers", lines[1]
    )


def test_a_kernel_that_cannot_be_compiled_is_said_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, uncompiled: None
) -> None:
    monkeypatch.setattr(sharing, "DENSE_TOKENS", 128)
    shared, lines = on_a_gpu(of_family("llama")), []

    def refused(*args: object, **options: object) -> torch.Tensor:
        raise NotImplementedError("heads of 8 numbers are too narrow\nSet TORCHDYNAMO_VERBOSE=1")

    monkeypatch.setattr(attention, "flex_attention", refused)
    assert not shared.compiles(250, lines.append)
    assert lines[1:] == ["going on without the compiled scorer: NotImplementedError: heads of 8 numbers are too narrow"]


def test_memory_that_a_compiler_lacks_is_no_failure_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "DENSE_TOKENS", 128)
    shared = on_a_gpu(of_family("llama"))

    def full(*args: object, **options: object) -> torch.Tensor:
        raise RuntimeError("backend raised: CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(attention, "flex_attention", full)
    monkeypatch.setattr(compiling, "_layers", lambda model: [])
    with pytest.raises(RuntimeError, match="out of memory"):
        shared.compiles(250, lambda line: None)
    monkeypatch.undo()


def test_a_side_compiles_once_enough_lies_behind(monkeypatch: pytest.MonkeyPatch, uncompiled: None) -> None:
    """On a GPU: what decides is how much was asked before, which a run that goes on is told, and no clock."""
    monkeypatch.setattr(sharing, "DENSE_TOKENS", 128)
    module = of_family("llama")
    side = replace(unshared(module), shared=on_a_gpu(module), budget=Budget(250))
    pays = torch_side.COMPILE_FLOPS / (torch_side.OPERATIONS_A_TOKEN * side.parameters)
    told: list[str] = []
    side.budget.tell = told.append
    gpu = replace(side, device=torch.device("cuda"))  # asked for its type alone: the module stays where it is
    batch = batch_of()
    expected = side.logps(batch)
    for done, says in ((0, []), (pays * 0.99, []), (pays * 1.01, ["compiling the scorer, about 10 s; once"])):
        side.budget.done = int(done)
        assert furthest([logps.logps for logps in gpu.logps(batch)], [logps.logps for logps in expected]) < EXACT
        assert told == says
    gpu.logps(batch)
    assert len(told) == 1
