"""Bad input ends in one clear line on stderr and exit code 2: nothing on stdout, nothing written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from program import Ended, run
from safetensors.torch import load_file, save_file

from dpo_credit.checked import reason_of
from dpo_credit.search.beams import is_kept

USER, SAID = '{"role": "user", "content": "Q"}', '{"role": "assistant", "content": "A"}'
GOOD = b'{"id": "x", "prompt": "My landlord", "answer": " raised the rent."}'
CHAT = f'{{"id": "x", "messages": [{USER}, {SAID}]}}'.encode()
SHAPES = r"prompt with completion \(or answer, response, summary\), chosen and rejected"


def fails_with_one_line(ended: Ended, message: str) -> None:
    __tracebackhide__ = True
    assert (ended.code, ended.stdout) == (2, ""), ended
    assert ended.stderr.startswith("dpo-credit: ") and ended.stderr.endswith("\n")
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    with pytest.raises(RuntimeError, match=message):
        raise RuntimeError(ended.stderr)


@pytest.fixture
def scores(tmp_path: Path, tiny_pair_dirs: tuple[Path, Path]) -> Callable[..., Ended]:
    """Score a file with outputs asked for; whatever the run leaves behind fails the test."""

    def score(file: str | Path, *flags: str | Path, pair: bool = True) -> Ended:
        models = ("--policy", tiny_pair_dirs[0], "--reference", tiny_pair_dirs[1], "--beta", "0.1") if pair else ()
        out = tmp_path / "out"
        out.mkdir()
        outputs = ("--json", out / "scored.json", "--svg", out / "view.svg")
        ended = run("score", file, *models, "--device", "cpu", *outputs, *flags)
        assert list(out.iterdir()) == []
        return ended

    return score


# what is in row.json, the flags beside it, what the line says
ROWS: dict[str, tuple[bytes, tuple[str, ...], str]] = {
    "empty": (b"", (), r"row\.json is empty\. Give a JSON object or a text with a prompt"),
    "white space": (b"\n \t\r\n", (), r"row\.json is empty\. Give a JSON object"),
    "a byte-order mark alone": ("\ufeff".encode(), (), r"row\.json is empty\. Give a JSON object"),
    "not JSON": (b"I have two offers.", (), r"row\.json is not JSON: Expecting value at line 1, column 1"),
    "truncated JSON": (GOOD[:-5], (), r"row\.json is not JSON: Unterminated string .* at line 1, column 48"),
    "a list of a number": (b"[1]", (), r"row\.json, row 1 holds a JSON number; a row is an object with " + SHAPES),
    "a list of two": (b"[%s,\n%s]" % (GOOD, GOOD), (), r"holds more than one row\. Pick one with --row 1 or --id x"),
    "a list without its end": (b"[%s" % GOOD, (), r"row\.json is not JSON: Expecting ',' delimiter at line 1, .* 69"),
    "an empty list": (b"[]", (), r"row\.json is empty\. Give a JSON object"),
    "a string": (b'"A"', (), r"row\.json holds a JSON text; a row is an object with " + SHAPES),
    "null": (b"null", (), r"row\.json holds a JSON null; a row is an object with " + SHAPES),
    "a number": (b"7", (), r"row\.json holds a JSON number; a row is an object with " + SHAPES),
    "no such row": (GOOD, ("--row", "2"), r"row\.json has no row --row 2"),
    "no such id": (GOOD, ("--id", "y"), r"row\.json has no row --id y"),
    "a row and an id": (GOOD, ("--row", "1", "--id", "x"), r"--row and --id exclude each other"),
    "two objects": (GOOD + b"\n" + GOOD, (), r"holds more than one row\. Pick one with --row 1 or --id x"),
    "NaN": (b'{"answer": "A", "score": NaN}', (), r"NaN is not JSON; write null or a number"),
    "infinity": (b'{"answer": "A", "score": 1e999}', (), r"row\.json"),
    "an integer of 5,000 digits": (b'{"answer": "A", "score": %s}' % (b"1" * 5000), (), r"row\.json"),
    "too deep": (b"[" * 9999 + b"]" * 9999, (), r"row\.json is nested too deeply"),
    "not UTF-8": (b'{"answer": "caf\xe9"}', (), r"row\.json, line 1 is not UTF-8: byte 0xe9 at .* 15\. Convert.*iconv"),
    "no fields": (b"{}", (), r"row: no answer among its fields \(no fields\)\. A row has " + SHAPES),
    "unknown fields": (
        b'{"question": "Q", "reply": "A"}',
        (),
        r"row: no answer among its fields \('question', 'reply'\)\..*--prompt-key and --answer-key",
    ),
    "prompt alone": (b'{"prompt": "Q"}', (), r"row: a prompt but no answer\. Add completion, answer"),
    "post alone": (b'{"post": "P"}', (), r"row: a prompt but no answer\. Add completion, answer"),
    "chosen alone": (b'{"chosen": "A"}', (), r"row: chosen without rejected\. Add rejected, or .* --answer-key chosen"),
    "rejected alone": (b'{"rejected": "A"}', (), r"row: rejected without chosen\. Add chosen, or"),
    "two answers": (b'{"answer": "A", "summary": "B"}', (), r"row: several answers: answer, summary\. Say which"),
    "an empty answer": (b'{"prompt": "Q", "answer": ""}', (), r"row: the answer is empty"),
    "one empty answer of two": (
        b'{"prompt": "Q", "chosen": "A", "rejected": ""}',
        (),
        r"row/rejected: the answer is empty",
    ),
    "no completions": (b'{"prompt": "Q", "completions": []}', (), r"row: completions is a list.* at least one answer"),
    "completions as text": (b'{"prompt": "Q", "completions": "A"}', (), r"row: completions is a text; it must be a li"),
    "a prompt that is a number": (b'{"prompt": 5, "answer": "A"}', (), r"row: prompt is a number; it must be text or"),
    "a prompt that is null": (b'{"prompt": null, "answer": "A"}', (), r"row: prompt is a null; it must be text or"),
    "an answer that is a number": (b'{"prompt": "Q", "answer": 5}', (), r"row: answer is a number; it must be text or"),
    "an id that is a list": (b'{"id": [1], "answer": "A"}', (), r"id is a list; it must be text or a number"),
    "an id that is a boolean": (b'{"id": true, "answer": "A"}', (), r"id is a boolean; it must be text or a number"),
    "an id of two lines": (b'{"id": "a\\nb", "answer": ""}', (), r"a.*b: the answer is empty"),
    "a subreddit that is a number": (b'{"subreddit": 1, "post": "P", "summary": "S"}', (), r"row: subreddit is a numb"),
    "messages that are text": (b'{"messages": "hi"}', (), r"row: messages is a text; it must be a list of messages"),
    "no messages": (b'{"messages": []}', (), r"row: messages is an empty list; it must hold messages"),
    "a message that is text": (b'{"messages": ["hi"]}', (), r"row: messages\[0\] is no message; it must be .\"role\""),
    "a message without a role": (b'{"messages": [{"content": "A"}]}', (), r"row: messages\[0\] is no message"),
    "a role that is null": (b'{"messages": [{"role": null, "content": "A"}]}', (), r"messages\[0\]\.role is a null"),
    "content that is a number": (
        f'{{"messages": [{USER}, {{"role": "assistant", "content": 5}}]}}'.encode(),
        (),
        r"row: messages\[1\]\.content is a number; it must be text",
    ),
    "no assistant turn": (f'{{"messages": [{USER}]}}'.encode(), (), r"row: messages has no assistant turn"),
    "a picture": (
        f'{{"messages": [{USER}, {{"role": "assistant", "content": [{{"type": "image"}}]}}]}}'.encode(),
        (),
        r"row: vision rows are not scored yet: messages\[1\] has an image\. Give text alone",
    ),
    "a date that is none": (GOOD, ("--date", "today"), r"--date today is no date; write it as 2024-07-26"),
    "a text prompt and a chat": (
        f'{{"prompt": "Q", "answer": [{SAID}]}}'.encode(),
        (),
        r"row: prompt is text but answer is a chat\. Give the prompt as messages too",
    ),
    "different prompts": (
        f'{{"chosen": [{USER}, {SAID}], "rejected": [{{"role": "user", "content": "?"}}, {SAID}]}}'.encode(),
        (),
        r"row: its answers follow different prompts.*Put the shared prompt into a prompt field",
    ),
    "no such prompt key": (GOOD, ("--prompt-key", "post"), r"no field 'post' \(--prompt-key\); the row has 'id', 'pro"),
    "no such answer key": (GOOD, ("--answer-key", "tldr"), r"no field 'tldr' \(--answer-key\); the row has 'id', 'pro"),
    "half a surrogate pair": (b'{"id": "x", "answer": "\\ud800"}', (), r"x: .*surrogate"),
    "too long": (GOOD, ("--max-length", "5"), r"x: \d+ prompt \+ \d+ answer tokens are over the limit of 5"),
    "longer than the models take": (
        b'{"id": "x", "prompt": "%s", "answer": "A"}' % (b"x" * 512),
        (),
        r"x: 512 prompt \+ 2 answer tokens are over the limit of 512\. --truncate prompt-start cuts the .* first 2 tok",
    ),
    "beta 0": (GOOD, ("--beta", "0"), r"beta is 0\.0; it must be a positive number"),
    "a negative beta": (GOOD, ("--beta", "-0.1"), r"beta is -0\.1; it must be a positive number"),
    "beta that is no number": (GOOD, ("--beta", "nan"), r"beta is nan; it must be a positive number"),
    "an endless beta": (GOOD, ("--beta", "inf"), r"beta is inf; it must be a positive number"),
    "a device of no kind": (GOOD, ("--device", "tpu0"), r"--device tpu0 is no device; use auto, cpu, cuda"),
    "a device we do not run on": (GOOD, ("--device", "meta"), r"--device meta is not supported; use auto, cpu, cuda"),
    "three devices": (GOOD, ("--device", "cpu,cpu,cpu"), r"--device cpu,cpu,cpu names 3 devices; give one, or"),
    "two quantisations": (GOOD, ("--load-in-4bit", "--load-in-8bit"), r"--load-in-4bit and --load-in-8bit exclude"),
    "no config file": (GOOD, ("--config", "none.yaml"), r"--config none\.yaml does not exist\. Give a YAML or"),
    "a config without an end": (GOOD, ("--config", "/dev/zero"), r"--config /dev/zero gives more than 256 MiB"),
    "a row beyond all counting": (GOOD, ("--row", "9" * 23), r"9{23} is more than anything is counted to: \d+ at most"),
    "no template file": (CHAT, ("--chat-template", "none.jinja"), r"--chat-template none\.jinja does not exist"),
    "a template that is a folder": (CHAT, ("--chat-template", "."), r"--chat-template \. is a directory"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "flags", "message"), ROWS.values(), ids=ROWS)
def test_a_bad_row_or_option_is_one_line(
    data: bytes, flags: tuple[str, ...], message: str, scores: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "row.json").write_bytes(data)
    fails_with_one_line(scores(tmp_path / "row.json", *flags), message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.json", r"none\.json does not exist\. Give a JSON or text file, or - for stdin"),
        (".", r"\. is a directory\. Give a JSON or text file"),
        ("-", r"stdin is empty\. Give a JSON object"),
    ],
)
def test_a_file_that_is_not_there_is_one_line(name: str, message: str, scores: Callable[..., Ended]) -> None:
    fails_with_one_line(scores(name), message)


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        ("I have two offers. TL;DR:\n", (), r"post: the answer is empty"),
        ("A", ("--answer-key", "a"), r"post\.txt is text, so --prompt-key and --answer-key do not apply\. Give JSON"),
    ],
)
def test_bad_text_is_one_line(
    text: str, flags: tuple[str, ...], message: str, scores: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / "post.txt").write_text(text)
    fails_with_one_line(scores(tmp_path / "post.txt", *flags), message)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.yaml", "beta: [", r"--config .*a\.yaml cannot be parsed: while parsing"),
        ("a.toml", "beta = ", r"--config .*a\.toml cannot be parsed: Invalid value"),
        ("a.yaml", "- beta", r"--config .*a\.yaml must hold names and values, such as beta: 0\.1"),
        ("a.yaml", "temperature: 1\nbeta: 1", r"a\.yaml sets temperature, which score does not have\. See --help"),
        ("a.yaml", "eos: sometimes", r"a\.yaml.*eos.*sometimes"),
        ("a.yaml", "beta: much", r"a\.yaml.*beta.*much"),
    ],
)
def test_a_bad_config_file_is_one_line(
    name: str, text: str, message: str, scores: Callable[..., Ended], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "row.json").write_bytes(GOOD)
    fails_with_one_line(scores(tmp_path / "row.json", "--config", tmp_path / name), message)


def edited(change: Callable[[dict], dict], name: str) -> Callable[[Path], None]:
    def edit(policy: Path) -> None:
        (policy / name).write_text(json.dumps(change(json.loads((policy / name).read_text()))))

    return edit


def weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    def edit(policy: Path) -> None:
        save_file(change(load_file(policy / "model.safetensors")), policy / "model.safetensors", {"format": "pt"})

    return edit


def without_shard(policy: Path) -> None:
    names = {name: f"{n % 2}.safetensors" for n, name in enumerate(load_file(policy / "model.safetensors"))}
    (policy / "model.safetensors").rename(policy / "0.safetensors")
    (policy / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))


def indexed(index: object) -> Callable[[Path], None]:
    def edit(policy: Path) -> None:
        (policy / "model.safetensors").rename(policy / "0.safetensors")
        (policy / "model.safetensors.index.json").write_text(json.dumps(index))

    return edit


def emptied(policy: Path) -> None:
    for file in policy.iterdir():
        file.unlink()


def without(*names: str) -> Callable[[Path], None]:
    return lambda policy: [(policy / name).unlink() for name in names] and None


def renamed_piece(tokenizer: dict) -> dict:
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["Zürich"] = vocabulary.pop(next(piece for piece, i in vocabulary.items() if i == 300))
    tokenizer["model"]["merges"] = []
    return tokenizer


# what is done to a copy of the policy's directory, what the line says
MODELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (emptied, r"policy .*policy holds no config\.json: it is not a saved model\. Give its directory"),
    "a config that is not JSON": (lambda p: (p / "config.json").write_text("{"), r"cannot load .*policy"),
    "an unknown architecture": (edited(lambda c: {**c, "model_type": "abacus"}, "config.json"), r"policy.*abacus"),
    "no tokenizer": (
        without("tokenizer.json", "tokenizer_config.json"),
        r"policy .* has no tokenizer\.json\. Save the",
    ),
    "no weights": (
        without("model.safetensors"),
        r"policy .*policy holds no weights \(no model\.safetensors in .*policy\)",
    ),
    "pickled weights": (
        lambda p: (p / "model.safetensors").rename(p / "pytorch_model.bin"),
        r"only pickled weights \(pytorch_model\.bin\), which can run code.* or pass --allow-pickle",
    ),
    "torn weights": (lambda p: (p / "model.safetensors").write_bytes(b"torn"), r"cannot load policy .*policy: "),
    "half the weights": (
        weights(lambda w: dict(list(w.items())[::2])),
        r"policy .*policy lacks weights that its config asks for \(\d+; first: .*\)\. Its files are incomplete",
    ),
    "NaN weights": (
        weights(lambda w: {name: tensor * torch.nan for name, tensor in w.items()}),
        r"x: the policy gives log-probability nan at answer token 0 .*Its weights are broken: its train",
    ),
    "a shard that is missing": (without_shard, r"cannot load policy .*: .*1\.safetensors is missing: copy or download"),
    "an index without files": (
        indexed({"metadata": {}}),
        r"index\.json is no index of weights \(its weight_map does not",
    ),
    "an index of numbers": (
        indexed({"metadata": {}, "weight_map": {"a": 1}}),
        r"\(its weight_map does not name a file",
    ),
    "an index without metadata": (
        indexed({"weight_map": {"a": "0.safetensors"}}),
        r"index\.json has no metadata, which transfo",
    ),
    "a config of another type": (
        edited(lambda c: {**c, "model_type": ["gpt"]}, "config.json"),
        r"its contents are not what they should be \(TypeError: .*Compare the config\.json in .*policy with",
    ),
    "a generation config of null": (
        lambda p: (p / "generation_config.json").write_text("null"),
        r"generation_config\.json is no JSON object \(it holds null\): save it again, or copy or download it anew",
    ),
    "a million layers": (
        edited(lambda c: {**c, "num_hidden_layers": 10**6}, "config.json"),
        r"policy .* has 1000000 layers, by its config\.json",
    ),
    "another tokenizer": (
        edited(renamed_piece, "tokenizer.json"),
        r"the tokenizers differ at id 300: 'Zürich' in the policy, .* in the reference \(400 and 400 tokens\)\..*load",
    ),
}


@pytest.mark.parametrize(("change", "message"), MODELS.values(), ids=MODELS)
def test_a_bad_model_is_one_line(
    change: Callable[[Path], object],
    message: str,
    scores: Callable[..., Ended],
    tmp_path: Path,
    tiny_pair_dirs: tuple[Path, Path],
) -> None:
    policy = shutil.copytree(tiny_pair_dirs[0], tmp_path / "policy")
    change(policy)
    (tmp_path / "row.json").write_bytes(GOOD)
    flags = ("--policy", policy, "--reference", tiny_pair_dirs[1], "--beta", "0.1")
    fails_with_one_line(scores(tmp_path / "row.json", *flags, pair=False), message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--policy", "/no/such"), r"policy /no/such does not exist\. Give a model's directory or its name on the hub"),
        (("--policy", __file__), r"policy .*\.py is a file\. Give the directory that holds the model's config\.json"),
        (("--policy", "no-such-owner/no-such-model"), r"cannot load (policy|model) no-such-owner/no-such-model: "),
        (("--policy", "{policy}"), r"policy .* is a whole model, so its reference is another: name .* --reference"),
        (("--reference", "{policy}"), r"reference .* without a policy\. Name the DPO-trained model with --policy"),
        (("--policy", "{policy}", "--reference", "/no/such"), r"reference /no/such does not exist\. Give a model's"),
    ],
)
def test_a_pair_that_is_not_there_is_one_line(
    flags: tuple[str, ...],
    message: str,
    scores: Callable[..., Ended],
    tmp_path: Path,
    tiny_pair_dirs: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # or it tries again for 20 seconds
    (tmp_path / "row.json").write_bytes(GOOD)
    named = (flag.format(policy=tiny_pair_dirs[0]) for flag in flags)
    fails_with_one_line(scores(tmp_path / "row.json", *named, pair=False), message)


NO_OBJECTS = {
    "empty": b"",
    "null": b"null",
    "a list": b"[1]",
    "invalid UTF-8": b'{"a": "\xe9"}',
    "deep": b"[" * 100_000,
}
SETTINGS = ("config.json", "tokenizer.json", "tokenizer_config.json", "dpo_credit.json")


@pytest.mark.parametrize("content", NO_OBJECTS.values(), ids=NO_OBJECTS)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_file_of_a_models_that_is_no_json_object_is_named(
    name: str, content: bytes, scores: Callable[..., Ended], tmp_path: Path, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    policy = shutil.copytree(tiny_pair_dirs[0], tmp_path / "policy")
    (policy / name).write_bytes(content)
    (tmp_path / "row.json").write_bytes(GOOD)
    ended = scores(tmp_path / "row.json", "--policy", policy, "--reference", tiny_pair_dirs[1], pair=False)
    fails_with_one_line(ended, rf"(?s)cannot (load|read) .*{re.escape(str(policy / name))}(: | is no JSON object)")


def test_torchs_advice_to_load_what_is_no_weights_is_never_passed_on() -> None:
    refused = RuntimeError("Weights only load failed. (1) Re-running `torch.load` with `weights_only` set to `False`")
    assert reason_of(refused) == "it holds more than weights, which is not loaded"


@pytest.mark.parametrize("error", [KeyError("EVIL"), IndexError("list index out of range"), TypeError("unhashable")])
def test_an_error_about_code_says_that_the_contents_are_at_fault(error: Exception) -> None:
    assert reason_of(error) == f"its contents are not what they should be ({type(error).__name__}: {error})"


@pytest.mark.parametrize("seed", ["-1", str(2**32)])
@pytest.mark.parametrize("command", ["corrupt", "localise", "search", "steer", "trajectory"])
def test_a_seed_that_no_generator_takes_is_refused(command: str, seed: str) -> None:
    ended = run(command, "row.json", "--seed", seed)
    assert ended.code == 2 and "Traceback" not in ended.stderr
    assert "Invalid value for '--seed'" in ended.stderr


@pytest.mark.parametrize("flags", [("--workers", "3"), ("--gpus-per-worker", "1")])
def test_workers_of_no_cluster_are_one_line(flags: tuple[str, ...], pair: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(GOOD)
    ended = run("batch", tmp_path / "rows.jsonl", "-o", tmp_path / "out.jsonl", *pair, *flags)
    fails_with_one_line(ended, "--workers and --gpus-per-worker go with --engine ray")
    assert not (tmp_path / "out.jsonl").exists()


def test_a_file_that_cannot_be_read_is_no_kept_search(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(GOOD)

    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    assert not is_kept(str(tmp_path / "rows.jsonl"))
