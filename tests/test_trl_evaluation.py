"""TRL's own evaluation, run on the pair: the defaults are its convention, and it leaves the models as they were."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_conventions import CHAT, IMPLICIT, TEXT
from test_numerics import loaded, save_adapter
from test_trl import CHAT as HARD_CHAT
from test_trl import TEXT as HARD_TEXT
from tiny import language_model, save
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from dpo_credit import Loading, load_pair
from dpo_credit.credit import CreditError
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.records import Row, parse_row
from dpo_credit.verify import references, trl_evaluation
from dpo_credit.verify.conventions import Way
from dpo_credit.verify.references import gather, logged_rewards
from dpo_credit.verify.rewards import Rewards
from dpo_credit.verify.targets import Trial
from dpo_credit.verify.trl_evaluation import trl_rewards
from dpo_credit.verify.verify import VerifyReport, verify

trl = pytest.importorskip("trl", reason="the train extra is not installed")
datasets = pytest.importorskip("datasets", reason="the train extra is not installed")

BETA = 0.37
CPU = Loading(device="cpu")


@pytest.fixture(scope="module")
def text_pair(tiny_pair_dirs: tuple[Path, Path]) -> ModelPair:
    return load_pair(*tiny_pair_dirs, beta=BETA, loading=CPU)


@pytest.fixture(scope="module")
def chat_pair(
    tmp_path_factory: pytest.TempPathFactory, tiny_pair_dirs: tuple[Path, Path], chat_tokenizer: PreTrainedTokenizerFast
) -> ModelPair:
    folder = tmp_path_factory.mktemp("chat")
    models = [AutoModelForCausalLM.from_pretrained(directory) for directory in tiny_pair_dirs]
    return load_pair(
        *(save(model, folder / name, chat_tokenizer) for model, name in zip(models, "pr", strict=True)),
        beta=BETA,
        loading=CPU,
    )


def read(rows: list[dict[str, Any]]) -> list[Row]:
    return [parse_row(row, str(n)) for n, row in enumerate(rows)]


def compared(pair: ModelPair, rows: list[dict[str, Any]], way: Way = Way()) -> VerifyReport:
    rewards = Rewards(pair, read(rows), replace(way, beta=pair.beta))
    targets, _ = gather(rewards)
    return verify(rewards, targets)


def best(report: VerifyReport) -> Trial:
    return report.comparisons[0].trials[0]


def test_text_agrees_with_trl_by_the_defaults(text_pair: ModelPair) -> None:
    report = compared(text_pair, HARD_TEXT)
    assert report.agrees and report.comparisons[0].target.name == f"TRL {trl.__version__}"
    assert best(report).agreeing == len(HARD_TEXT)
    spread = [abs(number) for one in report.comparisons[0].rows for number in one.theirs]
    assert max(spread) > 1  # the two models really differ


def test_chats_agree_with_trl_by_the_defaults(chat_pair: ModelPair) -> None:
    report = compared(chat_pair, HARD_CHAT + CHAT)
    assert report.agrees and best(report).of == len(HARD_CHAT + CHAT)


def test_text_and_chats_in_one_file_keep_their_order(chat_pair: ModelPair) -> None:
    mixed = [CHAT[0], TEXT[0], CHAT[1], TEXT[1]]
    assert compared(chat_pair, mixed).agrees


def test_rewards_by_row_are_those_that_trl_logs_for_each_row_alone(
    text_pair: ModelPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, _ = trl_rewards(text_pair, read(TEXT))

    class Alone(trl.DPOTrainer):
        rewards = ()

    monkeypatch.setattr(trl_evaluation, "_by_row", lambda: Alone)
    alone, _ = trl_rewards(text_pair, read(TEXT))
    assert together.numbers == alone.numbers and None not in alone.numbers


def test_without_the_end_token_trl_is_found_to_append_it(text_pair: ModelPair) -> None:
    report = compared(text_pair, TEXT, Way(eos="never"))
    assert not report.agrees
    assert (best(report).meets, best(report).name, best(report).flags) == (True, "EOS always", "--eos always")


def test_where_no_prompt_is_named_trl_is_found_to_take_the_longest_common_prefix(text_pair: ModelPair) -> None:
    report = compared(text_pair, IMPLICIT)
    assert (report.agrees, best(report).name) == (False, "longest common prefix")


def test_one_text_that_begins_another_has_trls_odd_prefix(text_pair: ModelPair) -> None:
    begun = [{"chosen": "Rent? TL;DR: ten", "rejected": "Rent? TL;DR: ten days"}, *IMPLICIT]
    assert best(compared(text_pair, begun)).name == "longest common prefix"


def test_trls_own_limit_is_recognised(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    models = [
        save(
            language_model(seed=n, max_position_embeddings=2048, num_hidden_layers=1), tmp_path / str(n), tiny_tokenizer
        )
        for n in (1, 2)
    ]
    pair = load_pair(*models, beta=BETA, loading=CPU)
    lake = "We drove to the lake on Sunday. "
    rows = [*TEXT, {**TEXT[0], "chosen": f" {lake * 140}"}, {**TEXT[0], "prompt": lake * 160}]
    assert [len(tiny_tokenizer(rows[n][key])["input_ids"]) > 1024 for n, key in ((-2, "chosen"), (-1, "prompt"))] == [
        True
    ] * 2
    rewards = Rewards(pair, read(rows), Way(beta=BETA))
    target, notes = trl_rewards(pair, rewards.rows)
    assert target.numbers[-1] is None and "drops 1 of 5 rows" in notes[0]
    found = verify(rewards, [target]).comparisons[0].trials[0]
    assert (found.meets, found.name, found.of) == (True, "first 1024 tokens", 4)


@pytest.mark.parametrize("with_ref", [True, False], ids=["adapter ref", "adapter off"])
def test_an_adapter_agrees_with_trl_and_comes_back_as_it_was(with_ref: bool, tmp_path: Path) -> None:
    here = save_adapter(tmp_path)
    if not with_ref:
        shutil.rmtree(here / "ref")
    pair = loaded(here)
    module: Any = pair.policy.module  # type: ignore[union-attr]
    before, adapters = copy.deepcopy(module.state_dict()), set(module.peft_config)
    assert ("ref" in adapters) == with_ref
    first = compared(pair, TEXT)
    assert first.agrees and max(abs(x) for one in first.comparisons[0].rows for x in one.theirs) > 0.1
    after = module.state_dict()
    assert before.keys() == after.keys() and set(module.peft_config) == adapters
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())
    again = compared(pair, TEXT)
    assert again.comparisons[0].rows == first.comparisons[0].rows


def test_models_and_tokenizer_come_back_as_they_were(text_pair: ModelPair) -> None:
    models: list[Any] = [side.module for side in (text_pair.policy, text_pair.reference)]  # type: ignore[union-attr]
    text_pair.tokenizer.pad_token = None
    kept = [
        (model.__dict__.get("forward"), model.config.pad_token_id, copy.deepcopy(model.state_dict()))
        for model in models
    ]
    trl_rewards(text_pair, read(TEXT))
    assert text_pair.tokenizer.pad_token is None
    for model, (forward, pad, weights) in zip(models, kept, strict=True):
        assert (model.__dict__.get("forward"), model.config.pad_token_id) == (forward, pad)
        assert all(torch.equal(weight, weights[name]) for name, weight in model.state_dict().items())


def test_what_trl_cannot_evaluate_is_one_line(text_pair: ModelPair) -> None:
    with pytest.raises(CreditError, match=r"TRL .* cannot evaluate these rows: .*template.*--no-trl"):
        trl_rewards(text_pair, read(CHAT))  # its tokenizer has no chat template


def test_without_trl_its_absence_is_said_and_something_else_must_be_there(
    text_pair: ModelPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(references, "trl_installed", lambda: False)
    rewards = Rewards(text_pair, read(TEXT), Way(beta=BETA))
    with pytest.raises(
        CreditError, match=r"nothing to compare with: install TRL \(pip install 'dpo-credit\[train\]'\)"
    ):
        gather(rewards)
    log = json.dumps([{"eval_rewards/chosen": 0.1, "eval_rewards/rejected": 0.2}]).encode()
    targets, notes = gather(rewards, (log, "state.json"))
    assert [target.means for target in targets] == [True] and "TRL is not installed" in notes[0]


def test_the_means_that_trl_logs_are_recognised_with_batches_of_unequal_size(
    tmp_path: Path, tiny_pair_dirs: tuple[Path, Path], text_pair: ModelPair, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    rows = datasets.Dataset.from_list(HARD_TEXT[:5])  # batches of 2, 2 and 1: TRL averages their means
    config = trl.DPOConfig(
        str(tmp_path),
        beta=BETA,
        per_device_eval_batch_size=2,
        report_to="none",
        use_cpu=True,
        bf16=False,
        disable_tqdm=True,
    )
    models = [AutoModelForCausalLM.from_pretrained(directory) for directory in tiny_pair_dirs]
    trainer = trl.DPOTrainer(*models, args=config, train_dataset=rows, processing_class=tiny_tokenizer)
    trainer.evaluate(rows)
    trainer.state.save_to_json(str(tmp_path / "trainer_state.json"))
    target, notes = logged_rewards((tmp_path / "trainer_state.json").read_bytes(), "trainer_state.json", 5)
    assert (target.batches, notes) == ((2,), ())
    rewards = Rewards(text_pair, read(HARD_TEXT[:5]), Way(beta=BETA))
    report = verify(rewards, [target])
    assert report.agrees and report.comparisons[0].notes == ()  # its loss is DPO's too
    plain = verify(rewards, [replace(target, batches=())])
    assert not plain.agrees  # the plain mean of five rows is another number
    found = verify(Rewards(text_pair, read(HARD_TEXT[:5]), Way(beta=0.1)), [target]).comparisons[0].trials[0]
    assert (found.meets, found.flags) == (True, "--beta 0.37")
