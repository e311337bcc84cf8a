"""A refiner and its image model scored together: each part is what its own command gives, and a bad row is a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import denoisers
import pytest
from jsonschema import Draft202012Validator
from program import ESCAPE, Ended, run
from tiny import language_model, save, tokenizer
from transformers import PreTrainedTokenizerFast

from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.image.denoiser import DenoiserPair
from dpo_credit.image.loading import load_denoisers
from dpo_credit.image.scoring import Sampling, score_pictures
from dpo_credit.models.loading import load_pair
from dpo_credit.models.pair import Loading, ModelPair
from dpo_credit.refine.rows import parse
from dpo_credit.refine.schema import SHIPPED, json_schema
from dpo_credit.refine.scored import ScoredRefinement
from dpo_credit.refine.scoring import Models, score
from dpo_credit.rows.reader import records_of
from dpo_credit.scoring import Scorer
from dpo_credit.scoring import score as score_text

CPU = Loading(device="cpu")
SAMPLING = Sampling(steps=2, draws=2, seed=3)
REQUEST, CHOSEN, REJECTED = "The capital is", " Canberra, she", " Sydney, he"
FLOAT32 = {"rel": 1e-5}  # of sums whose parts were computed in other batches


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A policy and a reference of random weights for 8 x 8 pixels. Read only."""
    folder = tmp_path_factory.mktemp("images")
    return denoisers.pixels_pipeline(folder / "policy", 1), denoisers.pixels_pipeline(folder / "reference", 2)


@pytest.fixture(scope="module")
def pair_of_images(images: tuple[Path, Path]) -> DenoiserPair:
    return load_denoisers(*images, beta=200, loading=CPU)


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows beside 8 x 8 pictures 1.png to 6.png and a larger one, large.png."""
    for n in range(1, 7):
        (tmp_path / f"{n}.png").write_bytes(denoisers.png(denoisers.picture(n)))
    (tmp_path / "large.png").write_bytes(denoisers.png(denoisers.picture(7, (9, 8))))
    (tmp_path / "text.png").write_text("no picture")

    def write(*given: dict[str, Any]) -> Path:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in given))
        return file

    return write


def row(**fields: Any) -> dict[str, Any]:
    still = {
        "id": "capital",
        "request": REQUEST,
        "chosen": {"prompt": CHOSEN, "picture": "1.png"},
        "rejected": {"prompt": REJECTED, "picture": "2.png"},
    }
    return {**still, **fields}


def clip(**fields: Any) -> dict[str, Any]:
    frames = {
        "id": "clip",
        "chosen": {"prompt": [" a", " b", " c"], "pictures": ["1.png", "2.png", "3.png"]},
        "rejected": {"prompt": " a lake", "pictures": ["4.png", "5.png", "6.png"]},
    }
    return row(**{**frames, **fields})


def scored(file: Path, pair: ModelPair, images: DenoiserPair, sampling: Sampling = SAMPLING) -> ScoredRefinement:
    (record,) = records_of(file.read_bytes().splitlines(keepends=True), str(file))
    return score(parse(record), Models(Scorer(pair), images, sampling))


def test_each_part_is_what_text_and_pictures_earn_by_themselves(
    rows: Callable[..., Path], tiny_pair: ModelPair, pair_of_images: DenoiserPair
) -> None:
    file = rows(row())
    diff = scored(file, tiny_pair, pair_of_images).diff
    words = list(score_text(tiny_pair, [Example(REQUEST, CHOSEN), Example(REQUEST, REJECTED)]))
    assert diff.words == pytest.approx(words[0].reward - words[1].reward, **FLOAT32)
    pixels = [
        score_pictures(pair_of_images, prompt, [denoisers.picture(n)], SAMPLING).credits[0].reward
        for n, prompt in ((1, CHOSEN), (2, REJECTED))
    ]
    assert diff.pixels == pytest.approx(pixels[0] - pixels[1], **FLOAT32)
    assert diff.margin == diff.words + diff.pixels
    assert min(abs(diff.words), abs(diff.pixels)) > 0.05  # both count


def test_each_frame_is_drawn_from_its_own_line_with_the_same_noise(
    rows: Callable[..., Path], tiny_pair: ModelPair, pair_of_images: DenoiserPair
) -> None:
    diff = scored(rows(clip()), tiny_pair, pair_of_images).diff
    assert diff.chosen.words.tokens.answer == " a\n b\n c"
    for frame, prompt, n in zip(diff.chosen.frames, (" a", " b", " c"), (1, 2, 3), strict=True):
        (alone,) = score_pictures(pair_of_images, prompt, [denoisers.picture(n)], SAMPLING).credits
        assert (frame.map == alone.map).all()
    assert {frame.prompt for frame in diff.rejected.frames} == {" a lake"}
    assert diff.pixels == pytest.approx(diff.profile.sum(), rel=1e-12)
    same = scored(rows(clip(rejected=clip()["chosen"])), tiny_pair, pair_of_images).diff
    assert (same.words, same.pixels, same.profile.tolist()) == (0.0, 0.0, [0.0] * 3)


def test_a_request_is_a_users_message_where_there_is_a_chat_template(
    rows: Callable[..., Path],
    tmp_path: Path,
    pair_of_images: DenoiserPair,
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    folders = [save(language_model(seed=n), tmp_path / str(n), chat_tokenizer) for n in (1, 2)]
    pair = load_pair(*folders, beta=0.1, loading=CPU)
    words = scored(rows(row()), pair, pair_of_images).diff.chosen.words
    (chat,) = score_text(pair, [Example((Message("user", REQUEST),), CHOSEN)])
    assert words.tokens.prompt_ids == chat.tokens.prompt_ids
    assert words.reward == pytest.approx(chat.reward, **FLOAT32)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"picture": "gone.png"}, r"gone\.png does not exist"),
        ({"picture": "text.png"}, r"text\.png is no picture"),
        ({"picture": "large.png"}, r"large\.png is 9 x 8 and .*2\.png is 8 x 8: .* --resize"),
        ({"prompt": " Canberra" * 600}, r"^capital: chosen: \d+ prompt \+ \d+ answer tokens are over the limit of 512"),
        ({"prompt": " Canberra" * 60}, r"prompt .* 24"),
    ],
)
def test_a_row_that_cannot_be_scored_is_one_line(
    rows: Callable[..., Path], tiny_pair: ModelPair, pair_of_images: DenoiserPair, fields: dict[str, Any], error: str
) -> None:
    file = rows(row(chosen={"prompt": CHOSEN, "picture": "1.png", **fields}))
    with pytest.raises(CreditError, match=error) as raised:
        scored(file, tiny_pair, pair_of_images)
    assert "\n" not in str(raised.value)


def refine(
    file: Path | str, pair: tuple[str, ...], images: tuple[Path, Path], *more: str | Path, **streams: Any
) -> Ended:
    models = ("--image-policy", images[0], "--image-reference", images[1], "--gamma", "200")
    return run("refine", file, *pair, *models, "--steps", "2", "--draws", "2", *more, **streams)


def test_rows_are_written_as_json_that_the_schema_knows(
    rows: Callable[..., Path], pair: tuple[str, ...], images: tuple[Path, Path], tmp_path: Path
) -> None:
    given = [row(fault="words"), {**row(), "chosen": None}, clip()]
    ended = refine(rows(*given), pair, images, "-o", tmp_path / "out.jsonl")
    assert (ended.code, ended.stdout) == (3, "")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["fault"] for line in lines[:1]] == ["words"]  # the row's own fields stay
    for line, one in zip(lines, (given[0], given[2]), strict=True):
        record = line["refine"]
        Draft202012Validator(json_schema()).validate(record)
        assert record["margin"] == record["words"] + record["pixels"]
        assert {name: line[name] for name in one} == one
        assert record["chosen"]["reward"] == record["chosen"]["words"]["reward"] + record["chosen"]["pixels"]
    assert len(lines[1]["refine"]["profile"]) == 3
    assert "chosen is missing" in (tmp_path / "out.jsonl.errors.jsonl").read_text()
    assert "1 rows could not be scored" in ended.stderr


def test_the_schema_that_is_shipped_is_that_of_the_types() -> None:
    assert json.loads(SHIPPED.read_text(encoding="utf-8")) == json_schema()


def test_an_interrupted_run_goes_on_to_the_same_file(
    rows: Callable[..., Path], pair: tuple[str, ...], images: tuple[Path, Path], tmp_path: Path
) -> None:
    file, out = rows(row(), row(id="2"), row(id="3")), tmp_path / "out.jsonl"
    assert refine(file, pair, images, "-o", out).code == 0
    whole, journal = out.read_bytes(), tmp_path / "out.jsonl.journal"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:2]))  # the first row's commit is the last
    ended = refine(file, pair, images, "-o", out, "--resume")
    assert ended.code == 0 and out.read_bytes() == whole
    assert "--overwrite" in refine(file, pair, images, "-o", out).stderr


def test_one_row_is_drawn_and_several_have_a_line_each(
    rows: Callable[..., Path], pair: tuple[str, ...], images: tuple[Path, Path], tmp_path: Path
) -> None:
    file = rows(row(), clip(), {"request": "nothing else"})
    ended = refine(file, pair, images, "--html", tmp_path / "page.html")
    assert ended.code == 3 and "chosen is missing" in ended.stderr and "Traceback" not in ended.stderr
    assert "chosen preferred in" in ended.stdout and ESCAPE not in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80
    page = (tmp_path / "page.html").read_text()
    assert page.count('class="answer"') == 4 and page.count('class="plate"') == 2 + 6
    one = refine(file, pair, images, "--id", "clip", "--png", tmp_path / "clip.svg")
    assert one.code == 0 and "frame 3" in one.stdout and "margin" in one.stdout
    assert "frame 3" in (tmp_path / "clip.svg").read_text()


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (("--png", "figure.png"), "figure.png would show one row, and there are several. Pick one: --row 1."),
        (("-o", "-", "--html", "page.html"), "Leave out -o or page.html."),
        (("--row", "9"), "has no row --row 9."),
        (("--gamma", "0"), "beta is 0"),
        (("--reference", "x", "--policy", ""), "policy"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_two(
    rows: Callable[..., Path], pair: tuple[str, ...], images: tuple[Path, Path], more: tuple[str, ...], error: str
) -> None:
    ended = refine(rows(row(), clip()), pair, images, *more)
    assert ended.code == 2 and error in ended.stderr and "Traceback" not in ended.stderr


def test_rows_come_from_stdin_and_go_to_stdout(
    rows: Callable[..., Path], pair: tuple[str, ...], images: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = rows(row())
    monkeypatch.chdir(file.parent)  # what is piped in has no folder: names are from here on
    ended = refine("-", pair, images, "-o", "-", "-q", stdin=file.read_bytes())
    assert ended.code == 0 and ended.stderr == ""
    assert json.loads(ended.stdout)["refine"]["id"] == "capital"


def test_plain_refiners_get_the_request_as_it_stands(
    rows: Callable[..., Path], tiny_pair: ModelPair, pair_of_images: DenoiserPair
) -> None:
    words = scored(rows(row()), tiny_pair, pair_of_images).diff.chosen.words
    assert list(words.tokens.prompt_ids) == tokenizer()(REQUEST)["input_ids"]
