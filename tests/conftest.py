"""Fixtures shared by the tests: one tiny pair on disk, its tokenizer, the pair loaded, and no network."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a fork after threads started would warn

import pytest
import torch
from tiny import CHATML, language_model, save, tokenizer
from transformers import PreTrainedTokenizerFast

from dpo_credit.estimates.statistics import resamples
from dpo_credit.localise import localise
from dpo_credit.models.loading import load_pair
from dpo_credit.models.pair import Loading, ModelPair

torch.set_num_threads(1)  # tiny models: a second thread costs more than it gives
left_out: list[str] = []  # names of slow tests that this run was not asked for


def pytest_collection_finish() -> None:
    """Keep what the imports made out of later collections: each takes half a second otherwise."""
    gc.collect()
    gc.freeze()


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    left_out.extend(item.nodeid for item in items if item.get_closest_marker("slow"))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several processes: the first hears what was left out
        session.config.workeroutput["left_out"] = left_out


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    left_out[:] = node.workeroutput.get("left_out", left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if left_out:
        terminalreporter.write_line(f"{len(left_out)} slow tests left out: make test-slow runs them")


@pytest.fixture(scope="session", autouse=True)
def no_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep converted files apart from the machine's own, so that the embedded pair is the default on every machine."""
    home = str(tmp_path_factory.mktemp("hub"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("huggingface_hub.constants.HF_HOME", home)
        patched.setenv("HF_HOME", home)  # for programs that a test starts
        yield


@pytest.fixture(autouse=True)
def connections(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Refuse connections beyond this machine in tests not marked `hub`; the list names those that were tried."""
    tried: list[str] = []
    if not request.node.get_closest_marker("hub"):
        connect, resolve = socket.socket.connect, socket.getaddrinfo

        def refuse_unless(here: bool, asked: object) -> None:
            if not here:
                tried.append(str(asked))
                raise OSError(f"a test asked for the network: {asked}")

        def connect_here(self: socket.socket, address: Any) -> None:
            here = isinstance(address, str | bytes) or address[0] == "127.0.0.1"  # text: a socket that is a file
            refuse_unless(here, address)
            connect(self, address)

        def resolve_here(host: Any, *more: Any, **options: Any) -> Any:
            refuse_unless(host == "127.0.0.1", host)
            return resolve(host, *more, **options)

        monkeypatch.setattr(socket.socket, "connect", connect_here)
        monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
        # the hub's client retries for a minute: tell it, here and in programs that a test starts, not to try
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    yield tried


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Plain text only: no chat template. Do not change it: it lasts for the session."""
    return tokenizer()


@pytest.fixture(scope="session")
def chat_tokenizer() -> PreTrainedTokenizerFast:
    """The same ids, with the ChatML template. Do not change it: it lasts for the session."""
    return tokenizer(chat_template=CHATML)


@pytest.fixture(scope="session")
def tiny_pair_dirs(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> tuple[Path, Path]:
    """(policy, reference): two random GPT-NeoX models saved as safetensors, each with the tokenizer. Read only."""
    folder = tmp_path_factory.mktemp("pair")
    return (
        save(language_model(seed=1), folder / "policy", tiny_tokenizer),
        save(language_model(seed=2), folder / "reference", tiny_tokenizer),
    )


@pytest.fixture(scope="session")
def tiny_pair(tiny_pair_dirs: tuple[Path, Path]) -> ModelPair:
    """`tiny_pair_dirs`, loaded on the CPU."""
    return load_pair(*tiny_pair_dirs, beta=0.1, loading=Loading(device="cpu"))


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of `localise` from 100 resamples: its 1,000 take most of a test's time, and no claim needs them."""
    monkeypatch.setattr(localise, "resamples", partial(resamples, times=100))


@pytest.fixture(scope="session")
def pair(tiny_pair_dirs: tuple[Path, Path]) -> tuple[str, ...]:
    """The tiny pair as the program's flags."""
    policy, reference = map(str, tiny_pair_dirs)
    return ("--policy", policy, "--reference", reference, "--beta", "0.1", "--device", "cpu")
