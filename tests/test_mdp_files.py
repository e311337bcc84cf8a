"""How segments and policies are read, and what is said of files that are neither."""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mdps import categorical, gaussian, layers, pair, segment

from dpo_credit.credit import CreditError, NotFiniteError
from dpo_credit.mdp.arrays import read_npz
from dpo_credit.mdp.credit import score
from dpo_credit.mdp.frames import thumbnails
from dpo_credit.mdp.loading import load_policy
from dpo_credit.mdp.policies import Mlp
from dpo_credit.mdp.segments import Segment, SegmentPair, parse_pair
from dpo_credit.rows.aside import SetAside

EXACT = 1e-12  # float64 on both sides


def as_lists(steps: Segment) -> dict[str, object]:
    return {"observations": steps.observations.tolist(), "actions": steps.actions.tolist()}


def credits_of(pairs: list[SegmentPair]) -> list[float]:
    policy = categorical() if pairs[0].chosen.discrete else gaussian()
    scored = [score(each, policy) for each in pairs]
    return [side.credit for each in scored for side in (each.chosen, each.rejected)]


@pytest.mark.parametrize("discrete", [True, False])
def test_rows_and_arrays_hold_the_same_pairs(discrete: bool, tmp_path: Path) -> None:
    chosen, rejected = ([segment(5, seed, discrete=discrete) for seed in seeds] for seeds in ((1, 2), (3, 4)))
    rows = [
        parse_pair({"chosen": as_lists(chosen[0]), "rejected": as_lists(rejected[0])}, "0"),
        parse_pair({"segments": [as_lists(rejected[1]), as_lists(chosen[1])], "preferred": 1}, "1"),
    ]

    def stacked(segments: list[Segment], field: str) -> np.ndarray:
        return np.stack([getattr(each, field) for each in segments])

    fields = ("observations", "actions")
    named = {"chosen": chosen, "rejected": rejected}
    np.savez(tmp_path / "a.npz", **{f"{side}_{f}": stacked(named[side], f) for side in named for f in fields})
    preferred = np.array([0, 1])
    two = {f: np.stack([stacked([chosen[0], rejected[1]], f), stacked([rejected[0], chosen[1]], f)]) for f in fields}
    np.savez_compressed(tmp_path / "b.npz", preferred=preferred, ids=np.array(["x", "y"]), **two)
    assert credits_of(list(read_npz(tmp_path / "a.npz"))) == credits_of(rows)
    again = list(read_npz(tmp_path / "b.npz"))
    assert credits_of(again) == credits_of(rows) and [each.id for each in again] == ["x", "y"]


GOOD = {"observations": [[0.0, 1.0, 2.0]], "actions": [1]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chosen": GOOD}, "no rejected. A row has chosen and rejected"),
        ({"chosen": GOOD, "rejected": [1]}, "rejected is a list; it must be an object"),
        ({"chosen": GOOD, "rejected": {"observations": [[1]]}}, "rejected has no actions"),
        ({"segments": [GOOD], "preferred": 0}, "segments must be a list of two"),
        ({"segments": [GOOD, GOOD], "preferred": 2}, "preferred is 2; it must be 0 or 1"),
        ({"segments": [GOOD, GOOD]}, "preferred is missing"),
        ({"chosen": GOOD, "rejected": GOOD | {"observations": [0.0]}}, "observations have shape (1,)"),
        ({"chosen": GOOD, "rejected": GOOD | {"observations": []}}, "observations have shape (0,)"),
        ({"chosen": GOOD, "rejected": GOOD | {"observations": [[1, 2], [3]]}}, "observations is ragged"),
        ({"chosen": GOOD, "rejected": GOOD | {"observations": [["1", 2, 3]]}}, "something else than numbers"),
        ({"chosen": GOOD, "rejected": GOOD | {"observations": [[None, 2, 3]]}}, "something else than numbers"),
        ({"chosen": GOOD, "rejected": GOOD | {"observations": [[1, 2]]}}, "of rejected (L, *(2,))"),
        ({"chosen": GOOD, "rejected": GOOD | {"actions": [0.5]}}, "actions are real numbers, one a step"),
        ({"chosen": GOOD, "rejected": GOOD | {"actions": [-1]}}, "action -1 at step 0"),
        (
            {"chosen": GOOD, "rejected": GOOD | {"actions": [[0.5]]}},
            "chosen has whole numbers as actions, rejected real",
        ),
        ({"chosen": GOOD, "rejected": GOOD | {"actions": [0, 1]}}, "1 observations and 2 actions"),
        ({"chosen": GOOD, "rejected": GOOD | {"rewards": [1, 2]}}, "1 observations and 2 rewards"),
        ({"chosen": GOOD, "rejected": GOOD | {"frames": [1]}}, "frames must be a list of names"),
        ({"chosen": GOOD, "rejected": GOOD | {"actions": "up"}}, "actions is 'up'; it must be a list"),
    ],
)
def test_a_row_that_is_none_says_what_is_wrong(fields: dict[str, object], message: str) -> None:
    with pytest.raises(CreditError) as raised:
        parse_pair(fields, "row")
    assert message in str(raised.value) and str(raised.value).startswith("row: ") and "\n" not in str(raised.value)


ARRAYS = {
    "chosen_observations": np.zeros((2, 4, 3)),
    "chosen_actions": np.zeros((2, 4), int),
    "rejected_observations": np.zeros((2, 4, 3)),
    "rejected_actions": np.zeros((2, 4), int),
}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"chosen_observations": np.zeros((3, 4, 3))}, "different numbers of pairs"),
        ({"chosen_observations": np.array(0.0)}, "different numbers of pairs"),
        ({"chosen_observations": np.full((2, 4, 3), np.nan)}, "0: chosen: observations[0][0] is nan"),
        ({"chosen_actions": np.zeros((2, 4))}, "actions are real numbers"),
        ({"chosen_actions": np.zeros((2, 4, 2), int)}, "actions have shape (4, 2) and type int64"),
        ({"chosen_actions": np.array([["a"] * 4] * 2)}, "chosen actions are of type <U1"),
        ({"ids": np.zeros(3, int)}, "ids have shape (3,)"),
        ({"chosen_rewards": np.array([[{}] * 4] * 2, object)}, "chosen_rewards holds pickled objects"),
        ({"observations": np.zeros((2, 2, 4, 3)), "actions": np.zeros((2, 2, 4), int)}, "has no preferred, but"),
    ],
)
def test_arrays_that_are_none_say_what_is_wrong(arrays: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{**ARRAYS, **arrays})
    with pytest.raises(CreditError) as raised:
        list(read_npz(tmp_path / "a.npz"))
    assert message in str(raised.value) and "\n" not in str(raised.value)


def npz_of(path: Path, header: bytes, body: bytes = b"") -> Path:
    """An archive whose first array has a header of our own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "chosen_observations.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body
        )
    return path


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}\n",
            "says it has 8,000,000,000,000 bytes",
        ),
        (
            b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"1," * 20_000 + b")}\n",
            "is no npz that can be read",
        ),
        (b"not a header\n", "is no npz that can be read"),
    ],
)
def test_a_header_that_lies_makes_no_array(header: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(CreditError, match=message):
        list(read_npz(npz_of(tmp_path / "a.npz", header)))


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(CreditError, match="is no npz that can be read"):
        list(read_npz(tmp_path / "a.npz"))
    with pytest.raises(CreditError, match="does not exist"):
        list(read_npz(tmp_path / "b.npz"))


def test_a_bad_pair_of_arrays_is_set_aside(tmp_path: Path) -> None:
    observations = np.zeros((2, 4, 3))
    observations[1, 2, 0] = np.inf
    np.savez(tmp_path / "a.npz", **{**ARRAYS, "rejected_observations": observations})
    aside = SetAside(strict=False)
    assert [each.id for each in read_npz(tmp_path / "a.npz", aside)] == ["0"]
    assert aside.rows[0].error == "1: rejected: observations[2][0] is inf, which is no number."


def test_a_policy_of_another_mdp_is_refused() -> None:
    wide = SegmentPair("w", *(Segment(np.zeros((2, 9)), np.zeros(2, int)) for _ in range(2)))
    with pytest.raises(
        CreditError, match=r"w: chosen: observations of shape \(L, 9\); policy categorical takes \(L, 3\)"
    ):
        score(wide, categorical())
    with pytest.raises(CreditError, match="policy gaussian has real actions"):
        score(pair(), gaussian())
    many = SegmentPair("m", *(Segment(np.zeros((2, 3)), np.array([0, 7])) for _ in range(2)))
    with pytest.raises(CreditError, match="action 7 at step 1: policy categorical has 4, numbered from 0"):
        score(many, categorical())


CODE = """
import math
import numpy as np

def uniform(observations, actions):
    return np.full(len(observations), -math.log(4))

def never(observations, actions):
    return np.full(len(observations), -math.inf)

def column(observations, actions):
    return np.zeros((len(observations), 1))

def broken(observations, actions):
    return undefined_name

class Policy:
    action_names = ("up", "right", "down", "left")

    def log_prob(self, observations, actions):
        return uniform(observations, actions)

def three(a, b, c):
    pass
"""
MODULE = """
import torch

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(3, 4)

    def log_prob(self, observations, actions):
        return self.head(observations).log_softmax(-1).gather(-1, actions[:, None])[:, 0]
"""


def test_a_policy_may_be_a_function_an_object_or_a_class(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CODE)
    expected = [-0.1 * math.log(4)] * 4
    for name in ("uniform", "Policy"):
        policy = load_policy(f"{tmp_path}/own.py:{name}")
        assert score(pair(), policy).chosen.credits == pytest.approx(expected, abs=EXACT)
    assert policy.action_names == ("up", "right", "down", "left")


def test_a_torch_module_gets_its_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    (tmp_path / "own.py").write_text(MODULE)
    ((weight, bias),) = layers(3, 4)
    save_file(
        {"head.weight": torch.from_numpy(weight).float(), "head.bias": torch.from_numpy(bias).float()},
        tmp_path / "weights.safetensors",
    )
    policy = load_policy(f"{tmp_path}/own.py:Network", str(tmp_path / "weights.safetensors"))
    expected = score(pair(), Mlp("linear", ((weight, bias),))).chosen.credits
    assert score(pair(), policy).chosen.credits == pytest.approx(expected, abs=1e-6)  # the module runs in float32
    with pytest.raises(CreditError, match="is no state of"):
        load_policy(f"{tmp_path}/own.py:Network", str(Path("dpo_credit/demo/grid/policy.safetensors").resolve()))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "has no nothing, but"),
        ("three", "it must be a function log_prob"),
        ("math", "it must be a function log_prob"),
        ("never", "gives log-probability -inf at step 0 .* It never takes that action"),
        ("column", r"gives log-probabilities of shape \(4, 1\) for 4 steps"),
        ("broken", "fails: NameError"),
    ],
)
def test_code_that_is_no_policy_says_what_is_wrong(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CODE)
    with pytest.raises(CreditError, match=message) as raised:
        score(pair(), load_policy(f"{tmp_path}/own.py:{name}"))
    assert isinstance(raised.value, NotFiniteError) == (name == "never")


def test_files_that_are_no_policy_say_what_is_wrong(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    (tmp_path / "own.py").write_text("1 / 0")
    (tmp_path / "torn.safetensors").write_bytes(b"no")
    weight = {"layers.0.weight": np.zeros((4, 3)), "layers.0.bias": np.zeros(4)}
    files = {"plain": None, "few": {"family": "categorical-mlp", "sizes": "3,5,4"}, "odd": {"family": "gaussian-mlp"}}
    for file, metadata in files.items():
        save_file(weight, tmp_path / f"{file}.safetensors", metadata)
    for source, message in {
        "own.py": "names no policy in the file",
        "own.py:x": "fails: ZeroDivisionError",
        "none.py:x": "does not exist",
        "none.safetensors": "does not exist",
        "torn.safetensors": "cannot be read as safetensors",
        "plain.safetensors": "says its family is None",
        "few.safetensors": "has no tensor layers.1.weight",
        "odd.safetensors": "says its sizes are None",
    }.items():
        with pytest.raises(CreditError, match=message):
            load_policy(f"{tmp_path}/{source}")
    with pytest.raises(CreditError, match=r"layers.1 has a weight of shape \(4, 6\)"):
        Mlp("bad", (layers(3, 5)[0], layers(6, 4)[0]))
    with pytest.raises(CreditError, match="not all finite"):
        Mlp("bad", ((np.full((4, 3), np.nan), np.zeros(4)),))


def test_frames_are_pictures_beside_the_rows(tmp_path: Path) -> None:
    from PIL import Image

    inside = tmp_path / "rows"
    inside.mkdir()
    Image.new("RGB", (400, 300)).save(inside / "a.jpg", "JPEG")
    Image.new("RGB", (10, 10)).save(tmp_path / "b.png")
    (inside / "c.png").write_bytes(b"no picture")
    (inside / "d.png").symlink_to(tmp_path / "b.png")
    assert thumbnails(["a.jpg", "a.jpg"], inside)[1].startswith(b"\x89PNG")
    for name, message in {"../b.png": "outside", "d.png": "outside", "c.png": "no PNG", "e.png": "not exist"}.items():
        with pytest.raises(CreditError, match=message):
            thumbnails([name], inside)
