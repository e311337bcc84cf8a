"""DPO of the pair smollm2 where a post is read once for all its right and wrong summaries: for a CPU, or a GPU.

    python -m dpo_credit.demo.natural_train --start natural-run/sft --out natural-run/dpo --posts 1600

The loss, the labels and what is saved are those of `dpo-credit train dpo` with `natural_dpo.yaml` (a test holds one to
the other); only the batch differs. TRL runs the model over the post for each summary of each pair. Here all summaries
of a post stand in one pack (`forward.packing`), and so share it and what they begin with. The wrong value that the
reference finds likeliest is picked on the way: the values that could stand in its place share the pack too.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from dpo_credit.credit import Example, Tokens
from dpo_credit.forward.attention import dense_mask
from dpo_credit.forward.packing import packs
from dpo_credit.models.adapters import adapter_ref, with_adapter
from dpo_credit.models.bases import fetched
from dpo_credit.models.checkpoints import find, load_tokenizer
from dpo_credit.models.loading import load_module
from dpo_credit.models.published import named
from dpo_credit.text.conventions import Conventions
from dpo_credit.text.encode import encode_answers
from dpo_credit.train.start import LOADING

from .corpus import TWO_CHANGES_SHARE
from .natural import Drawn, Wrong, draw_posts, errors_in
from .natural_rows import LIKELY_SHARE, RULED_SHARE, choices_of, ruled
from .rows import preference_row

NLL_WEIGHT = 0.2
WARM_UP = 10  # updates
END = Conventions(eos="always")


@dataclass(frozen=True)
class Choice:
    """A right summary and, for each of its wrong ones, the texts of which the reference's likeliest is taken."""

    chosen: str
    rejected: tuple[tuple[str, ...], ...]


def choices(drawn: Drawn, rng: Random, rights: int, wrongs: int) -> Iterator[Choice]:
    """So many right summaries of a post, by different hands, and so many wrong ones of each."""
    templates = drawn.draft.summaries
    for template in rng.sample(templates, min(rights, len(templates))):
        rejected: dict[str, tuple[str, ...]] = {}
        right = Wrong(drawn, template, {}).pair.chosen.text
        for _ in range(wrongs):
            errors = 2 if rng.random() < TWO_CHANGES_SHARE else 1
            wrong = Wrong(drawn, template, errors_in(rng, drawn, template, errors))
            texts: tuple[str, ...] = ()
            if rng.random() < LIKELY_SHARE:
                texts = tuple(choice.pair.rejected.text for choice in choices_of(wrong))
            elif rng.random() < RULED_SHARE:
                texts = (ruled(preference_row(wrong.pair))["rejected"],)
            texts = texts or (wrong.pair.rejected.text,)
            rejected[texts[0]] = texts
        yield Choice(right, tuple(rejected.values()))


def answer_sums(module: Any, batch: Sequence[Tokens]) -> Tensor:
    """(n,) nats: the log-probability of each answer, from one forward pass over a pack of all."""
    (pack,) = packs(batch, budget=1 << 20)
    stream = pack.on(module.device)
    base = module.get_base_model()
    with torch.autocast(module.device.type, torch.bfloat16, enabled=module.device.type == "cuda"):
        hidden = base.model(
            input_ids=stream.ids,
            position_ids=stream.positions,
            attention_mask=dense_mask(stream.end, torch.float32),
            use_cache=False,
        ).last_hidden_state[0, stream.rows]
        logits = base.lm_head(hidden).float()
    logps = logits[stream.at, stream.labels] - logits.logsumexp(-1)[stream.at]
    sums = torch.stack([part.sum() for part in logps.split(list(pack.lengths))])
    return sums[torch.tensor(pack.answers).argsort()]


def loss_of(
    module: Any, tokenizer: PreTrainedTokenizerBase, posts: Sequence[tuple[str, Sequence[Choice]]], beta: float
) -> tuple[Tensor, Tensor]:
    """The mean loss of posts' pairs, each post a prompt and its choices, and their margins (pairs,)."""
    encoded: dict[tuple[str, str], Tokens] = {}
    for prompt, posed in posts:
        texts = list(dict.fromkeys(text for choice in posed for text in (choice.chosen, *sum(choice.rejected, ()))))
        answers = encode_answers(tokenizer, [Example(prompt, text) for text in texts], END)
        encoded |= {(prompt, text): tokens for text, tokens in zip(texts, answers, strict=True)}
    with torch.no_grad(), adapter_ref(module)():
        reference = dict(zip(encoded, answer_sums(module, list(encoded.values())), strict=True))
    pairs = [
        ((prompt, choice.chosen), max(((prompt, text) for text in like), key=lambda answer: float(reference[answer])))
        for prompt, posed in posts
        for choice in posed
        for like in choice.rejected
    ]
    used = list(dict.fromkeys(answer for pair in pairs for answer in pair))
    policy = dict(zip(used, answer_sums(module, [encoded[answer] for answer in used]), strict=True))
    reward = {answer: beta * (policy[answer] - reference[answer]) for answer in used}
    margins = torch.stack([reward[chosen] - reward[rejected] for chosen, rejected in pairs])
    nll = torch.stack([-policy[chosen] / len(encoded[chosen].answer_ids) for chosen, _ in pairs])
    return (NLL_WEIGHT * nll - torch.nn.functional.logsigmoid(margins)).mean(), margins.detach()


def learn(module: Any, tokenizer: PreTrainedTokenizerBase, options: argparse.Namespace) -> None:
    """Train the adapter "default" against "ref"; every `--save` updates both are written to `--out`."""
    weights = [weight for name, weight in module.named_parameters() if ".default." in name]
    for name, weight in module.named_parameters():
        weight.requires_grad_(".default." in name)
    optimiser = torch.optim.AdamW(weights, lr=options.rate, weight_decay=0.0)
    updates = options.posts // options.batch
    posts = draw_posts(options.seed, updates * options.batch, "train")
    together = options.together or (1 if module.device.type == "cpu" else options.batch)
    begun = time.monotonic()
    for update in range(1, updates + 1):
        for group in optimiser.param_groups:
            group["lr"] = options.rate * share_of_rate(update, updates)
        losses, margins = [], []
        posed = [
            (drawn.post.prompt, list(choices(drawn, rng, options.rights, options.wrongs)))
            for drawn, rng in islice(posts, options.batch)
        ]
        for start in range(0, options.batch, together):
            loss, margin = loss_of(module, tokenizer, posed[start : start + together], options.beta)
            (loss * together / options.batch).backward()
            losses.append(float(loss.detach()))
            margins.append(margin)
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        margin = torch.cat(margins)
        record = {
            "update": update,
            "loss": round(sum(losses) / len(losses), 4),
            "accuracy": round(float((margin > 0).float().mean()), 3),
            "margin": round(float(margin.mean()), 3),
            "pairs": len(margin),
            "seconds": round(time.monotonic() - begun),
        }
        print(json.dumps(record), flush=True)
        if update % options.save == 0 or update == updates:
            module.save_pretrained(options.out, selected_adapters=["default", "ref"])


def share_of_rate(update: int, updates: int) -> float:
    """Warm-up over the first updates, then level, and over the last third down to zero along a line."""
    return min(1.0, update / WARM_UP, 3 * (updates - update + 1) / updates)


def load(start: str, base: str) -> tuple[Any, PreTrainedTokenizerBase]:
    """An adapter to train and, as "ref", the one beside it, or itself where it is the reference."""
    loading = replace(LOADING, base=base)
    checkpoint = find(start, "policy", loading)
    module = load_module(checkpoint, torch.device("cpu"), loading)
    assert checkpoint.adapter is not None
    adapted: Any = with_adapter(module, checkpoint, checkpoint.adapter, checkpoint.ref_adapter or checkpoint.adapter)
    adapted.set_adapter("default")
    adapted.to("cuda" if torch.cuda.is_available() else "cpu")
    return adapted.train(), load_tokenizer(checkpoint, loading)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, a line of JSON an update."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--start", required=True, help="the reference's adapter, or a policy's with `ref/` beside it")
    parser.add_argument("--out", type=Path, required=True, help="a directory")
    parser.add_argument("--posts", type=int, default=1600, help="drawn posts")
    parser.add_argument("--rights", type=int, default=3, help="right summaries of a post")
    parser.add_argument("--wrongs", type=int, default=5, help="wrong summaries of each, or fewer where some are alike")
    parser.add_argument("--batch", type=int, default=4, help="posts an update")
    parser.add_argument("--together", type=int, help="posts in a pass (default: 1 on a CPU, else all of an update)")
    parser.add_argument("--beta", type=float, default=named("smollm2").beta)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=3000)
    parser.add_argument("--save", type=int, default=20, help="updates between two saved states")
    options = parser.parse_args(arguments)
    torch.manual_seed(options.seed)
    learn(*load(options.start, fetched(named("smollm2")).path), options)


if __name__ == "__main__":
    main()
