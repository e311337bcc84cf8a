"""Length-normalised DPO from the flag to every view: beta / T is applied, and said."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pages import bad, good
from program import run
from rich.console import Console
from scored import scored_row
from sides import FromLogits

from dpo_credit import Example, Loading, load_pair, score
from dpo_credit.models.pair import ModelPair
from dpo_credit.scoring import Scorer
from dpo_credit.views.figure import heatmap
from dpo_credit.views.look import Look
from dpo_credit.views.page import score as html
from dpo_credit.views.terminal import score as terminal

ROW = {"id": "x", "prompt": "My landlord", "chosen": " raised the rent.", "rejected": " never argued about the rent."}
BOTH = tuple(replace(one, length_normalised=True) for one in (good(), bad()))


@pytest.fixture
def pair(tiny_pair_dirs: tuple[Path, Path]) -> tuple[str, ...]:
    policy, reference = map(str, tiny_pair_dirs)
    return ("--policy", policy, "--reference", reference, "--device", "cpu")


def record(command: str, file: Path, *arguments: str) -> dict[str, Any]:
    ended = run(command, file, *arguments, "--json", "-")
    assert ended.code == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize("flag", ["--length-normalised", "--length-normalized", "--length_normalized"])
def test_the_flag_divides_every_reward_by_the_answers_tokens(tmp_path: Path, pair: tuple[str, ...], flag: str) -> None:
    file = tmp_path / "row.json"
    file.write_text(json.dumps(ROW))
    summed, normalised = record("score", file, *pair), record("score", file, *pair, flag)
    for one, other in zip(summed["credit"]["answers"], normalised["credit"]["answers"], strict=True):
        assert (one["length_normalised"], other["length_normalised"]) == (False, True)
        assert other["rewards"] == pytest.approx([reward / len(one["tokens"]) for reward in one["rewards"]])
        assert other["policy_logps"] == one["policy_logps"]
    chosen, rejected = (answer["reward"] for answer in normalised["credit"]["answers"])
    assert normalised["credit"]["margin"] == pytest.approx(chosen - rejected)
    lengths = {len(answer["tokens"]) for answer in summed["credit"]["answers"]}
    assert len(lengths) == 2  # so that it is no mere scaling
    compared = record("diff", file, *pair, flag)
    assert compared["credit"]["margin"] == normalised["credit"]["margin"]
    parts = [edit["delta"] for edit in compared["credit"]["edits"]] + [compared["credit"]["echo"]["sum"]]
    assert sum(parts) == pytest.approx(compared["credit"]["margin"], abs=1e-12)  # a few additions of float64


def test_a_config_file_may_say_it_in_either_spelling(tmp_path: Path, pair: tuple[str, ...]) -> None:
    file = tmp_path / "row.json"
    file.write_text(json.dumps(ROW))
    for spelling in ("length_normalised", "length-normalized"):
        config = tmp_path / "run.yaml"
        config.write_text(f"{spelling}: true\n")
        assert (
            record("score", file, *pair, "--config", str(config))["credit"]["answers"][0]["length_normalised"] is True
        )


def test_render_keeps_it_under_another_beta(tmp_path: Path, pair: tuple[str, ...]) -> None:
    file, saved = tmp_path / "row.json", tmp_path / "scored.json"
    file.write_text(json.dumps(ROW))
    first = record("score", file, *pair, "--length-normalised", "--beta", "5")
    run("score", file, *pair, "--length-normalised", "--beta", "5", "--json", saved)
    again = record("render", saved, "--beta", "10")
    assert again["credit"]["answers"][0]["length_normalised"] is True
    assert again["credit"]["margin"] == pytest.approx(2 * first["credit"]["margin"])


def test_every_way_of_scoring_carries_it_from_the_pair(tiny_pair_dirs: tuple[Path, Path]) -> None:
    examples = [Example(ROW["prompt"], ROW["chosen"])]
    resident, sequential = (
        load_pair(*tiny_pair_dirs, length_normalised=True, loading=Loading(device="cpu", sequential=one))
        for one in (False, True)
    )
    results = [*score(resident, examples), *score(sequential, examples), *Scorer(resident).rows([examples])[0]]
    assert [one.length_normalised for one in results] == [True] * 3
    assert (
        ModelPair(
            FromLogits("p", lambda *_: None), FromLogits("r", lambda *_: None), resident.tokenizer
        ).length_normalised
        is False
    )  # type: ignore[arg-type, return-value]


def shown_in_the_terminal(credits: Any, look: Look = Look()) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal.render(scored_row(credits, ("chosen", "rejected")), look))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_terminals_legend_says_so() -> None:
    assert "reward, beta / T × nats, T tokens" in shown_in_the_terminal(BOTH)
    assert "reward, beta × nats" in shown_in_the_terminal((good(), bad()))


def test_the_page_says_so_and_its_numbers_follow() -> None:
    page = html.render([scored_row(BOTH, ("chosen", "rejected"))])
    assert "0.1 / T × nats (T: the answer's tokens)" in page.replace("&#39;", "'")
    assert "0.1 / T, length-normalised" in page
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)
    for answer, credit in zip(json.loads(data)["answers"], BOTH, strict=True):
        assert answer["weight"] == 0.1 / len(credit.rewards)
    plain = html.render([scored_row((good(), bad()), ("chosen", "rejected"))])
    assert " / T × nats" not in plain and "length-normalised" not in plain


def test_a_notebook_says_so() -> None:
    assert "= 0.1 / 10 &times;" in BOTH[0]._repr_html_()  # nine pieces and the end token
    assert "= 0.1 &times;" in good()._repr_html_()


def test_the_figure_says_so() -> None:
    figure = heatmap.render(scored_row(BOTH, ("chosen", "rejected")))
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert any("reward = β/T · (log π − log π_ref), in nats × β/T; β = 0.1, T tokens" in word for word in words)
