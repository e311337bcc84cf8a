"""The guide's page on safety: every promise names a test, and the test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "examples" / "guide" / "safety.md"
TEST = re.compile(r"`(test_\w+\.py)::(\w+)`")


def missing(text: str) -> list[str]:
    """The tests that a page names and that are not there."""
    return [f"{file}::{name}" for file, name in TEST.findall(text) if name not in defined(TESTS / file)]


def defined(file: Path) -> set[str]:
    """The tests of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8")) if file.is_file() else ast.Module([], [])
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_test_that_the_page_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(TEST.findall(text)) > 30
    assert missing(text) == []


def test_every_row_of_the_page_names_a_test() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if "held by" not in row and "---" not in row]
    assert promises and [row for row in promises if not TEST.search(row)] == []


@pytest.mark.parametrize("name", ["test_safety.py::test_nothing", "test_nowhere.py::test_it", "test_safety.py::folder"])
def test_a_test_that_is_not_there_is_missed(name: str) -> None:
    assert missing(f"held by `{name}`") == [name]
