"""Adapters trained with added tokens, on a base that is elsewhere, or in a folder: what is loaded and what refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from program import run
from tiny import VOCABULARY, furthest, language_model, naive_logps, of_family, randomise, save, tokenizer
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from dpo_credit import Credit, CreditError, Example, Loading, ModelPair, load_pair, score
from dpo_credit.models.adapters import resize

CPU = Loading(device="cpu")
EXAMPLES = [
    Example("My landlord raised the rent.\n\nTL;DR:", " The <|x|> rent went up by 120 dollars.", "rent"),
    Example("Where is the lake?", " In <|y|>", "lake"),
]
ADDED = ("<|x|>", "<|y|>", "<|z|>")
EXACT = 1e-5  # nats: float32 models of this size against float64


def grown() -> PreTrainedTokenizerFast:
    """The tiny tokenizer with three tokens more."""
    made = tokenizer()
    made.add_tokens(list(ADDED))
    return made


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A whole model of 400 embeddings with its tokenizer."""
    return save(language_model(seed=2), tmp_path / "base", tokenizer())


def trained(
    base: Path, directory: Path, rows: int = VOCABULARY + len(ADDED), *, whole: Any = "auto", **lora: Any
) -> PeftModel:
    """An adapter of random weights on a resized base, saved with the longer tokenizer; also returned, in float64."""
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(rows)
    config = LoraConfig(**{"r": 4, "target_modules": ["query_key_value"], "task_type": "CAUSAL_LM", **lora})
    adapted = get_peft_model(model, config)
    for name, weight in adapted.named_parameters():
        if weight.requires_grad:
            randomise(adapted, seed=7, scale=0.2, only=name)
    adapted.save_pretrained(directory, save_embedding_layers=whole)
    grown().save_pretrained(directory)
    return adapted.eval().double()


def credits(pair: ModelPair) -> list[Credit]:
    return list(score(pair, EXAMPLES))


def logps(pair: ModelPair) -> list[tuple[float, ...]]:
    return [logps for credit in credits(pair) for logps in (credit.policy_logps, credit.reference_logps)]


def naive(adapted: PeftModel, pair: ModelPair) -> list[list[float]]:
    """What `logps` should give, from the model that was trained: its adapter on, then off."""
    expected = []
    for credit in credits(pair):
        expected.append(naive_logps(adapted, credit.tokens))
        with adapted.disable_adapter():
            expected.append(naive_logps(adapted, credit.tokens))
    return expected


@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"modules_to_save": ["embed_in", "lm_head"]},
        {"trainable_token_indices": [400, 401, 402]},
        {"target_modules": ["embed_in", "dense"]},
    ],
    ids=["lora", "saved modules", "tokens", "embeddings"],
)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")  # as it should
def test_an_adapter_with_added_tokens_is_scored_as_it_was_trained(base: Path, tmp_path: Path, lora: Any) -> None:
    adapted = trained(base, tmp_path / "adapter", **lora)
    pair = load_pair(tmp_path / "adapter", beta=0.1, loading=CPU)
    assert furthest(logps(pair), naive(adapted, pair)) < EXACT
    assert pair.notes == (
        f"policy {tmp_path / 'adapter'} was trained with 403 embeddings, and its base has 400: it is resized, and what "
        "the adapter does not bring is the mean of the others",
    )
    again = load_pair(tmp_path / "adapter", beta=0.1, loading=Loading(device="cpu", sequential=True))
    assert logps(again) == logps(pair)  # nothing is drawn


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
def test_embeddings_of_another_number_than_the_tokenizer_has_are_as_the_adapter_saved_them(
    base: Path, tmp_path: Path
) -> None:
    for rows in (448, 390):  # padded, and cut to what is used
        adapted = trained(base, tmp_path / str(rows), rows)
        if rows < VOCABULARY:
            tokenizer().save_pretrained(tmp_path / str(rows))
        pair = load_pair(tmp_path / str(rows), loading=CPU)
        tokens = next(score(pair, [Example("Rent?", " No", "x")])).tokens
        assert (
            furthest([next(score(pair, [Example("Rent?", " No", "x")])).policy_logps], [naive_logps(adapted, tokens)])
            < EXACT
        )


def test_tokens_whose_embeddings_were_not_saved_have_the_mean_of_the_others(base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "adapter", whole=False)
    pair = load_pair(tmp_path / "adapter", loading=CPU)
    reference: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64)
    for layer in (reference.get_input_embeddings(), reference.get_output_embeddings()):
        mean = layer.weight.mean(0, keepdim=True)
        layer.weight = torch.nn.Parameter(torch.cat([layer.weight, mean.expand(3, -1)]))
    expected = [naive_logps(reference, credit.tokens) for credit in credits(pair)]
    assert furthest([credit.reference_logps for credit in credits(pair)], expected) < EXACT


@pytest.mark.parametrize("family", ["gpt-neox", "phi", "gemma"])  # a head of its own, one with a bias, a tied one
def test_new_embeddings_lower_a_log_probability_by_no_more_than_their_share(family: str) -> None:
    """Jensen: exp of the mean logit is at most the mean of the exps, so n new rows add at most n / V to the sum."""
    model: Any = of_family(family)
    ids = torch.arange(20)[None]
    before = model(ids).logits.double().log_softmax(-1)
    resize(model, VOCABULARY + 3)
    after = model(ids).logits.double().log_softmax(-1)
    lowered = before - after[..., :VOCABULARY]
    assert after.shape[-1] == VOCABULARY + 3
    assert float(lowered.min()) > -1e-6 and 1e-6 < float(lowered.max()) < math.log1p(3 / VOCABULARY) + 1e-6


def test_a_base_named_as_the_reference_is_resized_too(base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "adapter", whole=False)
    own = load_pair(tmp_path / "adapter", loading=CPU)
    for sequential in (False, True):
        named = load_pair(tmp_path / "adapter", base, loading=Loading(device="cpu", sequential=sequential))
        assert logps(named) == logps(own)
        assert named.notes[-1] == f"reference {base} is resized to as many"
    row = tmp_path / "row.json"
    row.write_text(json.dumps({"id": "a", "prompt": "Rent?", "chosen": " <|x|> up.", "rejected": " No."}))
    flags = ("--policy", tmp_path / "adapter", "--reference", base, "--device", "cpu")
    assert run("steer", row, *flags, "--max-new-tokens", "3").code in (0, None)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
def test_every_command_reads_an_adapter_with_added_tokens_alike(base: Path, tmp_path: Path) -> None:
    trained(base, tmp_path / "run/checkpoint-5", modules_to_save=["embed_in"])
    shutil.copytree(tmp_path / "run/checkpoint-5", tmp_path / "run/checkpoint-10")
    rows = tmp_path / "rows.jsonl"
    row = {"id": "a", "prompt": "Rent?", "chosen": " <|x|> up.", "rejected": " No."}
    rows.write_text(json.dumps(row) + "\n")
    policy = tmp_path / "run/checkpoint-10"
    kept = tmp_path / "kept.jsonl"
    ended = run("trajectory", tmp_path / "run", rows, "-o", kept, "--samples", "0", "--device", "cpu")
    assert ended.code in (0, None), ended.stderr
    head = json.loads(kept.read_text().splitlines()[0])
    pair = load_pair(policy, loading=CPU)
    reference = next(score(pair, [Example(row["prompt"], row["chosen"], "a")])).reference_logps
    assert head["rows"][0]["credit"]["answers"][0]["reference_logps"] == pytest.approx(reference, abs=EXACT)
    ended = run("verify", rows, "--policy", policy, "--device", "cpu", "--json", "-")
    assert ended.code in (0, None), ended.stderr
    looked = json.loads(run("inspect", "--policy", policy, "--device", "cpu", "--json", "-").stdout)
    assert looked["policy"]["size"]["vocabulary"] == looked["reference"]["size"]["vocabulary"] == 403


# A base that is elsewhere


@pytest.mark.parametrize("named", ["/home/somebody/base", "somebody/base", None])
def test_the_base_of_an_adapter_is_named_where_it_moved(base: Path, tmp_path: Path, named: str | None) -> None:
    adapted = trained(base, tmp_path / "adapter", whole=False)
    settings = tmp_path / "adapter/adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "base_model_name_or_path": named}))
    with pytest.raises(CreditError, match=r"Name its base with --base DIR_OR_HUB_ID \(steer: --adapter-base\)\.$"):
        load_pair(tmp_path / "adapter", loading=CPU)
    pair = load_pair(tmp_path / "adapter", loading=Loading(device="cpu", base=str(base)))
    assert furthest(logps(pair), naive(adapted, pair)) < 1e-3  # three rows of the base were drawn
    row = tmp_path / "row.json"
    row.write_text(json.dumps({"id": "a", "prompt": "Rent?", "chosen": " It is up.", "rejected": " No."}))
    flags = ("--policy", tmp_path / "adapter", "--device", "cpu")
    for command in ("score", "diff", "inspect", "verify"):
        ended = run(command, row, *flags, "--base", base)
        assert ended.code in (0, None), ended.stderr
    ended = run("steer", row, *flags, "-r", base, "--adapter-base", base, "--max-new-tokens", "2")
    assert ended.code in (0, None), ended.stderr


@pytest.mark.parametrize("named", [1.5, True, 10**30])
def test_a_base_whose_name_is_no_text_is_refused(base: Path, tmp_path: Path, named: object) -> None:
    trained(base, tmp_path / "adapter", whole=False)
    settings = tmp_path / "adapter/adapter_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "base_model_name_or_path": named}))
    with pytest.raises(CreditError, match=rf"an adapter whose base model is {named}, which is no name\. Name its base"):
        load_pair(tmp_path / "adapter", loading=CPU)


def test_a_base_that_does_not_serve_is_refused(base: Path, tmp_path: Path, tiny_pair_dirs: tuple[Path, Path]) -> None:
    trained(base, tmp_path / "adapter", whole=False)
    with pytest.raises(CreditError, match=r"^--base /no/such does not exist\. Give a model's directory or its name on"):
        load_pair(tmp_path / "adapter", loading=Loading(device="cpu", base="/no/such"))
    with pytest.raises(
        CreditError, match=r"^--base b is for adapters, but policy .* and reference .* are whole models"
    ):
        load_pair(*tiny_pair_dirs, loading=Loading(device="cpu", base="b"))
    other = save(language_model(seed=2, hidden_size=48), tmp_path / "other", tokenizer())
    with pytest.raises(
        CreditError, match=r"^cannot load the adapter of policy .*: size mismatch for .*Its base here.*other"
    ):
        load_pair(tmp_path / "adapter", loading=Loading(device="cpu", base=str(other)))


# Folders


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_pair_dirs: tuple[Path, Path]) -> str:
    """A repository in the hub's cache, as a download leaves it: two models and an adapter in folders. No network."""
    cache, commit = tmp_path / "hub", "0" * 40
    repository = cache / "models--somebody--models"
    snapshot = repository / "snapshots" / commit
    for path, folder in zip(tiny_pair_dirs, ("dpo", "sft"), strict=True):
        shutil.copytree(path, snapshot / folder)
    trained(snapshot / "sft", snapshot / "adapters/last", whole=False)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return "somebody/models"


def test_models_in_folders_of_a_repository_load(hub: str, tiny_pair_dirs: tuple[Path, Path]) -> None:
    example = Example("Rent?", " It is up.", "x")
    expected = next(score(load_pair(*tiny_pair_dirs, loading=CPU), [example])).rewards
    for policy, reference, subfolder in (
        (f"{hub}:dpo", f"{hub}:sft", None),
        (hub, hub, "dpo,sft"),
        (hub, f"{hub}:sft", "dpo"),
        (f"{hub}:dpo", tiny_pair_dirs[1], None),
    ):
        credit = next(
            score(load_pair(policy, reference, loading=Loading(device="cpu", subfolder=subfolder)), [example])
        )
        # the same weights at other addresses: kernels may sum in another order
        assert credit.rewards == pytest.approx(expected, abs=1e-6)
        assert credit.source.policy == f"{hub}:dpo"


def test_an_adapter_in_a_folder_of_a_repository_loads(hub: str) -> None:
    pair = load_pair(f"{hub}:adapters/last", loading=Loading(device="cpu", base=f"{hub}:sft"))
    assert pair.reference.name == f"{hub} (adapter off)"
    assert "<|x|>" in pair.tokenizer.get_vocab()
    assert any(credits(pair)[0].rewards)


def test_models_in_folders_of_a_directory_load(tiny_pair_dirs: tuple[Path, Path]) -> None:
    root = tiny_pair_dirs[0].parent
    for pair in (
        load_pair(f"{root}:policy", f"{root}:reference", loading=CPU),
        load_pair(root, root, loading=Loading(device="cpu", subfolder="policy,reference")),
    ):
        assert (pair.policy.name, pair.reference.name) == (f"{root}:policy", f"{root}:reference")


@pytest.mark.parametrize(
    ("policy", "subfolder", "said"),
    [
        ("{root}", "nonesuch", r"^policy .* has no folder nonesuch\. Name one that holds a model\.$"),
        (
            "{root}:policy",
            "other",
            r"^policy .*:policy names its folder, and --subfolder names other\. Leave one of th",
        ),
        ("{root}", "a,b,c", r"^--subfolder a,b,c names 3; give one, or the policy's and the reference's\.$"),
        ("{hub}", "nonesuch", r"^policy somebody/models:nonesuch holds no config\.json: it is not a saved model\."),
        ("{hub}", None, r"^policy somebody/models holds no config\.json: it is not a saved model\."),
        ("no/such:dpo", None, r"^cannot load policy no/such: We couldn't connect"),
    ],
)
def test_a_folder_that_is_not_there_is_refused(
    hub: str, tiny_pair_dirs: tuple[Path, Path], policy: str, subfolder: str | None, said: str
) -> None:
    root = tiny_pair_dirs[0].parent
    with pytest.raises(CreditError, match=said):
        load_pair(
            policy.format(root=root, hub=hub), tiny_pair_dirs[1], loading=Loading(device="cpu", subfolder=subfolder)
        )
