"""GGUF files as models: the same numbers as the model that they hold, converted once, refused where they are bad."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from ggufs import F16, F32, Q8, llama, write
from killed import server
from peft import LoraConfig, get_peft_model
from program import run
from tiny import CHATML, furthest, naive_logps, randomise, save, tokenizer

from dpo_credit import CreditError, Example, Loading, load_pair, score
from dpo_credit.models import gguf
from dpo_credit.models.checkpoints import find
from dpo_credit.models.gguf import cache
from dpo_credit.train.recipe import Recipe
from dpo_credit.train.run import prepare

CPU = Loading(device="cpu")
EXAMPLES = [Example("My landlord raised the rent.\n\nTL;DR:", " The rent went up by 120 dollars.", "rent")]
EXACT = 1e-4  # nats: the same float16 weights, summed in float32 in another order
ENDS = "broken or not whole: copy or download it again."


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    return made


def load(folder: Path, name: str = "a.gguf") -> None:
    find(folder, "policy", Loading(gguf=name))


def refusal(folder: Path, name: str = "a.gguf") -> str:
    with pytest.raises(CreditError) as refused:
        load(folder, name)
    assert "\n" not in str(refused.value)
    assert [path.name for path in cache().glob("*") if path.suffix != ".lock"] == []  # nothing half-made stays
    return str(refused.value)


@pytest.mark.parametrize("kind", [F32, F16, Q8], ids=lambda kind: kind.name)
@pytest.mark.parametrize("tied", [False, True], ids=["head", "tied"])
def test_a_file_scores_as_the_model_it_holds(folder: Path, kind: object, tied: bool) -> None:
    policy = write(folder / "a.gguf", llama(1, tie_word_embeddings=tied), kind)
    reference = write(folder / "b.gguf", llama(2, tie_word_embeddings=tied), kind)
    pair = load_pair(folder, folder, beta=0.1, loading=replace(CPU, gguf="a.gguf, b.gguf"))
    (credit,) = score(pair, EXAMPLES)
    ours = [credit.policy_logps, credit.reference_logps]
    assert furthest(ours, [naive_logps(model, credit.tokens) for model in (policy, reference)]) < EXACT
    assert (pair.policy.name, pair.reference.name) == (f"{folder}/a.gguf", f"{folder}/b.gguf")


def test_the_tokenizer_of_a_file_is_the_one_it_was_written_from(folder: Path) -> None:
    write(folder / "a.gguf", llama())
    pair = load_pair(folder, folder / "a.gguf", beta=0.1, loading=replace(CPU, gguf="a.gguf,"))
    text = "She has lived with her sister — naïve 🙂<|im_end|>\n"
    assert pair.tokenizer(text)["input_ids"] == tokenizer()(text)["input_ids"]
    assert (pair.tokenizer.chat_template, pair.tokenizer.eos_token_id) == (CHATML, 0)


def test_values_beyond_float16_stay_in_float32(folder: Path) -> None:
    model = llama()
    model.model.layers[0].mlp.down_proj.weight[0, 0] = 1e6  # type: ignore[index,union-attr]
    kept = {name: weight.clone() for name, weight in model.state_dict().items()}
    write(folder / "a.gguf", model)
    model.load_state_dict(kept)
    pair = load_pair(folder, folder, beta=0.1, loading=replace(CPU, gguf="a.gguf"))
    (credit,) = score(pair, EXAMPLES)
    assert furthest([credit.policy_logps], [naive_logps(model, credit.tokens)]) < EXACT


def test_a_file_is_converted_once_whatever_it_is_called(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "dpo_credit")
    write(folder / "a.gguf", llama())
    shutil.copy(folder / "a.gguf", folder / "copy.gguf")
    first = find(folder, "policy", Loading(gguf="a.gguf")).model
    assert find(folder, "policy", Loading(gguf="copy.gguf")).model.path == first.path
    assert find(folder / "a.gguf", "policy", CPU).model == first  # the file by itself
    assert caplog.messages == ["converting a.gguf, once"]


def test_another_file_of_the_same_name_is_another_model(folder: Path) -> None:
    places = set()
    for seed in (1, 2):
        write(folder / "a.gguf", llama(seed))
        places.add(find(folder, "policy", Loading(gguf="a.gguf")).model.path)
    assert len(places) == 2


def test_a_file_that_changes_while_it_is_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder / "a.gguf", llama())
    read = gguf._read

    def slowly(file: Path, numbers: int) -> object:
        parts = read(file, numbers)
        with file.open("ab") as data:
            data.write(b"more")
        return parts

    monkeypatch.setattr(gguf, "_read", slowly)
    assert refusal(folder).endswith("changed while it was read. Try again once it is whole.")


@pytest.mark.parametrize("damage", ["cut", "removed", "no list"])
def test_what_was_damaged_in_the_cache_is_converted_again(folder: Path, damage: str) -> None:
    write(folder / "a.gguf", llama())
    place = Path(find(folder, "policy", Loading(gguf="a.gguf")).model.path)
    before = (place / "model.safetensors").read_bytes()
    if damage == "cut":
        os.truncate(place / "model.safetensors", 100)
    elif damage == "removed":
        (place / "tokenizer.json").unlink()
    else:
        (place / "files.json").write_text("[")
    load(folder)
    assert (place / "model.safetensors").read_bytes() == before and (place / "tokenizer.json").is_file()


def test_a_file_cut_anywhere_is_not_whole(folder: Path) -> None:
    write(folder / "whole.gguf", llama())
    whole = (folder / "whole.gguf").read_bytes()
    for length in (4, 7, 8, 16, 23, 24, *range(25, len(whole) - 1, len(whole) // 40), len(whole) - 32):
        (folder / "a.gguf").write_bytes(whole[:length])
        assert refusal(folder).endswith(f"a.gguf ends before what it announces. {folder}/a.gguf is {ENDS}"), length


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", f"policy {{folder}}/a.gguf is no GGUF file. {{folder}}/a.gguf is {ENDS}"),
        (b"GG", f"policy {{folder}}/a.gguf is no GGUF file. {{folder}}/a.gguf is {ENDS}"),
        (b"PK\x03\x04" + bytes(100), f"policy {{folder}}/a.gguf is no GGUF file. {{folder}}/a.gguf is {ENDS}"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a Git LFS pointer, not the file itself: run git lfs pull.",
        ),
        (b"GGUF" + bytes([9, 0, 0, 0]) + bytes(100), "file appears to be version 9 which we cannot handle"),
        (b"GGUF" + bytes([3, 0, 0, 0]) + bytes(100), "it names no architecture"),
        (b"GGUF" + bytes([3, 0, 0, 0]) + b"\xff" * 100, "ends before what it announces"),
    ],
    ids=["empty", "two bytes", "zip", "LFS", "version", "nothing in it", "counts without end"],
)
def test_what_is_no_gguf_is_one_line(folder: Path, content: bytes, said: str) -> None:
    (folder / "a.gguf").write_bytes(content)
    assert said.format(folder=folder) in refusal(folder)


def test_an_array_without_end_is_not_read_to_its_end(folder: Path) -> None:
    write(folder / "a.gguf", llama())
    content = (folder / "a.gguf").read_bytes()
    key = b"tokenizer.ggml.token_type"
    length = content.index(key) + len(key) + 8  # after the type of the value and that of its parts
    assert int.from_bytes(content[length : length + 8], "little") == 400
    (folder / "a.gguf").write_bytes(content[:length] + (2**62).to_bytes(8, "little") + content[length + 8 :])
    assert "a.gguf" in refusal(folder)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (b"llama.block_count", 2**30, "it announces 1073741824 blocks and holds 2"),
        (b"llama.feed_forward_length", 2**30, "parameters and holds"),
        (b"llama.vocab_size", 2**31 - 1, "parameters and holds"),
    ],
)
def test_settings_beyond_the_weights_take_no_memory(folder: Path, key: bytes, value: int, said: str) -> None:
    write(folder / "a.gguf", llama())
    content = (folder / "a.gguf").read_bytes()
    place = content.index(key) + len(key) + 4  # after the type of the value
    (folder / "a.gguf").write_bytes(content[:place] + value.to_bytes(4, "little") + content[place + 4 :])
    assert said in refusal(folder)


def test_an_unknown_architecture_is_named(folder: Path) -> None:
    write(folder / "a.gguf", llama(), architecture="plamo")
    assert "GGUF model with architecture plamo is not supported yet. Is it a causal" in refusal(folder)


def test_a_file_without_a_tokenizer_is_refused(folder: Path) -> None:
    write(folder / "a.gguf", llama(), with_tokenizer=False)
    assert refusal(folder).startswith(f"{folder}/a.gguf holds no tokenizer (tokenizer.ggml.tokens). Convert its model")


def test_a_file_that_lacks_weights_is_refused(folder: Path) -> None:
    write(folder / "a.gguf", llama(), leave_out=lambda name: "layers.1.mlp" in name)
    assert "it lacks 3 weights, the first being model.layers.1.mlp.down_proj.weight" in refusal(folder)


def test_what_is_not_there_is_listed(folder: Path) -> None:
    assert refusal(folder) == f"policy {folder} holds no file a.gguf. Name a GGUF file in it with --gguf."
    write(folder / "b.gguf", llama())
    (folder / "a.gguf").mkdir()
    (folder / "c.gguf").write_bytes(b"")
    assert "holds no file a.gguf. It holds b.gguf, c.gguf. Name" in refusal(folder)
    with pytest.raises(
        CreditError, match=r"policy .*model holds GGUF files: b\.gguf, c\.gguf\. Name one with --gguf\."
    ):
        find(folder, "policy", CPU)
    with pytest.raises(CreditError, match=r"--gguf a,b,c names 3; give one, or the policy's and the reference's\."):
        load(folder, "a,b,c")


def test_a_full_disk_leaves_nothing_behind(folder: Path, home: Path) -> None:
    write(folder / "a.gguf", llama())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # the weights are longer
    try:
        said = refusal(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert said.startswith(f"cannot write {home}/dpo-credit: ") and "File too large" in said
    assert said.endswith("Make room there, or move the hub's cache with HF_HOME.")
    load(folder)


def test_a_cache_that_is_no_folder_is_one_line(folder: Path, home: Path) -> None:
    write(folder / "a.gguf", llama())
    home.write_text("")
    assert refusal(folder).startswith(f"cannot write {home}/dpo-credit: ")


def convert_elsewhere(home: Path, folder: Path, *, die: bool = False) -> BaseProcess:
    """A process that converts, or is killed while it writes the weights."""
    process = server().Process(target=_convert, args=(str(home), str(folder), die))
    process.start()
    return process


def _convert(home: str, folder: str, die: bool) -> None:
    from huggingface_hub import constants
    from transformers import PreTrainedModel

    constants.HF_HOME = home
    if die:

        def half(self: object, directory: Path) -> None:
            (directory / "model.safetensors").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

        PreTrainedModel.save_pretrained = half  # type: ignore[method-assign,assignment]
    load(Path(folder))


def test_a_killed_conversion_is_begun_anew(folder: Path, home: Path) -> None:
    write(folder / "a.gguf", llama())
    process = convert_elsewhere(home, folder, die=True)
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert [path.name for path in cache().glob("*.unfinished/*")] == ["model.safetensors"]
    load(folder)
    assert [path.suffix for path in sorted(cache().iterdir())] == ["", ".lock"]


def test_two_processes_convert_one_file_once(folder: Path, home: Path) -> None:
    write(folder / "a.gguf", llama())
    processes = [convert_elsewhere(home, folder) for _ in range(2)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [path.suffix for path in sorted(cache().iterdir())] == ["", ".lock"]
    load(folder)


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Path:
    """An adapter trained on the model of `a.gguf`, with a reference of its own beside it; it names no base."""
    base = write(folder / "a.gguf", llama())
    for seed, place in ((7, tmp_path / "adapter"), (8, tmp_path / "adapter" / "ref")):
        adapted = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM"))
        randomise(adapted, seed=seed, scale=0.2, only="lora_")
        adapted.save_pretrained(place)
        base = adapted.unload()
        config = json.loads((place / "adapter_config.json").read_text())
        (place / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": None}))
    return tmp_path / "adapter"


@pytest.mark.parametrize("named", ["folder and file", "file"])
def test_an_adapter_sits_on_a_gguf_base(adapter: Path, folder: Path, tmp_path: Path, named: str) -> None:
    whole = save(write(folder / "b.gguf", llama()), tmp_path / "whole", tokenizer(chat_template=CHATML))
    given = {"base": str(folder), "gguf": "a.gguf"} if named != "file" else {"base": str(folder / "a.gguf")}
    (ours,) = score(load_pair(adapter, beta=0.1, loading=replace(CPU, **given)), EXAMPLES)  # type: ignore[arg-type]
    (theirs,) = score(load_pair(adapter, beta=0.1, loading=replace(CPU, base=str(whole))), EXAMPLES)
    assert furthest([ours.rewards, ours.policy_logps], [theirs.rewards, theirs.policy_logps]) < EXACT
    assert any(ours.rewards)


def test_a_base_with_its_adapter_off_has_the_name_of_its_file(adapter: Path, folder: Path) -> None:
    shutil.rmtree(adapter / "ref")
    pair = load_pair(adapter, beta=0.1, loading=replace(CPU, base=str(folder), gguf="a.gguf"))
    assert pair.reference.name == f"{folder}/a.gguf (adapter off)"


def test_commands_take_gguf_files(folder: Path, tmp_path: Path, adapter: Path) -> None:
    write(folder / "b.gguf", llama(2))
    row = tmp_path / "row.json"
    row.write_text(json.dumps({"prompt": "My landlord", "chosen": " raised the rent.", "rejected": " sold it."}))
    both = ("--policy", folder, "--reference", folder, "--gguf", "a.gguf,b.gguf", "--beta", "0.1", "--device", "cpu")
    first = run("score", row, *both, "--json", tmp_path / "first.json")
    assert (first.code, first.stderr.count(", once")) == (0, 2)
    assert "note: converting a.gguf, once\n" in first.stderr
    for command in (
        ("score", row, *both, "--json", tmp_path / "second.json"),
        ("inspect", row, *both),
        ("batch", row, "-o", tmp_path / "out.jsonl", *both),
        ("verify", row, *both),
        ("steer", row, *both, "--max-new-tokens", "2"),
        ("trajectory", f"{folder},{folder}", row, *both[2:]),
        ("score", row, "--policy", adapter, "--base", folder, "--gguf", "a.gguf", "--device", "cpu"),
    ):
        ended = run(*command)
        assert ended.code == 0, (command, ended.stderr)
        assert "converting" not in ended.stderr
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
    bad = run("score", row, "--policy", folder, "--gguf", "c.gguf")
    assert (bad.code, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)
    assert bad.stderr.startswith(f"dpo-credit: policy {folder} holds no file c.gguf. It holds a.gguf, b.gguf.")


def test_a_recipe_trains_a_gguf_file(folder: Path, tmp_path: Path) -> None:
    write(folder / "a.gguf", llama())
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "My landlord", "answer": " raised the rent."}))
    recipe = Recipe(
        method="sft",
        model=str(folder),
        gguf="a.gguf",
        output=str(tmp_path / "out"),
        data=(str(tmp_path / "rows.jsonl"),),
        learning_rate=1e-3,
        batch_size=1,
    )
    start = prepare(recipe).start
    assert start.name == f"{folder}/a.gguf" and start.model == find(folder / "a.gguf", "policy", CPU).model
    with pytest.raises(CreditError, match=r"holds no file b\.gguf"):
        prepare(replace(recipe, gguf="b.gguf"))
