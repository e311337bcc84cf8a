"""A trainer's `training_args.bin`: read as it is, whatever is in it, and nothing of it runs."""

from __future__ import annotations

import enum
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from trl import DPOConfig

from dpo_credit.credit import CreditError
from dpo_credit.models.training_args import MOST_BYTES, MOST_OPCODES, read


class Divergence(enum.Enum):
    """As older versions of TRL have it."""

    JS = "js_divergence"


class OldConfig:
    """Arguments with an enum, as older versions of TRL have them."""

    def __init__(self) -> None:
        self.beta, self.loss_type, self.f_divergence_type = 0.2, "ipo", Divergence.JS


class Command:
    """What a pickle can hold in place of a number."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DPOConfig:
    return DPOConfig(
        str(tmp_path_factory.mktemp("run")), beta=0.2, loss_type=["sigmoid", "sft"], loss_weights=[0.5, 2.0],
        ld_alpha=0.5, max_length=None, use_cpu=True, bf16=False, report_to="none",
    )  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
def test_the_arguments_are_those_that_were_saved(config: DPOConfig, tmp_path: Path, zipped: bool) -> None:
    torch.save(config, tmp_path / "args.bin", _use_new_zipfile_serialization=zipped)
    kind, arguments = read(tmp_path / "args.bin")
    simple = {name: value for name, value in vars(config).items() if type(value) in (str, int, float, bool, type(None))}
    assert kind == "DPOConfig" and len(simple) > 100
    assert {name: arguments[name] for name in simple} == simple
    assert (arguments["loss_type"], arguments["loss_weights"]) == (["sigmoid", "sft"], [0.5, 2.0])
    assert arguments["lr_scheduler_type"] == "linear"  # an enum


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_reads_alike(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "args.bin").write_bytes(pickle.dumps(OldConfig(), protocol=protocol))
    kind, arguments = read(tmp_path / "args.bin")
    assert kind == "OldConfig"
    assert arguments["beta"] == 0.2 and arguments["loss_type"] == "ipo"
    # some versions of Python pickle an enum by its name
    assert arguments["f_divergence_type"] in ("js_divergence", "JS")


def test_nothing_in_it_runs(config: DPOConfig, tmp_path: Path) -> None:
    marker, bad = tmp_path / "ran", pickle.loads(pickle.dumps(config))
    bad.seed = Command(marker)
    torch.save(bad, tmp_path / "args.bin")
    assert read(tmp_path / "args.bin")[1]["beta"] == 0.2
    torch.save(Command(marker), tmp_path / "command.bin")
    with pytest.raises(CreditError, match="holds no object with fields"):
        read(tmp_path / "command.bin")
    assert not marker.exists()
    pickle.loads(pickle.dumps(Command(marker)))
    assert marker.exists()  # as unpickling does


def zipped(path: Path, data: bytes, name: str = "training_args/data.pkl") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)


WHOLE = pickle.dumps(OldConfig(), protocol=2)
ODD = {
    "empty": (lambda path: path.write_bytes(b""), "holds no object"),
    "text": (lambda path: path.write_text("<html>not found</html>"), ""),
    "cut off": (lambda path: path.write_bytes(WHOLE[:-20]), ""),
    "no pickle": (lambda path: zipped(path, WHOLE, "weights"), "a zip without data.pkl"),
    "cut off in a zip": (lambda path: zipped(path, WHOLE[: len(WHOLE) // 2]), ""),
    "a zip cut off": (
        lambda path: (zipped(path, WHOLE), path.write_bytes(path.read_bytes()[:99])),
        "damaged or cut off",
    ),
    "large": (lambda path: path.write_bytes(b"\0" * (MOST_BYTES + 1)), "more than any trainer's arguments"),
    "a bomb": (lambda path: zipped(path, b"\x80\x02X" + b"\xff\xff\xff\x7f" + b"a" * 2 * MOST_BYTES), "more than"),
    "endless": (lambda path: path.write_bytes(b"\x80\x02" + b"N" * MOST_OPCODES + b"."), "opcodes"),
    "a list in itself": (lambda path: path.write_bytes(b"\x80\x02]q\x00h\x00a."), "holds no object"),
    "a number": (lambda path: path.write_bytes(pickle.dumps(3)), "holds no object"),
    "nothing to call": (lambda path: path.write_bytes(b"\x80\x02N)R."), ""),
    "no mark": (lambda path: path.write_bytes(b"\x80\x02}u."), ""),
    "a directory": (lambda path: path.mkdir(), "Is a directory"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_such_file_is_said_in_one_line(tmp_path: Path, odd: str) -> None:
    make, said = ODD[odd]
    make(tmp_path / "args.bin")
    with pytest.raises(CreditError, match=rf"args\.bin cannot be read: .*({said})") as refused:
        read(tmp_path / "args.bin")
    assert "\n" not in str(refused.value)


def test_a_list_in_itself_among_the_fields_does_no_harm(tmp_path: Path) -> None:
    looping = OldConfig()
    looping.loss_type = ["sigmoid"]  # type: ignore[assignment]
    looping.loss_type.append(looping.loss_type)  # type: ignore[attr-defined]
    (tmp_path / "args.bin").write_bytes(pickle.dumps(looping))
    assert read(tmp_path / "args.bin")[1]["beta"] == 0.2
