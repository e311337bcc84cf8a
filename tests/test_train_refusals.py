"""What `dpo-credit train` refuses, and what it leaves as it was."""

# ruff: noqa: F401, F811  (fixtures are imported)

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from program import run
from tiny import tokenizer
from trainings import ROWS, folder, made, run_once, train, trained

from dpo_credit import load_pair
from dpo_credit.credit import CreditError
from dpo_credit.models.pair import Loading
from dpo_credit.train.config import read_recipe
from dpo_credit.train.rows import compare, rows_of
from dpo_credit.train.run import claim, prepare

WRONG = [
    ({"--set": "betta=1"}, "betta, which no recipe has"),
    ({"--set": "beta=low"}, "beta is 'low'; it must be a number"),
    ({"--set": "beta=-1"}, "beta is -1.0; it must be above zero"),
    ({"--set": "seed=1.5"}, "seed is 1.5; it must be a whole number"),
    ({"--set": "seed=-1"}, "seed is -1; it must be from 0 to"),
    ({"--set": f"seed={2**32}"}, f"seed is {2**32}; it must be from 0 to"),
    ({"--set": "beta=1e308"}, "beta is 1e+308; it can be 1e+50 at most"),
    ({"--set": f"limit={10**30}"}, f"limit is {10**30}; it can be 9.22337e+18 at most"),
    ({"--set": f"warmup_steps={10**30}"}, f"warmup_steps is {10**30}; it must be from 0 to 9.22337e+18"),
    ({"--set": "output=/dev/null"}, "output /dev/null cannot be a directory: /dev/null is a file"),
    ({"--set": "output=dpo.yaml/sub"}, "output dpo.yaml/sub cannot be a directory: dpo.yaml is a file"),
    ({"--set": f"output={'a' * 300}"}, "cannot be a directory: File name too long"),
    ({"--set": r'output="a\0b"'}, "output 'a\\x00b' cannot be a directory: embedded null byte"),
    ({"--set": "epochs=.inf"}, "epochs is inf; it must have an end"),
    ({"--set": "too_long=maybe"}, "it must be error, drop or truncate"),
    ({"--set": "trl=3"}, "it must hold names and values"),
    ({"--set": "trl.nonsense=3"}, "DPOConfig has no argument nonsense"),
    ({"--set": "trl.beta=3"}, "trl: beta is set by beta"),
    ({"--set": "loss=unheard_of"}, "unheard_of"),
    ({"--set": "optimizer=unheard_of"}, "DPOConfig refuses the recipe"),
    ({"--set": "trl.report_to=tensorbord"}, "tensorbord is not supported, only azure_ml"),
    ({"--set": "trl.report_to=flyte"}, "DPOConfig refuses the recipe: FlyteCallback requires flytekit"),
    ({"--set": "per_device_batch_size=3"}, "no multiple of 3 rows"),
    ({"--set": "max_length=10"}, "12 of 12 rows are longer than max_length 10"),
    ({"--set": "model=missing/model/here"}, "missing/model/here does not exist"),
    ({"--set": "data=none.jsonl"}, "none.jsonl"),
    ({"--set": "dataset=x"}, "data (files) or dataset (Hugging Face), and not both"),
    ({"--set": "method=sft"}, "Run dpo-credit train sft"),
    ({"--set": "="}, "--set = names nothing to set"),
    ({"--set": "nothing"}, "Write --set name=value"),
    ({"--set": "beta=[1"}, "cannot be parsed"),
    ({"--set": "adapter={q: 1}"}, "peft.LoraConfig"),
    ({"--set": "chat_template=none.jinja"}, "none.jinja does not exist"),
    ({"--config": "none.yaml"}, "none.yaml does not exist"),
    ({"--config": "rows.jsonl"}, "cannot be parsed"),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_is_said_in_one_line(folder: Path, given: dict[str, str], said: str) -> None:
    options = {"--config": "dpo.yaml", **given}
    ended = run("train", "dpo", *(part for option in options.items() for part in option))
    assert ended.code == 2 and said in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr
    assert not (folder / "dpo").exists()


def test_dpo_needs_preferences(folder: Path) -> None:
    (folder / "rows.jsonl").write_text('{"prompt": "x", "completion": " y"}\n')
    assert "no chosen and rejected" in run("train", "dpo", "-c", "dpo.yaml").stderr


def test_a_loss_that_scoring_refuses_is_told_before(folder: Path) -> None:
    refused = "trl.f_divergence_type=forward_kl"
    said = train("--dry-run", "--set", refused).stderr
    assert "scoring will ask for a formula, since this trains with f-divergence forward_kl" in said
    train("--set", refused, "--set", "max_steps=1")
    with pytest.raises(CreditError, match="policy dpo was trained with f-divergence forward_kl"):
        load_pair("dpo", loading=Loading(device="cpu"))
    assert load_pair("dpo", length_normalised=False, loading=Loading(device="cpu")).beta == 0.25


def test_nothing_that_is_there_is_lost(folder: Path) -> None:
    (folder / "dpo").mkdir()
    (folder / "dpo/thesis.tex").write_text("years of work")
    for mode in ((), ("--overwrite",), ("--resume",)):
        ended = run("train", "dpo", "-c", "dpo.yaml", *mode)
        assert ended.code == 2 and ended.stderr.count("\n") == 2, ended.stderr
    assert (folder / "dpo/thesis.tex").read_text() == "years of work"


def test_a_training_does_not_replace_what_it_reads(trained: Path) -> None:
    recipe = read_recipe((trained / "dpo.yaml").read_text(), "dpo.yaml", "dpo")
    inside = trained / "dpo/rows.jsonl"
    shutil.copy(trained / "rows.jsonl", inside)
    for reads in (
        replace(prepare(recipe), recipe=replace(recipe, data=("dpo/*.jsonl",))),
        prepare(replace(recipe, output=str(Path(recipe.model) / "."))),
    ):
        with pytest.raises(CreditError, match=r"is read, and --overwrite would delete it"):
            claim(reads, "overwrite")
    assert inside.exists() and (Path(recipe.model) / "config.json").exists()
    inside.unlink()


def test_a_training_that_was_killed_while_it_replaced_another_can_be_begun_again(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        recipe = read_recipe((trained / "dpo.yaml").read_text(), "dpo.yaml", "dpo")
        claim(prepare(recipe), "overwrite")
    assert claim(prepare(recipe), "overwrite") is None
    assert [path.name for path in (trained / "dpo").iterdir()] == ["dpo_credit.json"]


def test_a_resumed_training_needs_the_same_recipe_and_rows(trained: Path) -> None:
    ended = run("train", "dpo", "-c", "dpo.yaml", "--set", "beta=0.5", "--resume")
    assert ended.code == 2 and "beta was 0.25 and is 0.5" in ended.stderr
    (trained / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[1:]))
    assert "rows_sha256 changed" in run("train", "dpo", "-c", "dpo.yaml", "--resume").stderr
    train("--set", "max_steps=1", "--overwrite")


def test_other_tokens_than_ours_are_refused(folder: Path) -> None:
    recipe = read_recipe((folder / "dpo.yaml").read_text(), "dpo.yaml", "dpo")
    rows = rows_of(recipe, tokenizer())
    theirs = [
        {"prompt_ids": list(a.prompt_ids), "chosen_ids": list(a.answer_ids), "rejected_ids": list(b.answer_ids)}
        for a, b in rows.tokens
    ]
    compare(rows, theirs)
    theirs[2]["chosen_ids"] = theirs[2]["chosen_ids"][:-1]
    with pytest.raises(CreditError, match="row 3: TRL encodes it otherwise"):
        compare(rows, theirs)
    with pytest.raises(CreditError, match="TRL keeps 11 of 12 rows"):
        compare(rows, theirs[1:])


def test_a_broken_record_is_one_line(trained: Path) -> None:
    for content in ("{", "[]", '{"schema": "dpo-credit/trained@9"}', '{"schema": "dpo-credit/trained@1", "beta": 1}'):
        (trained / "dpo/dpo_credit.json").write_text(content)
        with pytest.raises(CreditError, match=r"dpo_credit\.json"):
            load_pair("dpo", loading=Loading(device="cpu"))
