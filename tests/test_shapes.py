"""The world of drawings: captions are true of their pixels, one shape is changed, and no two splits meet."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from dpo_credit.demo.shapes import CHANGES, COLOURS, KINDS, SIZE, SPLITS, Drawn, Shape, Split, draw_pairs

THIRDS = (SIZE / 3, 2 * SIZE / 3)  # pixels: where one place ends and the next begins
APART = 5  # pixels: less is no "left of" but two shapes in one column
NOUN = rf"a (?:small |large )?(\w+) (?:{'|'.join(KINDS)})"
ACROSS = {"left": 0, "right": 2}
DOWN = {"top": 0, "bottom": 2}


def drawn(count: int = 200, split: Split = "train") -> list[Drawn]:
    return list(draw_pairs(7, count, split))


def centroids(picture: np.ndarray) -> dict[str, np.ndarray]:
    """(x, y) of the middle of the pixels of each colour, from the pixels alone: an outline's mix with the ground."""
    found = {}
    for colour, value in COLOURS.items():
        rows, columns = np.nonzero((picture == value).all(-1))
        if len(rows):
            found[colour] = np.array([columns.mean() + 0.5, rows.mean() + 0.5])
    return found


def is_true(caption: str, picture: np.ndarray) -> bool:
    """Whether colours are where the caption says, by the pixels."""
    middles = centroids(picture)
    if set(re.findall(NOUN, caption)) != set(middles):
        return False
    for colour, relation, other in re.findall(rf"{NOUN} (?:to the )?(left of|right of|above|below) {NOUN}", caption):
        apart = (middles[other] - middles[colour])[0 if " of" in relation else 1]
        if (apart if relation in ("left of", "above") else -apart) < APART:
            return False
    for colour, where in re.findall(rf"{NOUN} (?:at|on|in) the ([a-z ]+?)(?:$|,| and)", caption):
        words = where.split()
        expected = [next((known[word] for word in words if word in known), 1) for known in (ACROSS, DOWN)]
        if list(np.searchsorted(THIRDS, middles[colour])) != expected:
            return False
    return True


def of_different_colours(pairs: list[Drawn]) -> list[Drawn]:
    """Those whose shapes can be told apart by colour, in both drawings."""
    return [
        pair
        for pair in pairs
        if all(len({shape.colour for shape in side.shapes}) == len(side.shapes) for side in (pair.right, pair.wrong))
    ]


def test_captions_are_true_of_the_right_picture():
    pairs = of_different_colours(drawn())
    assert len(pairs) > 100
    assert all(is_true(pair.caption, pair.right.picture()) for pair in pairs)


@pytest.mark.parametrize("change", ["colour", "place"])
def test_captions_are_not_true_of_the_wrong_picture(change: str):
    pairs = [pair for pair in of_different_colours(drawn()) if pair.change == change]
    assert len(pairs) > 20
    assert not any(is_true(pair.caption, pair.wrong.picture()) for pair in pairs)


def test_captions_come_in_many_wordings_and_name_every_shape():
    pairs = drawn(500)
    assert {len(pair.right.shapes) for pair in pairs} == {1, 2, 3}
    for wording in ("to the left of", " left of", "right of", "above", "below", "corner", "in the centre", "a small"):
        assert any(wording in pair.caption for pair in pairs), wording
    for pair in pairs:
        nouns = sorted(noun[0] for noun in re.finditer(rf"\w+ (?:{'|'.join(KINDS)})", pair.caption))
        assert nouns == sorted(shape.name for shape in pair.right.shapes)


def test_one_shape_is_changed_in_one_thing():
    pairs = drawn()
    assert set(Counter(pair.change for pair in pairs)) == set(CHANGES)
    for pair in pairs:
        assert pair.right.ground == pair.wrong.ground
        for number, (before, after) in enumerate(zip(pair.right.shapes, pair.wrong.shapes, strict=True)):
            moved = (before.column, before.row) != (after.column, after.row)
            different = (before.colour != after.colour, before.kind != after.kind, moved)
            assert different == tuple(number == pair.changed and change == pair.change for change in CHANGES)


def test_of_a_colour_change_the_mask_is_what_differs_but_for_the_outline():
    for pair in (pair for pair in drawn() if pair.change == "colour"):
        differs = (pair.right.picture() != pair.wrong.picture()).any(-1)
        covered = pair.wrong.shapes[pair.changed].coverage()
        assert differs[pair.mask()].all()
        assert not differs[covered == 0].any()
        assert (covered[pair.mask()] >= 0.5).all() and (covered[~pair.mask()] < 0.5).all()


def test_of_a_moved_shape_the_mask_is_where_it_is_now():
    for pair in (pair for pair in drawn() if pair.change == "place"):
        before, after = pair.right.shapes[pair.changed], pair.wrong.shapes[pair.changed]
        assert (pair.right.picture() != pair.wrong.picture()).any(-1)[pair.mask()].all()
        assert not (pair.mask() & (before.coverage() >= 0.5)).any()
        assert (pair.mask() == (after.coverage() >= 0.5)).all()


def test_kinds_look_different():
    covers = {kind: Shape(kind, "red", "large", 1, 1, 0, 0).coverage() for kind in KINDS}
    for first, second in combinations(covers.values(), 2):
        assert np.abs(first - second).sum() >= 12  # pixels
    areas = {kind: cover.sum() for kind, cover in covers.items()}
    assert areas["circle"] == pytest.approx(np.pi * 4.4**2, rel=0.02)
    assert areas["square"] == pytest.approx((2 * 4.4) ** 2, rel=0.02)
    # its sides rise by 2 for 1: 8.8 wide and 8.8 high
    assert areas["triangle"] == pytest.approx(8.8 * 8.8 / 2, rel=0.05)


def test_shapes_never_touch():
    for pair in drawn(500):
        for side in (pair.right, pair.wrong):
            assert sum(shape.coverage() > 0.5 for shape in side.shapes).max() == 1


def test_no_combination_of_shapes_is_in_two_splits():
    sets: dict[Split, set[str]] = {
        split: {
            " ".join(sorted(shape.name + shape.place * (len(pair.right.shapes) == 1) for shape in pair.right.shapes))
            for pair in drawn(1000, split)
        }
        for split in SPLITS
    }
    for split in SPLITS:
        others = set().union(*(sets[other] for other in SPLITS if other != split))
        assert sets[split] and not sets[split] & others
    # and no caption is
    captions = {split: {pair.caption for pair in drawn(1000, split)} for split in SPLITS}
    assert not captions["train"] & (captions["validation"] | captions["held_out"])


def test_a_seed_gives_the_same_drawings_again():
    assert drawn(5) == drawn(5)
    assert drawn(5) != drawn(5, "validation")
