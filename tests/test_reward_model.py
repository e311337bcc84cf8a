"""Explicit reward models: one number an answer, as the model alone gives it, beside the policies of `compare`."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import transformers
from jsonschema import Draft202012Validator
from program import run
from tiny import CHATML, VOCABULARY, randomise, save, tokenizer
from transformers import AutoModelForSequenceClassification

from dpo_credit.compare.compare import Judge, Policy, compare
from dpo_credit.compare.reward_model import load_reward_model
from dpo_credit.compare.schema import json_schema
from dpo_credit.credit import CreditError, Example, Message
from dpo_credit.models.pair import Loading, ModelPair
from dpo_credit.rows.aside import SetAside
from dpo_credit.rows.records import Row

CPU = Loading(device="cpu")
EXACT = 1e-5  # float32 of sums over 32 products, in another order
ANSWERS = [Example("Is it? ", "It is.", "a"), Example("Is it? ", "It is not, and never was.", "b")]


def saved(folder: Path, *, labels: int = 1, template: str | None = None) -> Path:
    """A random sequence classifier and its tokenizer."""
    settings = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    config = transformers.LlamaConfig(
        **settings, num_hidden_layers=2, max_position_embeddings=64, pad_token_id=1, num_labels=labels
    )
    torch.manual_seed(0)
    module = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()
    return save(randomise(module, seed=5, scale=0.2), folder, tokenizer(chat_template=template))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("judge") / "rm")


def test_a_reward_is_the_heads_output_behind_prompt_answer_and_end(directory: Path) -> None:
    model = load_reward_model(str(directory), CPU)
    naive = copy.deepcopy(model.module).double()
    for answer, reward in zip(ANSWERS, model.rewards(ANSWERS), strict=True):
        ids = model.tokenizer(f"{answer.prompt}{answer.answer}")["input_ids"] + [model.tokenizer.eos_token_id]
        assert reward == pytest.approx(float(naive(input_ids=torch.tensor([ids])).logits[0, 0]), abs=EXACT)


def test_it_is_placed_and_quantised_as_the_pair_is(directory: Path) -> None:
    mapped = load_reward_model(str(directory), Loading(device="cpu", device_map="cpu"))
    assert mapped.rewards(ANSWERS) == pytest.approx(load_reward_model(str(directory), CPU).rewards(ANSWERS), abs=EXACT)
    with (
        patch.object(
            AutoModelForSequenceClassification, "from_pretrained", side_effect=OSError("not today")
        ) as from_pretrained,
        patch("transformers.BitsAndBytesConfig", dict),
        pytest.raises(CreditError, match="not today"),
    ):
        load_reward_model(str(directory), Loading(device="cpu", device_map="auto", quantize="4bit"))
    given = from_pretrained.call_args.kwargs
    assert (given["device_map"], given["quantization_config"]) == ("auto", {"load_in_4bit": True})


def test_a_chat_is_read_under_its_own_template(tmp_path: Path) -> None:
    model = load_reward_model(str(saved(tmp_path / "rm", template=CHATML)), CPU)
    chat = Example((Message("user", "Is it?"),), "It is.", "c")
    text = "<|im_start|>user\nIs it?<|im_end|>\n<|im_start|>assistant\nIt is.<|im_end|>\n"
    ids = torch.tensor([model.tokenizer(text)["input_ids"]])
    (reward,) = model.rewards([chat])
    assert reward == pytest.approx(float(model.module(input_ids=ids).logits[0, 0]), abs=EXACT)


def test_what_is_no_reward_model_is_one_line(
    directory: Path, tmp_path: Path, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    with pytest.raises(CreditError, match=r"has no weights for its head \(score.weight\): is it a language model\?"):
        load_reward_model(str(tiny_pair_dirs[0]), CPU)
    with pytest.raises(CreditError, match="gives 3 numbers an answer, where a reward is one"):
        load_reward_model(str(saved(tmp_path / "three", labels=3)), CPU)
    with pytest.raises(CreditError, match=r"holds no config\.json"):
        load_reward_model(str(tmp_path), CPU)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CreditError, match="is an adapter"):
        load_reward_model(str(tmp_path), CPU)
    pickled = saved(tmp_path / "pickled")
    torch.save({}, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(CreditError, match="allow-pickle"):
        load_reward_model(str(pickled), CPU)


def test_it_stands_behind_the_policies_in_figures_over_rows(directory: Path, tiny_pair: ModelPair) -> None:
    rows = [
        Row(
            f"r{n}",
            "preference",
            (Example(f"Q{n}: ", "Yes."), Example(f"Q{n}: ", "No, never.")),
            ("chosen", "rejected"),
        )
        for n in range(4)
    ]
    long = Row("long", "single", (Example("Q: ", "x" * 200),), ("",))  # the judge has 64 positions, the policy 512
    aside, judge = SetAside(strict=False), Judge("rm", partial(load_reward_model, str(directory), CPU))
    found = compare([Policy("m", lambda: tiny_pair)], [*rows, long], judges=[judge], aside=aside)
    assert found.everyone == ("m", "rm") and [row.id for row in aside.rows] == ["long"]
    model = load_reward_model(str(directory), CPU)
    pairs = [model.rewards(row.examples) for row in rows]
    assert found.margins()[1] == [right - wrong for right, wrong in pairs]
    ours, theirs = found.summaries()
    assert ours.beta == 0.1 and theirs.beta is None
    assert theirs.accuracy is not None and theirs.accuracy.hits == sum(right > wrong for right, wrong in pairs)
    assert len(found.correlations()) == 2
    with pytest.raises(CreditError, match="or a --reward-model"):
        compare([Policy("m", lambda: tiny_pair)], rows)


def test_the_command_shows_it_everywhere(directory: Path, pair: tuple[str, ...], tmp_path: Path) -> None:
    post = tmp_path / "post.json"
    post.write_text(json.dumps({"prompt": "Is it? ", "chosen": "It is.", "rejected": "It is not."}), encoding="utf-8")
    page, figure, kept = (tmp_path / name for name in ("c.html", "c.svg", "c.json"))
    outputs = ("--html", page, "--png", figure, "--json", kept)
    ended = run("compare", post, *pair, "--reward-model", directory, *outputs, COLUMNS="120")
    assert ended.code == 0, ended.stderr
    assert "a reward model's for the whole answer" in ended.stdout
    record = json.loads(kept.read_text(encoding="utf-8"))
    assert not list(Draft202012Validator(json_schema()).iter_errors(record))
    (judge,) = record["reward_models"]
    assert judge["name"] == str(directory) and len(judge["rewards"][0]) == 2
    assert record["rows"][0]["margins"][1] == judge["margin"]
    assert "a reward model’s, for the whole answer" in page.read_text(encoding="utf-8")
    assert f"{judge['rewards'][0][0]:+.3g}".replace("-", "−") in figure.read_text(encoding="utf-8")
