"""What a training leaves beside its weights: `dpo_credit.json` says how they came to be; loading a pair reads it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from dpo_credit.checked import check_fields
from dpo_credit.credit import LARGEST, CreditError
from dpo_credit.models.locations import json_object

NAME = "dpo_credit.json"
_SHOWN = 60  # characters of a name that is none
UNFINISHED = f".{NAME}.unfinished"
SCHEMA = "dpo-credit/trained@1"


@dataclass(frozen=True, slots=True)
class Trained:
    """How weights came to be.

    `reference` is the model that DPO started from, a hub's name or a directory (relative to the record's own); `beta`
    and `length_normalised` are DPO's, None after SFT. `rows` of the hash `rows_sha256` were trained on, under `recipe`.
    """

    method: Literal["sft", "dpo"]
    model: str
    reference: str | None = None
    beta: float | None = None
    length_normalised: bool = False
    chat_template: str | None = None
    rows: int = 0
    rows_sha256: str = ""
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)

    def write(self, directory: Path) -> None:
        """Write it into a directory, whole or not at all."""
        text = json.dumps({"schema": SCHEMA, **asdict(self)}, indent=2, ensure_ascii=False)
        (directory / UNFINISHED).write_text(text + "\n", encoding="utf-8")
        os.replace(directory / UNFINISHED, directory / NAME)


def read(directory: Path) -> Trained | None:
    """The record of a directory, or of the run whose `checkpoint-N` it is; None where there is none.

    Raises:
        CreditError: the record cannot be read.
    """
    path = beside(directory, NAME)
    return None if path is None else parse(path)


def beside(directory: Path, name: str) -> Path | None:
    """The file of that name in a directory, or in the run whose `checkpoint-N` it is; None where there is none."""
    folders = (directory, directory.parent)[: 1 + bool(re.fullmatch(r"checkpoint-\d+", directory.name))]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def parse(path: Path) -> Trained:
    """The record of a file; a reference that is a directory beside it comes with its whole path.

    Raises:
        CreditError: the record cannot be read.
    """
    advice = "Mend or delete it, and name --beta and --reference."
    try:
        content = json_object(path)
    except ValueError as error:
        raise CreditError(f"cannot read {path}: {error}. {advice}") from error
    if content.get("schema") != SCHEMA:
        raise CreditError(f"{path} is {content.get('schema')!r}; this version reads {SCHEMA}. Update dpo-credit.")
    check_fields(content, Trained, str(path), advice, required=("method", "model"))
    known = {field_of.name for field_of in fields(Trained)}
    record = {name: value for name, value in content.items() if name in known and value is not None}
    beta, reference = record.get("beta"), record.get("reference")
    if beta is not None and not 0 < beta <= LARGEST:
        raise CreditError(f"{path}: beta is {beta}, which must be a positive number up to {LARGEST:g}. {advice}")
    if not isinstance(record.get("recipe", {}).get("trl", {}), dict):
        raise CreditError(f"{path}: recipe.trl is no object. {advice}")
    try:
        if reference is not None and (path.parent / reference).is_dir():
            record["reference"] = os.path.normpath(path.parent / reference)
    except (OSError, ValueError) as error:
        raise CreditError(f"{path}: reference is {str(reference)[:_SHOWN]!r}, no name of a model. {advice}") from error
    return Trained(**record)
