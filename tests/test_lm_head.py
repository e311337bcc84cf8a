"""The streamed head against a whole log-softmax in float64."""

from __future__ import annotations

import pytest
import torch
from tiny import furthest, of_family
from torch import Tensor

from dpo_credit.forward import lm_head
from dpo_credit.forward.lm_head import head_of, streamed_logps

ROWS, WIDTH, WORDS = 23, 8, 57


def drawn(scale: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """hidden (R, d), weight (V, d), bias (V,), at (T,), labels (T,)."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(ROWS, WIDTH, generator=generator) * scale
    weight, bias = torch.randn(WORDS, WIDTH, generator=generator), torch.randn(WORDS, generator=generator)
    at = torch.randint(0, ROWS, (40,), generator=generator)
    return hidden, weight, bias, at, torch.randint(0, WORDS, (40,), generator=generator)


def naive(hidden: Tensor, weight: Tensor, bias: Tensor | None, at: Tensor, labels: Tensor) -> list[float]:
    logits = hidden.double() @ weight.double().T + (0 if bias is None else bias.double())
    return logits.log_softmax(-1)[at, labels].tolist()


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("rows", "words"), [(512, 4096), (5, 10), (23, 57), (1, 1)])
def test_streaming_equals_a_whole_log_softmax(
    monkeypatch: pytest.MonkeyPatch, rows: int, words: int, with_bias: bool
) -> None:
    monkeypatch.setattr(lm_head, "BLOCK_ROWS", rows)
    monkeypatch.setattr(lm_head, "BLOCK_WORDS", words)
    hidden, weight, bias, at, labels = drawn()
    given = bias if with_bias else None
    # float32: logits of about 10, so steps of 1e-6
    assert (
        furthest(
            [streamed_logps(hidden, weight, given, at, labels).tolist()], [naive(hidden, weight, given, at, labels)]
        )
        < 1e-5
    )


def test_a_later_block_may_be_far_above_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_head, "BLOCK_WORDS", 10)
    hidden, weight, _, at, labels = drawn()
    weight[40:] *= 100  # exp overflows float32 at 89 above the first block's largest
    hidden = hidden.abs() * 3
    weight[40:] = weight[40:].abs()
    expected = naive(hidden, weight, None, at, labels)
    assert max(abs(x) for x in expected) > 1000
    ours = streamed_logps(hidden, weight, None, at, labels).tolist()
    assert ours == pytest.approx(expected, rel=1e-5, abs=1e-3)  # float32 near 5,000 has steps of 5e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_are_multiplied_in_float32(dtype: torch.dtype) -> None:
    hidden, weight, bias, at, labels = drawn()
    stored = hidden.to(dtype), weight.to(dtype), bias.to(dtype), at, labels
    assert furthest([streamed_logps(*stored).tolist()], [naive(*stored)]) < 1e-5


@pytest.mark.parametrize("logits_at_a_time", [1, 5 * WORDS, 1 << 20])
def test_rows_over_the_whole_vocabulary_give_the_blocks_normaliser(logits_at_a_time: int) -> None:
    hidden, weight, bias, *_ = drawn()
    expected = (hidden.double() @ weight.double().T + bias.double()).logsumexp(1)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-12)):
        given = hidden.to(dtype), weight.to(dtype), bias.to(dtype)
        assert (lm_head._normaliser_by_blocks(*given) - expected).abs().max() < tolerance
        assert (lm_head._normaliser_by_rows(*given, logits_at_a_time) - expected).abs().max() < tolerance


def test_float64_weights_stay_float64() -> None:
    hidden, weight, bias, at, labels = drawn()
    doubles = hidden.double(), weight.double(), bias.double(), at, labels
    assert furthest([streamed_logps(*doubles).tolist()], [naive(*doubles)]) < 1e-12


@pytest.mark.parametrize(
    ("family", "alone"),
    [("llama", True), ("phi", True), ("gpt2", True), ("cohere", False), ("granite", False), ("gemma2", False)],
)
def test_what_follows_the_head_is_recognised(family: str, alone: bool) -> None:
    model = of_family(family)
    assert lm_head._is_all(model, model, model.get_output_embeddings()) is alone  # type: ignore[arg-type,operator]


@pytest.mark.parametrize("family", ["cohere", "granite", "gemma2", "llama"])
def test_scales_and_caps_come_from_the_models_own_code(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = of_family(family)
    monkeypatch.setattr(lm_head, "TAIL_LOGITS", 3 * 400)  # three rows at a time
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(11, 32, generator=generator)
    at, labels = torch.randint(0, 11, (20,), generator=generator), torch.randint(0, 400, (20,), generator=generator)
    weight = model.get_output_embeddings().weight.double()  # type: ignore[operator]
    logits = hidden.double() @ weight.T
    logits = {
        "cohere": lambda: logits * 0.25,
        "granite": lambda: logits / 4.0,
        "gemma2": lambda: 3.0 * torch.tanh(logits / 3.0),
        "llama": lambda: logits,
    }[family]()
    expected = logits.log_softmax(-1)[at, labels].tolist()
    with torch.no_grad():
        ours = head_of(model, model)(hidden, at, labels).tolist()  # type: ignore[arg-type]
    assert furthest([ours], [expected]) < 1e-5
