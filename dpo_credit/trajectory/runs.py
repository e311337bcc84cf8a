"""The checkpoints of a run: a trainer's folder, a list of models, or a hub model's revisions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dpo_credit.credit import CreditError
from dpo_credit.models.locations import refuse_server


@dataclass(frozen=True, slots=True)
class At:
    """A model of a run: the step of training it is from, and where it is."""

    step: int
    model: str
    revision: str | None = None

    @property
    def name(self) -> str:
        """What it is called in views."""
        return self.model if self.revision is None else f"{self.model}@{self.revision}"


def checkpoints(run: str, every: int = 1) -> list[At]:
    """The models of a run, by step.

    Args:
        run: a folder with `checkpoint-N` in it, models with commas between them, or NAME@REVISION,REVISION,...
        every: take each so-many-th, and always the last.

    Raises:
        CreditError: there is none.
    """
    refuse_server(run, "run")
    name, at, revisions = run.partition("@")
    if at and not Path(run).exists():
        models = [At(_step(listed, n), name, listed) for n, listed in enumerate(_listed(revisions), 1)]
    elif "," in run and not Path(run).exists():
        models = [At(_step(listed, n), listed) for n, listed in enumerate(_listed(run), 1)]
    else:
        models = _folder(Path(run).expanduser())
    if not models:
        raise CreditError(f"{run} names no checkpoints. Give a trainer's folder, models with commas, or NAME@REV,REV.")
    if len({listed.step for listed in models}) < len(models):
        models = [At(n, listed.model, listed.revision) for n, listed in enumerate(models, 1)]
    models.sort(key=lambda listed: listed.step)
    return [listed for n, listed in enumerate(models, 1) if n % every == 0 or n == len(models)]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _folder(run: Path) -> list[At]:
    if not run.is_dir():
        raise CreditError(f"{run} does not exist. Give a trainer's folder, models with commas, or NAME@REV,REV.")
    models = [
        At(_step(path.name, 0), str(path))
        for path in run.glob("checkpoint-*")
        if path.is_dir() and re.fullmatch(r"checkpoint-\d+", path.name)  # a copy of the best is no step of its own
    ]
    if not models and ((run / "config.json").is_file() or (run / "adapter_config.json").is_file()):
        return [At(1, str(run))]
    if not models:
        raise CreditError(f"{run} holds no checkpoint-N. A trainer writes them with save_steps.")
    return models


def _step(name: str, otherwise: int) -> int:
    number = re.search(r"(?<!\d)(\d+)/?$", name)
    return int(number[1]) if number else otherwise
