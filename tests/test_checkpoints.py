"""Which files are a model, and which are refused: one line that says what is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny import language_model, save, tokenizer
from transformers import AutoModelForCausalLM, T5Config, T5ForConditionalGeneration

from dpo_credit import CreditError, Example, Loading, load_pair, score

CPU = Loading(device="cpu")
EXAMPLE = Example("Where is the lake?", " In Canberra.")
WEIGHTS, ADAPTER = "model.safetensors", "adapter_model.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


@pytest.fixture
def copied(tiny_pair_dirs: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """(policy, reference): directories to break."""
    policy, reference = (shutil.copytree(path, tmp_path / path.name) for path in tiny_pair_dirs)
    return policy, reference


@pytest.fixture
def adapter(copied: tuple[Path, Path], tmp_path: Path) -> Path:
    """A LoRA adapter on the copied reference, to break."""
    lora = LoraConfig(r=2, target_modules=["query_key_value"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(copied[1]), lora).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def pickled(directory: Path, name: str, to: str) -> None:
    """Turn a directory's safetensors into a pickle."""
    torch.save(load_file(directory / name), directory / to)
    (directory / name).unlink()


def without(file: Path, ending: str) -> None:
    """Drop the one tensor of a safetensors file whose name ends so."""
    tensors = load_file(file)
    (name,) = (name for name in tensors if name.endswith(ending))
    del tensors[name]
    save_file(tensors, file, metadata={"format": "pt"})
    return name


def test_tokenizers_that_differ_are_refused_by_the_first_token(
    tiny_pair_dirs: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tokenizer()
    names = sorted(other.get_vocab(), key=other.get_vocab().__getitem__)
    text = (tiny_pair_dirs[1] / "tokenizer.json").read_text(encoding="utf-8")
    first, second = names[300], names[310]
    swapped = shutil.copytree(tiny_pair_dirs[1], tmp_path / "swapped")
    text = text.replace(f'"{first}": 300', f'"{first}": 310').replace(f'"{second}": 310', f'"{second}": 300')
    (swapped / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(CreditError) as refused:
        load_pair(tiny_pair_dirs[0], swapped, loading=CPU)
    assert str(refused.value) == (
        f"the tokenizers differ at id 300: {first!r} in the policy, {second!r} in the reference (400 and 400 tokens). "
        "Scores need one shared tokenizer: load the SFT checkpoint that the policy was trained from."
    )


def test_a_token_added_to_one_tokenizer_is_noted(tiny_pair_dirs: tuple[Path, Path], tmp_path: Path) -> None:
    grown = tokenizer()
    grown.add_special_tokens({"additional_special_tokens": ["<|tool|>"]})
    policy = save(language_model(seed=1, vocab_size=448), tmp_path / "grown", grown)
    assert load_pair(policy, tiny_pair_dirs[1], beta=0.1, loading=CPU).notes == (
        "only one of the two tokenizers has the added tokens <|tool|>",
    )


def test_a_reference_without_a_tokenizer_takes_the_policys(tiny_pair_dirs: tuple[Path, Path], tmp_path: Path) -> None:
    bare = save(language_model(seed=2), tmp_path / "bare")
    pair = load_pair(tiny_pair_dirs[0], bare, loading=CPU)
    both = load_pair(*tiny_pair_dirs, loading=CPU)
    assert next(score(pair, [EXAMPLE])).rewards == next(score(both, [EXAMPLE])).rewards
    with pytest.raises(CreditError, match=r"^policy .*bare has no tokenizer\.json\. Save the tokenizer beside the mo"):
        load_pair(bare, tiny_pair_dirs[1], loading=CPU)


# What is refused


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (
        lambda policy: (policy / WEIGHTS).unlink(),
        r"^policy .*policy holds no weights \(no model\.safetensors in [^,]*\)\. Save the model",
    ),
    "no config": (
        lambda policy: (policy / "config.json").unlink(),
        r"^policy .* holds no config\.json: it is not a saved",
    ),
    "no directory": (
        shutil.rmtree,
        r"^policy .*policy does not exist\. Give a model's directory or its name on the hub\.$",
    ),
    "a file": (
        lambda policy: (shutil.rmtree(policy), policy.write_text("x")),
        r"^policy .*policy is a file\. Give the directory that holds the model's config\.json\.$",
    ),
    "weights cut short": (
        lambda policy: (policy / WEIGHTS).write_bytes((policy / WEIGHTS).read_bytes()[:999]),
        r"^cannot load policy .*policy: .*\. .*model\.safetensors is broken or not whole: copy or download it again\.$",
    ),
    "weights without their end": (
        lambda policy: (policy / WEIGHTS).write_bytes((policy / WEIGHTS).read_bytes()[:-9]),
        r"^cannot load policy .*policy: .*\. .*model\.safetensors is broken or not whole: copy or download it again\.$",
    ),
    "a pointer to weights": (
        lambda policy: (policy / WEIGHTS).write_text(POINTER),
        r"^cannot load policy .*policy: .*\. .*model\.safetensors is a Git LFS pointer, not the file itself: run",
    ),
    "a pointer to a tokenizer": (
        lambda policy: (policy / "tokenizer.json").write_text(POINTER),
        r"^cannot load the tokenizer of policy .*policy: .*tokenizer\.json is a Git LFS pointer, not the file itself: ",
    ),
    "config not JSON": (lambda policy: (policy / "config.json").write_text("{"), r"^cannot load .*policy.*/policy: "),
    "unknown architecture": (
        lambda policy: edit(policy / "config.json", model_type="nonesuch"),
        r"^cannot load policy .*policy: .*nonesuch",
    ),
    "weights of another shape": (
        lambda policy: edit(policy / "config.json", vocab_size=401),
        r"^the weights of policy .*policy are not of its config's shapes \(2; first: gpt_neox\.embed_in\.weight is "
        r"\[400, 32\], and the config asks for \[401, 32\]\)\. Mend the config\.json in .*policy, or save model",
    ),
    "broken tokenizer": (
        lambda policy: (policy / "tokenizer.json").write_text("{}"),
        r"^cannot load the tokenizer of policy .*policy: .*\. .*tokenizer\.json is broken or not whole: copy or",
    ),
    "pickle only": (
        lambda policy: pickled(policy, WEIGHTS, "pytorch_model.bin"),
        r"^policy .*policy holds only pickled weights \(pytorch_model\.bin\), which can run code when loaded\. "
        r"Save it as safetensors, or pass --allow-pickle if you trust whoever made it\.$",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_directory_that_holds_no_usable_model_is_refused(copied: tuple[Path, Path], broken: str) -> None:
    spoil, said = BROKEN[broken]
    spoil(copied[0])
    with pytest.raises(CreditError, match=said) as refused:
        load_pair(*copied, loading=CPU)
    assert "\n" not in str(refused.value)


def test_a_weight_that_is_missing_is_named(copied: tuple[Path, Path]) -> None:
    without(copied[1] / WEIGHTS, "layers.1.mlp.dense_h_to_4h.weight")
    with pytest.raises(CreditError) as refused:
        load_pair(*copied, loading=CPU)
    assert str(refused.value) == (
        f"reference {copied[1]} lacks weights that its config asks for "
        "(1; first: gpt_neox.layers.1.mlp.dense_h_to_4h.weight). "
        "Its files are incomplete, or it is no causal language model. "
        f"Mend the config.json in {copied[1]}, or save model and config together."
    )


def test_a_decoy_beside_an_adapter_makes_no_pickle_safe(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(adapter / ADAPTER, adapter / "x.safetensors")
    pickled(adapter, ADAPTER, "adapter_model.bin")
    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(CreditError, match=r"adapter holds only pickled weights \(adapter_model\.bin\)"):
        load_pair(adapter, loading=CPU)


def never(*_: object, **__: object) -> None:
    raise AssertionError("something is unpickled")


def test_a_safetensors_file_that_is_not_loaded_makes_no_pickle_safe(
    copied: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoy: what counts is what will be loaded."""
    shutil.copy(copied[0] / WEIGHTS, copied[0] / "decoy.safetensors")
    pickled(copied[0], WEIGHTS, "pytorch_model.bin")
    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(CreditError, match=r"holds only pickled weights \(pytorch_model\.bin\)"):
        load_pair(*copied, loading=Loading(device="cpu"))


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ('{"weight_map": {"a": "pytorch_model.bin"}}', r"names 'pytorch_model\.bin', no safetensors file beside it"),
        ('{"weight_map": {"a": "../other/model.safetensors"}}', r"names '\.\./other/model\.safetensors', no safe"),
        ('{"weight_map": {"a": 3}}', "is no index of weights"),
        ("[]", "is no index of weights"),
        ("{", "is no index of weights"),
    ],
)
def test_an_index_names_safetensors_files_beside_it_alone(
    copied: tuple[Path, Path], index: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pickled(copied[0], WEIGHTS, "pytorch_model.bin")
    (copied[0] / f"{WEIGHTS}.index.json").write_text(index)
    monkeypatch.setattr(torch, "load", never)
    with pytest.raises(CreditError, match=said):
        load_pair(*copied, loading=Loading(device="cpu"))


def test_pickled_weights_load_when_that_is_allowed(copied: tuple[Path, Path]) -> None:
    expected = next(score(load_pair(*copied, loading=CPU), [EXAMPLE]))
    pickled(copied[0], WEIGHTS, "pytorch_model.bin")
    pair = load_pair(*copied, loading=Loading(device="cpu", allow_pickle=True))
    # the same weights at other addresses: kernels may sum in another order
    assert next(score(pair, [EXAMPLE])).rewards == pytest.approx(expected.rewards, abs=1e-6)


def test_code_in_a_models_directory_does_not_run(copied: tuple[Path, Path], tmp_path: Path) -> None:
    edit(copied[0] / "config.json", model_type="own", auto_map={"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"})
    (copied[0] / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(CreditError, match=r"^cannot load .*policy.*"):
        load_pair(*copied, loading=CPU)
    assert not (tmp_path / "ran").exists()


def test_an_encoder_decoder_is_refused(copied: tuple[Path, Path], tmp_path: Path) -> None:
    config = T5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
    T5ForConditionalGeneration(config).save_pretrained(tmp_path / "t5")
    with pytest.raises(
        CreditError, match=r"^reference .*t5 is an encoder-decoder; DPO credit needs a causal language m"
    ):
        load_pair(copied[0], tmp_path / "t5", loading=CPU)


def test_one_whole_model_alone_is_refused(copied: tuple[Path, Path]) -> None:
    with pytest.raises(
        CreditError, match=r"^policy .* is a whole model, so its reference is another: name the SFT mod"
    ):
        load_pair(copied[0], loading=CPU)
    with pytest.raises(CreditError, match=r"^reference .* without a policy\. Name the DPO-trained model with --policy"):
        load_pair(None, copied[1], loading=CPU)


def test_a_name_that_is_no_directory_is_looked_up_on_the_hub(copied: tuple[Path, Path]) -> None:
    with pytest.raises(CreditError, match=r"^cannot load .*policy somebody/nothing: "):
        load_pair("somebody/nothing", copied[1], loading=CPU)


BROKEN_ADAPTERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "config not JSON": (
        lambda path: (path / "adapter_config.json").write_text("{"),
        r"^cannot load policy .*adapter: ",
    ),
    "no base named": (
        lambda path: edit(path / "adapter_config.json", base_model_name_or_path=None),
        r"^policy .*adapter is an adapter that does not name its base model\. Name its base with --base ",
    ),
    "base not there": (
        lambda path: edit(path / "adapter_config.json", base_model_name_or_path="/no/such/base"),
        r"^policy .*adapter is an adapter on /no/such/base, which is no model here\. Name its base with --base DIR_OR",
    ),
    "no weights": (lambda path: (path / ADAPTER).unlink(), r"^policy .*adapter holds no weights"),
    "pickle only": (
        lambda path: pickled(path, ADAPTER, "adapter_model.bin"),
        r"^policy .*adapter holds only pickled weights \(adapter_model\.bin\)",
    ),
    "for other modules": (
        lambda path: edit(path / "adapter_config.json", target_modules=["q_proj"]),
        r"^cannot load the adapter of policy .*adapter: .*q_proj",
    ),
    "base on a hub that is not there": (
        lambda path: edit(path / "adapter_config.json", base_model_name_or_path="somebody/nothing"),
        r"^cannot load the base of policy .*adapter, somebody/nothing: .*\. Name its base with --base DIR_OR_HUB_ID",
    ),
    "of another rank": (
        lambda path: edit(path / "adapter_config.json", r=3),
        r"^cannot load the adapter of policy .*adapter: size mismatch for .*lora_A.*\[2, 32\].*\[3, 32\].* \(4 in all\)"
        r"\. Its base here is .*reference\. Name its base with --base DIR_OR_HUB_ID",
    ),
    "ref broken": (
        lambda path: (shutil.copytree(path, path / "ref"), (path / "ref" / ADAPTER).write_bytes(b"?")),
        r"^cannot load the adapter of policy .*adapter: ",
    ),
    "ref pickled": (
        lambda path: (shutil.copytree(path, path / "ref"), pickled(path / "ref", ADAPTER, "adapter_model.bin")),
        r"^policy .*adapter holds only pickled weights \(adapter_model\.bin\)",
    ),
}


@pytest.mark.parametrize("broken", BROKEN_ADAPTERS)
def test_an_adapter_that_cannot_be_used_is_refused(adapter: Path, broken: str) -> None:
    spoil, said = BROKEN_ADAPTERS[broken]
    spoil(adapter)
    with pytest.raises(CreditError, match=said):
        load_pair(adapter, loading=CPU)


def test_an_adapters_weight_that_is_missing_is_refused(adapter: Path) -> None:
    without(adapter / ADAPTER, "layers.1.attention.query_key_value.lora_A.weight")
    with pytest.raises(CreditError, match=r"^the adapter of policy .* lacks weights that .*\(1; first: .*lora_A"):
        load_pair(adapter, loading=CPU)


def test_ctrl_c_while_loading_is_no_fault_of_the_model(
    tiny_pair_dirs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            Lock().release()  # as a lock's end does that the interrupt kept from being taken

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_pair(*map(str, tiny_pair_dirs), loading=CPU)
