"""TRL's own evaluation of preference rows: what its DPOTrainer gives for each of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from dpo_credit.credit import CreditError
from dpo_credit.extras import INSTALL, trl_installed
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.records import Row
from dpo_credit.verify.sides import is_adapter, torch_sides
from dpo_credit.verify.targets import Target
from dpo_credit.verify.trl_rows import is_trls, trl_row

_INDEX = "dpo_credit_row"  # a column by which a row is known after TRL has dropped some


def trl_rewards(pair: ModelPair, rows: Sequence[Row], max_length: int | None = None) -> tuple[Target, tuple[str, ...]]:
    """Each row's rewards from `DPOTrainer.evaluate`, in the models' own dtype and with no mixed precision.

    TRL evaluates batches of one row, since it logs means. It gets the user's own fields: see `trl_row`.

    Args:
        pair: both models loaded; they come back as they were.
        max_length: TRL's own, if not given.

    Returns:
        The target, and what the user should be told.

    Raises:
        CreditError: TRL is not installed, or fails on these rows.
    """
    if not trl_installed():
        raise CreditError(f"TRL is not installed: {INSTALL.format('train')}")
    import trl

    numbers: dict[int, tuple[float, float]] = {}
    order = sorted(range(len(rows)), key=lambda n: _shape(rows[n]))
    try:
        for _, group in groupby(order, key=lambda n: _shape(rows[n])):
            numbers |= _evaluated(pair, [(n, trl_row(rows[n])) for n in group], max_length)
    except Exception as error:  # whatever TRL and datasets raise is about these rows or these models
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise CreditError(
            f"TRL {trl.__version__} cannot evaluate these rows: {reason} (--no-trl leaves it out.)"
        ) from error
    if not numbers:
        raise CreditError("TRL drops all rows: their prompts fill its max_length. Give shorter ones, or --max-length.")
    dropped = len(rows) - len(numbers)
    name = f"TRL {trl.__version__}"
    notes: tuple[str, ...] = (
        (f"{name} drops {dropped} of {len(rows)} rows whose prompt fills its max_length",) if dropped else ()
    )
    if ours := [row.id for row in rows if not is_trls(row)]:
        notes += (
            f"{len(ours)} of {len(rows)} rows are none that {name} takes (the first: {ours[0]}): it got them as they "
            "are read here",
        )
    return Target(name, name, tuple(numbers.get(n) for n in range(len(rows)))), notes


def _shape(row: Row) -> tuple[bool, list[str]]:
    """What a data set takes from its first row: whether it is of chats, and which fields there are."""
    fields = trl_row(row)
    return isinstance(fields["chosen"], list), sorted(fields)


def _evaluated(
    pair: ModelPair, rows: list[tuple[int, dict[str, Any]]], max_length: int | None
) -> dict[int, tuple[float, float]]:
    import datasets
    from transformers import PrinterCallback
    from trl import DPOConfig

    ours, theirs = torch_sides(pair)
    dataset = datasets.Dataset.from_list([{**row, _INDEX: n} for n, row in rows])
    with tempfile.TemporaryDirectory() as folder, _as_it_was(pair), _no_progress_bars():
        limit: dict[str, Any] = {} if max_length is None else {"max_length": max_length}
        config = DPOConfig(
            folder,
            beta=pair.beta,
            per_device_eval_batch_size=1,
            report_to="none",
            save_strategy="no",
            bf16=False,
            fp16=False,
            gradient_checkpointing=False,
            use_cpu=ours.device.type == "cpu",
            disable_tqdm=True,
            **limit,
        )
        shared = ours.module is theirs.module
        with _adapters(pair) as finish:
            policy: Any = ours.module
            reference: Any = None if shared else theirs.module
            trainer = _by_row()(
                policy,
                reference,
                args=config,
                train_dataset=dataset,
                eval_dataset=dataset,
                processing_class=pair.tokenizer,
            )
            finish()
            trainer.remove_callback(PrinterCallback)
            encoded: Any = trainer.eval_dataset
            trainer.evaluate()
            if len(trainer.rewards) == len(encoded):
                return dict(zip(encoded[_INDEX], trainer.rewards, strict=True))
            numbers = {}  # batches of other sizes than one row, as several GPUs make them: its log of one row at a time
            for at, n in enumerate(encoded[_INDEX]):
                trainer.eval_dataset = encoded.select([at])
                trainer.evaluate()
                logged = trainer.state.log_history[-1]
                numbers[n] = logged["eval_rewards/chosen"], logged["eval_rewards/rejected"]
            return numbers


def _by_row() -> Any:
    """TRL's trainer, which logs means over all batches, with what it has for each of them."""
    from trl import DPOTrainer

    class ByRow(DPOTrainer):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.rewards: list[tuple[float, float]] = []
            super().__init__(*arguments, **options)

        def prediction_step(self, *arguments: Any, **options: Any) -> Any:
            result = super().prediction_step(*arguments, **options)
            known = getattr(self, "_metrics", {}).get("eval", {})
            if known.get("rewards/chosen"):
                self.rewards.append((known["rewards/chosen"][-1], known["rewards/rejected"][-1]))
            return result

    return ByRow


@contextmanager
def _adapters(pair: ModelPair) -> Iterator[Any]:
    """Give TRL the adapter alone, and after it has set up, the reference as the pair has it.

    TRL takes a model with an adapter for one about to be trained on, and makes a copy of it named "ref" the reference.
    """
    policy, reference = torch_sides(pair)
    module: Any = policy.module
    own = is_adapter(reference) and reference.module is module
    kept = {}
    if own and "ref" in module.peft_config:
        kept = {name: p.detach().clone() for name, p in module.named_parameters() if ".ref." in name}
        module.delete_adapter("ref")

    def finish() -> None:
        if own and not kept:
            module.delete_adapter("ref")
        for name, weight in kept.items():
            module.get_parameter(name).data.copy_(weight)

    try:
        yield finish
    finally:
        if own:
            module.set_adapter("default")
            module.requires_grad_(False)


@contextmanager
def _as_it_was(pair: ModelPair) -> Iterator[None]:
    """Undo what TRL does to models and tokenizer: another `forward`, pad tokens, no dropout, another device."""
    models: list[Any] = []
    for side in torch_sides(pair):
        module: Any = side.module
        base = module.get_base_model() if hasattr(module, "get_base_model") else module
        models += [candidate for candidate in (module, base) if not any(candidate is other for other in models)]
    kept = [(m, m.__dict__.get("forward"), m.config.get_text_config().pad_token_id, m.device) for m in models]
    pad = pair.tokenizer.pad_token
    try:
        yield
    finally:
        for model, forward, pad_id, device in kept:
            if forward is None:
                model.__dict__.pop("forward", None)
            else:
                model.forward = forward
            model.config.get_text_config().pad_token_id = pad_id
            if model.device != device:
                model.to(device)
            model.eval()
        pair.tokenizer.pad_token = pad


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    import datasets

    shown = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if not shown:
            datasets.enable_progress_bars()
