"""People's annotations as rows: each data set's public fields, and what of them counts as wrong."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dpo_credit.localise.labels import Case, cases_of
from dpo_credit.rows.given import rows_of

SCRIPT = Path(__file__).parents[1] / "examples" / "annotations.py"
RESPONSE = {  # as RAGTruth's README shows one
    **{"id": "1472", "source_id": "11316", "model": "mistral-7B-instruct", "temperature": 0.925, "split": "train"},
    **{"quality": "good", "response": "This includes East Jerusalem and Gaza Strip."},
    "labels": [
        {"start": 33, "end": 43, "text": "Gaza Strip", "meta": "not mentioned", "label_type": "Evident Baseless Info"},
        {"start": 0, "end": 4, "text": "This", "label_type": "Subtle Baseless Info", "implicit_true": True},
    ],
}
MARK = {"annot_id": 1, "annotator_name": "A", "note": "", "summary_span": "production", "summary_start": 4}
SAMPLE = {  # as FaithBench's README shows one
    **{"sample_id": 0, "source": "The film had a budget.", "summary": "The production budget."},
    "annotations": [
        {**MARK, "label": ["Unwanted", "Unwanted.Instrinsic"], "summary_end": 14},
        {**MARK, "label": ["Benign"], "summary_span": "The", "summary_start": 0, "summary_end": 3},
    ],
    "metadata": {"summarizer": "mistralai/Mistral-7B-Instruct-v0.3"},
}
SUMMARY = {  # as FRANK's has them
    **{"hash": "29347895", "model_name": "BERTS2S", "article": "He lives.", "split": "test"},
    "summary_sentences": ["He lives .", "He is 83 ."],
    "summary_sentences_annotations": [
        {"annotator_0": ["NoE"], "annotator_1": ["EntE"], "annotator_2": ["NoE"]},
        {"annotator_0": ["OutE"], "annotator_1": ["EntE", "OutE"], "annotator_2": ["NoE"]},
    ],
}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("annotations", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def cases(rows: list[dict[str, Any]]) -> list[Case]:
    return cases_of(rows_of(rows))


def marked(case: Case) -> list[tuple[str, str]]:
    """What is wrong in an answer, and of which kind."""
    return [(case.wrong.answer[error.start : error.end], error.kind) for error in case.errors]


def test_ragtruth_has_its_spans_but_those_that_are_true(script: ModuleType, tmp_path: Path) -> None:
    responses = tmp_path / "response.jsonl"
    cut = {**RESPONSE, "id": "1473", "quality": "truncated"}
    responses.write_text(f"{json.dumps(RESPONSE)}\n{json.dumps(cut)}\n", encoding="utf-8")
    sources = written(tmp_path / "source_info.jsonl", {"source_id": "11316", "prompt": "Summarize:"})
    (case,) = cases(list(script.ragtruth([responses, sources])))
    assert (case.id, case.prompt, case.wrong.answer) == ("1472", "Summarize:", RESPONSE["response"])
    assert marked(case) == [("Gaza Strip", "Evident Baseless Info")]


def test_faithbench_has_what_is_unwanted(script: ModuleType, tmp_path: Path) -> None:
    rows = list(map(script.as_text, script.faithbench([written(tmp_path / "batch_1.json", {"samples": [SAMPLE]})])))
    (case,) = cases(rows)
    assert (case.id, rows[0]["model"]) == ("batch_1-0", "mistralai/Mistral-7B-Instruct-v0.3")
    assert (case.prompt, case.wrong.answer) == ("The film had a budget.\n\nTL;DR:", " The production budget.")
    assert marked(case) == [("production", "Unwanted.Instrinsic")]


def test_frank_has_the_sentences_that_most_find_wrong(script: ModuleType, tmp_path: Path) -> None:
    (case,) = cases(list(map(script.as_text, script.frank([written(tmp_path / "annotations.json", [SUMMARY])]))))
    assert (case.id, case.wrong.answer) == ("29347895-BERTS2S", " He lives . He is 83 .")
    assert marked(case) == [("He is 83 .", "OutE")]


def test_the_script_prints_rows_with_prompts_as_messages_if_asked(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path / "annotations.json", [SUMMARY, SUMMARY])
    script.main(["frank", str(file), "--chat"])
    first, _ = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first["prompt"] == [{"role": "user", "content": "Summarize this text.\n\nHe lives."}]
    assert first["labels"] == [{"start": 11, "end": 21, "text": "He is 83 .", "kind": "OutE"}]
