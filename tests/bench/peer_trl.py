"""TRL's DPOTrainer evaluation: as shipped, and with what it does on CUDA done on the CPU.

On CUDA its fused LM head takes only the rows that predict a completion token; elsewhere it takes all. One function of
`trl.trainer.utils` decides, `_use_triton`; the kernel asks its own, so answering yes here changes the rows alone.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from unittest import mock

import torch
from contender import Contender, Missing, Setting
from torch import nn


def shipped(setting: Setting) -> Contender:
    return _contender("TRL DPOTrainer, as shipped", setting, contextlib.nullcontext)


def completion_rows(setting: Setting) -> Contender:
    return _contender("TRL, its CUDA behaviour forced", setting, _compact)


def _compact() -> contextlib.AbstractContextManager:
    return mock.patch("trl.trainer.utils._use_triton", lambda device: True)


def _contender(name: str, setting: Setting, forced: object) -> Contender:
    try:
        import datasets
        from transformers import PrinterCallback
        from trl import DPOConfig, DPOTrainer
    except ImportError as error:
        raise Missing("pip install 'trl>=1.16,<2'") from error
    datasets.disable_progress_bars()
    rows = datasets.Dataset.from_list(
        [{"prompt": prompt, "chosen": chosen, "rejected": rejected} for prompt, chosen, rejected in setting.pairs]
    )
    policy, reference = setting.twins()
    folder = tempfile.TemporaryDirectory()
    config = DPOConfig(
        folder.name, max_length=None, report_to=[], bf16=False, use_cpu=True, disable_tqdm=True, save_strategy="no"
    )
    trainer = DPOTrainer(
        policy, reference, args=config, train_dataset=rows, eval_dataset=rows, processing_class=setting.tokenizer
    )
    trainer.remove_callback(PrinterCallback)
    tokenized = trainer.eval_dataset

    def run(answers: int, size: int) -> list[float]:
        trainer.args.per_device_eval_batch_size = size // 2
        trainer.eval_dataset = tokenized.select(range(answers // 2))
        with _recorded(policy) as ours, _recorded(reference) as theirs, forced():
            trainer.evaluate()
        ratios = [p - r for p, r in zip(ours, theirs, strict=True)]  # each batch: the chosen ones, then the rejected
        return [value for batch in ratios for pair in zip(*batch.chunk(2), strict=True) for value in map(float, pair)]

    run.folder = folder  # kept for as long as the trainer is
    return Contender(name, run, 2)


@contextlib.contextmanager
def _recorded(model: nn.Module) -> Iterator[list[torch.Tensor]]:
    """The sums that the trainer makes of each batch's log-probabilities, which its metrics only show averaged."""
    sums: list[torch.Tensor] = []
    hook = model.register_forward_hook(lambda module, inputs, output: sums.append(output.log_probs.sum(1)))
    try:
        yield sums
    finally:
        hook.remove()
