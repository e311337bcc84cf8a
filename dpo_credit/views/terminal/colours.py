"""A scale in the terminal: colours, or signs where there are none, and the legend that says what they mean."""

from __future__ import annotations

from rich.style import Style
from rich.text import Text

from dpo_credit.credit import Credit
from dpo_credit.segments import Unit
from dpo_credit.views.look import Look, visible
from dpo_credit.views.scale import Palette, Scale, shade
from dpo_credit.views.wording import models_of

_BASIC = {
    -3: "bold black on bright_red",
    -2: "black on bright_red",
    -1: "red",
    1: "blue",
    2: "black on bright_cyan",
    3: "bold black on bright_cyan",
}


def legend(scale: Scale, credit: Credit, look: Look, unit: Unit = "token") -> Text:
    """The scale's colours, or the signs of a `unit` that stands out, and their numbers."""
    nats = look.plain("beta / T × nats, T tokens" if credit.length_normalised else "beta × nats")
    if look.colours == "none":
        text = Text(signs(scale, look) + f"  {scale.quantity} of a {unit}, {nats}", style="dim")
    else:
        text = Text(f"{signed(-scale.limit, look)} ", style="dim")
        steps = 20 if look.colours == "full" else 6
        for step in range(steps + 1):
            position = 2 * step / steps - 1
            text.append(
                "  " if look.colours == "basic" else " ",
                _style(position, 3 if abs(position) > 0.7 else 2, look, scale.palette),
            )
        text.append(f" {signed(scale.limit, look)}  {scale.quantity}, {nats}; underlined below 0")
    if scale.noise:
        text.append(f"; italic: within the {credit.source.dtype} error of {scale.noise:.1g}")
    return text


def models(credit: Credit, look: Look) -> Text:
    """A line that names the two models."""
    return Text(visible(models_of(credit), look), style="dim", overflow="fold")


def signs(scale: Scale, look: Look) -> str:
    """Each sign with the reward from which on it stands."""
    if not scale.limit:
        return "all 0:"
    ends = [(1, scale.stands_out), (2, scale.limit)]
    return "  ".join(
        f"{_sign(side, count, look)} {signed(side * reward, look)}"
        for side, order in ((-1, reversed(ends)), (1, ends))
        for count, reward in order
    )


def mark(reward: float, scale: Scale, look: Look) -> str:
    """Without colours, one sign or two after what stands out."""
    if look.colours != "none":
        return ""
    return _sign(-1 if reward < 0 else 1, scale.signs(reward), look)


def style(reward: float, scale: Scale, look: Look) -> Style:
    """A token's style: a colour for the reward, an underline for a negative one, italics for one within the noise."""
    strength = scale.strength(reward)
    if abs(reward) < scale.noise:
        return Style(italic=True, dim=True)
    if not strength:
        return Style.null()
    return _style(scale.position(reward), strength, look, scale.palette)


def signed(value: float, look: Look, decimals: int | None = None) -> str:
    """A sign and three significant digits, or so many decimals."""
    return look.plain((f"{value:+.3g}" if decimals is None else f"{value:+.{decimals}f}").replace("-", "−"))


def _style(position: float, strength: int, look: Look, palette: Palette) -> Style:
    below = position < 0
    if look.colours == "none":
        return Style.null()
    if look.colours == "basic":
        if not position:
            return Style.null()
        return Style.parse(_BASIC[-strength if below else strength]) + Style(underline=below)
    background, text = shade(position, look.theme, palette)
    return Style(color=_hex(text), bgcolor=_hex(background), underline=below, bold=strength == 3)


def _sign(side: int, count: int, look: Look) -> str:
    signs = look.plain("▼" if side < 0 else "▲") * count
    return f"[{signs}]" if signs and look.ascii_only else signs


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
