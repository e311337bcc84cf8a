"""A model is scored with exactly the weights that its configuration asks for: none made up, none left out."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, language_model, of_family, save, tokenizer
from torch import Tensor
from transformers import AutoModelForCausalLM

from dpo_credit import CreditError, Example, Loading, load_pair, score

CPU = Loading(device="cpu")
EXAMPLE = Example("Where is the lake?", " In Canberra.")
WEIGHTS, ADAPTER, CONFIG = "model.safetensors", "adapter_model.safetensors", "adapter_config.json"
LAYERS = 4


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Llamas of four and of two layers, and an adapter on each, as `adapter-4` and `adapter-2`."""
    folder = tmp_path_factory.mktemp("fit")
    for layers in (2, LAYERS):
        model = language_model("LlamaConfig", num_key_value_heads=2, num_hidden_layers=layers)
        base = save(model, folder / f"base-{layers}", tokenizer())
        lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
        adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora)
        adapted.save_pretrained(folder / f"adapter-{layers}")
    return folder


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    """The deeper model, to break."""
    return shutil.copytree(saved / f"base-{LAYERS}", tmp_path / "model")


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    """Its adapter, to break."""
    return shutil.copytree(saved / f"adapter-{LAYERS}", tmp_path / "adapter")


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change(file: Path, changed: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Write other tensors into a safetensors file."""
    save_file(changed(load_file(file)), file, metadata={"format": "pt"})


def sharded(model: Path) -> None:
    """Split a model's weights into files of at most 20 kB, with an index."""
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(model, max_shard_size="20KB")
    (model / WEIGHTS).unlink(missing_ok=True)
    assert len(list(model.glob("*.safetensors"))) > 2


def refusal(policy: Path, reference: Path | None, **options: Any) -> str:
    with pytest.raises(CreditError) as refused:
        load_pair(policy, reference, loading=Loading(device="cpu", **options))
    assert "\n" not in str(refused.value)
    return str(refused.value)


# Whole models


@pytest.mark.parametrize("family", ["gpt-neox", "llama", "gpt2", "gemma", "mixtral", "mamba"])
def test_a_config_of_fewer_layers_than_the_file_holds_is_refused(family: str, tmp_path: Path) -> None:
    path = save(of_family(family), tmp_path / family, tokenizer())
    config = json.loads((path / "config.json").read_text())
    depth = next(name for name in ("n_layer", "num_hidden_layers") if name in config)
    assert config[depth] == 2
    edit(path / "config.json", **{depth: 1}, **({"layer_types": None} if "layer_types" in config else {}))
    said = refusal(path, path)
    assert re.match(r"^policy .* holds weights that its config does not ask for \(\d+; first: \S+\.1\.\S+, ", said), (
        said
    )
    assert said.endswith(f"Mend the config.json in {path}, or save model and config together.")


def test_a_config_that_its_models_code_cannot_run_is_refused_as_it_is_loaded(tmp_path: Path) -> None:
    path = save(of_family("gpt-neox"), tmp_path / "m", tokenizer())
    rope = json.loads((path / "config.json").read_text())["rope_parameters"]
    edit(path / "config.json", rope_parameters={**rope, "partial_rotary_factor": 1.5})
    # heads of 8 numbers, of which 12 would be turned
    assert re.fullmatch(
        rf"cannot load policy {path}: The size of tensor a \(8\) must match the size of tensor b \(12\) at .*\. "
        rf"It loads and cannot run: compare the config\.json in {path} with the model's own\.",
        refusal(path, path),
    )


@pytest.mark.parametrize("shards", [False, True])
@pytest.mark.parametrize(("layers", "what"), [(3, "holds weights that its config does not"), (5, "lacks weights that")])
def test_another_number_of_layers_is_refused_in_one_file_and_in_many(
    model: Path, layers: int, what: str, shards: bool
) -> None:
    if shards:
        sharded(model)
    edit(model / "config.json", num_hidden_layers=layers)
    # a layer of Llama has four matrices of attention, three of the MLP and two norms
    assert f"policy {model} {what}" in (said := refusal(model, model)) and "(9; first: model.layers." in said


SWITCHED_OFF: dict[str, tuple[str, dict[str, object]]] = {
    "biases of attention": ("model.layers.0.self_attn.q_proj.bias", {"attention_bias": False}),
    "a norm of another architecture": ("model.layers.0.self_attn.q_norm.weight", {}),
    "learned positions": ("model.embed_positions.weight", {}),
    "a bias of the head": ("lm_head.bias", {}),
}


@pytest.mark.parametrize("what", SWITCHED_OFF)
def test_a_weight_that_the_config_switches_off_is_refused(model: Path, what: str) -> None:
    name, settings = SWITCHED_OFF[what]
    change(model / WEIGHTS, lambda held: {**held, name: torch.ones(32)})
    edit(model / "config.json", **settings)
    assert f"holds weights that its config does not ask for (1; first: {name})" in refusal(model, model)


def test_names_with_a_wrappers_prefix_are_shown(model: Path) -> None:
    change(model / WEIGHTS, lambda held: {f"_orig_mod.{name}": weight for name, weight in held.items()})
    assert "Its files hold others (39; first: _orig_mod.lm_head.weight, " in refusal(model, model)  # 4 * 9 + 3


@pytest.mark.parametrize("shards", [False, True])
def test_what_no_next_token_depends_on_changes_no_number(saved: Path, model: Path, shards: bool) -> None:
    """Buffers that old versions saved, and heads beside the language model's."""
    base = saved / "base-2"
    expected = next(score(load_pair(model, base, loading=CPU), [EXAMPLE])).rewards
    more = {
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4),
        "model.layers.0.attn.masked_bias": torch.tensor(-1e9),
        "v_head.summary.weight": torch.ones(1, 32),
    }
    if shards:
        sharded(model)
        save_file(more, model / "more.safetensors", metadata={"format": "pt"})
        index = json.loads((model / f"{WEIGHTS}.index.json").read_text())
        index["weight_map"] |= dict.fromkeys(more, "more.safetensors")
        (model / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    else:
        change(model / WEIGHTS, lambda held: held | more)
    pair = load_pair(model, base, loading=CPU)
    # the same weights at other addresses: kernels may sum in another order
    assert next(score(pair, [EXAMPLE])).rewards == pytest.approx(expected, abs=1e-6)
    note = (
        f"policy {model} holds v_head.summary.weight, which is no part of a language model and is left out: is it a "
        "reward model or a classifier?"
    )
    assert [said for said in pair.notes if "left out" in said] == [note]


def test_two_files_that_hold_one_weight_are_refused(model: Path) -> None:
    sharded(model)
    first, second = sorted(model.glob("*.safetensors"))[:2]
    name = min(load_file(first))
    change(second, lambda held: held | {name: load_file(first)[name] * 2})
    assert f"{first.name} and {second.name} both hold {name}, in {model}." in refusal(model, model)


def test_a_tied_head_that_is_left_out_or_held_twice_is_the_embedding(saved: Path, tmp_path: Path) -> None:
    path = save(language_model("LlamaConfig", num_key_value_heads=2, tie_word_embeddings=True), tmp_path, tokenizer())
    assert "lm_head.weight" not in load_file(path / WEIGHTS)
    expected = next(score(load_pair(path, saved / "base-2", loading=CPU), [EXAMPLE])).rewards
    change(path / WEIGHTS, lambda held: {**held, "lm_head.weight": held["model.embed_tokens.weight"].clone()})
    again = next(score(load_pair(path, saved / "base-2", loading=CPU), [EXAMPLE])).rewards
    assert again == pytest.approx(expected, abs=1e-6)
    change(path / WEIGHTS, lambda held: {k: v for k, v in held.items() if "lm_head" not in k and "embed" not in k})
    assert "lacks weights that its config asks for (2; first: lm_head.weight, model.embed_" in refusal(path, path)


def test_a_lost_part_of_a_weight_that_is_put_together_is_said(tmp_path: Path) -> None:
    """Mixtral's files hold its experts apart."""
    assert FAMILIES["mixtral"]["num_local_experts"] == 4
    path = save(of_family("mixtral"), tmp_path / "mixtral", tokenizer())
    change(path / WEIGHTS, lambda held: {k: v for k, v in held.items() if "experts.2.w1" not in k})
    assert refusal(path, path).startswith(f"the weights of policy {path} are not the parts that its config asks for: ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m.Q4.gguf", "holds GGUF files: m.Q4.gguf. Name one with --gguf."),
        ("consolidated.safetensors", "holds no weights (no model.safetensors in {model}, only consolidated.safetens"),
        ("flax_model.msgpack", "holds no weights (no model.safetensors in {model}, only flax_model.msgpack)"),
    ],
)
def test_weights_under_another_name_or_in_another_format_are_named(model: Path, name: str, said: str) -> None:
    (model / WEIGHTS).rename(model / name)
    assert f"policy {model} {said.format(model=model)}" in refusal(model, model)


# Adapters


NARROWED: dict[str, dict[str, object]] = {
    "fewer modules": {"target_modules": ["q_proj"]},
    "fewer layers": {"layers_to_transform": [0, 1]},
}


@pytest.mark.parametrize("what", NARROWED)
def test_an_adapters_weights_that_its_config_leaves_out_are_refused(saved: Path, adapter: Path, what: str) -> None:
    edit(adapter / CONFIG, **NARROWED[what])
    said = refusal(adapter, None)
    # half of 4 layers * 2 modules * 2 matrices
    assert f"the adapter of policy {adapter} holds weights that fit nothing (8; first: base_model.model.model." in said
    assert (
        f"its base is another than {saved / 'base-4'}. Save the adapter again with its configuration. Name its" in said
    )


def test_an_adapter_of_another_kind_than_its_config_says_is_refused(saved: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(saved / "base-2")
    dora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False, use_dora=True)
    get_peft_model(base, dora).save_pretrained(tmp_path)
    load_pair(tmp_path, loading=CPU)
    edit(tmp_path / CONFIG, use_dora=False)
    assert "holds weights that fit nothing (2; first: " in (said := refusal(tmp_path, None))
    assert "lora_magnitude_vector" in said


def test_an_adapter_on_a_base_of_another_depth_is_refused(saved: Path) -> None:
    shallow, deep = (str(saved / f"base-{layers}") for layers in (2, LAYERS))
    said = refusal(saved / "adapter-4", None, base=shallow)
    assert "holds weights that fit nothing (8; first: base_model.model.model.layers.2." in said and shallow in said
    said = refusal(saved / "adapter-2", None, base=deep)
    assert "lacks weights that its adapter_config.json asks for (8; first: base_model.model.model.layers.2." in said
    assert f"or its base is another than {deep}. Name its base with --base" in said


def test_the_reference_adapter_of_a_policy_is_held_to_the_same(saved: Path, adapter: Path) -> None:
    shutil.copytree(saved / "adapter-2", adapter / "ref")
    assert "lacks weights that its adapter_config.json asks for (8; first: " in (said := refusal(adapter, None))
    assert "lora_A.ref.weight" in said
    shutil.rmtree(adapter / "ref")
    shutil.copytree(saved / "adapter-4", adapter / "ref")
    load_pair(adapter, loading=CPU)
    edit(adapter / "ref" / CONFIG, target_modules=["q_proj"])
    assert "holds weights that fit nothing (8; first: " in refusal(adapter, None)


def test_a_module_that_the_config_says_was_trained_whole_must_be_there(adapter: Path) -> None:
    edit(adapter / CONFIG, modules_to_save=["lm_head"])
    said = refusal(adapter, None)
    assert "lacks weights that its adapter_config.json asks for (1; first: base_model.model.lm_head.weight)" in said
