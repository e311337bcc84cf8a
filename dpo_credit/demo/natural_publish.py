"""Put the adapters of a training into the package: float16, and on a base that is known by its name.

python -m dpo_credit.demo.natural_publish natural-run/dpo
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from .evaluate import HERE

BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
_WEIGHTS, _SETTINGS = "adapter_model.safetensors", "adapter_config.json"


def publish(trained: Path, directory: Path) -> None:
    """Write the policy's adapter and its reference's, `ref/`, from where TRL saved them.

    Raises:
        FileNotFoundError: one of them is not there.
    """
    for folder in ("", "ref"):
        settings = json.loads((trained / folder / _SETTINGS).read_text("utf-8"))
        weights = load_file(trained / folder / _WEIGHTS)
        settings["base_model_name_or_path"] = BASE
        settings["target_modules"] = sorted(settings["target_modules"])
        kept = {name: value for name, value in settings.items() if value not in (None, {}, [])}
        (directory / folder).mkdir(parents=True, exist_ok=True)
        (directory / folder / _SETTINGS).write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", "utf-8")
        half = {name: weight.half().contiguous() for name, weight in weights.items()}
        save_file(half, directory / folder / _WEIGHTS, {"format": "pt"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish a training, or one of its checkpoints."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("trained", type=Path, help="a directory of `train dpo`, or a checkpoint in it")
    parser.add_argument("--out", type=Path, default=HERE / "smollm2", help="a directory (default: the package's own)")
    options = parser.parse_args(arguments)
    publish(options.trained, options.out)


if __name__ == "__main__":
    main()
