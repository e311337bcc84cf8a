"""The house's rules on who imports whom, held by reading the source and by running it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dpo_credit

ROOT = Path(dpo_credit.__file__).parent
HEAVY = {"torch", "transformers", "peft", "accelerate", "safetensors", "tokenizers", "huggingface_hub"}

STDLIB_ONLY = {
    *("dpo_credit.credit", "dpo_credit.segments", "dpo_credit.align", "dpo_credit.extras"),
    *("dpo_credit.rows.documents", "dpo_credit.rows.chats", "dpo_credit.rows.records"),
}
LOADERS = {"dpo_credit.models.loading", "dpo_credit.models.checkpoints"}
TRAINERS = ("dpo_credit.demo", "dpo_credit.train")  # recipes: they make models, and are no part of scoring
COMMANDS = ("batch", "corrupt", "inspect", "localise", "report", "search", "steer", "train", "trajectory", "verify")
PROGRAM = (
    "dpo_credit.cli",
    "dpo_credit.demo",
    *(f"dpo_credit.{command}" for command in COMMANDS),
    "dpo_credit.__main__",
)


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
    """The modules that a module's source imports when it runs, wherever in it the import stands."""
    found: set[str] = set()
    for node in runtime(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = module.split(".")[: -node.level + is_package(module) or None] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            modules = {f"{base}.{alias.name}" for alias in node.names}
            found |= {base, *(name for name in modules if name in sources() or is_package(name))}
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def breaches(module: str, source: str) -> list[str]:
    """The house's rules that a module breaks."""
    found = imports(source, module)
    said = []
    for name in sorted(found):
        top = name.partition(".")[0]
        if module in STDLIB_ONLY and name not in STDLIB_ONLY and top not in sys.stdlib_module_names:
            said.append(f"{module} imports {name}, but needs nothing beyond the standard library")
        if within(module, "dpo_credit.views") and top in HEAVY:
            said.append(f"{module} imports {name}: a view only draws")
        if module == "dpo_credit.text.encode" and top in HEAVY:
            said.append(f"{module} imports {name}: text becomes ids without a model")
        if within(name, "dpo_credit.cli") and not within(module, "dpo_credit.cli", "dpo_credit.__main__"):
            said.append(f"{module} imports {name}: the program is a leaf")
        spine = not within(module, "dpo_credit.views", *PROGRAM) and module != "dpo_credit"
        if spine and within(name, "dpo_credit.views", *PROGRAM):
            said.append(f"{module} imports {name}: the spine knows nothing of what uses it")
        if name == "matplotlib.pyplot":
            said.append(f"{module} imports pyplot, which keeps global state")
        if top == "ray" and module != "dpo_credit.batch.ray":
            said.append(f"{module} imports ray")
    return said + misdeeds(module, source)


def is_package(module: str) -> bool:
    return (ROOT.parent / Path(*module.split("."))).is_dir()


def misdeeds(module: str, source: str) -> list[str]:
    """What a module does that only another may: load weights, print, exit, read the environment."""
    said = []
    for node in runtime(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            loads = node.attr == "from_pretrained"
            if loads and module not in LOADERS and not within(module, *TRAINERS):
                said.append(f"{module} calls {ast.unparse(node)}: models.py loads")
            if ast.unparse(node) in ("os.environ", "os.getenv", "sys.exit") and not within(module, *PROGRAM):
                said.append(f"{module} uses {ast.unparse(node)}: the library leaves that to the program")
        called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else None
        if called in ("print", "exit", "input") and not within(module, *PROGRAM):
            said.append(f"{module} calls {called}: the library leaves that to the program")
    return said


@pytest.mark.parametrize("module", sources())
def test_every_module_keeps_the_rules(module: str) -> None:
    assert breaches(module, sources()[module]) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("dpo_credit.credit", "import numpy"),
        ("dpo_credit.credit", "def _repr_html_():\n    from dpo_credit.views.page.score import fragment"),
        ("dpo_credit.rows.records", "from dpo_credit.text.encode import encode"),
        ("dpo_credit.align", "def f():\n    from torch import nn"),
        ("dpo_credit.text.encode", "import transformers.utils"),
        ("dpo_credit.views.terminal.score", "if True:\n    import torch"),
        ("dpo_credit.views.figure.heatmap", "import matplotlib.pyplot as plt"),
        ("dpo_credit.scoring", "from dpo_credit.views.terminal.score import render"),
        ("dpo_credit.scoring", "from dpo_credit import cli"),
        ("dpo_credit.scoring", "from dpo_credit.views import html"),
        ("dpo_credit.models.pair", "import dpo_credit.demo.train"),
        ("dpo_credit.models.pair", "from ..cli import app"),
        ("dpo_credit.models.pair", "from .. import views"),
        ("dpo_credit.views.page.score", "from ...cli.app import main"),
        ("dpo_credit.views.page.score", "from dpo_credit.cli.app import main"),
        ("dpo_credit.scoring", "AutoModel.from_pretrained('x')"),
        ("dpo_credit.cli.score", "load = AutoModel.from_pretrained"),
        ("dpo_credit.scoring", "print(1)"),
        ("dpo_credit.models.pair", "import os\nos.environ['X']"),
        ("dpo_credit.views.page.score", "import ray"),
    ],
)
def test_the_guard_can_fail(module: str, source: str) -> None:
    assert breaches(module, source) != []


def test_the_guard_lets_types_and_the_program_pass() -> None:
    assert (
        breaches("dpo_credit.text.encode", "if TYPE_CHECKING:\n    from transformers import PreTrainedTokenizerBase")
        == []
    )
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
    "the encoding": "import dpo_credit.text.encode, dpo_credit.rows.records, dpo_credit.align",
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
