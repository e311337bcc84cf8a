"""The README and the guide: their commands and their Python run, what they show is printed, their links lead somewhere.

How a page is read stands in `examples/guide/README.md`, for its readers as for these tests: a command runs as written,
unless it names something of the reader's own (`my-...`), or its comment says what it needs or how long it takes.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from program import Ended, run

from dpo_credit import Loading, ModelPair, load_pair
from dpo_credit.cli.app import app

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "examples" / "guide"
PAGES = [ROOT / "README.md", *sorted(GUIDE.glob("*.md"))]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
TOPICS = {
    "README",
    "annotations",
    "python",
    "server",
    "data",
    "conventions",
    "speed",
    "contributing",
    "reading_credit",
    "safety",
    "languages",
    "figure3_right",
}
README_BYTES = 7_500

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"[+−-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?")
OWN = re.compile(r"\bmy[-_]")  # a model, a file or a folder of the reader's
RELATIVE, ABSOLUTE = 0.02, 0.002  # numbers of one pair on another processor: float32's last digits, far below these


@dataclass(frozen=True)
class Command:
    """A command of a page: its text without its comment, the comment, and what the page says that it prints."""

    text: str
    comment: str = ""
    shown: str = ""

    @property
    def checked_only(self) -> bool:
        """Whether it needs what is not here: its options are checked, and it does not run."""
        installs = self.text.split()[0] in ("make", "pip")
        return installs or bool(OWN.search(self.text)) or self.comment.startswith("needs ")

    @property
    def takes_long(self) -> bool:
        return self.comment.startswith("takes ")

    @property
    def code(self) -> int:
        """The exit code that the page says, or that an error shown means."""
        said = re.search(r"exit code (\d)", self.comment)
        return int(said[1]) if said else 2 if "dpo-credit: " in self.shown else 0

    @property
    def stages(self) -> list[list[str]]:
        """The programs of a pipeline with their arguments."""
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars="|>")
        lexer.whitespace_split = True
        stages: list[list[str]] = [[]]
        for word in lexer:
            if word == "|":
                stages.append([])
            else:
                stages[-1].append(word)
        return stages


@dataclass(frozen=True)
class Python:
    """Python code of a page."""

    text: str

    @property
    def here(self) -> str:
        """What of it can run here: of code that names something of the reader's, the imports."""
        own = OWN.search(re.sub("#.*", "", self.text))
        return "".join(re.findall(r"^(?:from|import) .*\n", self.text, re.MULTILINE)) if own else self.text


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def steps(text: str) -> Iterator[Command | Python]:
    """A page's commands and Python, in its order."""
    for language, content in BLOCK.findall(text):
        if language == "python":
            yield Python(content)
        elif language == "sh":
            for line in content.replace("\\\n", " ").splitlines():
                command, _, comment = line.partition(" # ")
                if command.strip():
                    yield Command(command.strip(), comment.strip())
        elif language == "console":
            for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
                line, _, shown = part.partition("\n")
                command, _, comment = line.partition(" # ")
                yield Command(command.strip(), comment.strip(), shown)


def ours(stage: list[str]) -> list[str] | None:
    """The arguments of `dpo-credit` in a stage of a pipeline, however it is started; None for another program."""
    if stage[0] == "dpo-credit":
        return stage[1:]
    return stage[stage.index("dpo_credit") + 1 :] if "dpo_credit" in stage else None


def run_stage(stage: list[str], data: bytes) -> tuple[int, bytes, str]:
    """Run one program of a pipeline: `dpo-credit` and modules of the package in this process, any other beside it.

    Returns:
        Its exit code, what it wrote to stdout, and what it said on stderr.
    """
    if stage[0] == "dpo-credit":
        ended = run(*stage[1:], stdin=data, COLUMNS="100")
        return int(ended.code or 0), ended.stdout.encode(), ended.stderr
    if stage[:2] == ["python", "-m"]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            importlib.import_module(stage[2]).main(stage[3:])
        return 0, out.getvalue().encode(), ""
    done = subprocess.run(stage, input=data, capture_output=True, check=False)
    return done.returncode, done.stdout, done.stderr.decode()


def run_pipeline(command: Command) -> Ended:
    """Run a command's programs, each on what the one before it wrote; "> FILE" keeps it."""
    code, data, said = 0, b"", ""
    for words in command.stages:
        stage, target = (words[:-2], words[-1]) if ">" in words else (words, None)
        code, data, heard = run_stage(stage, data)
        said += heard
        if target:
            Path(target).write_bytes(data)
    return Ended(code, data.decode(errors="replace"), said)


def same(shown: str, printed: str) -> bool:
    """Whether two words are the same, but for the last digits of a number."""
    if NUMBER.sub("#", shown) != NUMBER.sub("#", printed):
        return False
    values = [
        [float(number.replace("−", "-").replace(",", "")) for number in NUMBER.findall(word)]
        for word in (shown, printed)
    ]
    return all(abs(a - b) <= max(ABSOLUTE, RELATIVE * max(abs(a), abs(b))) for a, b in zip(*values, strict=True))


def missing(shown: str, printed: str) -> str | None:
    """The first stretch of what a page shows that is not printed in this order; "…" leaves something out."""
    words = printed.split()
    begin = 0
    for part in re.split(r"(?:^|\s)…(?=\s|$)", shown):
        wanted = part.split()
        starts = range(begin, len(words) - len(wanted) + 1)
        found = next((n for n in starts if all(map(same, wanted, words[n:]))), None)
        if found is None:
            return part
        begin = found + len(wanted)
    return None


def parse(arguments: list[str]) -> None:
    """Read the arguments as the program would, and run nothing.

    Raises:
        AssertionError: there is no such command or option, or a value is none of the option's.
    """
    group: Any = typer.main.get_command(app)
    context = group.make_context("dpo-credit", ["score"])
    try:
        _, command, rest = group.resolve_command(context, list(arguments))
        command.make_context(command.name, rest, parent=context)
    except Exception as error:  # of a class that typer keeps to itself
        raise AssertionError(f"dpo-credit {shlex.join(arguments)}: {error}") from error


@pytest.fixture(scope="module")
def load_once() -> Callable[..., ModelPair]:
    """`load_pair`, which loads the embedded pair once for all pages: it takes half as long as to score a post."""
    once = cache(load_pair)

    def load(
        policy: str | None = None,
        reference: str | None = None,
        *,
        beta: float | None = None,
        length_normalised: bool | None = None,
        loading: Loading = Loading(),
    ) -> ModelPair:
        loads = load_pair if policy or reference else once
        return loads(policy, reference, beta=beta, length_normalised=length_normalised, loading=loading)

    return load


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_once: Callable[..., ModelPair]) -> Path:
    """A folder with the examples and the package in it, as a clone's root has them, where commands write."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "dpo_credit").symlink_to(ROOT / "dpo_credit", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dpo_credit.models.loading.load_pair", load_once)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # the pages' numbers are a CPU's
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    return tmp_path


def follow(text: str, *, patient: bool) -> None:
    """Do what a page says, and hold it to what it shows; only with `patient` what takes long."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for step in steps(text):
        if isinstance(step, Python):
            compile(step.text, "the page's Python", "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(step.here, names)
            continue
        if step.checked_only:
            for arguments in filter(None, map(ours, step.stages)):
                parse(arguments)
        elif (patient or not step.takes_long) and not (step.stages[-1][0] == "jq" and shutil.which("jq") is None):
            ended = run_pipeline(step)
            assert ended.code == step.code, f"{step.text}\nended with {ended.code}\n{ended.stderr}"
            assert (part := missing(step.shown, ended.stderr + ended.stdout)) is None, (
                f"{step.text}\ndoes not print\n{part}\nbut\n{ended.stderr}{ended.stdout}"
            )


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_runs_as_it_is_written(page: Path, clone: Path):
    follow(page.read_text(encoding="utf-8"), patient=False)


PATIENT = [
    page
    for page in PAGES
    if any(isinstance(step, Command) and step.takes_long for step in steps(page.read_text(encoding="utf-8")))
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PATIENT, ids=name_of)
def test_what_takes_long_runs_as_it_is_written(page: Path, clone: Path):
    follow(page.read_text(encoding="utf-8"), patient=True)


def test_the_check_of_a_page_can_fail(clone: Path):
    follow(
        "```console\n$ dpo-credit pairs zephyr\ndpo-credit: zephyr is none of the … pairs known here. …\n```\n",
        patient=False,
    )
    for wrong in (
        "```sh\ndpo-credit score nowhere.json\n```\n",
        "```sh\ndpo-credit score my-post.json --colour red\n```\n",
        "```sh\ncat my-post.json | dpo-credit colour -\n```\n",
        "```console\n$ dpo-credit pairs tulu-3-8b\ntulu-3-8b\nbeta 6 / T\n```\n",
        "```python\nimport dpo_credit\ndpo_credit.colour\n```\n",
    ):
        with pytest.raises((AssertionError, AttributeError)):
            follow(wrong, patient=False)


def test_numbers_may_differ_in_their_last_digits_and_words_may_not():
    assert missing("reward +0.0941 … log −25.99", "chosen\nreward  +0.0942  and log\n −25.98") is None
    assert missing("reward +0.0941", "reward −0.0941") == "reward +0.0941"
    assert missing("reward … log", "log reward") == " log"


def test_every_command_has_a_page_and_every_page_is_in_the_index():
    names = {page.stem for page in GUIDE.glob("*.md")}
    assert names == set(COMMANDS) | TOPICS
    index = LINK.findall((GUIDE / "README.md").read_text(encoding="utf-8"))
    assert {f"{name}.md" for name in names} - set(index) == {"README.md"}


def test_every_page_of_a_command_runs_it_and_has_python():
    for name in COMMANDS:
        found = list(steps((GUIDE / f"{name}.md").read_text(encoding="utf-8")))
        runs = [step for step in found if isinstance(step, Command) and not step.checked_only and not step.takes_long]
        assert any((arguments := ours(step.stages[-1])) and arguments[0] == name for step in runs), name
        assert any(isinstance(step, Python) for step in found), name
        assert any(step.code == 2 for step in runs), f"{name}: no error is shown"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_lead_somewhere(page: Path):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, anchor = link.partition("#")
        if target.startswith("https://"):
            continue
        path = page.parent / target if target else page
        assert path.exists(), f"{link} of {name_of(page)} leads nowhere"
        assert not anchor or anchor in anchors(path), f"{link} of {name_of(page)}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_option_and_make_target_that_a_page_names_is_there(page: Path):
    text = page.read_text(encoding="utf-8")
    commands = [one for name in COMMANDS.values() for one in getattr(name, "commands", {"": name}).values()]
    options = {name for command in commands for option in command.params for name in option.opts}
    options |= {name for command in commands for option in command.params for name in option.secondary_opts}
    options |= {"--install-completion", "--help", "--version"}
    assert set(re.findall(r"`(--[a-z][\w-]*)", text)) - options == set()
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^| {4})make ([\w-]+)", text, re.MULTILINE)) - targets == set()


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES


def test_every_row_of_the_page_on_data_is_scored(clone: Path):
    text = (GUIDE / "data.md").read_text(encoding="utf-8")
    rows = "".join(content for language, content in BLOCK.findall(text) if language == "jsonl")
    assert len(rows.splitlines()) >= 7
    ended = run("batch", "-", "--quiet", stdin=rows.encode())
    assert ended.code == 0, ended.stderr
    assert len([json.loads(line) for line in ended.stdout.splitlines()]) == len(rows.splitlines())
