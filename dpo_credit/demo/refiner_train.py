"""Train the embedded refiner: a reference that writes captions, some of them wrong, and a policy by DPO on it.

    python -m dpo_credit.demo.refiner_train --out refiner

SFT, then DPO on captions alone (Rafailov et al. 2024, Sec. 3.2): the pictures have no part in it, `examples/
joint_refiner.py` trains both together. Minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dpo_credit.demo.refiner import Case, cases

END, PAD, UNKNOWN, DRAW = "<end>", "<pad>", "<unknown>", "<draw>"
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    f"{{{{ '{DRAW}' if message['role'] == 'user' else '{END}' }}}}{{% endfor %}}"
)
WORDS = r" ?\w+| ?[^\w\s]|\s"
CONTEXT = 96
WIDTH, LAYERS, HEADS = 64, 3, 4
SFT_BATCH, SFT_LR, WRONG_SHARE = 64, 3e-3, 0.3
DPO_BATCH, DPO_LR, BETA = 64, 3e-4, 0.1
VOCABULARY_CASES = 2000


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token a word, with the space before it, and one a line break; a caption ends in `END`."""
    splitter = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    words = sorted({word for text in texts for word, _ in splitter.pre_tokenize_str(text)})
    specials = [END, PAD, UNKNOWN, DRAW]
    backend = Tokenizer(models.WordLevel({word: n for n, word in enumerate([*specials, *words])}, unk_token=UNKNOWN))
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, special=True) for token in specials])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A randomly initialised Llama with tied embeddings."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            initializer_range=0.05,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def batch(tokenizer: PreTrainedTokenizerFast, answers: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor]:
    """(B, L) ids of requests with their captions, padded, and (B, L) labels: -100 where no caption stands."""
    ids, labels = [], []
    for request, caption in answers:
        before = tokenizer.encode(request + DRAW, add_special_tokens=False)
        after = tokenizer.encode(caption + END, add_special_tokens=False)
        ids.append(before + after)
        labels.append([-100] * len(before) + after)
    length = max(map(len, ids))
    pad = tokenizer.pad_token_id
    return (
        torch.tensor([row + [pad] * (length - len(row)) for row in ids]),
        torch.tensor([row + [-100] * (length - len(row)) for row in labels]),
    )


def caption_logps(model: torch.nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    """(B,) log pi(z | x) of each caption with its end token, nats. Row t of the logits predicts token t + 1."""
    logits = model(input_ids=ids).logits[:, :-1].float()
    losses = cross_entropy(logits.transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none")
    return -losses.sum(1)


def train_reference(seed: int, steps: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """SFT on fresh requests with captions of which `WRONG_SHARE` are not what was asked for."""
    seen = list(cases(seed, VOCABULARY_CASES, "train"))
    texts = [text for case in seen for text in (case.request, *map("\n".join, _captions(case)))]
    tokenizer = make_tokenizer(texts)
    model = new_model(tokenizer)
    rng, optimizer = Random(seed), torch.optim.AdamW(model.parameters(), lr=SFT_LR, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, SFT_LR, total_steps=steps)
    fresh = cases(seed + 1, steps * SFT_BATCH, "train")
    for step in range(steps):
        answers = [(case.request, _captions(case)[rng.random() < WRONG_SHARE]) for case in islice(fresh, SFT_BATCH)]
        ids, labels = batch(tokenizer, answers)
        loss = -caption_logps(model, ids, labels).sum() / (labels != -100).sum()
        _step(optimizer, schedule, loss)
        if step % 100 == 0:
            print(f"sft {step}: {loss.item():.3f} nats a token", flush=True)
    return model.half().float(), tokenizer  # what follows starts from the weights that are shipped


def train_policy(
    reference: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int, steps: int
) -> LlamaForCausalLM:
    """DPO on fresh requests, each with a caption that is right and one that is not."""
    policy = LlamaForCausalLM(reference.config)
    policy.load_state_dict(reference.state_dict())
    optimizer = torch.optim.AdamW(policy.parameters(), lr=DPO_LR, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, DPO_LR, total_steps=steps)
    fresh = (case for case in cases(seed + 2, 4 * steps * DPO_BATCH, "train") if case.fault == "words")
    for step in range(steps):
        pairs = list(islice(fresh, DPO_BATCH))
        answers = [(case.request, _captions(case)[side]) for side in (0, 1) for case in pairs]
        margins = BETA * log_ratio_margins(policy, reference, *batch(tokenizer, answers))
        _step(optimizer, schedule, -logsigmoid(margins).mean())
        if step % 50 == 0:
            print(f"dpo {step}: margin {margins.mean():.3f}, right {(margins > 0).float().mean():.3f}", flush=True)
    return policy


def log_ratio_margins(policy: torch.nn.Module, reference: torch.nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    """(B,) how much further the policy's log-ratio to the reference is up on the chosen caption, nats.

    Args:
        policy: what gradients go to.
        reference: what it started from.
        ids: (2 B, L) the chosen captions after their requests, then the rejected ones.
        labels: (2 B, L) see `batch`.
    """
    with torch.no_grad():
        before = caption_logps(reference, ids, labels)
    chosen, rejected = (caption_logps(policy, ids, labels) - before).chunk(2)
    return chosen - rejected


def _captions(case: Case) -> tuple[str, str]:
    """What the refiner wrote in both answers."""
    return "\n".join(case.chosen.captions), "\n".join(case.rejected.captions)


def _step(optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
    optimizer.step()
    schedule.step()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a refiner and write OUT/reference and OUT/policy, in float16."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sft-steps", type=int, default=1200)
    parser.add_argument("--dpo-steps", type=int, default=250)
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    reference, tokenizer = train_reference(options.seed, options.sft_steps)
    policy = train_policy(reference, tokenizer, options.seed, options.dpo_steps)
    for name, model in (("reference", reference), ("policy", policy)):
        model.half().save_pretrained(options.out / name)
        tokenizer.save_pretrained(options.out / name)
        for file in (options.out / name).iterdir():
            file.chmod(0o644)


if __name__ == "__main__":
    main()
