"""Who is compared on a GPU: each scores tokenised rows and gives every answer's log-ratio of policy and reference."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from workload import Encoded, Group

from dpo_credit.batch.job import Job
from dpo_credit.batch.local import MANY_TOKENS, Local
from dpo_credit.batch.run import Stream, run
from dpo_credit.credit import Tokens
from dpo_credit.forward.budget import Budget
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.sources import expand
from dpo_credit.scoring import Scorer

Rows = Sequence[tuple[Group, Encoded]]


@dataclass(frozen=True)
class Contender:
    """`run(rows, size)`: log pi(answer) - log pi_ref(answer), nats, in order; `size` as the contender takes it.

    `prepare(rows)` is what is not timed.
    """

    run: Callable[[Rows, int], list[float]]
    prepare: Callable[[Rows], object] = lambda rows: None


def gather(names: Sequence[str], pair: ModelPair, say: Callable[[str], None]) -> dict[str, Contender]:
    """Those that can run here; ours always."""
    contenders = {"ours": ours(pair, compiled=True)}
    if "plain" in names:
        contenders["plain"] = plain(pair)
    if "trl" in names:
        try:
            contenders["trl"] = trl(pair)
        except ImportError as error:
            say(f"TRL is left out: {error}. It takes the packages trl, datasets, dill and multiprocess.")
    return contenders


def ours(pair: ModelPair, *, compiled: bool) -> Contender:
    """Both sides begun before either is waited for, as `Scorer` does; `size` is the tokens of a pack, 0 the default."""
    sides = [pair.policy, pair.reference]

    def go(rows: Rows, size: int) -> list[float]:
        budget: Budget = sides[0].budget  # type: ignore[attr-defined]
        budget.tokens, budget.done = size or budget.tokens, MANY_TOKENS if compiled else 0
        batch = [
            Tokens(e.prompt, answer, ("",) * len(answer), ((0, 0),) * len(answer), "")
            for _, e in rows
            for answer in e.answers
        ]
        begun = [replace(side, budget=budget).begin(batch) for side in sides]  # type: ignore[type-var,attr-defined]
        policy, reference = (finish() for finish in begun)
        return [sum(p.logps) - sum(r.logps) for p, r in zip(policy, reference, strict=True)]

    return Contender(go)


def plain(pair: ModelPair) -> Contender:
    """transformers, sorted by length and padded on the right; log-softmax of the answers' rows. `size` in answers."""
    models = [side.module for side in (pair.policy, pair.reference)]  # type: ignore[attr-defined]
    device = next(models[0].parameters()).device

    @torch.no_grad()
    def go(rows: Rows, size: int) -> list[float]:
        answers = [(e.prompt, answer) for _, e in rows for answer in e.answers]
        order = sorted(range(len(answers)), key=lambda n: -len(answers[n][0]) - len(answers[n][1]))
        sums = [0.0] * len(answers)
        for first in range(0, len(order), size):
            picked = order[first : first + size]
            longest = max(len(answers[n][0]) + len(answers[n][1]) for n in picked)
            ids, mask = (torch.zeros(len(picked), longest, dtype=torch.long) for _ in range(2))
            wanted = torch.zeros(len(picked), longest, dtype=torch.bool)
            for row, n in enumerate(picked):
                prompt, answer = answers[n]
                end = len(prompt) + len(answer)
                ids[row, :end] = torch.tensor([*prompt, *answer])
                mask[row, :end], wanted[row, len(prompt) : end] = 1, True
            ids, mask, wanted = ids.to(device), mask.to(device), wanted.to(device)
            start = min(len(answers[n][0]) for n in picked) - 1  # row t predicts ids[t + 1]
            totals = []
            for model in models:
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, start:-1]
                logps = [
                    row.float().log_softmax(-1).gather(-1, ids[n, start + 1 :, None])[:, 0]
                    for n, row in enumerate(logits)
                ]
                totals.append((torch.stack(logps) * wanted[:, start + 1 :]).sum(1))
            for n, value in zip(picked, (totals[0] - totals[1]).tolist(), strict=True):
                sums[n] = value
        return sums

    return Contender(go)


def trl(pair: ModelPair) -> Contender:
    """TRL's `DPOTrainer.evaluate` on rows it has tokenised before; `size` in answers.

    It takes pairs: the last of an odd number of answers to a prompt is paired with the first once more.

    Raises:
        ImportError: it is not installed.
    """
    import datasets
    from peer_trl import _recorded
    from transformers import PrinterCallback
    from trl import DPOConfig, DPOTrainer

    datasets.disable_progress_bars()
    policy, reference = (side.module for side in (pair.policy, pair.reference))  # type: ignore[attr-defined]
    trainers: dict[int, Any] = {}

    def trainer_of(rows: Rows) -> Any:
        key, folder = id(rows), tempfile.mkdtemp()  # nothing is written there
        if key not in trainers:
            pairs = [
                {"prompt": group.prompt, "chosen": first, "rejected": second}
                for group, _ in rows
                for first, second in zip(group.answers[::2], (*group.answers, group.answers[0])[1::2], strict=False)
            ]
            data = datasets.Dataset.from_list(pairs)
            cuda = torch.cuda.is_available()
            config = DPOConfig(
                folder,
                max_length=None,
                report_to=[],
                bf16=cuda,
                use_cpu=not cuda,
                disable_tqdm=True,
                save_strategy="no",
            )
            made = DPOTrainer(
                policy, reference, args=config, train_dataset=data, eval_dataset=data, processing_class=pair.tokenizer
            )
            made.remove_callback(PrinterCallback)
            trainers[key] = made
        return trainers[key]

    def go(rows: Rows, size: int) -> list[float]:
        trainer = trainer_of(rows)
        trainer.args.per_device_eval_batch_size = max(1, size // 2)
        with _recorded(policy) as own, _recorded(reference) as other:
            trainer.evaluate()
        for model in (policy, reference):
            model.eval().requires_grad_(False)
        ratios = [p - r for p, r in zip(own, other, strict=True)]  # each batch: the chosen ones, then the rejected
        values = [value for batch in ratios for both in zip(*batch.chunk(2), strict=True) for value in map(float, both)]
        answers = iter(values)
        sums: list[float] = []
        for _, encoded in rows:
            each = len(encoded.answers)
            sums += [next(answers) for _ in range(each + each % 2)][:each]
        return sums

    return Contender(go, trainer_of)


def pipeline(pair: ModelPair, groups: Sequence[Group], times: int) -> dict[str, float]:
    """A file of rows read, tokenised, packed, scored and written, as `batch` does it, and how long the GPU was busy."""
    from torch.profiler import ProfilerActivity, profile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        rows = [{"prompt": f"{n} {g.prompt}", "completions": list(g.answers)} for n in range(times) for g in groups]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

        def score() -> int:
            scorer = Scorer(pair, noise=0.0)
            scorer.tokens_done = MANY_TOKENS
            sink = Stream(lambda data: None, print)
            return [progress.counts for progress in run(Job(tuple(expand([str(path)]))), Local(scorer), sink)][
                -1
            ].tokens

        score()
        start = time.perf_counter()
        tokens = score()
        wall = time.perf_counter() - start
        with profile(
            activities=[ProfilerActivity.CUDA] if torch.cuda.is_available() else [ProfilerActivity.CPU]
        ) as seen:
            score()
        busy = sum(event.self_device_time_total for event in seen.key_averages()) / 1e6
    return {"wall_seconds": wall, "busy_seconds": busy, "rows": len(rows), "tokens": tokens}
