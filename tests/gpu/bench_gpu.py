"""Our scorer on one GPU against plain transformers and TRL's evaluate, and against what the products alone would take.

    sh tests/gpu/run.sh pythia-2.8b pairs                # one shape and workload, under four minutes on an H100
    PYTHONPATH=.:tests/bench python tests/gpu/bench_gpu.py --help

Random weights in a known model's shape, bf16, policy and reference in memory, made in place. Every round has rows of
its own, never seen before: the same posts cut at other lengths. Within a round all contenders run in random order, each
at its best batch, which is searched for on other rows; those also compile what is compiled. The limit is the
unavoidable products (see `limit.py` beside the CPU's benchmark) at this GPU's rate of `torch.mm` at 8192^3. A table and
a JSON are written at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from contenders import Contender, gather, ours, pipeline
from limit import attention_flops, count, products
from shapes import tokenizer
from shapes_gpu import SHAPES, pair_of
from workload import Encoded, Group, chosen, made_up, read, with_answers

from dpo_credit.models.pair import ModelPair

ROUNDS = 3
SEED = 0
SQUARE = 8192
MOST_TOKENS = 2000


@dataclass
class Result:
    """A contender's seconds, one a round, and the furthest that its sums are from ours, nats."""

    batch: int
    seconds: list[float] = field(default_factory=list)
    furthest: float = 0.0
    peak_bytes: int = 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--shape", choices=SHAPES, default="pythia-2.8b")
    add("--work", choices=("pairs", "many"), default="pairs", help="100 posts x 2 answers, or 70 x 13 (%(default)s)")
    add("--data", type=Path, help="a JSONL of pairs; default: made up")
    add("--many", type=Path, help="a JSONL of rows with many answers; default: made of the pairs")
    add("--prompts", type=int, help="fewer posts")
    add("--only", nargs="+", default=["ours", "plain", "trl"])
    add("--batches", type=int, nargs="+", default=[8, 16, 32, 64], help="answers, tried for the peers (%(default)s)")
    add("--packs", type=int, nargs="+", default=[16384, 32768], help="tokens, tried for ours (%(default)s)")
    add("--pipeline", action="store_true", help="also rows of a file to lines, and how long the GPU was busy")
    add("--tiny", action="store_true", help="two narrow layers and few rows: does it run?")
    add("--out", type=Path, default=Path(os.environ.get("OUT", ".")))
    return parser.parse_args()


def main() -> None:
    asked = arguments()
    warnings.simplefilter("ignore")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prompts = asked.prompts or (4 if asked.tiny else 100 if asked.work == "pairs" else 70)
    groups = groups_of(asked)
    texts = [text for group in groups for text in (group.prompt, *group.answers)]
    learned = tokenizer(texts)
    rounds = [rows_of(groups, learned, prompts, seed) for seed in range(ROUNDS + 1)]
    started = time.perf_counter()
    pair = pair_of(SHAPES[asked.shape], learned, device, tiny=asked.tiny)
    say(f"{asked.shape} made in {time.perf_counter() - started:.0f} s")
    rate = product_rate(device, 256 if asked.tiny else SQUARE)
    flops = [flops_of(pair, [encoded for _, encoded in rows]) for rows in rounds[1:]]
    limits = [f / rate for f in flops]
    say(f"{rate / 1e12:.0f} TFLOP/s; the limit is {median(limits):.3f} s")
    measured: dict[str, Any] = {
        "shape": asked.shape,
        "work": asked.work,
        "machine": machine(device),
        "tflops": rate / 1e12,
        "limit_seconds": limits,
        "prompts": len(rounds[1]),
        "answers": sum(len(group.answers) for group, _ in rounds[1]),
        "tokens": sum(len(e.prompt) + len(answer) for _, e in rounds[1] for answer in e.answers),
        "first_post": first_post(pair, rounds[0]),
    }
    contenders = gather(asked.only, pair, say)
    results = compare(contenders, rounds, {"ours": asked.packs}, asked.batches)
    measured["contenders"] = {name: vars(result) for name, result in results.items()}
    if asked.pipeline:
        measured["pipeline"] = pipeline(pair, [group for rows in rounds for group, _ in rows], 2 if asked.tiny else 20)
    print(table(measured))
    path = asked.out / f"gpu-{asked.shape}-{asked.work}.json"
    path.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def say(line: str) -> None:
    print(f"[{time.perf_counter() - START:6.1f}] {line}", file=sys.stderr, flush=True)


def machine(device: torch.device) -> dict[str, str]:
    import transformers

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"device": name, "torch": torch.__version__, "transformers": transformers.__version__}


def groups_of(asked: argparse.Namespace) -> list[Group]:
    """The rows: of pairs, those of the file and, where these are few, other answers to the same posts."""
    groups = read(asked.data) if asked.data else made_up(100)
    if asked.work == "many":
        return read(asked.many) if asked.many else with_answers(groups, 13)
    groups = [Group(group.prompt, group.answers[:2]) for group in groups if len(set(group.answers)) > 1]
    if asked.many:
        groups += [Group(group.prompt, group.answers[2:4]) for group in read(asked.many) if len(group.answers) > 3]
    return groups


def rows_of(groups: Sequence[Group], learned: Any, prompts: int, seed: int) -> list[tuple[Group, Encoded]]:
    """Rows of one round: each post without some of its first words, so that no length is known from another round."""
    draw = random.Random(seed)
    cut = []
    for group in groups:
        words = group.prompt.split(" ")
        start = draw.randrange(1 + min(12, len(words) // 4))
        cut.append(Group(" ".join(words[start:]), tuple(dict.fromkeys(group.answers))))
    return chosen(cut, learned, prompts, MOST_TOKENS)


def product_rate(device: torch.device, side: int) -> float:
    """Operations a second of bf16 `torch.mm`, squares of a side, the best of five."""
    left, right = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / min(seconds(lambda: torch.mm(left, right)) for _ in range(6))


def flops_of(pair: ModelPair, encoded: Sequence[Encoded]) -> float:
    """The unavoidable operations of both models."""
    counts = count(encoded)
    modules = [side.module for side in (pair.policy, pair.reference)]  # type: ignore[attr-defined]
    return sum(
        sum(product.flops for product in products(module, counts)) + attention_flops(module, counts)
        for module in modules
    )


def seconds(job: Callable[[], object]) -> float:
    """Wall-clock time, with all that the GPU was given done."""
    wait()
    start = time.perf_counter()
    job()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def first_post(pair: ModelPair, rows: Sequence[tuple[Group, Encoded]]) -> dict[str, Any]:
    """Seconds for single posts of new lengths, and how often something was compiled for them."""
    contender = ours(pair, compiled=False)
    timed = [seconds(lambda row=row: contender.run([row], 0)) for row in rows[:8]]
    frames = dict(torch._dynamo.utils.counters["frames"])
    return {"first_seconds": timed[0], "seconds": median(timed[1:] or timed), "compiled": frames.get("total", 0)}


def compare(
    contenders: dict[str, Contender],
    rounds: Sequence[Sequence[tuple[Group, Encoded]]],
    own_sizes: dict[str, list[int]],
    sizes: list[int],
) -> dict[str, Result]:
    """Each contender's best batch by the first rows, then all in random order on the rows of each round."""
    results = {}
    for name, contender in list(contenders.items()):
        timed = {}
        contender.prepare(rounds[0])
        for size in own_sizes.get(name, sizes):
            try:
                first = seconds(lambda c=contender, s=size: c.run(rounds[0], s))
                timed[size] = seconds(lambda c=contender, s=size: c.run(rounds[0], s))
                say(f"{name}, {size}: {timed[size]:.3f} s, {first:.1f} s the first time")
            except torch.OutOfMemoryError:
                say(f"{name}, {size}: out of memory")
                break
            if timed[size] > 1.2 * min(timed.values()):
                break
        results[name] = Result(min(timed, key=timed.__getitem__))
    draw = random.Random(SEED)
    for rows in rounds[1:]:
        order = list(contenders)
        draw.shuffle(order)
        sums = {name: timed_run(contenders[name], results[name], rows) for name in order}
        for name in order:
            apart = [abs(a - b) for a, b in zip(sums[name], sums["ours"], strict=True)]
            results[name].furthest = max(results[name].furthest, *apart)
    return results


def timed_run(contender: Contender, result: Result, rows: Sequence[tuple[Group, Encoded]]) -> list[float]:
    """A contender's sums for a round's rows; its seconds and its memory are added to its result."""
    contender.prepare(rows)
    sums: list[float] = []
    before = reset_peak()
    result.seconds.append(seconds(lambda: sums.extend(contender.run(rows, result.batch))))
    result.peak_bytes = max(result.peak_bytes, peak() - before)
    return sums


def reset_peak() -> int:
    if not torch.cuda.is_available():
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def peak() -> int:
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def table(measured: dict[str, Any]) -> str:
    """The comparison: medians of ratios taken within a round."""
    limits, ours_seconds = measured["limit_seconds"], measured["contenders"]["ours"]["seconds"]
    lines = [
        f"{measured['shape']}, {measured['prompts']} posts, {measured['answers']} answers, {measured['tokens']:,} "
        f"tokens; {', '.join(measured['machine'].values())}",
        "",
        "| contender | batch | s, new rows | x ours | of the limit | GB above the weights | furthest sum, nats |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in measured["contenders"].items():
        times = median(a / b for a, b in zip(result["seconds"], ours_seconds, strict=True))
        share = median(limit / s for limit, s in zip(limits, result["seconds"], strict=True))
        cells = [name, result["batch"], f"{median(result['seconds']):.3f}", f"{times:.2f}", f"{share:.2f}"]
        lines.append(
            f"| {' | '.join(map(str, cells))} | {result['peak_bytes'] / 2**30:.1f} | {result['furthest']:.3f} |"
        )
    post = measured["first_post"]
    lines.append(
        f"\none post: {post['seconds']:.3f} s ({post['first_seconds']:.2f} s the first), {post['compiled']} compiled"
    )
    if "pipeline" in measured:
        lines.append(
            "a file to lines: {wall_seconds:.2f} s, the GPU busy for {busy_seconds:.2f} s of them; {rows} rows, "
            "{tokens:,} tokens".format(**measured["pipeline"])
        )
    return "\n".join(lines)


START = time.perf_counter()
if __name__ == "__main__":
    main()
