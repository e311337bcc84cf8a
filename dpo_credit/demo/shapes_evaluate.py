"""Measure the pair of drawings: does the credit of a wrong picture find the shape that is wrong?

    python -m dpo_credit.demo.shapes_evaluate --split validation
    python -m dpo_credit.demo.shapes_evaluate --write                  # held-out pairs, into the card
    python -m dpo_credit.demo.shapes_evaluate --pair shapes-run        # DIRECTORY/policy and DIRECTORY/reference

What is measured is named; with --write its results stand in the card between the marks of that name.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from dpo_credit.estimates.statistics import Ranking, estimate, mean, resamples, sign_flip_p
from dpo_credit.image.credit import PictureCredit, PictureDiff
from dpo_credit.image.denoiser import DenoiserPair
from dpo_credit.image.loading import load_denoisers
from dpo_credit.image.pictures import Picture
from dpo_credit.image.scoring import Sampling, score_pictures

from .evaluate import HERE, shown, write_between
from .shapes import CHANGES, SEEDS, Drawn, draw_pairs

CARD = HERE / "shapes" / "README.md"
PAIRS = 300
Floats = NDArray[np.float64]


def credits(models: DenoiserPair, drawn: Sequence[Drawn], sampling: Sampling) -> Iterator[PictureDiff]:
    """The right and the wrong picture of each, scored for the caption."""
    for pair in drawn:
        pictures = [Picture("right", pair.right.picture()), Picture("wrong", pair.wrong.picture())]
        diff = score_pictures(models, pair.caption, pictures, sampling).diff
        assert diff is not None, "two pictures are a preference"
        yield diff


def scores(credit: PictureCredit, rng: np.random.Generator) -> dict[str, Floats]:
    """What may show where a picture is wrong, by name: (32, 32), high where it looks wrong."""
    middle = len(credit.timesteps) // 2
    return {
        "-credit": -credit.map,
        "-credit, mean of 3 x 3": uniform_filter(-credit.map, 3, mode="nearest"),
        f"-credit at t = {credit.timesteps[middle]} alone": -credit.maps[middle],
        "policy's error": credit.policy.mean(axis=(0, 1)),
        "reference's error": credit.reference.mean(axis=(0, 1)),
        "random": rng.random(credit.map.shape),
    }


def is_first(found: Floats, pair: Drawn) -> float:
    """1 where the changed shape has the highest mean of the wrong picture's shapes, else 0; NaN where it is alone."""
    means = [found[pair.wrong.mask(index)].mean() for index in range(len(pair.wrong.shapes))]
    return float(np.argmax(means) == pair.changed) if len(means) > 1 else float("nan")


def results(drawn: Sequence[Drawn], diffs: Sequence[PictureDiff]) -> str:
    """How well each score finds the changed shapes, and whether the right pictures are preferred, as Markdown."""
    rng = np.random.default_rng(0)
    masks = np.array([pair.mask() for pair in drawn])
    inked = np.array([pair.wrong.inked() for pair in drawn])
    differing = np.array([(pair.right.picture() != pair.wrong.picture()).any(2) for pair in drawn])
    pairs = np.arange(len(drawn))
    draws = resamples(pairs, rng)
    changes = np.array([pair.change for pair in drawn])

    def by_change(values: Floats) -> list[str]:
        """The mean over the pairs of each change."""
        return [shown(mean(np.where(changes == change, values, np.nan), draws), bare=True) for change in CHANGES]

    every = [scores(diff.rejected, rng) for diff in diffs]
    lines = [
        "| pixels | AUROC within pictures | AUROC, all pixels | pixels that differ | against other shapes' "
        "| changed shape comes first | " + " | ".join(f"{change} changed" for change in CHANGES) + " |",
        "|---|---|---|---|---|---|" + "---|" * len(CHANGES),
    ]
    within: dict[str, Floats] = {}
    for name in every[0]:
        maps = np.array([found[name] for found in every])
        within[name] = np.array([area(map_, mask) for map_, mask in zip(maps, masks, strict=True)])
        cells = masks[0].size
        pooled = Ranking(maps.ravel(), masks.ravel(), np.repeat(pairs, cells))
        among = np.array([area(map_[on], mask[on]) for map_, mask, on in zip(maps, masks, inked, strict=True)])
        telling = np.array([area(map_, mask) for map_, mask in zip(maps, differing, strict=True)])
        first = np.array([is_first(map_, pair) for map_, pair in zip(maps, drawn, strict=True)])
        estimates = [
            mean(within[name], draws),
            estimate(pooled.areas()[0], pooled.drawn(draws)[0]),
            mean(telling, draws),
            mean(among, draws),
            mean(first, draws),
        ]
        of_each = by_change(within[name])
        lines.append(f"| {name} | " + " | ".join([*map(shown, estimates), *of_each]) + " |")
    lines += ["", "`-credit` against each other score, within pictures:", ""]
    for name in list(within)[1:]:
        gained = within["-credit"] - within[name]
        p = sign_flip_p(gained, pairs, rng)
        lines.append(f"- over {name}: {shown(mean(gained, draws), signed=True)} (sign-flip permutation p = {p:.1g})")
    margins = np.array([diff.margin for diff in diffs])
    right = (margins > 0).astype(float)
    of_each = [f"{change} {share}" for change, share in zip(CHANGES, by_change(right), strict=True)]
    return "\n".join(
        [
            *lines,
            "",
            f"- right picture preferred: {shown(mean(right, draws))} ({', '.join(of_each)}); margin"
            f" {shown(mean(margins, draws), signed=True)}",
            f"- {len(drawn)} pictures of {masks[0].size} pixels, {masks.mean(0).sum():.1f} of the changed shape;"
            f" changed: {', '.join(f'{change} {(changes == change).sum()}' for change in CHANGES)}",
        ]
    )


def area(found: Floats, mask: NDArray[np.bool_]) -> float:
    """The AUROC of one picture; NaN where all of its pixels, or none, are of the changed shape."""
    return Ranking(found.ravel(), mask.ravel(), np.zeros(mask.size, dtype=int)).areas()[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the results of a pair, and with --write put them into the card."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--pair", type=Path, help="a directory of policy/ and reference/; default: the package's")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--split", choices=["held_out", "validation"], default="held_out")
    parser.add_argument("--steps", type=int, default=Sampling().steps)
    parser.add_argument("--draws", type=int, default=Sampling().draws)
    parser.add_argument("--write", action="store_true", help="into the card, between the marks of this name")
    options = parser.parse_args(arguments)
    sides = (options.pair / "policy", options.pair / "reference") if options.pair else (None, None)
    drawn = list(draw_pairs(SEEDS[options.split], options.pairs, options.split))
    models = load_denoisers(*sides)
    text = results(drawn, list(credits(models, drawn, Sampling(options.steps, options.draws))))
    print(text)
    if options.write:
        label = f"{options.split} {options.steps} x {options.draws}"
        write_between(CARD, f"<!-- {label} -->", f"<!-- end of {label} -->", text)


if __name__ == "__main__":
    main()
