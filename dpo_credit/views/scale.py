"""One colour scale for every view: diverging and neutral at zero, in colours that any eye tells apart.

The paper's own look is there too: a sequential scale on which darker is higher.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from dpo_credit.credit import Credit
from dpo_credit.segments import Unit

if TYPE_CHECKING:
    from dpo_credit.estimates.intervals import Mean
    from dpo_credit.rows.scored import ScoredRow

Theme = Literal["dark", "light"]
Palette = Literal["orange-blue", "purple-green", "paper"]
PALETTES: tuple[Palette, ...] = get_args(Palette)
Quantity = Literal["reward", "delta"]
RGB = tuple[int, int, int]

# the colours at the lowest reward, at zero and at the highest, per theme of the page or terminal
_STOPS: dict[Palette, dict[Theme, tuple[RGB, RGB, RGB]]] = {
    "orange-blue": {
        "dark": ((255, 122, 26), (38, 38, 42), (70, 160, 255)),
        "light": ((216, 84, 0), (250, 250, 250), (0, 96, 176)),
    },
    "purple-green": {
        "dark": ((196, 120, 255), (38, 38, 42), (52, 190, 110)),
        "light": ((118, 42, 131), (250, 250, 250), (16, 110, 50)),
    },
    "paper": {
        "dark": ((236, 244, 236), (120, 172, 128), (12, 66, 34)),
        "light": ((250, 252, 250), (136, 190, 144), (12, 66, 34)),
    },
}
_STEPS = (0.12, 0.4, 0.75)  # shares of the limit from which a reward counts as slight, clear, strong
_STANDS_OUT = 0.5  # share of the limit from which one has a sign where there are no colours: a handful of words do


@dataclass(frozen=True, slots=True)
class Scale:
    """Rewards from -limit to +limit span the colours; what lies beyond takes the end's. `noise`: see `Credit.noise`.

    `quantity`: "delta" if it is deltas that do (see `Diff.deltas`), which every method then takes in a reward's place.
    """

    limit: float
    noise: float = 0.0
    palette: Palette = "orange-blue"
    quantity: Quantity = "reward"

    def position(self, reward: float) -> float:
        """Where a reward lies, from -1 to 1; 0 for one within the noise floor."""
        if not self.limit or abs(reward) < self.noise:
            return 0.0
        return max(-1.0, min(1.0, reward / self.limit))

    def shade(self, reward: float, theme: Theme) -> tuple[RGB, RGB]:
        """Background and text colour of a reward."""
        return shade(self.position(reward), theme, self.palette)

    def strength(self, reward: float) -> int:
        """0 (no reward to speak of), 1 (slight), 2 (clear) or 3 (strong)."""
        return sum(abs(self.position(reward)) >= step for step in _STEPS)

    @property
    def stands_out(self) -> float:
        """The reward from which on one has a sign where there are no colours; from the limit on it has two."""
        return max(_STANDS_OUT * self.limit, self.noise)

    def signs(self, reward: float) -> int:
        """How many signs a reward has where there are no colours: 0, 1 or 2."""
        position = abs(self.position(reward))
        return (position >= _STANDS_OUT) + (position >= 1)

    @property
    def decimals(self) -> int:
        """Decimals that give the scale's limit three significant digits; from 2 to 9."""
        return decimals_for(self.limit)


@dataclass(frozen=True, slots=True)
class Shading:
    """How a view colours: what it sums rewards over, where the colours end, which they are, and what they show.

    `limit`: "shared" (one scale for all answers compared), "per-answer", or the reward at which the colours end.
    `unit_of_signs`: what rewards are summed over where signs in the text stand for colours; a sign inside a word would
    make it hard to read. `quantity`: what is coloured, each unit's reward or what it adds to the margin of two answers.
    """

    unit: Unit = "token"
    limit: Literal["shared", "per-answer"] | float = "shared"
    palette: Palette = "orange-blue"
    unit_of_signs: Unit = "word"
    quantity: Quantity = "reward"

    @property
    def in_signs(self) -> Shading:
        """The same for a text without colours."""
        return replace(self, unit=self.unit_of_signs)

    def values(self, scored: ScoredRow) -> tuple[tuple[float, ...], ...]:
        """What is coloured of each answer: a number for each of its units.

        Raises:
            CreditError: these are deltas, and there are not two answers, or they do not compare.
        """
        if self.quantity == "delta":
            return scored.diff.deltas(self.unit)
        return tuple(map(self._rewards, scored.credits))

    def scales_of(self, scored: ScoredRow) -> tuple[Scale, ...]:
        """A scale for the `values` of each answer; the same for all but with "per-answer".

        Raises:
            CreditError: see `values`.
        """
        return self.scales_over(scored.credits, self.values(scored))

    def scales(self, credits: Sequence[Credit]) -> tuple[Scale, ...]:
        """A scale for the rewards of each answer; the same for all but with "per-answer"."""
        return replace(self, quantity="reward").scales_over(credits, tuple(map(self._rewards, credits)))

    def scales_over(self, credits: Sequence[Credit], values: Sequence[Sequence[float]]) -> tuple[Scale, ...]:
        """A scale for these values of each answer, which are of this shading's quantity; likewise."""
        noise = max(credit.noise for credit in credits)
        if self.quantity == "delta":
            noise *= math.sqrt(2)  # of a difference of two rewards, whose errors are independent
        together = [[value for answer in values for value in answer]]
        each = values if self.limit == "per-answer" else together * len(credits)
        limits = map(limit_of, each) if isinstance(self.limit, str) else [self.limit] * len(credits)
        return tuple(Scale(limit, noise, self.palette, self.quantity) for limit in limits)

    def _rewards(self, credit: Credit) -> tuple[float, ...]:
        return tuple(segment.reward for segment in credit.by(self.unit))


def limit_of(rewards: Iterable[float]) -> float:
    """Where the colours end: the second largest magnitude, but no less than a quarter of the largest.

    So one outlier cannot grey out the rest, and noise around a single real reward cannot pass for colour.
    """
    largest = sorted(map(abs, rewards), reverse=True)
    return max(largest[min(1, len(largest) - 1)], largest[0] / 4)


def decimals_for(largest: float) -> int:
    """Decimals that give the largest of some numbers three significant digits; from 2 to 9."""
    return max(2, min(9, 2 - math.floor(math.log10(largest)))) if largest else 2


def decimals_of(means: Iterable[Mean | None]) -> int:
    """Decimals that give the largest of some means three significant digits; 2 where there are none."""
    return decimals_for(max((abs(mean.mean) for mean in means if mean is not None), default=0.0))


def shade(position: float, theme: Theme, palette: Palette = "orange-blue") -> tuple[RGB, RGB]:
    """Background and text colour for a position from -1 to 1; their contrast is at least 4.5:1 (WCAG AA)."""
    low, neutral, high = _STOPS[palette][theme]
    end, weight = (low if position < 0 else high), abs(position)
    red, green, blue = (round(a + (b - a) * weight) for a, b in zip(neutral, end, strict=True))
    background = (red, green, blue)
    return background, max(((0, 0, 0), (255, 255, 255)), key=lambda text: contrast(background, text))


def contrast(a: RGB, b: RGB) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: RGB) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
