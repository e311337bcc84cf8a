"""Which fonts draw a text, and what happens to what none of them can."""

from __future__ import annotations

import pytest
from matplotlib import font_manager

from dpo_credit.views.figure.fonts import MIN_SIZE_PT, Fonts, fonts_for

UNASSIGNED = "\U0003fffd"  # a code point that no font may ever draw


def test_plain_text_needs_no_font_but_the_sans_serif_and_the_bundled_one() -> None:
    fonts = fonts_for(["plain text"])
    assert fonts.families[-2:] == ("DejaVu Sans", "sans-serif") and len(fonts.families) <= 3
    assert not fonts.missing


def test_what_no_font_draws_is_boxed_with_its_code_point() -> None:
    fonts = fonts_for([f"a{UNASSIGNED}b"])
    assert fonts.missing == {UNASSIGNED}
    runs, width = fonts.runs(f"a{UNASSIGNED}b", 8)
    assert [(run.text, run.boxed) for run in runs] == [("a", False), ("3FFFD", True), ("b", False)]
    assert runs[1].size == MIN_SIZE_PT
    assert runs[0].x == 0 and runs[1].x == fonts.width("a", 8)
    assert width > fonts.width("ab", 8) + fonts.width("3FFFD", MIN_SIZE_PT)
    assert fonts.plain(f"a{UNASSIGNED}b") == "a<U+3FFFD>b"


def test_a_boxed_emoji_is_one_box_without_its_joiners() -> None:
    fonts = Fonts(("DejaVu Sans", "sans-serif"), frozenset("\U0001f469\U0001f680\U0001f1e9\u20e3"))
    astronaut, flag, keycap = "\U0001f469\u200d\U0001f680\ufe0f", "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3"
    runs, _ = fonts.runs(f"{astronaut}ab{flag}{keycap}", 8)
    shown = [("1F469 1F680", True), ("ab", False), ("1F1E9 1F1EA", True), ("0031 20E3", True)]  # DejaVu has the E and 1
    assert [(run.text, run.boxed) for run in runs] == shown
    assert fonts.plain(f"a{keycap}") == "a<U+0031><U+20E3>"


def test_a_lone_surrogate_is_boxed() -> None:
    assert fonts_for(["\ud800"]).missing == {"\ud800"}


def test_widths_grow_with_the_size_and_the_text() -> None:
    fonts = fonts_for(["a word"])
    assert fonts.width("", 8) == 0
    # unhinted outlines scale; matplotlib holds them in 64ths of a pixel
    assert fonts.width("a word", 16) == pytest.approx(2 * fonts.width("a word", 8), rel=0.01)
    assert fonts.width("a word", 8) > fonts.width("a", 8)


def test_ideographs_are_drawn_where_the_system_has_a_font() -> None:
    if not any("CJK" in font.name for font in font_manager.fontManager.ttflist):
        pytest.skip("no CJK font here")
    chinese, korean = fonts_for(["世界"]), fonts_for(["世界 안녕"])
    assert not chinese.missing and not korean.missing
    assert any(name.endswith("SC") for name in chinese.families)  # each region's own forms
    assert any(name.endswith("KR") for name in korean.families)


def test_bold_is_left_out_where_no_bold_face_has_the_text() -> None:
    fonts = fonts_for(["bold"])
    assert fonts.draw_bold("bold") and not fonts.draw_bold(UNASSIGNED)
    assert fonts.width("bold", 8, bold=True) > fonts.width("bold", 8)
