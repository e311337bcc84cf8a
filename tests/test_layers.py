"""The house's rules on who imports whom, held by reading the source and by running it.

The rooms, and what each may import, stand in `dpo_credit/README.md`.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import dpo_credit

ROOT = Path(dpo_credit.__file__).parent
HEAVY = {"torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "huggingface_hub"}
LOADERS = {f"dpo_credit.models.{name}" for name in ("adapters", "checkpoints", "gguf", "loading")}
LOADERS |= {"dpo_credit.compare.reward_model", *(f"dpo_credit.image.{name}" for name in ("loading", "lora"))}
TRAINERS = ("dpo_credit.demo", "dpo_credit.train")  # recipes: they make models, and are no part of scoring
PROGRAM = ("dpo_credit.cli", "dpo_credit.demo")
FREE = ("dpo_credit", "dpo_credit.__main__")  # the package's front: public names, fetched when they are asked for
_LINE = re.compile(r"^\| `([\w/.]+)` \| (.+?) \|([\w ]*)\| (stdlib|no torch|any) \|$", re.MULTILINE)


class Room(NamedTuple):
    """A line of the map: what the room may import of the package, and of others."""

    imports: frozenset[str]
    outside: str


@cache
def rooms() -> dict[str, Room]:
    """The map, by the rooms' names."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return {
        name.removesuffix("/").removesuffix(".py"): Room(frozenset(imports.split()), outside)
        for name, _, imports, outside in _LINE.findall(text)
    }


@cache
def sources() -> dict[str, str]:
    """The source of every module of the package, by its name."""
    names = {path: path.relative_to(ROOT.parent).with_suffix("").parts for path in sorted(ROOT.rglob("*.py"))}
    return {".".join(parts).removesuffix(".__init__"): path.read_text("utf-8") for path, parts in names.items()}


def runtime(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below that can run: not what stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from runtime(child)


def imports(source: str, module: str) -> set[str]:
    """The modules that a module's source names in its imports, wherever these stand; those for types alone, too."""
    return _imports(ast.walk(ast.parse(source)), module)


def runtime_imports(source: str, module: str) -> set[str]:
    """The modules that a module's source imports when it runs, wherever in it the import stands."""
    return _imports(runtime(ast.parse(source)), module)


def _imports(nodes: Iterator[ast.AST], module: str) -> set[str]:
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level + is_package(module) or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            modules = {f"{base}.{alias.name}" for alias in node.names}
            names |= {base, *(name for name in modules if name in sources() or is_package(name))}
    return names


def is_package(module: str) -> bool:
    return (ROOT.parent / Path(*module.split("."))).is_dir()


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def room_of(module: str) -> str:
    """The room that a module of the package is in."""
    return module.split(".")[1]


def breaches(module: str, source: str) -> list[str]:
    """The house's rules that a module breaks."""
    if module in FREE:
        return []
    return [*arrows(module, source), *packages(module, source), *misdeeds(module, source)]


def arrows(module: str, source: str) -> list[str]:
    """Imports of the package that the map does not have; types count."""
    room = room_of(module)
    allowed = rooms()[room].imports | {room}
    names = {name for name in imports(source, module) if within(name, "dpo_credit") and name != "dpo_credit"}
    return [f"{module} imports {name}: {room} may not" for name in sorted(names) if room_of(name) not in allowed]


def packages(module: str, source: str) -> list[str]:
    """Imports of other packages that the map does not allow."""
    outside, messages = rooms()[room_of(module)].outside, []
    for name in sorted(runtime_imports(source, module)):
        top = name.partition(".")[0]
        if top == "dpo_credit":
            continue
        if outside == "stdlib" and top not in sys.stdlib_module_names:
            messages.append(f"{module} imports {name}, but needs nothing beyond the standard library")
        if outside == "no torch" and top in HEAVY:
            messages.append(f"{module} imports {name}: it runs without torch")
        if name == "matplotlib.pyplot":
            messages.append(f"{module} imports pyplot, which keeps global state")
        if top == "ray" and module != "dpo_credit.batch.ray":
            messages.append(f"{module} imports ray")
    return messages


def misdeeds(module: str, source: str) -> list[str]:
    """What a module does that only another may: load weights, print, exit, read the environment."""
    messages = []
    for node in runtime(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            loads = node.attr == "from_pretrained"
            if loads and module not in LOADERS and not within(module, *TRAINERS):
                messages.append(f"{module} calls {ast.unparse(node)}: models/loading.py loads")
            if ast.unparse(node) in ("os.environ", "os.getenv", "sys.exit") and not within(module, *PROGRAM):
                messages.append(f"{module} uses {ast.unparse(node)}: the library leaves that to the program")
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
        if called in ("print", "exit", "input") and not within(module, *PROGRAM):
            messages.append(f"{module} calls {called}: the library leaves that to the program")
    return messages


def circles(arrows_from: dict[str, frozenset[str]]) -> list[str]:
    """Rooms that lead back to themselves."""

    def reached(room: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*arrows_from[room]]
        while waiting:
            following = waiting.pop()
            if following not in seen:
                seen.add(following)
                waiting += arrows_from[following]
        return seen

    return [room for room in arrows_from if room in reached(room)]


@pytest.mark.parametrize("module", sources())
def test_every_module_keeps_the_map(module: str) -> None:
    assert breaches(module, sources()[module]) == []


def test_the_map_has_every_room_and_no_other() -> None:
    assert {room_of(module) for module in sources() if module not in FREE} == rooms().keys()


def test_the_map_promises_no_arrow_that_is_not_there() -> None:
    real: dict[str, set[str]] = {room: set() for room in rooms()}
    for module, source in sources().items():
        if module not in FREE:
            names = {name for name in imports(source, module) if within(name, "dpo_credit") and name != "dpo_credit"}
            real[room_of(module)] |= {room_of(name) for name in names} - {room_of(module)}
    assert {room: set(line.imports) for room, line in rooms().items()} == real


def test_no_room_leads_back_to_itself_and_nothing_imports_the_program() -> None:
    arrows_from = {room: line.imports for room, line in rooms().items()}
    assert circles(arrows_from) == []
    assert not any("cli" in imports for imports in arrows_from.values())


def test_commands_do_not_import_each_other() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## One room a command")[1].split("## ")[0]
    commands = {name.removesuffix("/") for name, *_ in _LINE.findall(table)}
    assert len(commands) == 15
    for command in commands:
        assert not rooms()[command].imports & commands


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dpo_credit.credit", "import numpy"),
        ("dpo_credit.credit", "def f():\n    from dpo_credit.views.page.score import fragment"),
        ("dpo_credit.rows.records", "from dpo_credit.text.encode import encode"),
        ("dpo_credit.rows.records", "if TYPE_CHECKING:\n    from dpo_credit.scoring import Scorer"),
        ("dpo_credit.align", "def f():\n    from torch import nn"),
        ("dpo_credit.text.encode", "import transformers.utils"),
        ("dpo_credit.scoring", "import torch"),
        ("dpo_credit.views.terminal.score", "if True:\n    import torch"),
        ("dpo_credit.views.figure.heatmap", "import matplotlib.pyplot as plt"),
        ("dpo_credit.scoring", "from dpo_credit.views.terminal.score import render"),
        ("dpo_credit.scoring", "from dpo_credit import cli"),
        ("dpo_credit.scoring", "from . import views"),
        ("dpo_credit.search.search", "from dpo_credit.steer.steer import steer"),
        ("dpo_credit.search.search", "from ..steer import steer"),
        ("dpo_credit.verify.verify", "if TYPE_CHECKING:\n    from dpo_credit.train.rows import Rows"),
        ("dpo_credit.models.pair", "from ..cli import app"),
        ("dpo_credit.views.page.score", "from ...cli.app import main"),
        ("dpo_credit.scoring", "AutoModel.from_pretrained('x')"),
        ("dpo_credit.cli.score", "load = AutoModel.from_pretrained"),
        ("dpo_credit.scoring", "print(1)"),
        ("dpo_credit.verify.verify", "sys.exit(1)"),
        ("dpo_credit.models.pair", "import os\nos.environ['X']"),
        ("dpo_credit.views.page.score", "import ray"),
    ],
)
def test_the_guard_can_fail(module: str, source: str) -> None:
    assert breaches(module, source) != []


def test_the_guard_of_circles_can_fail() -> None:
    arrows_from = {"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"b"})}
    assert circles(arrows_from) == ["b", "c"]


def test_the_guard_lets_types_of_other_packages_pass() -> None:
    types = "if TYPE_CHECKING:\n    from transformers import PreTrainedTokenizerBase"
    assert breaches("dpo_credit.text.chat", types) == []
    assert breaches("dpo_credit.cli.score", "from dpo_credit.scoring import score") == []
    assert breaches("dpo_credit.__main__", "from dpo_credit.cli.app import main") == []


LIGHT = {
    "the package": "import dpo_credit",
    "the views": "import dpo_credit.views, importlib, pkgutil\n"
    "for view in pkgutil.walk_packages(dpo_credit.views.__path__, 'dpo_credit.views.'):\n"
    "    importlib.import_module(view.name)",
    "the help": "sys.argv = ['dpo-credit', '--help']\nfrom dpo_credit.cli.app import main\n"
    "try: main()\nexcept SystemExit: pass",
    "a command's help": "sys.argv = ['dpo-credit', 'score', '--help']\nfrom dpo_credit.cli.app import main\n"
    "try: main()\nexcept SystemExit: pass",
    "scoring": "import dpo_credit.scoring, dpo_credit.rows.reader, dpo_credit.align, dpo_credit.models.side",
}


def loaded_by(program: str) -> set[str]:
    """Which heavy packages a program has loaded when it ends."""
    ended = f"import sys\n{program}\nprint('loaded', *({HEAVY} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", ended], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("name", LIGHT)
def test_what_needs_no_model_loads_no_torch(name: str) -> None:
    assert loaded_by(LIGHT[name]) == set()


def test_the_check_for_torch_can_fail() -> None:
    assert loaded_by("import safetensors") == {"safetensors"}  # the quickest of them to load
