"""Wrong facts that the reference itself would write: its own samples at the place of a value."""

import torch
from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerBase

from .errors import Pair, parse_value, replace_values

BATCH, PIECES = 64, 8


@torch.inference_mode()
def sample_errors(model: GPTNeoXForCausalLM, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> list[Pair]:
    """Ask the model to go on where each pair's first wrong value begins; use its value if it is wrong and of the type.

    Pairs for which it writes the right value, or none of the type, stay as they are. Sampling follows torch's seed.
    """
    model.eval()
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    out: list[Pair] = []
    for begin in range(0, len(pairs), BATCH):
        batch = pairs[begin : begin + BATCH]
        # A space before a value belongs to its first piece: cut before it.
        texts = [pair.post.prompt + pair.chosen.text[: pair.edits[0].start].rstrip(" ") for pair in batch]
        inputs = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
        ids: torch.Tensor = model.generate(  # type: ignore[misc, assignment]
            **inputs,
            do_sample=True,
            top_k=0,
            use_cache=True,
            max_new_tokens=PIECES,
            pad_token_id=tokenizer.pad_token_id,
        )
        written = tokenizer.batch_decode(ids[:, inputs["input_ids"].size(1) :], skip_special_tokens=True)
        for pair, text in zip(batch, written, strict=True):
            edit = pair.edits[0]
            value = parse_value(pair.post.fact(edit.slot).type, text.lstrip(" "), pair.post.topic)
            wrong = {edit.slot: edit.wrong for edit in pair.edits}
            if value and value != edit.right:
                wrong[edit.slot] = value
            out.append(replace_values(pair.post, pair.chosen, wrong))
    tokenizer.padding_side = side
    model.train()
    return out
