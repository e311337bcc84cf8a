"""Our scorer against each peer's real code: ratios, the share of the matrix products' limit, peak memory, agreement.

    make bench                                           # the embedded pair on made-up rows, peers that are installed
    B="python tests/bench/bench_score.py --data PAIRS.jsonl --dpo-repo DIR"
    $B --shape pythia-70m --prompts 8 --answers 2 --json two.json
    $B --shape pythia-70m --prompts 3 --answers 8 --json eight.json
    $B --shape qwen2 --prompts 6 --answers 2 --only plain trl-cuda --json qwen2.json
    python tests/bench/report.py two.json eight.json qwen2.json             # the guide's table

PAIRS.jsonl holds rows with a prompt and answers, DIR a clone of the original DPO code. The other peers come with
`pip install --no-deps --target PEERS -r tests/bench/requirements.txt`, then `PYTHONPATH=PEERS`; one that is missing is
named with how to get it. Everything runs in float32 on the CPU, in one process: a search for each contender's best
batch, then rounds that run every contender once in random order; ratios are taken within a round. "One prompt" is the
best that it does when only one prompt's answers are at hand. TRL, RewardBench and the original DPO code get their rows
tokenised beforehand; ours, plain transformers and lm-eval tokenise in the pass. Every pass's sums are compared with
ours; RewardBench puts a beginning-of-sequence token before every prompt, so there ours are taken on that text.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import memory
import report
import torch
from contender import Contender, Missing, Setting, ours, plain
from limit import Limit
from overhead import outside_operators
from peer_dpo import original_dpo
from peer_lm_eval import lm_eval
from peer_rewardbench import rewardbench
from peer_trl import completion_rows, shipped
from plan import Disagreement, Entry, rounds, search
from shapes import SHAPES, make
from transformers import AutoTokenizer
from transformers.utils import logging
from workload import Encoded, Group, chosen, made_up, read, with_answers

from dpo_credit.models.published import EMBEDDED

CONTENDERS = {
    "ours": ours,
    "trl": shipped,
    "trl-cuda": completion_rows,
    "rewardbench": rewardbench,
    "dpo": original_dpo,
    "lm-eval": lm_eval,
    "plain": plain,
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--policy", type=Path, help="a model directory, with --reference; default: the embedded pair")
    add("--reference", type=Path)
    add("--shape", choices=SHAPES, help="random weights in this shape, instead")
    add("--data", type=Path, help="a JSONL of rows; default: made up")
    add("--prompts", type=int, default=8, help="how many of its prompts (%(default)s)")
    add("--answers", type=int, default=2, help="answers a prompt: its own, then variants (%(default)s)")
    add("--max-tokens", type=int, default=1024, help="longer rows are left out (%(default)s)")
    add("--rounds", type=int, default=5)
    add("--batch", type=int, help="answers in every batch; default: search for each contender's best")
    add("--search-prompts", type=int, default=2, help="prompts to search on (%(default)s)")
    add("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), help="which contenders; ours always runs")
    add("--threads", type=int, help="torch's threads")
    add("--dpo-repo", type=Path, help="a clone of the original DPO code")
    add("--no-memory", action="store_true", help="do not measure memory")
    add("--no-limit", action="store_true", help="do not measure the matrix products' limit")
    add("--json", type=Path, help="write everything measured to this file")
    add("--alone", help=argparse.SUPPRESS)  # one contender's peak memory; see memory.py
    return parser.parse_args()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    asked = arguments()
    warnings.simplefilter("ignore")  # what the peers say of each other's versions
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    groups = read(asked.data) if asked.data else made_up()
    if asked.alone:
        print(json.dumps(peak(asked, with_answers(groups, asked.answers))))
        return
    with tempfile.TemporaryDirectory() as folder:
        if asked.shape:
            say(f"making a random pair in the shape of {asked.shape}")
            texts = [text for group in groups for text in (group.prompt, *group.answers)]
            asked.policy, asked.reference = make(SHAPES[asked.shape], texts, Path(folder))
        try:
            measured = measure(asked, with_answers(groups, asked.answers))
        except Disagreement as error:
            sys.exit(str(error))
    print(f"{measured['title']}; {measured['machine']['cpu']}, {measured['machine']['threads']} threads\n")
    print(report.table(measured))
    print(f"\nours spends {measured['outside_operators']:.1%} of a pass outside torch's operators")
    if asked.json:
        asked.json.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")


def sides(asked: argparse.Namespace) -> tuple[Path, Path]:
    if asked.policy and not asked.reference:
        sys.exit("--policy without --reference: the benchmark takes two whole models.")
    return asked.policy or EMBEDDED / "policy", asked.reference or EMBEDDED / "reference"


def setting_of(asked: argparse.Namespace, groups: list[Group]) -> tuple[Setting, list[Encoded]]:
    policy, reference = sides(asked)
    picked = chosen(groups, AutoTokenizer.from_pretrained(policy), asked.prompts, asked.max_tokens)
    setting = Setting(policy, reference, tuple(group for group, _ in picked), asked.dpo_repo)
    return setting, [encoded for _, encoded in picked]


def measure(asked: argparse.Namespace, groups: list[Group]) -> dict[str, Any]:
    """Everything that a run of the benchmark measures.

    Raises:
        Disagreement: the sums of two contenders differ.
    """
    setting, encoded = setting_of(asked, groups)
    entries, missing = {}, {}
    for name in dict.fromkeys(["ours", *asked.only]):
        try:
            entries[name] = entry_of(CONTENDERS[name](setting), setting, asked)
            say(f"{name}: batches of {entries[name].batch} answers")
        except Missing as error:
            missing[name] = str(error)
            say(f"{name} is left out; to have it: {error}")
    all_of_them, answers = list(entries.values()), len(setting.examples)
    limit = None if asked.no_limit else Limit(setting.models, encoded).seconds
    own = entries["ours"]
    limits = rounds(all_of_them, expected_sums(own, setting), answers, asked.rounds, limit, say)
    outside = outside_operators(own.contender, answers, own.batch)
    for name in entries if not asked.no_memory else ():
        entries[name].megabytes = memory.alone(command_line(asked), name, entries[name].batch)
    return {
        "title": f"{asked.shape or sides(asked)[0].name}, {len(encoded)} prompts x {setting.answers_each} answers",
        "machine": report.machine(),
        "tokens": sum(len(group.prompt) + len(answer) for group in encoded for answer in group.answers),
        "limit_seconds": limits,
        "outside_operators": outside,
        "missing": missing,
        "contenders": report.contenders(all_of_them, limits),
    }


def entry_of(contender: Contender, setting: Setting, asked: argparse.Namespace) -> Entry:
    """The contender at its best batches, or at the one asked for."""
    each, answers = setting.answers_each, len(setting.examples)
    if asked.batch:
        batch = max(asked.batch, contender.step)
        return Entry(contender, batch, min(batch, each))
    few = min(asked.search_prompts, len(setting.groups)) * each
    return Entry(contender, *search(contender, each, few, answers))


def expected_sums(own: Entry, setting: Setting) -> Callable[[str], list[float]]:
    """Our sums, for prompts that begin with a text of the asker's."""

    @cache
    def sums(start: str) -> list[float]:
        if not start:
            return own.contender.run(len(setting.examples), own.batch)
        begun = tuple(replace(group, prompt=start + group.prompt) for group in setting.groups)
        return ours(replace(setting, groups=begun)).run(len(setting.examples), own.batch)

    return sums


def command_line(asked: argparse.Namespace) -> list[str]:
    """The arguments that make another process see the same pair and workload."""
    policy, reference = sides(asked)
    given = {
        "--policy": policy,
        "--reference": reference,
        "--data": asked.data,
        "--prompts": asked.prompts,
        "--answers": asked.answers,
        "--max-tokens": asked.max_tokens,
        "--threads": asked.threads,
        "--dpo-repo": asked.dpo_repo,
    }
    return [str(part) for flag, value in given.items() if value is not None for part in (flag, value)]


def peak(asked: argparse.Namespace, groups: list[Group]) -> float | None:
    """What `--alone` prints: the peak memory of one contender, in megabytes above the loaded models."""
    setting, _ = setting_of(asked, groups)
    each = setting.answers_each
    word = Group("I", tuple(f" {n}" for n in range(each)))  # scored first, to load what is loaded on first use
    setting = replace(setting, groups=(word, *setting.groups))
    contender = CONTENDERS[asked.alone](setting)
    for model in setting.models if asked.alone != "ours" else ():
        for weight in model.parameters():
            weight.sum()  # weights are mapped from the file: read them, so that they count as loaded
    return memory.rise(
        lambda: contender.run(each, contender.step), lambda: contender.run(len(setting.examples), asked.batch)
    )


if __name__ == "__main__":
    main()
