"""The `report` command: the terminal view, the page in a real Chromium, every kind of file, and wrong ones."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pages import browser, violations
from program import ESCAPE, run
from scored import credit, saved, write

from dpo_credit.rows.scored import ScoredRow

__all__ = ["browser"]  # a fixture
HOSTILE = "</script><img src=x onerror='window.hacked=1'>"


def rows(count: int = 8) -> list[ScoredRow]:
    """Pairs in which "good" earns 1 and a bit, "bad" loses as much, and the fourth is wrongly ordered."""
    made = []
    for line in range(1, count + 1):
        bit = line / 100
        chosen = credit([" A", " good", " day", "."], [0.0, 1 + bit, 0.1, 0.0], end=0.1)
        rejected = credit([" A", " very", " bad", " day", HOSTILE], [0.0, 0.1, -1 - bit, 0.2, 0.0], end=-0.1)
        made.append(saved([rejected, chosen] if line == 4 else [chosen, rejected], line=line))
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "scored.jsonl", rows())


def test_the_terminal_shows_accuracy_words_and_where_they_stand(file: Path) -> None:
    ended = run("report", file, COLUMNS="120")
    assert (ended.code, ended.stderr) == (0, "")
    said = " ".join(ended.stdout.split())
    assert "pair accuracy 87.5 %" in said and "7 of 8 margins above 0" in said
    # 1.01 to 1.08: 1.045 on average, which two decimals round either way
    assert re.search(r"good \+1\.0[45] ± 0\.02\d* 8 8 row-8 \(line 8\)", said), said
    assert re.search(r"bad −1\.0[45] ± 0\.02\d* 8 8 row-8 \(line 8\)", said), said
    # the fourth: 0 + 0.1 - 1.04 + 0.2 + 0 - 0.1 less 0 + 1.04 + 0.1 + 0 + 0.1, most of which "good" and "bad" are
    assert re.search(r"lowest margins margin tokens .* −2\.08\d* 6 / 5 row-4 \(line 4\) −1\.04\d* ", said), said
    assert ESCAPE not in ended.stdout


@pytest.mark.parametrize("columns", [60, 80, 160])
def test_the_terminal_view_keeps_to_its_width(file: Path, columns: int) -> None:
    assert max(map(len, run("report", file, COLUMNS=str(columns)).stdout.splitlines())) <= columns


def test_a_picture_of_the_view_has_what_the_terminal_shows(file: Path, tmp_path: Path) -> None:
    shown = run("report", file)
    beside = run("report", file, "--svg", tmp_path / "view.svg")
    picture = (tmp_path / "view.svg").read_text()
    assert (beside.code, beside.stdout, beside.stderr) == (0, shown.stdout, "")
    assert picture.startswith("<svg") and "accuracy" in picture and "87.5&#160;%" in picture


def test_a_page_on_stdout_leaves_the_view_out(file: Path) -> None:
    ended = run("report", file, "--html", "-")
    assert ended.code == 0 and ended.stdout.startswith("<!doctype html>") and ended.stdout.endswith("</html>")


def test_a_terminal_of_ascii_gets_ascii(file: Path) -> None:
    ended = run("report", file, encoding="ascii")
    assert ended.code == 0 and ended.stdout.isascii()


def test_every_kind_of_file_gives_the_same_figures(file: Path, tmp_path: Path) -> None:
    parquet, pyarrow = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow")
    (tmp_path / "scored.jsonl.gz").write_bytes(gzip.compress(file.read_bytes()))
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    parquet.write_table(pyarrow.Table.from_pylist(lines), tmp_path / "scored.parquet")
    found = [
        run("report", tmp_path / name, "--json", "-") for name in ("scored.jsonl", "scored.jsonl.gz", "scored.parquet")
    ]
    found.append(run("report", "-", "--json", "-", stdin=file.read_bytes()))
    assert [ended.code for ended in found] == [0] * 4
    expected = json.loads(found[0].stdout)
    for ended in found[1:]:
        text = re.sub(r'"(stdin|[^"]*scored\.[\w.]+)"', json.dumps(str(file)), ended.stdout)
        assert json.loads(text) == expected


def test_stdin_is_read_again_for_the_rows_of_the_page(file: Path, tmp_path: Path) -> None:
    ended = run("report", "-", "--html", tmp_path / "page.html", stdin=file.read_bytes())
    assert ended.code == 0 and "row-4 (line 4)" in (tmp_path / "page.html").read_text("utf-8")


def test_several_files_are_one_data_set_whose_places_name_the_file(file: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.jsonl", rows())
    ended = run("report", file, other, COLUMNS="100")
    said = "".join(ended.stdout.split())  # long names are folded
    assert "16rowsto8prompts,32answers" in said and f"row-4({other}line4)" in said


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"no rows to report on\. Give what"),
        (b"{", r"line 9 is no scored row: .* not JSON"),
        (b"[1]", r"line 9 is no scored row: .* JSON list"),
        (b'{"prompt": "a", "answer": "b"}', r"line 9 is no scored answer \(schema None\)\. Give what"),
        (b'{"a": "\xff"}', r"line 9 is no scored row: .* not UTF-8"),
        (b'{"id": "a", "line": 1, "error": "no prompt"}', r"line 9 is no scored answer"),
    ],
)
def test_a_line_that_is_no_scored_row_is_named(file: Path, tmp_path: Path, data: bytes, message: str) -> None:
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_bytes(file.read_bytes() + data + b"\n" if data else b"")
    ended = run("report", wrong, "--strict", "--html", tmp_path / "page.html")
    assert (ended.code, ended.stdout) == (2, "")
    assert re.search(message, ended.stderr) and len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "page.html").exists()


def test_what_cannot_be_written_is_refused_before_the_rows_are_read(file: Path, tmp_path: Path) -> None:
    ended = run("report", file, "--html", tmp_path / "no" / "page.html")
    assert ended.code == 2 and "cannot write" in ended.stderr


def test_the_help_holds_an_example_that_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"Example: dpo-credit (report .*)", run("report", "--help", COLUMNS="200").stdout)
    assert found is not None
    monkeypatch.chdir(file.parent)
    assert run(*found[1].split()).code == 0
    assert (file.parent / "report.html").is_file()


Show = Callable[..., Any]


@pytest.fixture
def show(browser: Any, file: Path, tmp_path: Path) -> Iterator[Show]:
    """The page of a file, opened; afterwards the console stayed silent, and no network was asked."""
    contexts, said = [], []

    def opened(scored: Path = file, hash_: str = "", **context: Any) -> Any:
        page_file = tmp_path / "page.html"
        assert run("report", scored, "--html", page_file).code == 0
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **context}))
        page = contexts[-1].new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or said.append(asked.url))
        page.goto(page_file.as_uri() + hash_)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def test_a_word_leads_to_its_token_in_a_drawn_row(show: Show) -> None:
    page = show()
    page.locator(".words").first.get_by_role("link", name="good").click()
    # ordered by margin, the wrong pair first, row 8 has the highest; its chosen answer's second token
    assert page.url.endswith("#e8a1t2")
    assert page.locator(":focus").get_attribute("aria-label") == "good plus 1.08"
    assert "row-8 (line 8)" in page.locator("tbody.open").inner_text()


def test_the_page_draws_the_wrongly_ordered_pairs_first(show: Show) -> None:
    page = show()
    assert page.locator(".index > tbody").first.inner_text().startswith("row-4 (line 4)")
    assert page.locator(".index > tbody").count() == 8
    text = page.locator("main").inner_text()
    for shown in ("87.5 %", "7 of 8 pairs", "wrongly ordered", "Reward against length"):
        assert shown in text, shown


def test_without_javascript_the_figures_and_words_are_there(show: Show) -> None:
    page = show(java_script_enabled=False)
    assert "87.5 %" in page.locator("main").inner_text()
    assert page.locator(".words tbody tr").count() >= 2


def test_hostile_text_stays_text(show: Show) -> None:
    page = show(hash_="#e1")
    assert page.evaluate("window.hacked") is None and page.locator("img").count() == 0
    assert HOSTILE in page.locator(".entry").first.text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(show: Show, scheme: str) -> None:
    page = show(hash_="#e3", color_scheme=scheme)
    for summary in page.locator("summary").all():
        summary.click()
    assert violations(page) == []


def test_a_phone_never_scrolls_sideways(show: Show, tmp_path: Path) -> None:
    long = [
        saved([credit([" " + "W" * 300, " b"], [1.0, 0.0]), credit([" c"], [0.0])], line=n, row_id="x" * 90)
        for n in range(1, 8)
    ]
    page = show(write(tmp_path / "long.jsonl", long), viewport={"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_one_row_makes_a_page_too(show: Show, tmp_path: Path) -> None:
    page = show(write(tmp_path / "one.jsonl", rows(1)))
    page.get_by_role("link", name="row-1 (line 1)").last.click()
    assert page.locator(".entry").count() == 1
