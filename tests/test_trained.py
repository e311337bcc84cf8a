"""The record that a training leaves: whatever is wrong with it is one line that names the file and the field."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dpo_credit import CreditError
from dpo_credit.models.objective import objective
from dpo_credit.models.trained import NAME, Trained, read

WRONG: dict[str, tuple[Any, str]] = {
    "method": ("ppo", r'method is "ppo", which must be one of sft, dpo'),
    "model": (None, r"model is null, which must be text"),
    "reference": (5, r"reference is 5, which must be text"),
    "beta": (-0.1, r"beta is -0\.1, which must be a positive number up to 1e\+50"),
    "length_normalised": ("yes", r'length_normalised is "yes", which must be true or false'),
    "chat_template": ([], r"chat_template is a list, which must be text"),
    "rows": (1.5, r"rows is 1\.5, which must be a whole number"),
    "seed": (True, r"seed is true, which must be a whole number"),
    "versions": ([], r"versions is a list, which must be an object"),
    "recipe": ("x", r'recipe is "x", which must be an object'),
}


@pytest.mark.parametrize(("field", "value", "said"), [(name, *wrong) for name, wrong in WRONG.items()], ids=WRONG)
def test_a_field_of_another_type_is_named(field: str, value: Any, said: str, tmp_path: Path) -> None:
    Trained("dpo", "m", beta=0.1).write(tmp_path)
    record = json.loads((tmp_path / NAME).read_text())
    (tmp_path / NAME).write_text(json.dumps({**record, field: value}))
    with pytest.raises(CreditError, match=rf"dpo_credit\.json: {said}\. Mend or delete it"):
        read(tmp_path)


@pytest.mark.parametrize("beta", [0, True, "x", 1e308, 10**400, float("nan"), float("inf")])
def test_a_beta_that_is_none_is_refused(beta: Any, tmp_path: Path) -> None:
    record = {"schema": "dpo-credit/trained@1", **asdict(Trained("dpo", "m")), "beta": beta}
    (tmp_path / NAME).write_text(json.dumps(record))
    with pytest.raises(CreditError, match=r"dpo_credit\.json: beta is .*, which must be"):
        read(tmp_path)


@pytest.mark.parametrize("value", [None, 5, "x", []])
def test_trainer_arguments_of_a_recipe_are_an_object(value: Any, tmp_path: Path) -> None:
    Trained("dpo", "m", beta=0.1, recipe={"trl": value}).write(tmp_path)
    with pytest.raises(CreditError, match=r"recipe\.trl is no object"):
        read(tmp_path)


def test_an_argument_beyond_every_float_is_none() -> None:
    assert objective({"beta": 10**400, "max_length": 10**400}).beta is None
