"""One check for what is resumed: a setting that decides numbers must be what it was."""

from __future__ import annotations

import pytest

from dpo_credit.credit import CreditError
from dpo_credit.rows.settings import refuse_changes

WAS = {"beta": 0.1, "recipe": {"seed": 1, "rows": [1, 2]}, "hash": "a" * 60}


def test_equal_settings_pass_as_json_has_them() -> None:
    refuse_changes("out.jsonl", WAS, {**WAS, "recipe": {"seed": 1, "rows": (1, 2)}})


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ({**WAS, "beta": 0.2}, "beta was 0.1 and is 0.2"),
        ({**WAS, "recipe": {"seed": 2, "rows": [1, 2]}}, "seed was 1 and is 2"),
        ({**WAS, "hash": "b"}, "hash changed"),
        ({name: value for name, value in WAS.items() if name != "beta"}, "beta was 0.1 and is null"),
        ({**WAS, "more": True}, "more was null and is true"),
    ],
)
def test_each_change_is_named(now: dict[str, object], said: str) -> None:
    with pytest.raises(CreditError, match=r"^out\.jsonl was begun with other settings: ") as refused:
        refuse_changes("out.jsonl", WAS, now)
    assert f": {said}. Go on with the old ones, or begin again with --overwrite." in str(refused.value)


def test_many_changes_are_counted() -> None:
    with pytest.raises(CreditError, match="row 4 was 4 and is 0; and 5 more"):
        refuse_changes("out", {f"row {n}": n for n in range(10)}, dict.fromkeys((f"row {n}" for n in range(10)), 0))
