"""`CreditCallback`: a trajectory from inside a TRL run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from program import run
from tiny import language_model, save, tokenizer
from transformers import TrainerCallback

from dpo_credit.credit import CreditError
from dpo_credit.models.checkpoints import find
from dpo_credit.models.loading import load_module
from dpo_credit.models.pair import Loading
from dpo_credit.train.recipe import Recipe
from dpo_credit.train.trainers import trainer
from dpo_credit.trajectory.callback import CreditCallback
from dpo_credit.trajectory.trajectory import points
from dpo_credit.trajectory.trajectory_file import parse

CPU = Loading(device="cpu")
ROWS = [
    {
        "id": f"row {n}",
        "prompt": f"Rent is {n} dollars.\n\nTL;DR:",
        "chosen": f" It is {n}.",
        "rejected": f" No, {n + 1}.",
    }
    for n in range(100, 105)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model to start from and five preferences."""
    save(language_model(seed=0), tmp_path / "sft", tokenizer())
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return tmp_path


def training(
    folder: Path, *, steps: int = 4, adapter: bool = False, report_to: str = "none", watch: str | None = None
) -> Any:
    """A DPO trainer on the five preferences, with a callback that scores them every other step."""
    recipe = Recipe(
        **{"method": "dpo", "model": "in memory", "output": str(folder / "dpo"), "learning_rate": 1e-3},
        **{"batch_size": 1, "max_steps": steps, "save_steps": 2, "beta": 0.3, "precision": "float32"},
        adapter={"r": 2, "target_modules": ["query_key_value"]} if adapter else None,
        log_steps=2,
        trl={"dataloader_pin_memory": False, "report_to": report_to},
    )
    found = find(str(folder / "sft"), "policy", CPU)
    rows = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in ROWS]
    made = trainer(
        recipe,
        load_module(found, torch.device("cpu"), CPU).requires_grad_(True),
        tokenizer(),
        rows,
        reference=None if adapter else load_module(found, torch.device("cpu"), CPU),
    )
    rows_file, output = str(folder / "rows.jsonl"), folder / "inside.jsonl"
    made.add_callback(CreditCallback(made, rows_file, output, every=2, watch=watch))
    return made


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "adapter"])
def test_a_callback_keeps_what_following_the_checkpoints_finds(folder: Path, adapter: bool) -> None:
    made = training(folder, adapter=adapter)
    made.train()
    logged = [row["credit/margin"] for row in made.state.log_history if "credit/margin" in row]
    arguments = ("--beta", "0.3", "--samples", "0", "-o", folder / "after.jsonl", "--device", "cpu")
    reference = () if adapter else ("-r", folder / "sft")
    ended = run("trajectory", folder / "dpo", folder / "rows.jsonl", *reference, *arguments)
    assert ended.code in (0, None), ended.stderr
    (_, inside), (_, after) = (parse((folder / name).read_bytes(), name) for name in ("inside.jsonl", "after.jsonl"))
    assert [moment.step for moment in inside.moments] == [moment.step for moment in after.moments] == [0, 2, 4]
    for one, other in zip(points(inside), points(after), strict=True):
        assert one.margin.mean == pytest.approx(other.margin.mean, abs=1e-5)
        assert one.chosen_logp.mean == pytest.approx(other.chosen_logp.mean, abs=1e-4)
    assert logged == pytest.approx([point.margin.mean for point in points(inside)[1:]])
    assert logged[-1] != 0


def test_a_callback_leaves_the_lines_of_the_trainer_as_they_are(folder: Path) -> None:
    made = training(folder)
    made.train()
    own = [row for row in made.state.log_history if "credit/margin" not in row]
    assert [row["step"] for row in own if {"loss", "rewards/margins"} <= row.keys()] == [2, 4]
    assert not any("loss" in row or "rewards/margins" in row for row in made.state.log_history if row not in own)


def test_a_callback_refuses_to_watch_a_row_that_is_not_there(folder: Path) -> None:
    with pytest.raises(
        CreditError, match=r"no row to watch has the id 'row 99'\. There are: row 100, row 101, row 102"
    ):
        training(folder, watch="row 99")


def test_a_resumed_training_goes_on_with_what_its_callback_kept(folder: Path) -> None:
    training(folder).train()
    kept = (folder / "inside.jsonl").read_bytes()
    made = training(folder, steps=6)
    made.train(resume_from_checkpoint=str(folder / "dpo/checkpoint-2"))
    data = (folder / "inside.jsonl").read_bytes()
    assert data.startswith(kept)
    assert [moment.step for moment in parse(data, "inside.jsonl")[1].moments] == [0, 2, 4, 6]
    assert [row["step"] for row in made.state.log_history if "credit/margin" in row] == [2, 4, 6]


class Breaking(TrainerCallback):
    """Breaks the weights after the second step, before others look at them."""

    whole: dict[str, torch.Tensor] | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            self.whole = {name: weight.clone() for name, weight in kwargs["model"].state_dict().items()}
            kwargs["model"].lm_head.weight.data.fill_(torch.nan)

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 2:
            kwargs["model"].load_state_dict(self.whole)


def test_a_callback_marks_a_step_that_diverged_and_lets_the_training_go_on(folder: Path) -> None:
    made = training(folder)
    made.callback_handler.callbacks.insert(0, Breaking())
    made.train()
    _, kept = parse((folder / "inside.jsonl").read_bytes(), "inside")
    assert [moment.step for moment in kept.moments] == [0, 4]
    assert [(broken.step, broken.name) for broken in kept.diverged] == [(2, "step 2")]
    assert [row["step"] for row in made.state.log_history if row.get("credit/diverged") == 1.0] == [2]
    assert [row["step"] for row in made.state.log_history if "credit/margin" in row] == [4]
