"""The embedded refiner's world, and what its models have learnt of it."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpo_credit.credit import Example, Message, margin
from dpo_credit.demo.refiner import Answer, Case, cases, write_rows
from dpo_credit.demo.refiner_train import batch
from dpo_credit.models.loading import load_pair
from dpo_credit.models.pair import Loading, ModelPair
from dpo_credit.models.published import named
from dpo_credit.refine.rows import parse
from dpo_credit.rows.reader import records_of
from dpo_credit.scoring import Scorer

SOME = list(cases(5, 150, "held_out"))
MOST_BYTES = 1 << 20  # of a side's weights


def shows(answer: Answer) -> bool:
    """Whether each caption names every shape of its drawing, with its place."""
    return all(
        re.search(
            rf"{shape.name} (in|at|on) the {shape.place}( corner)?(,| and|$)", caption.replace("middle", "centre")
        )
        for caption, drawing in zip(answer.captions, answer.drawings, strict=True)
        for shape in drawing.shapes
    )


def changed(case: Case) -> int:
    """In how many frames the drawings of the two answers differ."""
    pairs = zip(case.chosen.drawings, case.rejected.drawings, strict=True)
    return sum(ours.shapes != theirs.shapes for ours, theirs in pairs)


def test_a_wrong_answer_is_at_fault_in_one_frame_and_in_one_of_two_ways() -> None:
    for case in SOME:
        assert shows(case.chosen) and changed(case) == 1
        assert shows(case.rejected) == (case.fault == "words")
        ours, theirs = case.chosen.drawings[case.frame].shapes, case.rejected.drawings[case.frame].shapes
        assert sum(a != b for a, b in zip(ours, theirs, strict=True)) == 1  # one shape
    assert {(case.fault, case.is_clip) for case in SOME} == {
        (fault, clip) for fault in ("words", "pixels") for clip in (False, True)
    }


def test_a_clip_is_a_shape_that_moves_one_way() -> None:
    ways = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
    for case in SOME:
        if case.is_clip:
            places = [drawing.shapes[0] for drawing in case.chosen.drawings]
            way = ways[case.request.rsplit(" ", 1)[1]]
            steps = {(b.column - a.column, b.row - a.row) for a, b in pairwise(places)}
            assert steps == {way}


def test_rows_name_pictures_that_are_the_drawings(tmp_path: Path) -> None:
    written = [next(case for case in SOME if case.is_clip is clip) for clip in (False, True)]
    write_rows(written, tmp_path)
    file = tmp_path / "rows.jsonl"
    rows = [parse(record) for record in records_of(file.read_bytes().splitlines(keepends=True), str(file))]
    for row, case in zip(rows, written, strict=True):
        assert (row.request, row.rejected.prompts) == (case.request, case.rejected.captions)
        for name, drawing in zip(row.rejected.pictures, case.rejected.drawings, strict=True):
            assert (np.asarray(Image.open(tmp_path / name)) == drawing.picture()).all()
    assert [json.loads(line)["fault"] for line in file.read_text().splitlines()] == [case.fault for case in written]


@pytest.fixture(scope="module")
def embedded() -> ModelPair:
    return load_pair("embedded-refiner", "embedded-refiner", loading=Loading(device="cpu"))


def test_training_and_scoring_read_the_same_ids(embedded: ModelPair) -> None:
    case = next(case for case in SOME if case.is_clip)
    answer = "\n".join(case.chosen.captions)
    ((tokens,),) = Scorer(embedded).encode([[Example((Message("user", case.request),), answer)]])
    ids, labels = batch(embedded.tokenizer, [(case.request, answer)])
    assert [*tokens.prompt_ids, *tokens.answer_ids] == ids[0].tolist()
    assert (labels[0] == -100).sum() == len(tokens.prompt_ids)
    assert "".join(tokens.pieces) == f"{answer}<end>"


def test_the_embedded_refiner_prefers_what_was_asked_for(embedded: ModelPair) -> None:
    wrong = [case for case in SOME if case.fault == "words"]
    rows = [
        [
            Example((Message("user", case.request),), "\n".join(answer.captions), str(n))
            for answer in (case.chosen, case.rejected)
        ]
        for n, case in enumerate(wrong)
    ]
    margins = [margin(*credits) for credits in Scorer(embedded).rows(rows)]
    assert np.mean(np.array(margins) > 0) >= 0.9


def test_each_side_is_well_under_a_megabyte() -> None:
    folder = named("embedded-refiner").embedded
    assert folder is not None
    for side in ("policy", "reference"):
        assert (folder / side / "model.safetensors").stat().st_size < MOST_BYTES
