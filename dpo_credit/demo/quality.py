"""How well a model copies the right facts, measured while it trains (on validation posts, never on held-out ones)."""

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .errors import Pair

BATCH = 50


def answer_batch(
    tokenizer: PreTrainedTokenizerBase, prompts: list[str], answers: list[str]
) -> tuple[Tensor, Tensor, list]:
    """Jointly encoded and right-padded texts, for scoring answers.

    Returns:
        ids (B, L), mask (B, L), and per text its offsets [(start, end), ...] in characters of the answer (negative
        in the prompt).
    """
    encoded = tokenizer(
        [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)],
        return_offsets_mapping=True,
        padding=True,
        return_tensors="pt",
    )
    offsets = [
        [(start - len(prompt), end - len(prompt)) for start, end in row]
        for prompt, row in zip(prompts, encoded["offset_mapping"].tolist(), strict=True)
    ]
    return encoded["input_ids"], encoded["attention_mask"], offsets


@torch.inference_mode()
def copying(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> dict[str, float]:
    """What a model does at the first piece in which the right and the wrong value of a pair's first edit differ.

    Returns:
        "fact_accuracy": share of edits whose right piece is the model's first choice, "binding": share where the right
        piece is likelier than the wrong one, "wrong_nats": mean -log p of the wrong piece.
    """
    model.eval()
    right_first, right_likelier, wrong_nats = 0, 0, 0.0
    for begin in range(0, len(pairs), BATCH):
        batch = pairs[begin : begin + BATCH]
        prompts = [pair.post.prompt for pair in batch]
        right, mask, _ = answer_batch(tokenizer, prompts, [pair.chosen.text for pair in batch])
        wrong, _, _ = answer_batch(tokenizer, prompts, [pair.rejected.text for pair in batch])
        width = min(right.size(1), wrong.size(1))
        # Row t predicts piece t + 1, and up to the first difference both texts have the same prefix.
        at = (right[:, :width] != wrong[:, :width]).int().argmax(1)
        rows = torch.arange(len(batch))
        hidden = model.base_model(right, attention_mask=mask).last_hidden_state[rows, at - 1]
        logps = model.get_output_embeddings()(hidden).log_softmax(-1)
        right_logps, wrong_logps = logps[rows, right[rows, at]], logps[rows, wrong[rows, at]]
        right_first += int((logps.argmax(-1) == right[rows, at]).sum())
        right_likelier += int((right_logps > wrong_logps).sum())
        wrong_nats -= float(wrong_logps.sum())
    model.train()
    count = len(pairs)
    return {
        "fact_accuracy": right_first / count,
        "binding": right_likelier / count,
        "wrong_nats": wrong_nats / count,
    }
