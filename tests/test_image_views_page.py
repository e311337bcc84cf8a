"""The page of a picture's credit: what it holds, and what a reader can do with it in a real Chromium."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode
from dataclasses import replace
from typing import Any

import drawings
import numpy as np
import pytest
from drawings import SIDE, credit, exact, pair, pictures
from pages import Open, browser, show, violations
from PIL import Image

from dpo_credit.image import PictureDiff
from dpo_credit.views import image
from dpo_credit.views.page.image import page
from dpo_credit.views.scale import Theme

__all__ = ["browser", "show"]  # fixtures

THEMES: tuple[Theme, ...] = ("light", "dark")
VIEWS = ("side by side", "blended", "contour")


def decoded(uri: str) -> np.ndarray:
    """The pixels of a data URI."""
    return np.asarray(Image.open(io.BytesIO(b64decode(uri.partition(",")[2]))))


def sources(text: str) -> list[np.ndarray]:
    """The page's images in its order: of each picture the picture, and its map in a light and in a dark page."""
    return [decoded(uri) for uri in re.findall(r'src="(data:image/png;base64,[^"]*)"', text)]


def data(text: str) -> dict[str, Any]:
    return json.loads(re.search(r'<script type="application/json" id="maps">(.*?)</script>', text, re.S)[1])


def slide(shown: Any, to: int) -> None:
    shown.locator("#at").fill(str(to))


def canvas(shown: Any, picture: int, theme: Theme = "light") -> np.ndarray:
    """(32, 32, 4): what is drawn of a map."""
    drawn = shown.locator(f"[data-picture='{picture}'] canvas.for-{theme}")
    return decoded(drawn.evaluate("it => it.toDataURL()"))


def over(pixels: np.ndarray, theme: Theme) -> np.ndarray:
    """Colours over the scale's neutral one: what is seen."""
    opacity = pixels[..., 3:] / 255
    return opacity * pixels[..., :3] + (1 - opacity) * np.array(image.neutral("orange-blue", theme))


def test_the_page_has_pictures_and_maps_pixel_by_pixel() -> None:
    scored = pair()
    scale = image.scale_of([scored.chosen.map, scored.rejected.map])
    expected = [
        array
        for side, picture in zip((scored.chosen, scored.rejected), pictures(), strict=True)
        for array in (picture, *(image.overlay(side.map, scale, theme) for theme in THEMES))
    ]
    for shown, array in zip(sources(page(scored, pictures())), expected, strict=True):
        assert (shown == array).all()


def test_the_page_has_every_reward_to_a_part_in_65534() -> None:
    scored = pair()
    for held, side in zip(data(page(scored, pictures()))["pictures"], (scored.chosen, scored.rejected), strict=True):
        rewards = held["step"] * np.frombuffer(b64decode(held["rewards"]), "<i2").reshape(11, SIDE, SIDE)
        assert np.abs(rewards[0] - side.map).max() <= held["step"] / 2 * (1 + 1e-9)
        assert np.abs(rewards[1:] - side.maps).max() <= held["step"] / 2 * (1 + 1e-9)
        assert held["step"] == pytest.approx(np.abs(side.maps).max() / 32767)


def test_large_maps_are_summed_over_blocks_and_the_page_stays_small() -> None:
    rewards = np.random.default_rng(0).normal(size=(2, 1, 512, 512))
    scored = exact(rewards)
    text = page(PictureDiff(scored, scored), [drawings.drawing(side=512)] * 2)
    held = data(text)["pictures"][0]
    sums = held["step"] * np.frombuffer(b64decode(held["rewards"]), "<i2").reshape(3, 128, 128)
    naive = rewards.mean(axis=(0, 1)).reshape(128, 4, 128, 4).sum(axis=(1, 3))
    assert np.abs(sums[0] - naive).max() <= held["step"]
    assert "reward of a block of 4 × 4 pixels" in text
    # two pictures of three maps of 128 x 128, two bytes each in base64, are 262 kB; the PNGs of noise are no larger
    assert len(text) < 700_000


def test_a_large_picture_is_made_smaller_and_keeps_its_shape() -> None:
    large = np.zeros((1024, 768, 3), np.uint8)
    scored = replace(exact(np.zeros((1, 1, 128, 96)), latent=True), width=768, height=1024)
    text = page(scored, large)
    assert sources(text)[0].shape == (512, 384, 3)
    assert 'width="768" height="1024"' in text


def test_scripts_are_allowed_by_their_hash_alone() -> None:
    text = page(credit(), drawings.drawing())
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert re.fullmatch(
        r"default-src 'none'; script-src 'sha256-\S+'; style-src 'sha256-\S+'; img-src data:; base-uri 'none'; "
        r"form-action 'none'",
        policy.replace("&#39;", "'"),
    )
    assert "http://" not in text and "https://" not in text and " style=" not in text


def test_all_zero_rewards_make_a_page() -> None:
    text = page(exact(np.zeros((2, 2, 8, 8))), drawings.drawing())
    assert data(text)["pictures"][0]["step"] == 0 and "+0.00" in text


# In a browser --------------------------------------------------------------------------------------------------------


def test_without_javascript_the_map_over_all_timesteps_and_the_numbers_are_there(show: Open) -> None:
    scored = pair()
    shown = show(page(scored, pictures()), java_script_enabled=False)
    text = shown.locator("body").inner_text()
    for side in (scored.chosen, scored.rejected):
        assert image.with_error(side.reward, side.reward_error, 2) in text
    assert f"{scored.margin:+.2f} ± {scored.margin_error:.2f}" in text and drawings.PROMPT in text
    assert shown.locator(".map img.for-light").first.is_visible()
    assert not shown.locator(".walk").is_visible() and not shown.locator("button").first.is_visible()
    shown.locator("summary").click()
    row = shown.locator(".figures tbody tr").nth(4).inner_text().split("\t")
    at = [image.with_error(s.profile[4], s.profile_error[4], 2) for s in (scored.chosen, scored.rejected)]
    assert row == ["450", *at]


def test_without_javascript_views_and_theme_still_switch(show: Open) -> None:
    shown = show(page(pair(), pictures()), java_script_enabled=False, color_scheme="light")
    plate, map_ = shown.locator(".plate").first, shown.locator(".map").first
    assert map_.bounding_box()["x"] > plate.bounding_box()["x"] + plate.bounding_box()["width"]
    shown.get_by_label("blended").check()
    assert map_.bounding_box() == plate.bounding_box()
    assert shown.locator(".plate img").first.evaluate("it => getComputedStyle(it).filter") == "grayscale(1)"
    shown.get_by_label("contour").check()
    assert shown.locator(".plate svg").nth(1).is_visible()
    assert shown.locator(".map img.for-light").first.evaluate("it => getComputedStyle(it).opacity") == "0"
    shown.get_by_label("dark").check()
    assert shown.locator(".map img.for-dark").first.is_visible()
    assert not shown.locator(".map img.for-light").first.is_visible()


def test_the_slider_walks_through_the_timesteps(show: Open) -> None:
    scored = pair()
    shown = show(page(scored, pictures()))
    each = image.scale_of([scored.chosen.maps, scored.rejected.maps])
    every = image.scale_of([scored.chosen.map, scored.rejected.map])
    for at in (0, 5, 10):
        slide(shown, at)
        for n, side in enumerate((scored.chosen, scored.rejected)):
            values, scale = (side.maps[at - 1], each) if at else (side.map, every)
            for theme in THEMES:
                # rewards have 65534 steps and colours 256; a canvas keeps colours times opacity
                seen = over(canvas(shown, n, theme), theme)
                assert np.abs(seen - image.coloured(values, scale, theme)).max() <= 3
            value, error = (
                (side.profile[at - 1], side.profile_error[at - 1]) if at else (side.reward, side.reward_error)
            )
            total = shown.locator(f"[data-picture='{n}'] .total:visible").inner_text()
            assert total == image.with_error(value, error, 2)
        limits = shown.locator(".legend .limit:visible").all_inner_texts()
        assert limits == [f"{end * (each if at else every).limit:+.4f}".replace("-", "−") for end in (-1, 1)]
        assert shown.locator("output").inner_text() == (f"t = {100 * at - 50}" if at else "all 10")
        mark, dot = shown.locator(".now"), shown.locator("circle.k1").nth(max(0, at - 1))
        assert mark.get_attribute("visibility") == ("visible" if at else "hidden")
        assert not at or mark.get_attribute("x1") == dot.get_attribute("cx")


def test_pointing_at_a_cell_reads_it_in_both_pictures(show: Open) -> None:
    scored = pair()
    shown = show(page(scored, pictures()))
    slide(shown, 3)
    box = shown.locator("[data-picture='1'] .map").bounding_box()
    row, column = 15, 20
    shown.mouse.move(box["x"] + (column + 0.5) * box["width"] / SIDE, box["y"] + (row + 0.5) * box["height"] / SIDE)
    for n, side in enumerate((scored.chosen, scored.rejected)):
        said = shown.locator(f"[data-picture='{n}'] .cell").inner_text()
        number, place = said.split(" at ")
        assert place == "x 20, y 15"
        assert float(number.replace("−", "-")) == pytest.approx(side.maps[2, row, column], abs=6e-5)
    mark = shown.locator("[data-picture='1'] .map .here").bounding_box()
    assert mark["x"] == pytest.approx(box["x"] + column * box["width"] / SIDE, abs=1)
    assert mark["height"] == pytest.approx(box["height"] / SIDE, abs=1)


def test_the_arrows_walk_the_cells_and_are_heard(show: Open) -> None:
    scored = credit(-0.012)
    shown = show(page(replace(scored, latent=True, width=256, height=256), drawings.drawing(side=256)))
    shown.locator(".map").focus()
    for key in ("ArrowDown", "ArrowDown", "End", "ArrowRight", "ArrowLeft", "ArrowUp"):
        shown.keyboard.press(key)
    # row 2 of 32, the last column but one; a cell is 8 pixels
    assert shown.locator(".cell").inner_text().endswith(" at x 240 to 247, y 8 to 15")
    number = f"{scored.map[1, 30]:+.4f}".replace("-", "minus ").replace("+", "plus ")
    assert shown.get_by_role("status").last.text_content() == f"row 2, column 31: picture {number}"
    shown.keyboard.press("Escape")
    assert shown.locator(".here").evaluate_all("marks => marks.map((mark) => mark.hidden)") == [True, True]
    assert shown.locator(":focus").get_attribute("role") == "application"


def test_buttons_lead_to_the_lowest_and_highest_cell(show: Open) -> None:
    scored = pair()
    shown = show(page(scored, pictures()))
    for side, name in ((-1, "Lowest cell"), (1, "Highest cell")):
        shown.get_by_role("button", name=name).nth(1).click()
        row, column = np.unravel_index((side * scored.rejected.map).argmax(), (SIDE, SIDE))
        assert shown.locator("[data-picture='1'] .cell").inner_text().endswith(f" at x {column}, y {row}")


def test_a_tap_reads_a_cell(show: Open) -> None:
    shown = show(
        page(credit(), drawings.drawing()), viewport={"width": 360, "height": 800}, has_touch=True, is_mobile=True
    )
    shown.locator(".map").tap(position={"x": 1, "y": 1})
    assert shown.locator(".cell").inner_text().endswith(" at x 0, y 0")


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_no_page_is_wider_than_its_window(show: Open, width: int) -> None:
    shown = show(
        page(replace(pair().chosen, prompt="w" * 300), drawings.drawing()), viewport={"width": width, "height": 800}
    )
    for view in VIEWS:
        shown.get_by_label(view).check()
        assert shown.evaluate("document.documentElement.scrollWidth") == width
    shown = show(page(pair(), pictures()), viewport={"width": width, "height": 800})
    for view in VIEWS:
        shown.get_by_label(view).check()
        assert shown.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_has_no_serious_barrier(show: Open, theme: str) -> None:
    shown = show(page(pair(), pictures()), color_scheme=theme)
    shown.locator("summary").click()
    slide(shown, 4)
    shown.locator(".map").first.focus()
    for view in VIEWS:
        shown.get_by_label(view).check()
        assert violations(shown) == []


def test_a_hostile_prompt_runs_nothing(show: Open) -> None:
    hostile = "</script><script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
    shown = show(page(replace(credit(), prompt=hostile, notes=(hostile,)), drawings.drawing(), title=hostile))
    assert shown.locator(".asked").inner_text() == hostile == shown.locator(".note").inner_text()
    assert shown.title() != "run"
