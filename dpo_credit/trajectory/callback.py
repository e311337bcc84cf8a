"""Credit from inside a TRL run: what `dpo-credit trajectory` tells of its checkpoints, while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dpo_credit.align import diff
from dpo_credit.credit import CreditError
from dpo_credit.models.adapters import adapter_off, adapter_ref
from dpo_credit.models.objective import objective
from dpo_credit.models.torch_side import side_of
from dpo_credit.rows.kept import Kept
from dpo_credit.rows.reader import read_records, read_rows
from dpo_credit.rows.records import Row
from dpo_credit.rows.sources import expand
from dpo_credit.trajectory.follow import Draw, Follower, Setup
from dpo_credit.trajectory.trackers import log_tokens, token_figures
from dpo_credit.trajectory.trajectory import Diverged, Moment, Point, Trajectory, points
from dpo_credit.trajectory.trajectory_file import header, known, line


class CreditCallback(TrainerCallback):
    """Scores preferences every so many steps of a `DPOTrainer`, logs the means, and keeps all numbers.

        trainer.add_callback(CreditCallback(trainer, "validation.jsonl", "trajectory.jsonl", every=50))

    `dpo-credit trajectory trajectory.jsonl --html out.html` draws what it keeps. A step whose numbers are not finite is
    kept as diverged, and logged as `credit/diverged`.

    What is logged goes where the trainer's `report_to` says; TensorBoard, Weights & Biases, Trackio and MLflow get the
    tokens of one preference as a table, too.

    Args:
        trainer: a `DPOTrainer`; of several processes the first alone scores.
        rows: preferences, or a file of them.
        output: where the numbers go; a file that is there is replaced, and gone on with where the training is resumed.
        every: steps between two scorings; the last step is scored too.
        samples: answers drawn from the reference for Eq. 16; 0 for none.
        watch: the id of the preference whose tokens are shown; None: the first.

    Raises:
        CreditError: the trainer shards its weights (FSDP, DeepSpeed), its loss is for rewards of another formula, a
            row is no preference, or none has the id to watch.
    """

    def __init__(
        self,
        trainer: Trainer,
        rows: str | Sequence[Row],
        output: str | Path,
        *,
        every: int = 50,
        samples: int = 0,
        watch: str | None = None,
    ) -> None:
        self.trainer: Any = trainer  # what a `DPOTrainer` has beyond it
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise CreditError("CreditCallback needs whole weights: with FSDP or DeepSpeed, follow the checkpoints.")
        self.objective = objective(vars(trainer.args))
        if self.objective.refusal:
            raise CreditError(f"CreditCallback scores beta × log-ratio; this run trains with {self.objective.refusal}.")
        self.rows = list(read_rows(read_records(expand([rows])))) if isinstance(rows, str) else list(rows)
        if wrong := next((row for row in self.rows if row.kind != "preference"), None):
            raise CreditError(f"{wrong.id} has no chosen and rejected. Give preferences.")
        ids = [row.id for row in self.rows]
        if watch is not None and watch not in ids:
            raise CreditError(f"no row to watch has the id {watch!r}. There are: {', '.join(ids[:3])}, …")
        self.watched = 0 if watch is None else ids.index(watch)
        self.every, self.samples = every, samples
        self.kept = Kept(Path(output), "overwrite")
        self.follower: Follower | None = None
        self.done: set[int] = set()
        self.untouched: list[tuple[tuple[int, int], ...]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask the reference, once."""
        if not state.is_world_process_zero:
            return
        beta = float(args.beta)  # type: ignore[attr-defined]
        setup = Setup(self.trainer.processing_class, beta, self.objective.length_normalised)
        with self._module(reference=True) as module:
            draw = Draw(self.samples, seed=args.seed)
            self.follower = Follower(side_of(module, "reference"), self.rows, setup, draw)
        self.untouched = [diff(*pair).pairs for pair in self.follower.start.pairs]
        head = header(str(args.output_dir), self.follower.start)
        if state.global_step:
            self.kept.mode = "resume"
        nothing: list[Moment | Diverged] = []
        moments = self.kept.begin(head, lambda data: known(data, self.kept.path, head), nothing)
        self.done = {moment.step for moment in moments}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Score, every so many steps and at the last."""
        if self.follower is None or (state.global_step % self.every and state.global_step < state.max_steps):
            return
        with self._module(reference=False) as module:
            moment = self.follower.at(state.global_step, f"step {state.global_step}", side_of(module, "policy"))
        if state.global_step not in self.done:
            self.kept.add(line(moment))
        if isinstance(moment, Diverged):
            self._log({"diverged": 1.0})
            return
        self._log({**_means(moment, self.rows), **token_figures(moment, self.untouched)})
        log_tokens(self.trainer.callback_handler.callbacks, moment.step, moment.pairs[self.watched])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Let go of the kept file."""
        self.kept.close()

    def _log(self, figures: dict[str, float]) -> None:
        """A line of the log beside the trainer's own, which is written as if this one were not."""
        due = self.trainer.control.should_log  # which logging takes back
        # past TRL's `log`, which would write its batches' means here, and start them anew
        Trainer.log(self.trainer, {f"credit/{name}": value for name, value in figures.items()})
        self.trainer.control.should_log = due

    @contextmanager
    def _module(self, *, reference: bool) -> Iterator[Any]:
        """The policy or the reference, in evaluation mode; the policy comes back as it was."""
        policy = self.trainer.accelerator.unwrap_model(self.trainer.model)
        apart = self.trainer.ref_model
        if reference and apart is not None:
            yield self.trainer.accelerator.unwrap_model(apart)
            return
        training = policy.training
        policy.eval()
        own = adapter_ref if reference and "ref" in policy.peft_config else adapter_off
        try:
            with own(policy)() if reference else nullcontext():
                yield policy
        finally:
            policy.train(training)


def _means(moment: Moment, rows: Sequence[Row]) -> dict[str, float]:
    point: Point = points(Trajectory("", tuple(row.id for row in rows), (moment,)))[0]
    means = {
        "chosen": point.chosen.mean,
        "rejected": point.rejected.mean,
        "margin": point.margin.mean,
        "accuracy": 0.0 if point.accuracy is None else point.accuracy.share,
    }
    return means if point.expected is None else {**means, "expected": point.expected.mean}
