"""Heatmaps: hostile text, any script, and what the files hold."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from figures import CHOSEN, COLUMN_IN, HOSTILE, REJECTED, WORLD, cells, credit, pair, unhinted, words, written  # noqa: F401  (unhinted is a fixture)
from PIL import Image
from scored import scored_row

from dpo_credit.credit import Credit, CreditError
from dpo_credit.views.figure.heatmap import format_of, render, save
from dpo_credit.views.wording import models_of


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_hostile_text_is_drawn_as_it_is(format: str) -> None:
    figure = render(scored_row([credit(HOSTILE)], ["$\\frac{1}{$"]))
    assert written(figure, format)  # mathtext would raise on the label
    shown = words(figure)
    for piece in HOSTILE:
        assert piece.strip() in shown if piece.strip() else "↵" in shown
    assert "$\\frac{1}{$" in shown


def test_control_and_reordering_characters_are_written_out() -> None:
    shown = words(render(scored_row([credit(["a", "\u202e", "\x00", "\u2028", " ", "\n", "\t"])], [""])))
    for sign in ("<U+202E>", "<U+0000>", "<U+2028>", "␣", "↵", "⇥"):
        assert sign in shown


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_any_script_is_drawn_without_a_warning(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    figure = render(scored_row([credit(WORLD)], ["世界 😀 🎉 שלום"]))
    assert written(figure, format)  # warnings are errors here
    assert capfd.readouterr().err == ""


def test_a_line_break_in_the_answer_begins_a_line() -> None:
    at = cells(render(scored_row([credit(["one", "\n", "two", ".\n\nthree"], end=False)], [""])))
    tops = [[round(box.y1) for box in at[1, n]] for n in (1, 2, 3, 4)]
    assert tops[0] == tops[1] and tops[1][0] > tops[2][0]
    assert tops[3][0] == tops[2][0] > tops[3][1]  # the full stop, and three on the next line


def test_blank_lines_take_no_rows_of_their_own() -> None:
    at = cells(render(scored_row([credit(["\n", "one", "\n", "\n", "\n", "two"], end=False)], [""])))
    tops = [round(at[1, n][0].y1) for n in range(1, 7)]
    first, line, *breaks, last = tops
    assert first > line > last and breaks == [line] * 3


def test_each_side_of_an_edit_keeps_its_lines_beside_the_others() -> None:
    answers = [credit(["same", *side, " end"], end=False) for side in ([" a", "\n", " b"], ["\n", "\n", " c", " d"])]
    at = cells(render(scored_row(answers, ["chosen", "rejected"])))
    ours, theirs = ([at[side, n][0].y1 for n in range(1, tokens + 1)] for side, tokens in ((1, 5), (2, 6)))
    assert ours == pytest.approx([ours[0]] * 3 + [ours[-1]] * 2)
    assert theirs == pytest.approx([theirs[0]] * 3 + [theirs[-1]] * 3)
    assert ours[0] > ours[-1] and ours[0] - theirs[0] == pytest.approx(ours[-1] - theirs[-1])


def test_a_word_is_kept_whole_where_it_fits_a_line() -> None:
    at = cells(render(scored_row([credit([" counter", "intu", "itively"] * 12, end=False)], [""]), width_in=COLUMN_IN))
    for n in range(1, 36, 3):
        assert len({round(at[1, n + part][0].y0) for part in range(3)}) == 1


def test_a_token_longer_than_a_line_goes_on_in_the_next() -> None:
    figure = render(scored_row([credit(["x" * 10_000], end=False)], [""]), width_in=COLUMN_IN)
    at = cells(figure)[1, 1]
    assert len(at) > 100
    assert sum(text.count("x") for text in words(figure) if set(text) == {"x"}) == 10_000


@pytest.mark.parametrize("name", ["fig.png", "fig.svg", "fig.pdf", "fig.PNG"])
def test_the_extension_says_the_format(name: str, tmp_path: Path) -> None:
    save(render(scored_row([credit(CHOSEN)], [""])), tmp_path / name)
    begins = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[format_of(Path(name))]
    assert (tmp_path / name).read_bytes().startswith(begins)


@pytest.mark.parametrize("name", ["fig.jpg", "fig", "png", "fig.png.gz"])
def test_an_unknown_extension_is_refused_with_the_three(name: str, tmp_path: Path) -> None:
    with pytest.raises(CreditError, match=r"\.png, \.svg or \.pdf"):
        save(render(scored_row([credit(CHOSEN)], [""])), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_figure_too_tall_for_a_png_is_refused_and_drawn_as_svg() -> None:
    figure = render(scored_row([credit(["a"])], [""]))
    figure.set_size_inches(3, 219)  # 219 in * 300 dpi = 65700 > 65535 pixels
    with pytest.raises(CreditError, match=r"219 in tall.*SVG or PDF"):
        written(figure, "png")


def test_an_svg_holds_the_words_and_a_pdf_its_fonts() -> None:
    figure = render(scored_row(*pair()))
    svg = written(figure, "svg").decode()
    for piece in (*CHOSEN, *REJECTED):
        assert f">{piece.strip()}</text>" in svg
    pdf = written(figure, "pdf")
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_a_file_says_which_models_its_numbers_come_from(format: str) -> None:
    answers, labels = pair()
    strange = [replace(each, source=replace(each.source, policy="run/<é>\x1b")) for each in answers]
    written_file = written(render(scored_row(strange, labels)), format)
    about = models_of(strange[0]).replace("\x1b", "<U+001B>")
    if format == "png":
        assert Image.open(io.BytesIO(written_file)).info["Description"] == about
    elif format == "svg":
        (said,) = ElementTree.fromstring(written_file).iter("{http://purl.org/dc/elements/1.1/}description")
        assert said.text == about
    else:
        assert b"/Subject" in written_file


@pytest.mark.parametrize("format", ["png", "svg", "pdf"])
def test_the_same_answer_gives_the_same_bytes(format: str) -> None:
    figure = render(scored_row(*pair()))
    first = written(figure, format)
    assert first == written(figure, format) == written(render(scored_row(*pair())), format)
    assert b"Date" not in first


def test_global_settings_are_neither_used_nor_changed() -> None:
    usual = written(render(scored_row(*pair())), "svg")
    with matplotlib.rc_context({"font.size": 40, "text.usetex": True, "svg.fonttype": "path", "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        assert written(render(scored_row(*pair())), "svg") == usual
        assert dict(matplotlib.rcParams) == before


def test_importing_the_view_loads_no_matplotlib_and_drawing_no_pyplot_or_torch() -> None:
    code = (
        "import io, sys; from dpo_credit.views.figure import heatmap; assert 'matplotlib' not in sys.modules;"
        f"sys.path.append({str(Path(__file__).parent)!r}); from credits import credit; from scored import scored_row;"
        "heatmap.save(heatmap.render(scored_row((credit(['a'], [1.0]),), ('a',))), io.BytesIO(), 'png');"
        "assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("credits", "labels", "width", "said"),
    [
        ([], [], 6.75, "no answer to draw"),
        ([credit(CHOSEN)], ["a", "b"], 6.75, "2 labels for 1 answers"),
        ([credit(CHOSEN)], ["a"], 0.5, "0.5 in"),
        ([credit(CHOSEN), credit(CHOSEN, beta=0.2)], ["a", "b"], 6.75, "different models or betas"),
    ],
)
def test_what_cannot_be_drawn_is_said(credits: list[Credit], labels: list[str], width: float, said: str) -> None:
    with pytest.raises(CreditError, match=said):
        render(scored_row(credits, labels), width_in=width)
