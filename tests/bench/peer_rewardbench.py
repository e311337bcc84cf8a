"""RewardBench's DPO inference: its `rewardbench/dpo.py`, used as its `scripts/run_dpo.py` does.

Its rows are tokenised beforehand, as there. The package is not imported: that asks for FastChat and more, and its pins
ask for an old transformers, while the file itself needs only torch.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from contender import Contender, Missing, Setting

INSTALL = "pip install --no-deps --target PEERS rewardbench, and PYTHONPATH=PEERS"


def rewardbench(setting: Setting) -> Contender:
    found = importlib.util.find_spec("rewardbench")
    if found is None or found.origin is None:
        raise Missing(INSTALL)
    try:
        from trl.experimental.utils import DPODataCollatorWithPadding  # was trl.trainer.utils, which the script names
    except ImportError as error:
        raise Missing("pip install 'trl>=1.16,<2', for the collator that RewardBench's script imports") from error
    spec = importlib.util.spec_from_file_location("rewardbench_dpo", Path(found.origin).parent / "dpo.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)

    tokenizer = copy.deepcopy(setting.tokenizer)
    if tokenizer.bos_token is None:  # as its script does
        tokenizer.bos_token = tokenizer.eos_token
    dpo = module.DPOInference(*setting.models, tokenizer, SimpleNamespace(device=torch.device("cpu")))
    rows = [
        dpo.tokenize_row({"prompt": prompt, "text_chosen": prompt + chosen, "text_rejected": prompt + rejected})
        for prompt, chosen, rejected in setting.pairs
    ]
    collate = DPODataCollatorWithPadding(pad_token_id=tokenizer.pad_token_id)

    def run(answers: int, size: int) -> list[float]:
        loader = torch.utils.data.DataLoader(rows[: answers // 2], batch_size=size // 2, collate_fn=collate)
        return [
            float(value) for batch in loader for pair in zip(*dpo.inference_step(batch), strict=True) for value in pair
        ]

    adds_itself = setting.tokenizer("a").input_ids[0] == tokenizer.bos_token_id
    return Contender("RewardBench DPO inference", run, 2, "" if adds_itself else tokenizer.bos_token)
