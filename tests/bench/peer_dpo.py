"""The original DPO code's evaluation: `get_batch_metrics` of eric-mitchell/direct-preference-optimization's trainer.

The code is not on PyPI: clone it (commit f8b8c0f is what was measured) and name the folder with --dpo-repo. Its own
functions tokenise the rows, beforehand, and collate them. What it imports for training on several GPUs and for logging
is stood in for by empty modules where it is not installed.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import torch
from contender import Contender, Missing, Setting, batches

INSTALL = "git clone https://github.com/eric-mitchell/direct-preference-optimization DIR, and --dpo-repo DIR"
BETA = 1.0  # its metrics are beta times the log-ratios
OWN = ("trainers", "preference_datasets", "utils")
UNUSED = {"omegaconf": ["DictConfig"], "tensor_parallel": [], "wandb": [], "bs4": ["BeautifulSoup", "NavigableString"]}


def original_dpo(setting: Setting) -> Contender:
    if setting.dpo_repo is None or not (setting.dpo_repo / "trainers.py").is_file():
        raise Missing(INSTALL)
    trainers, datasets = _import(str(setting.dpo_repo))
    trainer = object.__new__(trainers.BasicTrainer)  # its __init__ downloads data sets
    trainer.policy, trainer.reference_model = setting.models
    trainer.rank, trainer.world_size = 0, 1
    loss = SimpleNamespace(name="dpo", beta=BETA, reference_free=False, label_smoothing=0.0)
    tokenizer, limit = setting.tokenizer, sys.maxsize
    rows = [
        datasets.tokenize_batch_element(prompt, chosen, rejected, "keep_start", tokenizer, limit, limit)
        for prompt, chosen, rejected in setting.pairs
    ]
    collate = datasets.get_collate_fn(tokenizer)

    @torch.no_grad()
    def run(answers: int, size: int) -> list[float]:
        sums: list[float] = []
        for batch in batches(rows[: answers // 2], size // 2):
            _, metrics = trainer.get_batch_metrics(collate(batch), loss, train=False)
            rewards = metrics["rewards_eval/chosen"], metrics["rewards_eval/rejected"]
            sums += [value / BETA for pair in zip(*rewards, strict=True) for value in pair]
        return sums

    return Contender("original DPO code", run, 2)


def _import(folder: str) -> tuple[ModuleType, ModuleType]:
    for name, attributes in UNUSED.items():
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = ModuleType(name)
            for attribute in attributes:
                setattr(sys.modules[name], attribute, type(attribute, (), {}))
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("trainers"), importlib.import_module("preference_datasets")
    finally:
        sys.path.remove(folder)
        for name in (*OWN, *UNUSED):  # so that nobody else takes `utils` or an empty module for the real one
            if name in OWN or getattr(sys.modules.get(name), "__spec__", 0) is None:
                sys.modules.pop(name, None)
