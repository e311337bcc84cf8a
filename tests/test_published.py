"""Public pairs: the data holds together, and --pair fills what no flag says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from program import ESCAPE, run

from dpo_credit.credit import CreditError
from dpo_credit.models.objective import LOSSES
from dpo_credit.models.pair import Loading, ModelPair
from dpo_credit.models.published import Base, Published, named, published

ROW = {"id": "x", "prompt": "My landlord", "answer": " raised the rent."}
STOPPED = "stopped before anything was loaded"


@pytest.fixture
def row(tmp_path: Path) -> Path:
    path = tmp_path / "row.json"
    path.write_text(json.dumps(ROW))
    return path


def asked(*arguments: str | Path) -> dict[str, Any]:
    """What the program would load."""
    with patch("dpo_credit.models.loading.load_pair", side_effect=CreditError(STOPPED)) as load:
        ended = run("score", *arguments)
    assert STOPPED in ended.stderr, ended.stderr
    (policy, reference), options = load.call_args
    return {"policy": policy, "reference": reference, "revision": options["loading"].revision, **options}


@pytest.mark.parametrize("pair", published(), ids=lambda pair: pair.name)
def test_every_pair_says_whose_beta_it_is(pair: Published) -> None:
    assert pair.name == pair.name.lower() and " " not in pair.name
    assert 0 < pair.beta <= 10 and pair.format
    if pair.policy is None:
        assert pair.name in ("embedded", "smollm2", "embedded-refiner") and pair.reference is None
        assert (Path(__file__).parents[1] / pair.source).is_file()
        return
    for name in (pair.policy, pair.reference):
        assert name is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", name), name  # OWNER/NAME, as the hub has them
    assert pair.policy != pair.reference or pair.subfolder
    pinned = re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/blob/(v[\d.]+|[0-9a-f]{7})/\S+", pair.source)
    assert pinned or (pair.source.startswith("https://huggingface.co/") and pair.inference)
    assert pair.loss in LOSSES and pair.length_normalised == (LOSSES[pair.loss].takes == "mean" or pair.beta == 5)
    assert not pair.run


def test_the_pairs_of_the_package_come_first_and_are_those_that_were_run() -> None:
    assert [pair.name for pair in published() if pair.run] == ["embedded", "smollm2", "embedded-refiner"]
    assert [pair.name for pair in published()[:3]] == ["embedded", "smollm2", "embedded-refiner"]


def test_length_normalised_pairs_are_those_of_the_recipes_that_say_so() -> None:
    normalised = [pair for pair in published() if pair.length_normalised]
    assert {pair.beta for pair in normalised} == {5.0}
    assert {pair.source.split("/blob/")[0] for pair in normalised} == {"https://github.com/allenai/open-instruct"}


def test_a_name_is_found_in_any_case_and_an_unknown_one_lists_what_comes_close() -> None:
    assert named("Tulu-3-8B").policy == "allenai/Llama-3.1-Tulu-3-8B-DPO"
    with pytest.raises(
        CreditError, match=r"^zefyr-7b-beta is none of .* Did you mean zephyr-7b-beta.*dpo-credit pairs"
    ):
        named("zefyr-7b-beta")
    with pytest.raises(CreditError, match=r"^qqq is none of the \d+ pairs known here\. dpo-credit pairs lists them\.$"):
        named("qqq")


def test_a_pair_fills_models_beta_and_loss(row: Path) -> None:
    loads = asked(row, "--pair", "tulu-3-8b")
    assert loads["policy"] == "allenai/Llama-3.1-Tulu-3-8B-DPO"
    assert loads["reference"] == "allenai/Llama-3.1-Tulu-3-8B-SFT"
    assert (loads["beta"], loads["length_normalised"], loads["revision"]) == (5.0, True, None)


def test_a_pinned_revision_comes_with_its_pair(row: Path) -> None:
    pinned = Published("p", 0.2, "text", "here", "a/policy", "a/reference", revision="abc,def")
    with (
        patch("dpo_credit.cli.flags.named", return_value=pinned),
        patch("dpo_credit.cli.run.named", return_value=pinned),
    ):
        assert asked(row, "--pair", "p")["revision"] == "abc,def"
        assert asked(row, "--pair", "p", "--revision", "main")["revision"] == "main"


def test_folders_branches_and_an_adapters_base_come_with_their_pair(row: Path) -> None:
    loading = asked(row, "--pair", "qwen2.5-0.5b-dpo")["loading"]
    assert isinstance(loading, Loading)
    assert loading.each("subfolder") == ("dpo_beta0.1_8k_s0", "sft_merged")
    assert loading.base == "Shamima/dpo-implicit-reward:sft_merged"
    assert asked(row, "--pair", "smollm3-3b")["loading"].each("revision") == ("main", "it-SFT")


def test_another_loss_is_named_with_what_its_rewards_mean(row: Path, tiny_pair: ModelPair) -> None:
    with patch("dpo_credit.models.loading.load_pair", return_value=tiny_pair):
        said = run("score", row, "--pair", "smollm3-3b", "--json", "-").stderr
    meaning = "rewards are beta × log-ratio, as in DPO, but no probability was fitted to their margin"
    assert f"note: smollm3-3b was trained with loss apo_zero: {meaning}" in said
    assert f"loss apo_zero: {meaning}" in run("pairs", "smollm3-3b").stdout
    assert re.search(r"^smollm3-3b +0\.05 † ", run("pairs", COLUMNS="160").stdout, re.M)


def test_what_is_inferred_is_said(row: Path, tiny_pair: ModelPair) -> None:
    with patch("dpo_credit.models.loading.load_pair", return_value=tiny_pair):
        said = run("score", row, "--pair", "falcon-h1-tiny-90m", "--json", "-").stderr
    assert "inferred: beta, which we found nowhere: 0.1 is TRL's default" in said
    assert "according to" not in said
    assert re.search(r"^inferred +beta, which we found nowhere", run("pairs", "falcon-h1-tiny-90m").stdout, re.M)


def test_flags_win_over_the_pair(row: Path) -> None:
    loads = asked(row, "--beta", "0.5", "--pair", "tulu-3-8b", "--policy", "mine", "--no-length-normalised")
    assert (loads["policy"], loads["reference"]) == ("mine", "allenai/Llama-3.1-Tulu-3-8B-SFT")
    assert (loads["beta"], loads["length_normalised"]) == (0.5, False)


@pytest.mark.parametrize("first", ["--pair", "--config"])
def test_a_config_file_wins_over_the_pair_in_either_order(row: Path, tmp_path: Path, first: str) -> None:
    config = tmp_path / "run.toml"
    config.write_text("beta = 0.25\n")
    flags = {"--pair": "tulu-3-8b", "--config": str(config)}
    ordered = [first, flags.pop(first), *(part for item in flags.items() for part in item)]
    loads = asked(row, *ordered)
    assert (loads["beta"], loads["length_normalised"]) == (0.25, True)


def test_a_config_file_may_name_the_pair(row: Path, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("pair: zephyr-7b-dpo-full\n")
    loads = asked(row, "--config", config)
    assert (loads["policy"], loads["beta"]) == ("alignment-handbook/zephyr-7b-dpo-full", 0.01)


def test_without_a_pair_nothing_is_filled(row: Path) -> None:
    loads = asked(row)
    assert (loads["policy"], loads["reference"], loads["beta"]) == (None, None, None)
    filled = {"policy": "embedded", "reference": "embedded", "beta": 0.1, "length_normalised": False}
    assert asked(row, "--pair", "embedded") == asked(row, "--pair", "Tiny") == {**loads, **filled}


def test_what_is_known_of_the_pair_is_said_on_stderr(row: Path, tiny_pair: ModelPair) -> None:
    with patch("dpo_credit.models.loading.load_pair", return_value=tiny_pair):
        ended = run("score", row, "--pair", "zephyr-7b-beta", "--json", "-")
    assert ended.code == 0
    assert "note: zephyr-7b-beta was trained with beta 0.1, according to https://" in ended.stderr
    assert "note: zephyr-7b-beta: 3 epochs with beta 0.1" in ended.stderr
    assert "embedded pair" not in ended.stderr


def test_an_unknown_pair_is_one_line_and_exit_code_two(row: Path) -> None:
    ended = run("score", row, "--pair", "zephyr")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "Did you mean zephyr-7b-beta" in ended.stderr


@pytest.mark.parametrize("columns", [60, 80, 160, 180])
def test_the_listing_names_every_pair_and_says_what_was_run(columns: int) -> None:
    ended = run("pairs", COLUMNS=str(columns))
    assert (ended.code, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert max(map(len, lines)) <= columns and ESCAPE not in ended.stdout
    assert "We have run embedded, smollm2 and embedded-refiner, and no other" in " ".join(ended.stdout.split())
    if columns >= 80:
        assert all(re.search(rf"^{re.escape(pair.name)} ", ended.stdout, re.M) for pair in published())
    assert ("allenai/OLMo-2-1124-7B-SFT" in ended.stdout) == (columns >= 170)


def test_the_example_of_the_help_shows_one_pair_with_its_source_unbroken() -> None:
    found = re.search(r"Example: dpo-credit (pairs .*)", run("pairs", "--help").stdout)
    assert found is not None
    ended = run(*found[1].split())
    pair = named(found[1].split()[1])
    assert ended.code == 0 and pair.source in ended.stdout
    assert "5 / T, length-normalised DPO" in ended.stdout
    assert re.search(r"^run by us +no$", ended.stdout, re.M)


def test_a_long_line_is_folded_in_the_picture_alone(tmp_path: Path) -> None:
    ended = run("pairs", "tulu-3-8b", "--svg", tmp_path / "pair.svg", COLUMNS="60")
    source = named("tulu-3-8b").source
    picture = (tmp_path / "pair.svg").read_text()
    assert source in ended.stdout and len(source) > 60
    assert source not in picture and source[-10:] in picture  # folded, and nothing cut off


def test_json_holds_all_there_is() -> None:
    record = json.loads(run("pairs", "--json", "-").stdout)
    assert record["schema"] == "dpo-credit/pairs@1"
    bases = [pair["base"] and Base(**pair["base"]) for pair in record["pairs"]]
    pairs = [Published(**pair | {"base": base}) for pair, base in zip(record["pairs"], bases, strict=True)]
    assert pairs == list(published())
