"""Commands with a server as a side: what they write, keep and refuse, and that no secret leaves them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import run
from servers import Served, serving
from tiny import language_model
from transformers import PreTrainedTokenizerFast

ROWS = [{"prompt": "b a", "chosen": f" so {n}", "rejected": f" not {n}"} for n in range(5)]


@pytest.fixture
def served(tiny_tokenizer: PreTrainedTokenizerFast) -> Iterator[Served]:
    """The reference of `tiny_pair_dirs`, as vLLM serves it."""
    with serving("vllm", language_model(seed=2), tiny_tokenizer) as server:
        yield server


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return file


@pytest.fixture
def row(tmp_path: Path) -> Path:
    file = tmp_path / "row.json"
    file.write_text(json.dumps(ROWS[0]))
    return file


def pair_of(policy: object, reference: object) -> tuple[str, ...]:
    return ("--policy", str(policy), "--reference", str(reference), "--beta", "0.1", "--device", "cpu")


def write_labelled(folder: Path) -> None:
    """`ROWS` as labelled.jsonl: the word "not" is wrong."""
    labelled = [{**line, "labels": [{"start": 1, "end": 4, "text": "not", "kind": "word"}]} for line in ROWS]
    (folder / "labelled.jsonl").write_text("".join(json.dumps(line) + "\n" for line in labelled))


def test_a_row_is_scored_with_a_server_as_with_the_model(
    row: Path, served: Served, pair: tuple[str, ...], tiny_pair_dirs: tuple[Path, Path], tmp_path: Path
) -> None:
    ended = run("score", row, *pair_of(tiny_pair_dirs[0], served.address), "--json", tmp_path / "there.json")
    assert ended.code == 0, ended.stderr
    note = f"note: the reference's log-probabilities come from a server ({served.address}), whose weights and dtype are"
    assert f"{note} not known here" in ended.stderr
    assert run("score", row, *pair, "--json", tmp_path / "here.json").code == 0
    there, here = (json.loads((tmp_path / name).read_text()) for name in ("there.json", "here.json"))
    for theirs, ours in zip(there["credit"]["answers"], here["credit"]["answers"], strict=True):
        assert theirs["rewards"] == pytest.approx(ours["rewards"], abs=2e-6)  # beta times float32's last digits
        assert (theirs["reference"], theirs["dtype"]) == (f"tiny at {served.address}", "float32/unknown")
        assert any("come from a server" in note for note in theirs["notes"])


def test_a_batch_goes_on_under_the_same_address_and_model_alone(
    rows: Path, served: Served, tiny_pair_dirs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "scored.jsonl"
    pair = pair_of(tiny_pair_dirs[0], served.address)
    assert run("batch", rows, *pair, "-o", out, "--limit", "2").code == 0
    head = json.loads(out.with_name("scored.jsonl.journal").read_text().splitlines()[0])
    assert head["reference"] == f"tiny at {served.address}" and head["dtype"] == ["float32", "unknown"]
    served.models[0]["root"] = "/models/other"
    ended = run("batch", rows, *pair, "-o", out, "--limit", "2", "--resume")
    assert ended.code == 2 and "reference's weights" in ended.stderr, ended.stderr


def test_a_cache_keeps_what_a_server_gave(
    rows: Path, served: Served, tiny_pair_dirs: tuple[Path, Path], tmp_path: Path
) -> None:
    asked = ("batch", rows, *pair_of(tiny_pair_dirs[0], served.address), "--cache", tmp_path / "cache")
    assert run(*asked, "-o", tmp_path / "once.jsonl").code == 0
    served.asked.clear()
    assert run(*asked, "-o", tmp_path / "again.jsonl").code == 0
    questions = [body for path, body, _ in served.asked if path.endswith("/completions")]
    assert len(questions) == 1  # the first one, which no answer is
    assert (tmp_path / "once.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    (file,) = (tmp_path / "cache").glob("*-unknown.sqlite")
    with sqlite3.connect(file) as database:
        assert database.execute("SELECT COUNT(*) FROM logps").fetchone() == (10,)


def test_no_secret_leaves_the_program(
    rows: Path, served: Served, tiny_pair_dirs: tuple[Path, Path], tmp_path: Path
) -> None:
    served.key = "sk-s3cret"
    address = served.address.replace("//", "//user:s3cret@") + "?token=s3cret#tiny"
    policy, names = tiny_pair_dirs[0], ("scored.jsonl", "page.html", "data.json")
    out, page, data = (tmp_path / name for name in names)
    key = {"DPO_CREDIT_REFERENCE_KEY": "sk-s3cret"}
    asked = ("batch", rows, *pair_of(policy, address), "--cache", tmp_path / "cache", "-o", out)
    ended = [run(*asked, **key)]
    assert ended[0].code == 0, ended[0].stderr
    assert {path.partition("?")[2] for path, *_ in served.asked} == {"token=s3cret"}
    ended.append(run("score", rows, *pair_of(policy, address), "--row", "1", "--html", page, "--json", data, **key))
    ended.append(run("batch", rows, *pair_of(policy, address.replace("#tiny", "#other")), "-o", "-", **key))
    ended.append(run("batch", rows, *pair_of(policy, address), "-o", "-", DPO_CREDIT_REFERENCE_KEY="sk-s3cret-wrong"))
    ended.append(run("batch", rows, *pair_of(policy, address), "-o", "-"))
    ended.append(run("batch", rows, *pair_of(policy, address), "-o", "-", DPO_CREDIT_REFERENCE_KEY="sk-s3cret\n"))
    ended.append(run("inspect", rows, *pair_of(policy, address), "--row", "1", **key))
    assert [end.code for end in ended] == [0, 0, 2, 2, 2, 2, 2], [end.stderr for end in ended]
    assert "Its key goes into DPO_CREDIT_REFERENCE_KEY" in ended[3].stderr
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(written) > 5 and not any(b"s3cret" in content for content in written)
    assert "s3cret" not in "".join(end.stdout + end.stderr for end in ended)


def test_a_key_goes_to_its_own_side_alone(row: Path, served: Served, tiny_pair_dirs: tuple[Path, Path]) -> None:
    asked = ("score", row, *pair_of(tiny_pair_dirs[0], served.address))
    assert run(*asked, DPO_CREDIT_POLICY_KEY="sk-policy", OPENAI_API_KEY="sk-judge").code == 0
    assert all("Authorization" not in headers for *_, headers in served.asked)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("score", "row.json", "--top-k", "3"), "it does not tell which tokens it finds likely"),
        (("score", "row.json", "--show", "kl"), "it gives log-probabilities of the answers' own tokens only"),
        (("diff", "row.json", "--top-k", "3"), "it does not tell which tokens it finds likely"),
        (("verify", "rows.jsonl"), "it is no torch module that runs here"),
        (("steer", "row.json", "--max-new-tokens", "2"), "it is no torch module that runs here"),
        (("inspect", "row.json"), "is a server, which gives log-probabilities of answers and nothing else"),
        (("localise", "labelled.jsonl", "--compare", "captum"), "it is no torch module that runs here"),
    ],
)
def test_what_a_server_cannot_do_is_one_line(
    command: tuple[str, ...],
    said: str,
    row: Path,
    rows: Path,
    served: Served,
    tiny_pair_dirs: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_labelled(row.parent)
    monkeypatch.chdir(row.parent)
    ended = run(*command, *pair_of(tiny_pair_dirs[0], served.address))
    assert ended.code == 2 and said in ended.stderr, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("dpo-credit: ") and "Traceback" not in ended.stderr


def test_a_served_policy_needs_its_reference_and_is_not_searched_or_followed(
    row: Path, served: Served, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    ended = run("score", row, "--policy", served.address)
    assert ended.code == 2 and "is a model of a server, so its reference is another" in ended.stderr
    ended = run("score", row, "--reference", served.address)
    assert ended.code == 2 and "without a policy" in ended.stderr
    ended = run("search", row, *pair_of(served.address, tiny_pair_dirs[1]), "--beams", "1", "--judge", "reward")
    assert ended.code == 2 and "search asks more of tiny at" in ended.stderr, ended.stderr
    ended = run("trajectory", served.address.replace("//", "//user:s3cret@"), row)
    assert ended.code == 2 and f"run {served.address} is a server" in ended.stderr, ended.stderr


def test_a_served_policy_has_the_beta_that_is_given(
    row: Path, served: Served, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    asked = ("score", row, "--policy", served.address, "--reference", str(tiny_pair_dirs[1]), "--device", "cpu")
    ended = run(*asked)
    assert ended.code == 0, ended.stderr
    assert "beta 0.1 assumed: tiny at" in ended.stderr and "which does not say otherwise" in ended.stderr
    assert "assumed" not in run(*asked, "--beta", "0.5").stderr


def test_a_labelled_set_is_localised_without_what_a_server_lacks(
    rows: Path, served: Served, tiny_pair_dirs: tuple[Path, Path], tmp_path: Path
) -> None:
    write_labelled(tmp_path)
    ended = run("localise", tmp_path / "labelled.jsonl", *pair_of(tiny_pair_dirs[0], served.address))
    assert ended.code == 0, ended.stderr
