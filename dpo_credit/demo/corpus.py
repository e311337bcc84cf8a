"""What the pair is trained on: posts with summaries of noisy writers (SFT), and answer-level preferences (DPO)."""

from collections.abc import Iterator
from random import Random

from .errors import SWAP_PROBABILITY, Pair, corrupt
from .wording import Split
from .world import Post, draw_posts, summarise

POSTS = 500  # that the model card's results are measured on
SEEDS: dict[Split, int] = {"train": 3, "validation": 1, "held_out": 2}

# Noisy writers: of 10 summaries 3 hold a wrong fact, of those every fifth two.
WRONG_SHARE = 0.3
TWO_ERRORS_SHARE = 0.2
# Training starts with plain summaries (all facts, right, no asides): copying forms there several times sooner. It does
# so twice, early with few phrasings, then with all.
EARLY_PLAIN_SHARE, PLAIN_SHARE = 0.8, 0.5
# Preferences: as many with two changed facts as with one.
TWO_CHANGES_SHARE = 0.5


def sft_rows(seed: int, count: int, *, early: bool = False) -> Iterator[dict[str, str]]:
    """Rows {"prompt", "completion"} of the training split, 30 % of them with a wrong fact after the plain start.

    `early` rows know fewer phrasings, and their plain summaries do not tell who is who.
    """
    for index, (post, rng) in enumerate(draw_posts(seed, count, "train", early=early)):
        plain = index < (EARLY_PLAIN_SHARE if early else PLAIN_SHARE) * count
        summary = summarise(rng, post, plain=plain, roster=plain and not early)
        if not plain and rng.random() < WRONG_SHARE:
            summary = corrupt(rng, post, summary, 2 if rng.random() < TWO_ERRORS_SHARE else 1).rejected
        yield {"prompt": post.prompt, "completion": summary.text}


def draw_pairs(seed: int, count: int, split: Split, *, swaps: float = SWAP_PROBABILITY) -> Iterator[Pair]:
    """Preferences of a split: a right summary over the same one with 1-2 same-type facts changed."""
    for post, rng in draw_posts(seed, count, split):
        yield draw_pair(post, rng, swaps)


def draw_pair(post: Post, rng: Random, swaps: float = SWAP_PROBABILITY) -> Pair:
    """One preference on a post; redraws summaries that have too few checkable values."""
    errors = 2 if rng.random() < TWO_CHANGES_SHARE else 1
    while True:
        summary = summarise(rng, post)
        if sum(span.checkable for span in summary.spans) >= errors:
            return corrupt(rng, post, summary, errors, swaps=swaps)
