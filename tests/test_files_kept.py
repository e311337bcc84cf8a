"""What a file had is kept where it is replaced, and what is said acts on no terminal."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from program import run

from dpo_credit import CreditError
from dpo_credit.cli import files
from dpo_credit.cli.talk import Talk, one_line
from dpo_credit.rows.formats import format_of
from dpo_credit.rows.journal import Commit, Journal

ROW = {"id": "x", "prompt": "Rent?", "chosen": " Up.", "rejected": " Down."}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "page.html"
    file.write_text("old")
    file.chmod(mode)
    files.write(str(file), "new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", mode)


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    was = os.umask(0o027)
    try:
        files.write(str(tmp_path / "new"), "")
    finally:
        os.umask(was)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real/page.html", tmp_path / "page.html"
    link.symlink_to(real)
    for text in ("new", "newer"):  # one that leads nowhere yet, too
        files.write(str(link), text)
        assert link.is_symlink() and real.read_text() == text
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["page.html"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst", "out.parquet"])
def test_batch_writes_through_a_link_and_keeps_the_mode(
    tmp_path: Path, tiny_pair_dirs: tuple[Path, Path], name: str
) -> None:
    (tmp_path / "real").mkdir()
    rows, real, link = tmp_path / "rows.jsonl", tmp_path / "real" / name, tmp_path / name
    rows.write_text(json.dumps(ROW) + "\n{\n")
    link.symlink_to(real)
    policy, reference = tiny_pair_dirs
    asked = ("batch", rows, "-o", link, "--policy", policy, "--reference", reference, "--device", "cpu")
    assert run(*asked).code == 3  # the second row is none
    whole = real.read_bytes()
    real.chmod(0o600)
    other = tmp_path / "other name of it"
    os.link(real, other)
    assert run(*asked, "--overwrite").code == 3
    errors = real.with_name(f"{name}.errors.jsonl")
    assert link.is_symlink() and real.read_bytes() == whole
    assert [stat.S_IMODE(file.stat().st_mode) for file in (real, errors)] == [0o600, 0o600]
    assert other.read_bytes() == whole and not os.path.samefile(real, other)  # a hard link keeps what was there
    assert sorted(path.name for path in real.parent.iterdir()) == [name, errors.name, f"{name}.journal"]


def test_an_overwriting_run_that_was_killed_keeps_the_mode(tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    output.write_bytes(b"old")
    output.chmod(0o640)
    with Journal(output, "overwrite", format_of(output)) as journal:
        journal.begin({})
        assert not output.exists()
    with Journal(output, "resume", format_of(output)) as journal:
        journal.begin({})
        journal.append(['{"a": 1}'], [], Commit(1))
        journal.finish()
    assert stat.S_IMODE(output.stat().st_mode) == 0o640


OUTPUTS = ("--json", "--html", "--png", "--svg")


@pytest.mark.parametrize("command", ["score", "diff", "corrupt", "kept"])
def test_every_output_keeps_its_mode_and_is_written_through_links(
    tmp_path: Path, tiny_pair_dirs: tuple[Path, Path], command: str
) -> None:
    (tmp_path / "row.json").write_text(json.dumps({**ROW, "prompt": "Rent was 300 in May."}))
    (tmp_path / "real").mkdir()
    policy, reference = tiny_pair_dirs
    pair = ("--policy", policy, "--reference", reference, "--device", "cpu")
    asked: list[object] = [command, tmp_path / "row.json", *pair]
    names = ["x.json", "x.html", "x.png", "x.svg"]
    if command == "corrupt":
        asked, names = [command, tmp_path / "row.json", "-o", tmp_path / "x.jsonl"], ["x.jsonl"]
    elif command == "kept":
        more = ("--beams", "1", "--max-new-tokens", "2", "--judge", "reward", "--overwrite", "-o", tmp_path / "x.jsonl")
        asked, names = ["search", tmp_path / "row.json", *pair, *more], ["x.jsonl"]
    else:
        for flag, name in zip(OUTPUTS, names, strict=True):
            asked += [flag, tmp_path / name]
    for name in names:
        (tmp_path / "real" / name).write_text("old")
        (tmp_path / "real" / name).chmod(0o600)
        (tmp_path / name).symlink_to(tmp_path / "real" / name)
    ended = run(*asked)  # type: ignore[arg-type]
    assert ended.code == 0, ended.stderr
    for name in names:
        real = tmp_path / "real" / name
        assert (tmp_path / name).is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o600
        assert real.read_bytes() != b"old"
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == sorted(names)


HOSTILE = "a\x1b[31m\u202eb\x9bc\u2028d\ne"


def test_what_is_said_is_one_line_that_acts_on_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert one_line(HOSTILE) == "a<U+001B>[31m<U+202E>b<U+009B>c<U+2028>d<U+000A>e"
    assert one_line("naïve 猫 ±3 → x") == "naïve 猫 ±3 → x"
    talk = Talk(quiet=False)
    talk.notes([HOSTILE])
    talk.say(HOSTILE)
    talk.complain(HOSTILE)
    said = capsys.readouterr().err
    assert said.count("\n") == 3 and said.count(one_line(HOSTILE)) == 3
    assert not {"\x1b", "\u202e", "\x9b", "\u2028"} & set(said)


@pytest.mark.parametrize("command", ["score", "diff", "inspect", "batch", "localise", "corrupt", "render", "report"])
def test_no_command_lets_a_rows_id_act_on_the_terminal(command: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"id": HOSTILE, "prompt": "Rent?"}) + "\n")
    ended = run(command, rows)
    assert ended.code in (2, 3)
    assert not {"\x1b", "\u202e", "\x9b", "\u2028"} & set(ended.stderr)


@pytest.mark.parametrize("end", [".gz", ".zst", ".parquet"])
def test_only_batch_writes_under_the_name_of_a_packed_file_or_a_table(end: str, tmp_path: Path) -> None:
    with pytest.raises(CreditError, match=r"would be plain text under another's name\. Leave out the end"):
        files.check_writable(str(tmp_path / f"o.jsonl{end}"))
