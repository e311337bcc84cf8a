"""What a user's type checker reads of the package: nothing untyped, and what is wrong is told."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import dpo_credit

ROOT = Path(dpo_credit.__file__).parents[1]
# Other libraries' sources take mypy a minute; what of theirs our signatures name is not the question here.
SETTINGS = """
[mypy]
strict = true
mypy_path = {root}
[mypy-torch.*,transformers.*,tokenizers.*,safetensors.*,peft.*,numpy.*,scipy.*,matplotlib.*,jinja2.*,rich.*]
follow_imports = skip
ignore_missing_imports = true
"""
PROGRAM = """
from pathlib import Path
from typing import assert_type

from dpo_credit import Conventions, Credit, CreditError, Diff, Example, Loading, Message, ModelPair, ScoredDataset
from dpo_credit import Scorer, ScoredRow, diff, load_pair, load_scored, localise, page, report, score, score_dataset
from dpo_credit.localise.localise import Localised
from dpo_credit.models.side import Side
from dpo_credit.report.figures import Report

pair = load_pair("policy", Path("reference"), beta=0.1, loading=Loading(device="cpu", dtype="float32"))
assert_type(pair, ModelPair)
assert_type(pair.policy, Side)
assert_type(pair.notes, tuple[str, ...])
examples = [Example("prompt", "answer"), Example((Message("user", "prompt"),), "answer", "id")]
credits = list(score(pair, examples, conventions=Conventions(max_length=100), top_k=3))
assert_type(credits, list[Credit])
assert_type(credits[0].rewards, tuple[float, ...])
assert_type(credits[0].reward, float)
assert_type(credits[0].policy_top[0][0].piece, str)
assert_type(credits[0].tokens.pieces, tuple[str, ...])
assert_type(diff(*credits), Diff)
assert_type(diff(*credits).margin, float)
assert_type(Scorer(pair).rows([examples]), list[tuple[Credit, ...] | CreditError])
rows = [{"prompt": "prompt", "chosen": "this", "rejected": "that", "labels": []}]
credits += [*score(pair, ("prompt", "answer")), *score(pair, rows[0]), *score(pair, rows), *score(pair, examples[0])]
assert_type(sorted(credits[0].arrays()), list[str])
credits[0].to_dataframe("polars").head()
scored = score_dataset(pair, Path("posts.jsonl"))
assert_type(scored, ScoredDataset)
assert_type(scored[0], ScoredRow)
assert_type(load_scored("scored.jsonl")[:2], ScoredDataset)
assert_type(report(scored), Report)
assert_type(localise(pair, rows), Localised)
assert_type(page(scored) + page(report(scored), scored) + page(credits[0]) + page(scored[0].diff), str)
"""


def said(program: str, directory: Path) -> str:
    """What `mypy --strict` says of a program that uses the package; nothing where all is well."""
    api = pytest.importorskip("mypy.api")
    (directory / "mypy.ini").write_text(SETTINGS.format(root=ROOT), encoding="utf-8")
    (directory / "program.py").write_text(program, encoding="utf-8")
    options = ("--config-file", str(directory / "mypy.ini"), "--cache-dir", str(directory / "cache"))
    out, err, _ = api.run([*options, "--no-error-summary", str(directory / "program.py")])
    return "".join(line for line in (out + err).splitlines(keepends=True) if "program.py" in line)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where mypy keeps what it knows of the package from one check to the next."""
    return tmp_path_factory.mktemp("types")


def test_a_strict_checker_reads_the_public_names(directory: Path) -> None:
    assert said(PROGRAM, directory) == ""


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("from dpo_credit import scoer", 'Module "dpo_credit" has no attribute "scoer"'),
        ("load_pair(beta='0.1')", 'Argument "beta" to "load_pair" has incompatible type "str"'),
        ("load_pair(lading=Loading())", 'Unexpected keyword argument "lading"'),
        ("assert_type(credits[0].rewards, list[float])", "Expression is of type"),
        ("score(pair, 3)", 'Argument 2 to "score" has incompatible type "int"'),
        ("credits[0].to_dataframe('csv')", "has incompatible type \"Literal['csv']\""),
        ("report(scored, wrods=3)", 'Unexpected keyword argument "wrods"'),
    ],
)
def test_a_strict_checker_finds_what_is_wrong(directory: Path, line: str, complaint: str) -> None:
    assert complaint in said(f"{PROGRAM}\n{line}\n", directory)


def test_the_wheel_says_that_it_is_typed(tmp_path: Path) -> None:
    build = pytest.importorskip("hatchling.builders.wheel")
    (made,) = build.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(made) as wheel:
        assert "dpo_credit/py.typed" in wheel.namelist()
