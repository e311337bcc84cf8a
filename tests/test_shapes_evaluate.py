"""What is measured on drawings, and that the pair of the package finds changed shapes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from dpo_credit.demo import shapes_evaluate
from dpo_credit.demo.shapes import CHANGES, Drawn, draw_pairs
from dpo_credit.demo.shapes_evaluate import CARD, area, credits, is_first, results, scores
from dpo_credit.image.credit import PictureCredit, PictureDiff
from dpo_credit.image.loading import load_denoisers
from dpo_credit.image.scoring import Sampling

PAIRS = list(draw_pairs(2, 12, "validation"))


def credit(policy: np.ndarray) -> PictureCredit:
    """At one timestep and draw, whose reference errs by 1 everywhere."""
    errors = policy.astype(float)[None, None]
    return PictureCredit("a red circle", errors, np.ones_like(errors), (500,), 3, 1000.0, 32, 32)


def diffs(pairs: Sequence[Drawn]) -> list[PictureDiff]:
    """Of a policy that errs more where the shape is changed, and nowhere else."""
    return [PictureDiff(credit(np.ones((32, 32))), credit(1 + pair.mask())) for pair in pairs]


def rows(text: str) -> dict[str, list[str]]:
    """The table's cells by their first."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    return {first: rest for first, *rest in lines}


def test_a_credit_that_marks_the_changed_shape_alone_is_perfect():
    text = results(PAIRS, diffs(PAIRS))
    table = rows(text)
    assert table["-credit"][:2] == ["1.000 [1.000, 1.000]"] * 2
    assert table["-credit"][3:5] == ["1.000 [1.000, 1.000]"] * 2
    assert table["policy's error"][0] == "1.000 [1.000, 1.000]"
    assert table["reference's error"][0] == "0.500 [0.500, 0.500]"  # all pixels tie
    assert 0.45 < float(table["random"][0][:5]) < 0.55  # 12 pictures of about 50 among 1,024 pixels
    assert "right picture preferred: 1.000 [1.000, 1.000]" in text
    pixels = np.mean([pair.mask().sum() for pair in PAIRS])
    assert f"12 pictures of 1024 pixels, {pixels:.1f} of the changed shape" in text
    assert all(f"{change} {sum(pair.change == change for pair in PAIRS)}" in text for change in CHANGES)


def test_a_credit_that_marks_what_differs_is_perfect_there():
    def marked(pair: Drawn) -> PictureDiff:
        differs = (pair.right.picture() != pair.wrong.picture()).any(2)
        return PictureDiff(credit(np.ones((32, 32))), credit(1 + differs))

    cells = rows(results(PAIRS, list(map(marked, PAIRS))))["-credit"]
    assert cells[2] == "1.000 [1.000, 1.000]" != cells[0]  # a moved shape's old place differs and is no shape


def test_the_area_counts_right_pixels_below_wrong_ones():
    mask = np.array([[True, False], [False, False]])
    # of three right pixels one is below, one ties, one is above: (1 + 1 / 2) / 3
    assert area(np.array([[2.0, 1.0], [2.0, 3.0]]), mask) == pytest.approx(0.5)


def test_the_changed_shape_comes_first_by_the_mean_of_its_pixels():
    pair = next(pair for pair in PAIRS if len(pair.wrong.shapes) == 2)
    other = pair.wrong.mask(1 - pair.changed)
    found = 2.0 * pair.mask() + other
    assert is_first(found, pair) == 1
    found[np.argwhere(other)[0][0], np.argwhere(other)[0][1]] = 1.5 * other.sum()  # one pixel lifts the mean above 2
    assert is_first(found, pair) == 0
    (alone, *_) = (pair for pair in PAIRS if len(pair.wrong.shapes) == 1)
    assert np.isnan(is_first(np.ones((32, 32)), alone))


def test_a_mean_of_nine_is_that_and_edges_are_repeated():
    policy = np.ones((32, 32))
    policy[4, 7] = policy[0, 0] = 10.0
    found = scores(credit(policy), np.random.default_rng(0))
    mean, wrong = found["-credit, mean of 3 x 3"], found["-credit"][4, 7]
    np.testing.assert_allclose(mean[3:6, 6:9], wrong / 9)
    assert mean.sum() == pytest.approx(wrong * (1 + 9 / 9))  # a corner stands for itself and the three beyond it
    assert mean[0, 0] == pytest.approx(wrong * 4 / 9)


def test_the_pair_of_the_package_finds_changed_shapes():
    found = list(credits(load_denoisers(), PAIRS, Sampling(steps=10, draws=1)))
    areas = [area(-diff.rejected.map, pair.mask()) for diff, pair in zip(found, PAIRS, strict=True)]
    assert np.mean(areas) > 0.8
    assert np.mean([diff.margin > 0 for diff in found]) > 0.8


def test_the_pair_of_the_package_is_small():
    sizes = [path.stat().st_size for path in CARD.parent.rglob("*") if path.is_file()]
    assert 1e6 < sum(sizes) < 6e6  # bytes


def test_write_puts_results_between_the_marks_of_their_name(tmp_path, monkeypatch: pytest.MonkeyPatch):
    card = tmp_path / "README.md"
    card.write_text("# Card\n<!-- validation 1 x 1 -->\nold\n<!-- end of validation 1 x 1 -->\nend\n", "utf-8")
    monkeypatch.setattr(shapes_evaluate, "CARD", card)
    monkeypatch.setattr(shapes_evaluate, "load_denoisers", lambda *sides: None)
    monkeypatch.setattr(shapes_evaluate, "credits", lambda models, drawn, sampling: iter(diffs(drawn)))
    shapes_evaluate.main(["--split", "validation", "--pairs", "3", "--steps", "1", "--draws", "1", "--write"])
    written = card.read_text("utf-8")
    assert "old" not in written and written.endswith("<!-- end of validation 1 x 1 -->\nend\n")
    assert re.search(r"\| -credit \| 1\.000", written)
