"""What `inspect` finds: for each finding a pair or a text in which it is there, and one in which it is not."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from program import run
from tiny import CHATML, language_model, randomise, save, tokenizer
from transformers import AutoModelForCausalLM

from dpo_credit import Conventions, Example, Loading, Message
from dpo_credit.inspect import memory
from dpo_credit.inspect.audit import Audit, audit, to_json
from dpo_credit.inspect.findings import Surprise, base_as_reference
from dpo_credit.models.loading import load_pair

CPU = Loading(device="cpu")
POST = Example("My landlord raised the rent.\n\nTL;DR:", " The rent went up by 120 dollars.", "rent")
CHAT = Example((Message("user", "Where is the lake?"),), "In the north.", "lake")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A reference and a policy a little way from it, as training leaves one."""
    folder = tmp_path_factory.mktemp("trained")
    reference, policy = language_model(seed=1), language_model(seed=1)
    for weight in policy.parameters():
        weight.data += 0.01 * weight.data.flip(0)
    return save(policy, folder / "policy", tokenizer()), save(reference, folder / "reference", tokenizer())


def look(pair: tuple[Path, Path], *examples: Example, loading: Loading = CPU, **conventions: object) -> Audit:
    return audit(
        *pair,
        examples=examples,
        conventions=Conventions(**conventions),
        loading=loading,
        given=(0.1, None),  # type: ignore[arg-type]
    )


def kinds(found: Audit) -> set[str]:
    return {finding.kind for finding in found.findings}


def test_a_trained_pair_and_a_plain_text_have_nothing_wrong(pair: tuple[Path, Path]) -> None:
    found = look(pair, POST)
    assert found.findings == ()
    assert found.footprint is not None and found.footprint.changed == len(found.footprint.tensors)


def test_the_boundary_the_tokens_and_the_end_are_those_that_score_counts(pair: tuple[Path, Path]) -> None:
    (text,) = look(pair, POST).texts
    assert "".join(stretch.text for stretch in text.prompt) == POST.prompt
    assert {stretch.origin for stretch in text.prompt} == {"text"}
    assert "".join(cell.text for cell in text.answer[:-1]) == POST.answer
    assert (text.answer[-1].text, text.answer[-1].origin, text.end) == ("<|endoftext|>", "end", "appended")


def test_what_a_template_adds_is_told_apart(pair: tuple[Path, Path]) -> None:
    (text,) = look(pair, CHAT, chat_template=CHATML).texts
    added = "".join(stretch.text for stretch in text.prompt if stretch.origin == "added")
    assert added == "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
    assert [cell.origin for cell in text.answer if cell.text == "<|im_end|>"] == ["added"]


def test_equal_weights(pair: tuple[Path, Path]) -> None:
    found = look((pair[0], pair[0]), POST)
    assert kinds(found) == {"equal-weights"}
    assert "so every reward is zero" in found.findings[0].said


def test_a_policy_that_was_not_trained_from_this_reference(
    pair: tuple[Path, Path], tiny_pair_dirs: tuple[Path, Path], tmp_path: Path
) -> None:
    by_weights = look((pair[0], tiny_pair_dirs[1]))
    assert kinds(by_weights) == {"unrelated-models"}
    assert "by its weights" in by_weights.findings[0].said
    narrow = save(language_model(seed=1, intermediate_size=48), tmp_path / "narrow", tokenizer())
    assert "tensors have other shapes" in look((pair[0], narrow)).findings[0].said
    llama = save(language_model("LlamaConfig", num_key_value_heads=2), tmp_path / "llama", tokenizer())
    assert kinds(look((pair[0], llama))) == {"unrelated-models"}


def test_an_adapter_on_the_wrong_base(pair: tuple[Path, Path], tmp_path: Path) -> None:
    config = LoraConfig(r=2, target_modules=["query_key_value"], task_type="CAUSAL_LM")
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(pair[1]), config)
    randomise(adapted, seed=7, scale=0.02, only="lora_")
    adapted.save_pretrained(tmp_path / "adapter")
    assert kinds(audit(tmp_path / "adapter", pair[1], loading=CPU, given=(0.1, None))) == set()
    assert kinds(audit(tmp_path / "adapter", loading=CPU, given=(0.1, None))) == set()
    wrong = audit(tmp_path / "adapter", pair[0], loading=CPU, given=(0.1, None))
    assert kinds(wrong) == {"wrong-base"}
    assert str(pair[1]) in wrong.findings[0].said and "Leave --reference out" in wrong.findings[0].fix
    settings = tmp_path / "adapter" / "adapter_config.json"
    other = save(language_model(seed=1, hidden_size=48), tmp_path / "other", tokenizer())
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "base_model_name_or_path": str(other)}))
    misfit = audit(tmp_path / "adapter", loading=CPU, given=(0.1, None))
    assert kinds(misfit) == {"wrong-base"}
    assert "does not fit" in misfit.findings[0].said


@pytest.mark.parametrize(
    ("surprises", "there"),
    [
        # exp(0.6 nats a token) on every answer: more than DPO moves
        ([Surprise("a", 3.0, 6.0, 0.7, -0.1, -0.2), Surprise("b", 3.0, 6.0, 0.6, -0.1, -0.2)], True),
        ([Surprise("a", 3.0, 6.0, 0.7, -0.1, -0.2), Surprise("b", 5.0, 4.0, -0.2, -0.1, -0.2)], False),
        # a base model that does not end its answers: p(end) of 0.1 % against 90 %
        ([Surprise("a", 3.0, 3.3, 0.1, -0.1, -7.0)], True),
        ([Surprise("a", 3.0, 3.3, 0.1, -0.1, -1.0)], False),
        ([Surprise("a", 3.0, 3.3, 0.1, None, None)], False),
        ([], False),
    ],
)
def test_a_base_model_in_the_sft_models_place(surprises: list[Surprise], there: bool) -> None:
    found = list(base_as_reference(surprises, "base"))
    assert [finding.kind for finding in found] == ["base-as-reference"] * there


def test_perplexities_are_those_of_the_answers_text(pair: tuple[Path, Path]) -> None:
    from math import exp, fsum

    from dpo_credit import score

    (credit,) = score(load_pair(*pair, loading=CPU), [POST])
    (surprise,) = look(pair, POST).surprises
    text = credit.reference_logps[:-1]
    assert surprise.reference == pytest.approx(exp(-fsum(text) / len(text)))
    assert surprise.reference_end == credit.reference_logps[-1]


def test_a_doubled_bos_a_missing_eos_and_a_straddling_token(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with_bos = tokenizer()
    with_bos.bos_token = "<|im_start|>"
    begun = tuple(save(AutoModelForCausalLM.from_pretrained(side), tmp_path / side.name, with_bos) for side in pair)
    twice = replace(POST, prompt="<|im_start|><|im_start|>" + POST.prompt)  # type: ignore[operator]
    assert kinds(look(begun, twice)) == {"doubled-bos"}
    assert kinds(look(begun, replace(POST, prompt="<|im_start|>" + POST.prompt))) == set()  # type: ignore[operator]
    assert kinds(look(pair, POST, eos="never")) == {"missing-eos"}
    split = Example("My lan", "dlord raised the rent.", "split")
    assert kinds(look(pair, split)) == {"straddles"}


def test_an_end_that_the_tokenizer_does_not_know(pair: tuple[Path, Path]) -> None:
    unknown = CHATML.replace("im_end", "turn_over")  # no token of its own: its letters
    found = look(pair, CHAT, chat_template=unknown)
    assert "plain-end" in kinds(found)
    assert len([cell for cell in found.texts[0].answer if cell.origin == "added"]) > 3
    assert "plain-end" not in kinds(look(pair, CHAT, chat_template=CHATML))
    assert "plain-end" not in kinds(look(pair, POST))


def test_a_truncated_prompt_says_by_how_much(pair: tuple[Path, Path]) -> None:
    whole = look(pair, POST).texts[0]
    limit = whole.prompt_tokens + len(whole.answer) - 3
    cut = look(pair, POST, max_length=limit, truncate="prompt-start")
    assert kinds(cut) == {"truncated"}
    assert f"the prompt's first 3 of {whole.prompt_tokens} tokens are cut" in cut.findings[0].said
    assert cut.texts[0].cut_tokens == 3


def test_templates_that_differ(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = CHATML.replace("<|im_end|>\n", "<|im_end|>")
    made = {
        name: save(AutoModelForCausalLM.from_pretrained(pair[1]), tmp_path / name, tokenizer(chat_template=template))
        for name, template in (("one", CHATML), ("two", other), ("same", CHATML))
    }
    policy = save(AutoModelForCausalLM.from_pretrained(pair[0]), tmp_path / "policy", tokenizer(chat_template=CHATML))
    differ = look((policy, made["two"]), CHAT)
    assert kinds(differ) == {"template-differs"} and differ.findings[0].level == "warning"
    assert look((policy, made["two"]), POST).findings[0].level == "note"  # plain text knows no template
    assert kinds(look((policy, made["same"]), CHAT)) == set()
    assert "no-template" in kinds(look(pair, CHAT))


def test_tokenizers_that_differ_stop_before_the_models(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = tokenizer()
    other.add_tokens(["zebra", "yak"])
    model = language_model(seed=1)
    model.resize_token_embeddings(len(other))  # type: ignore[operator]
    swapped = tokenizer()
    swapped.add_tokens(["yak", "zebra"])
    first = save(model, tmp_path / "first", other)
    second = save(model, tmp_path / "second", swapped)
    found = look((first, second), POST)
    assert {finding.kind for finding in found.findings if finding.level == "error"} == {"tokenizers-differ"}
    assert found.footprint is None and found.surprises == ()


def test_a_device_without_room(pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (need,) = look(pair, POST).needs
    assert need.fits and need.sequential < need.both
    monkeypatch.setattr(memory, "free_bytes", lambda device: need.sequential)
    found = look(pair, POST)
    errors = [finding for finding in found.findings if finding.level == "error"]
    assert [(error.kind, error.fix) for error in errors] == [("no-room", "Add --sequential: one model at a time fits.")]
    assert found.footprint is None
    assert "no-room" not in kinds(look(pair, POST, loading=replace(CPU, sequential=True)))


def test_sizes_are_counted_from_the_config(pair: tuple[Path, Path]) -> None:
    model = language_model(seed=1)
    count = sum(weight.numel() for weight in model.parameters())
    found = look(pair, loading=replace(CPU, dtype="bfloat16"))
    assert (found.policy.size.parameters, found.policy.size.weights) == (count, 2 * count)


def _but_free_memory(shown: str) -> str:
    return re.sub(r"[\d.]+ GB free", "", shown)


def test_the_command_shows_it_in_the_terminal_and_as_json(pair: tuple[Path, Path], tmp_path: Path) -> None:
    row = tmp_path / "row.json"
    row.write_text(json.dumps({"id": "rent", "prompt": POST.prompt, "answer": "[bold] up [/x]"}))
    flags = ("--policy", pair[0], "--reference", pair[1], "--beta", "0.1", "--device", "cpu")
    ended = run("inspect", row, *flags, NO_COLOR="1")
    assert ended.code == 0, ended.stderr
    for expected in ("rent", "TL;DR:", "end token: appended", "layer 1", "fits", "nothing wrong found"):
        assert expected in ended.stdout, expected
    assert "[│bo│l│d│]" in ended.stdout  # markup of the text's own is text
    written = json.loads(run("inspect", row, *flags, "--json", "-", "-q").stdout)
    assert written["schema"] == "dpo-credit/inspect@1"
    assert written["findings"] == [] and written["footprint"]["tensors"]
    assert json.loads(to_json(audit(*pair, loading=CPU)))["texts"] == []
    picture = tmp_path / "view.svg"
    drawn, plain = (run("inspect", row, *flags, *more).stdout for more in (("--theme", "light", "--svg", picture), ()))
    assert _but_free_memory(drawn) == _but_free_memory(plain)
    assert picture.read_text().startswith("<svg") and "#ffffff" in picture.read_text()
    alone = run("inspect", *flags)
    assert alone.code == 0 and "nothing wrong found" in alone.stdout
    missing = run("inspect", "no.json")
    assert (missing.code, missing.stderr.count("\n")) == (2, 1)
