"""The command line: what goes to stdout and stderr, which options mean what, and how it ends."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from program import ESCAPE, Ended, run

from dpo_credit import Example, score
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.output import to_json
from dpo_credit.rows.records import parse_row
from dpo_credit.rows.scored import ScoredRow

ROW = {"id": "x", "prompt": "My landlord", "answer": " raised the rent.", "worker": 7}
PREFERENCE = {"id": "x", "prompt": "My landlord", "chosen": " raised the rent.", "rejected": " never argued."}
CHAT = {"messages": [{"role": "user", "content": "Rent?"}, {"role": "assistant", "content": "Up."}]}


@pytest.fixture
def row_file(tmp_path: Path) -> Path:
    path = tmp_path / "row.json"
    path.write_text(json.dumps(ROW))
    return path


@pytest.fixture
def pair(tiny_pair_dirs: tuple[Path, Path]) -> tuple[str, ...]:
    policy, reference = map(str, tiny_pair_dirs)
    return ("--policy", policy, "--reference", reference, "--beta", "0.1", "--device", "cpu")


def expected(pair: ModelPair, data: dict[str, Any], dirs: tuple[Path, Path], **columns: Any) -> dict[str, Any]:
    """What the library gives for a row, under the names that the command line was given."""
    (credit,) = score(pair, [Example(data["prompt"], data["answer"], data["id"])])
    record = json.loads(to_json(ScoredRow(parse_row({**data, **columns}, "row"), (credit,))))
    record["credit"]["answers"][0] |= {"policy": str(dirs[0]), "reference": str(dirs[1])}
    return record


def answer_in(stdout: str) -> dict[str, Any]:
    (answer,) = json.loads(stdout)["credit"]["answers"]
    return answer


def test_json_on_stdout_is_one_object_as_the_library_gives_it_and_no_view(
    row_file: Path, pair: tuple[str, ...], tiny_pair: ModelPair, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    ended = run("score", row_file, *pair, "--json", "-")
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.endswith("}\n")
    assert json.loads(ended.stdout) == expected(tiny_pair, ROW, tiny_pair_dirs, worker=7)


def test_json_in_a_file_leaves_the_view_on_stdout(row_file: Path, pair: tuple[str, ...], tmp_path: Path) -> None:
    target = tmp_path / "scored.json"
    shown, both = run("score", row_file, *pair), run("score", row_file, *pair, "--json", target)
    assert (both.code, both.stdout, both.stderr) == (0, shown.stdout, "")
    assert "reward" in shown.stdout
    assert target.read_text() == run("score", row_file, *pair, "--json", "-").stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["row.json", "scored.json"]


def test_the_view_shows_the_answer_the_sums_and_both_tables(
    row_file: Path, pair: tuple[str, ...], tiny_pair: ModelPair
) -> None:
    ended = run("score", row_file, *pair)
    (credit,) = score(tiny_pair, [Example(ROW["prompt"], ROW["answer"])])  # type: ignore[arg-type]
    assert "raised the rent." in re.sub("[▲▼]", "", ended.stdout)
    for number in (f"{credit.reward:+.3g}", f"{credit.policy_logp:.2f}", f"{credit.reference_logp:.2f}"):
        assert number.replace("-", "−") in ended.stdout
    assert "lowest" in ended.stdout and "highest" in ended.stdout
    assert ESCAPE not in ended.stdout


def test_a_preference_is_shown_with_its_margin(tmp_path: Path, pair: tuple[str, ...]) -> None:
    ended = run("score", "-", *pair, stdin=json.dumps(PREFERENCE).encode())
    assert all(word in ended.stdout for word in ("chosen", "rejected", "margin", "P(chosen is preferred)"))


def test_stdin_gives_what_the_file_gives(row_file: Path, pair: tuple[str, ...]) -> None:
    piped = run("score", "-", *pair, "--json", "-", stdin=row_file.read_bytes())
    assert piped == run("score", row_file, *pair, "--json", "-")


def test_text_is_scored_after_its_tldr(tmp_path: Path, pair: tuple[str, ...]) -> None:
    (tmp_path / "post.txt").write_text("I was offered a job.\n\nTL;DR: I got a job.\n")
    record = json.loads(run("score", tmp_path / "post.txt", *pair, "--json", "-").stdout)
    post, answer = "I was offered a job.\n\nTL;DR:", " I got a job."
    assert (record["id"], record["prompt"], record["completion"]) == ("post", post, answer)
    assert record["credit"]["answers"][0]["answer"] == answer


@pytest.mark.parametrize(
    "spelled",
    [
        lambda p, r: ("--model", p, "--ref-model", r),
        lambda p, r: ("--model", p, "--ref_model", r),
        lambda p, r: ("-m", p, "-r", r),
        lambda p, r: (f"--policy={p}", f"--reference={r}", "--chat_template", "none", "--max_length", "500"),
    ],
)
def test_options_answer_to_their_aliases_and_to_underscores(
    spelled: Callable[[str, str], tuple[str, ...]], row_file: Path, pair: tuple[str, ...]
) -> None:
    ended = run("score", row_file, *spelled(pair[1], pair[3]), "--beta", "0.1", "--device", "cpu", "--json", "-")
    assert ended == run("score", row_file, *pair, "--json", "-")


CONFIGS = {
    "run.yaml": "policy: {policy}\nref-model: {reference}\nbeta: 0.5\neos: never\ntop_k: 1\n",
    "run.toml": 'model = "{policy}"\nreference = "{reference}"\nbeta = 0.5\neos = "never"\ntop-k = 1\n',
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_file_sets_what_no_flag_sets(
    name: str, tmp_path: Path, row_file: Path, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    policy, reference = tiny_pair_dirs
    (tmp_path / name).write_text(CONFIGS[name].format(policy=policy, reference=reference))
    alone = answer_in(run("score", row_file, "--config", tmp_path / name, "--json", "-").stdout)
    assert (alone["policy"], alone["reference"]) == (str(policy), str(reference))
    assert (alone["beta"], alone["eos"], len(alone["policy_top"][0])) == (0.5, "none", 1)
    beside = run("score", row_file, "--beta", "0.25", "--eos=auto", "--config", tmp_path / name, "--json", "-")
    flagged = answer_in(beside.stdout)
    assert (flagged["beta"], flagged["eos"], len(flagged["policy_top"][0])) == (0.25, "appended", 1)


def test_beta_scales_rewards_and_nothing_else(row_file: Path, pair: tuple[str, ...]) -> None:
    small, large = (answer_in(run("score", row_file, *pair, "--json", "-", "--beta", b).stdout) for b in "12")
    assert large["rewards"] == [2 * reward for reward in small["rewards"]]  # exact: 2 is a power of two
    assert large["policy_logps"] == small["policy_logps"]


def test_top_k_shows_what_each_model_would_rather_say(row_file: Path, pair: tuple[str, ...]) -> None:
    record = answer_in(run("score", row_file, *pair, "--json", "-", "--top-k", "2").stdout)
    assert {len(position) for name in ("policy_top", "reference_top") for position in record[name]} == {2}
    shown = run("score", row_file, *pair, "--top-k", "2", COLUMNS="160").stdout
    assert "policy would say" in shown and "reference would say" in shown
    assert f"{record['policy_top'][0][0]['logp']:.2f}" in shown.replace("−", "-")


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        (("score", "row.json", "--top-k"), 1000),
        (("diff", "row.json", "--top-k"), 1000),
        (("steer", "row.json", "--num-beams"), 1000),
        (("steer", "row.json", "--count"), 1000),
        (("trajectory", "run", "rows.jsonl", "--samples"), 100_000),
    ],
)
def test_a_count_that_no_memory_holds_is_refused_before_anything_is_read(asked: tuple[str, ...], most: int) -> None:
    over, within = run(*asked, str(most + 1), COLUMNS="160"), run(*asked, str(most), COLUMNS="160")
    assert over.code == within.code == 2
    assert f"should be less than or equal to {most}" in over.stderr
    assert "does not exist" in within.stderr


@pytest.mark.parametrize("more", [(), ("--json", "-"), ("--json", "scored.json")])
def test_svg_saves_the_view_as_a_picture(
    more: tuple[str, ...], row_file: Path, pair: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = run("score", row_file, *pair, "--svg", "view.svg", *more)
    assert (ended.code, ended.stderr) == (0, "")
    picture = (tmp_path / "view.svg").read_text()
    assert picture.startswith("<svg") and "landlord" in picture and "lowest" in picture


def test_notes_go_to_stderr_once_and_quiet_keeps_them(pair: tuple[str, ...]) -> None:
    data = json.dumps({"prompt": [CHAT["messages"][0]], "completions": ["Up.", "Down."]}).encode()
    loud = run("score", "-", *pair, stdin=data)
    assert loud.stderr.count("note: the tokenizer has no chat template") == 1
    assert "note:" not in loud.stdout
    quiet = run("score", "-", *pair, "--quiet", stdin=data)
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, loud.stdout, "")


def test_a_chat_template_file_is_used(tmp_path: Path, pair: tuple[str, ...]) -> None:
    (tmp_path / "t.jinja").write_text("{% for m in messages %}({{ m.content }}){% endfor %}")
    asked = ("score", "-", *pair, "--chat-template", tmp_path / "t.jinja", "--json", "-")
    record = answer_in(run(*asked, stdin=json.dumps(CHAT).encode()).stdout)
    assert (record["answer"], record["eos"], record["tokens"][-1][-1]) == ("Up.", "template", ")")


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_shown_where_wanted(
    environment: dict[str, str], coloured: bool, row_file: Path, pair: tuple[str, ...]
) -> None:
    ended = run("score", row_file, *pair, FORCE_COLOR="1", COLORTERM="truecolor", **environment)
    assert (f"{ESCAPE}4;38;2;" in ended.stdout or "48;2;" in ended.stdout) == coloured
    assert ("▼" in ended.stdout and "▲" in ended.stdout) != coloured  # sign, never by colour alone


def test_a_terminal_of_ascii_only_gets_stand_ins(pair: tuple[str, ...]) -> None:
    data = json.dumps({"prompt": "Q", "answer": " 日本 👩‍🚀 é\n\u202ethe"}).encode()
    ended = run("score", "-", *pair, "--top-k", "2", stdin=data, encoding="ascii")
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.isascii()


def test_version_names_the_installed_one() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert run("--version") == Ended(0, f"dpo-credit {project['version']}\n", "")


@pytest.mark.parametrize("asked", [("--help",), ("-h",), ()])
def test_help_offers_completion(asked: tuple[str, ...]) -> None:
    ended = run(*asked)
    said = ended.stdout + ended.stderr
    assert "--install-completion" in said and "score" in said
    assert ended.code == (0 if asked else 2)


def test_the_help_of_score_holds_an_example_that_runs(pair: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    ended = run("score", "--help", COLUMNS="200")
    found = re.search(r"Example: dpo-credit (score .*)", ended.stdout)
    assert (ended.code, found is not None) == (0, True)
    assert found is not None
    monkeypatch.chdir(Path(__file__).parents[1])
    arguments = found[1].split()
    if not Path(arguments[1]).is_file():
        pytest.skip(f"{arguments[1]} is not written yet")
    short = ("--truncate", "prompt-start")  # the tiny pair, which loads in no time, has few positions
    assert run(*arguments, *pair, *short).code == 0


def test_help_names_every_option_of_the_contract() -> None:
    said = run("score", "--help", COLUMNS="200").stdout
    for option in (
        *("--policy", "--model", "-m", "--reference", "--ref-model", "-r", "--beta", "--device", "--dtype", "--eos"),
        *("--attn-implementation", "--revision", "--chat-template", "--max-length", "--truncate", "--config"),
        *("--trust-remote-code", "--allow-pickle", "--device-map", "--load-in-4bit", "--load-in-8bit", "--sequential"),
        *("--json", "--prompt-key", "--answer-key", "--top-k"),
    ):
        assert re.search(rf"(^|[ ,]){option}\b", said, re.MULTILINE), option
