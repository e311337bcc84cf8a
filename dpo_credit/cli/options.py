"""The options that every scoring command has, with one name, one help text and one meaning."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.encode import Conventions
    from dpo_credit.models import ModelPair

MODELS, TEXT, SAFETY = "Models", "From text to tokens", "Safety"


def _from_config(context: typer.Context, path: Path | None) -> Path | None:
    """Let a YAML or TOML file set what no flag sets."""
    if path is not None:
        names = {
            option.lstrip("-").replace("-", "_"): parameter.name
            for parameter in context.command.params
            for option in parameter.opts
            if option.startswith("--")
        }
        values = {str(key).replace("-", "_"): value for key, value in _load_config(path).items()}
        unknown = sorted(values.keys() - names.keys())
        if unknown:
            raise CreditError(
                f"{path} sets {', '.join(unknown)}, which {context.command.name} does not have. See --help."
            )
        context.default_map = {names[key]: value for key, value in values.items()}
    return path


def _load_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CreditError(f"cannot read --config {path}: {error}") from error
    try:
        if path.suffix == ".toml":
            values = tomllib.loads(text)
        else:
            import yaml

            values = yaml.safe_load(text) or {}
    except Exception as error:  # whatever a parser raises is about the user's file
        raise CreditError(f"--config {path} cannot be parsed: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise CreditError(f"--config {path} must hold names and values, such as beta: 0.1")
    return values


def _option(*names: str, help: str, panel: str = MODELS, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


def _flag(*names: str, help: str, panel: str = MODELS) -> Any:
    return _option(*names, help=help, panel=panel, show_default=False)


@dataclass(frozen=True)
class PairOptions:
    """Which models score, how they are loaded, and how text becomes tokens."""

    policy: Annotated[
        str | None,
        _option(
            *("--policy", "--model", "-m"),
            help="The DPO-trained model: a directory, a hub name or a PEFT adapter.",
            show_default="the embedded pair",
        ),
    ] = None
    reference: Annotated[
        str | None,
        _option(
            *("--reference", "--ref-model", "-r"),
            help="The SFT model it was trained from.",
            show_default="an adapter's own base",
        ),
    ] = None
    beta: Annotated[float, _option("--beta", help="The beta the policy was trained with.")] = 0.1
    device: Annotated[
        str,
        _option("--device", help="auto, cpu, cuda, cuda:N or mps; two with a comma: the policy's, the reference's."),
    ] = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        _option("--dtype", help="auto is bfloat16 on CUDA, float32 elsewhere; the LM head is float32 always."),
    ] = "auto"
    attn_implementation: Annotated[
        str | None,
        _option("--attn-implementation", help="eager, sdpa, flash_attention_2, ...", show_default="the model's"),
    ] = None
    revision: Annotated[
        str | None, _option("--revision", help="Branch, tag or commit of models on the hub.", show_default="main")
    ] = None
    device_map: Annotated[
        str | None,
        _option("--device-map", help="auto spreads a model over several devices (accelerate).", show_default="off"),
    ] = None
    load_in_4bit: Annotated[bool, _flag("--load-in-4bit", help="Quantise the weights (needs the extra quant).")] = False
    load_in_8bit: Annotated[bool, _flag("--load-in-8bit", help="Likewise, to 8 bits.")] = False
    sequential: Annotated[bool, _flag("--sequential", help="Score with one model, free it, then the other.")] = False
    eos: Annotated[
        Literal["auto", "always", "never"],
        _option(
            "--eos", panel=TEXT, help="End the answer with EOS; auto: plain text does, a chat as its template has it."
        ),
    ] = "auto"
    chat_template: Annotated[
        str,
        _option(
            "--chat-template",
            panel=TEXT,
            help="auto (the tokenizer's), none (a Human/Assistant transcript) or a Jinja file.",
        ),
    ] = "auto"
    max_length: Annotated[
        int | None,
        _option(
            "--max-length",
            panel=TEXT,
            min=2,
            help="Most tokens of prompt and answer.",
            show_default="the models' limit",
        ),
    ] = None
    truncate: Annotated[
        Literal["error", "prompt-start"],
        _option(
            "--truncate", panel=TEXT, help="What to do above it: stop, or cut the prompt's start and say how much."
        ),
    ] = "error"
    trust_remote_code: Annotated[
        bool, _flag("--trust-remote-code", panel=SAFETY, help="Run code from a model's repository.")
    ] = False
    allow_pickle: Annotated[
        bool, _flag("--allow-pickle", panel=SAFETY, help="Load weights that are not safetensors; they can run code.")
    ] = False
    config: Annotated[
        Path | None,
        _option(
            "--config", help="YAML or TOML file with these options; flags win.", callback=_from_config, is_eager=True
        ),
    ] = None

    def load_pair(self) -> ModelPair:
        """The two models."""
        from dpo_credit.checkpoints import Loading
        from dpo_credit.models import load_pair

        if self.load_in_4bit and self.load_in_8bit:
            raise CreditError("--load-in-4bit and --load-in-8bit exclude each other.")
        loading = Loading(
            device=self.device,
            dtype=self.dtype,
            device_map=self.device_map,
            quantize="4bit" if self.load_in_4bit else "8bit" if self.load_in_8bit else None,
            attn_implementation=self.attn_implementation,
            revision=self.revision,
            sequential=self.sequential,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
        )
        return load_pair(self.policy, self.reference, beta=self.beta, loading=loading)

    def conventions(self) -> Conventions:
        """How text becomes tokens."""
        from dpo_credit.cli.files import read
        from dpo_credit.encode import Conventions

        template = self.chat_template
        if template not in ("auto", "none"):
            template = read(template).decode(errors="replace")
        return Conventions(self.eos, template, self.max_length, self.truncate)


def with_pair_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, whose last parameter is `options: PairOptions`, those options as its own flags."""

    @wraps(command)
    def run(**arguments: Any) -> None:
        options = PairOptions(**{field.name: arguments.pop(field.name) for field in fields(PairOptions)})
        command(**arguments, options=options)

    hints = get_type_hints(PairOptions, include_extras=True)
    own = inspect.signature(command, eval_str=True)
    kept = [parameter for parameter in own.parameters.values() if parameter.name != "options"]
    shared = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(PairOptions)
    ]
    run.__signature__ = own.replace(parameters=[*kept, *shared])  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*kept, *shared]}
    return run
