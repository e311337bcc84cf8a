"""What a loss makes of rewards: TRL's own losses, each as a function of the rewards that we compute for it."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any

import pytest
from datasets import Dataset
from tiny import language_model, save, tokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig

from dpo_credit import Loading, load_pair, score
from dpo_credit.models.objective import LOSSES, objective
from dpo_credit.models.pair import Cut
from dpo_credit.rows.records import parse_row

BETA, SMOOTHING, TAU = 0.2, 0.1, 0.05
ROW = {"prompt": "Rent is 120 dollars.\n\nTL;DR:", "chosen": " It is 120.", "rejected": " It is 121 now, and rising."}


def logistic(x: float) -> float:
    """-log sigmoid(x)."""
    return math.log1p(math.exp(-x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def exo(m: float) -> float:
    q = sigmoid(m)
    return q * (math.log(q) - math.log(1 - SMOOTHING)) + (1 - q) * (math.log(1 - q) - math.log(SMOOTHING))


def smoothed(m: float) -> float:
    return (1 - SMOOTHING) * logistic(m) + SMOOTHING * logistic(-m)


def discopop(m: float) -> float:
    share = sigmoid(m / TAU)
    return (1 - share) * logistic(m) + share * math.exp(-m)


# Each loss as its paper has it, for one preference: from the rewards of the chosen and the rejected answer.
NAIVE = {
    "sigmoid": lambda c, r: logistic(c - r),
    "hinge": lambda c, r: max(0.0, 1 - (c - r)),
    "ipo": lambda c, r: ((c - r) / BETA - 1 / (2 * BETA)) ** 2,
    "exo_pair": lambda c, r: exo(c - r),
    "nca_pair": lambda c, r: logistic(c) + 0.5 * logistic(-c) + 0.5 * logistic(-r),
    "robust": lambda c, r: ((1 - SMOOTHING) * logistic(c - r) - SMOOTHING * logistic(r - c)) / (1 - 2 * SMOOTHING),
    "bco_pair": lambda c, r: logistic(c) + logistic(-r),
    "sppo_hard": lambda c, r: ((c - 0.5) ** 2 + (r + 0.5) ** 2) / BETA**2,
    "aot": lambda c, r: smoothed(c - r),
    "aot_unpaired": lambda c, r: smoothed(c - r),
    "apo_zero": lambda c, r: 1 - sigmoid(c) + sigmoid(r),
    "apo_down": lambda c, r: sigmoid(c) + 1 - sigmoid(c - r),
    "discopop": lambda c, r: discopop(c - r),
    "sigmoid_norm": lambda c, r: logistic(c - r),
}


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> DPOTrainer:
    """TRL's trainer of two models that are a little apart, on one row."""
    folder = tmp_path_factory.mktemp("run")
    policy, reference = (save(language_model(seed=1), folder / name, tokenizer()) for name in ("policy", "reference"))
    model, start = language_model(seed=1), language_model(seed=1)
    for weight in model.parameters():
        weight.data += 0.1 * weight.data.flip(0)
    save(model, policy)
    config = DPOConfig(
        str(folder / "out"), beta=BETA, label_smoothing=SMOOTHING, discopop_tau=TAU, loss_type=["sigmoid"],
        use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
    )  # fmt: skip
    rows = Dataset.from_list([ROW])
    made = DPOTrainer(model, ref_model=start, args=config, train_dataset=rows, processing_class=tokenizer())
    made.folder = (policy, reference)
    return made


def theirs(trainer: DPOTrainer, loss: str) -> float:
    """TRL's loss."""
    trainer.loss_types, trainer.loss_weights = [loss], [1.0]
    trainer.model.eval()
    batch = trainer.data_collator([trainer.train_dataset[0]])
    return float(trainer._compute_loss(trainer.model, batch, return_outputs=False))


@pytest.mark.parametrize("loss", NAIVE)
def test_each_loss_of_trl_is_a_function_of_our_rewards(trainer: DPOTrainer, loss: str) -> None:
    trained = objective({"beta": BETA, "loss_type": [loss]})
    assert trained.refusal == ""
    pair = load_pair(
        *trainer.folder, beta=trained.beta, length_normalised=trained.length_normalised, loading=Loading(device="cpu")
    )
    rewards = [credit.reward for credit in score(pair, parse_row(ROW, "row").examples)]
    assert abs(rewards[0] - rewards[1]) > 0.01  # the answers differ, so another formula would give another loss
    # both sum float32 log-probabilities near 50 nats: 1e-5 of them, times beta, or as a square of nats
    assert theirs(trainer, loss) == pytest.approx(NAIVE[loss](*rewards), rel=1e-3, abs=1e-4)


def test_every_loss_of_trl_is_known() -> None:
    listed = re.search(r"Should be one of \[(.*?)\]", inspect.getsource(DPOTrainer), re.DOTALL)
    assert listed is not None
    theirs = set(re.findall(r"'(\w+)'", listed[1]))
    assert theirs == NAIVE.keys() | {"sft"}
    told = re.search(
        r"Possible values are: (.*?)\. If multiple", DPOConfig.__dataclass_fields__["loss_type"].metadata["help"]
    )
    assert told is not None and set(re.findall(r"`'(\w+)'`", told[1])) == theirs
    kto = set(KTOConfig.__dataclass_fields__["loss_type"].metadata["choices"])
    assert theirs | kto | {"kto_pair", "aot_pair"} == LOSSES.keys()  # the last two are older versions'


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"loss_type": "sft"}, "loss sft alone"),
    ({"loss_type": ["sigmoid", "ipo"]}, "losses sigmoid, ipo, some of which take a mean"),
    ({"loss_type": ["newest"]}, "loss newest, whose rewards are not known"),
    ({"f_divergence_type": "forward_kl"}, "f-divergence forward_kl"),
    ({"f_divergence_type": "JS_DIVERGENCE"}, "f-divergence js_divergence"),
    ({"f_divergence_type": "alpha_divergence"}, "f-divergence alpha_divergence"),
    ({"ld_alpha": 0.5}, "tokens past the shorter answer's length count 0.5 times"),
    ({"ld_alpha": 0}, "count 0 times"),
    ({"reference_free": True}, "with no reference in them"),
]


@pytest.mark.parametrize(("arguments", "why"), REFUSED)
def test_rewards_of_another_formula_are_refused(arguments: dict[str, Any], why: str) -> None:
    assert why in objective({"beta": 0.1, **arguments}).refusal


COMPUTED: list[tuple[dict[str, Any], bool]] = [
    ({}, False),
    ({"loss_type": "sigmoid", "ld_alpha": 1.0, "f_divergence_type": "REVERSE_KL", "reference_free": False}, False),
    ({"loss_type": ["sigmoid", "sft"]}, False),
    ({"loss_type": ["sigmoid_norm", "sft"]}, True),
    ({"loss_type": ["sigmoid", "ipo"], "loss_weights": [0.0, 1.0]}, True),
]


@pytest.mark.parametrize(("arguments", "normalised"), COMPUTED)
def test_the_loss_decides_whether_rewards_are_means(arguments: dict[str, Any], normalised: bool) -> None:
    trained = objective(arguments)
    assert (trained.refusal, trained.length_normalised) == ("", normalised)


def test_a_beta_that_is_none_is_not_used() -> None:
    for beta in (0, -0.1, math.nan, math.inf, True, "0.1", [0.1], None):
        assert objective({"beta": beta}).beta is None
    assert objective({"beta": 1}).beta == 1.0


def test_where_rows_were_cut_depends_on_the_version() -> None:
    assert objective({"max_length": None}).cut is None
    assert objective({"max_length": 512, "truncation_mode": "keep_end"}).cut == Cut(512, keeps="keep_end")
    lengths = {"max_length": 512, "max_prompt_length": 128}
    assert objective({**lengths, "max_completion_length": None}).cut == Cut(512, 128)
    # before 0.12 a prompt is cut only where the row is longer than max_length
    assert objective(lengths).cut == Cut(512)
    assert objective({**lengths, "max_completion_length": None, "max_target_length": None}).cut == Cut(512)


def test_a_reference_that_moved_is_told() -> None:
    assert "sync_ref_model" in objective({"sync_ref_model": True}).words[0]
    assert objective({"sync_ref_model": False}).words == ()
