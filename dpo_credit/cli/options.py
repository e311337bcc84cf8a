"""Which models score, and how text becomes tokens: options that commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from dpo_credit.cli.flags import flag, from_config, from_published, option, published_names
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.models.pair import Loading, ModelPair
    from dpo_credit.scoring import Scorer
    from dpo_credit.text.conventions import Conventions

TEXT, SAFETY = "From text to tokens", "Safety"
_option, _flag = partial(option, panel="Models"), partial(flag, panel="Models")

# what commands that load models share
Device = Annotated[
    str,
    _option("--device", help="auto, cpu, cuda, cuda:N or mps; two with a comma: the policy's, the reference's."),
]
Revision = Annotated[
    str | None,
    _option(
        "--revision", help="Branch, tag or commit on the hub; two with a comma for two models.", show_default="main"
    ),
]
Config = Annotated[
    Path | None,
    _option("--config", help="YAML or TOML file with these options; flags win.", callback=from_config, is_eager=True),
]


@dataclass(frozen=True)
class PairOptions:
    """Which models score, how they are loaded, and how text becomes tokens."""

    pair: Annotated[
        str | None,
        _option(
            "--pair",
            help="A public pair, with its beta and loss; dpo-credit pairs lists them. Flags win.",
            show_default="smollm2 where its base was fetched, else embedded",
            callback=from_published,
            is_eager=True,
            autocompletion=published_names,
        ),
    ] = None
    policy: Annotated[
        str | None,
        _option(
            *("--policy", "--model", "-m"),
            help="The DPO-trained model: a directory, a hub name, a PEFT adapter, or a server (http://HOST:PORT/v1).",
            show_default="that of the default pair",
        ),
    ] = None
    reference: Annotated[
        str | None,
        _option(
            *("--reference", "--ref-model", "-r"),
            help="The SFT model it was trained from, likewise.",
            show_default="an adapter's own base",
        ),
    ] = None
    beta: Annotated[
        float | None,
        _option(
            "--beta",
            help="The beta the policy was trained with.",
            show_default="what its training left beside it, else 0.1",
        ),
    ] = None
    length_normalised: Annotated[
        bool | None,
        _flag(
            *("--length-normalised/--no-length-normalised", "--length-normalized/--no-length-normalized"),
            help="Rewards are beta / T × log-ratio, T tokens in the answer, or beta × log-ratio; default: as trained.",
        ),
    ] = None
    device: Device = "auto"
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"],
        _option("--dtype", help="auto is bfloat16 on CUDA, float32 elsewhere; the LM head is float32 always."),
    ] = "auto"
    attn_implementation: Annotated[
        str | None,
        _option("--attn-implementation", help="eager, sdpa, flash_attention_2, ...", show_default="the model's"),
    ] = None
    revision: Revision = None
    subfolder: Annotated[
        str | None,
        _option(
            "--subfolder",
            help="The policy's folder in its directory or repository (or --policy NAME:FOLDER); with a comma, the "
            "reference's too.",
            show_default=False,
        ),
    ] = None
    adapter_base: Annotated[
        str | None,
        _option(
            *("--base", "--adapter-base"),
            help="The model that an adapter sits on: a directory or a hub name.",
            show_default="what the adapter names",
        ),
    ] = None
    gguf: Annotated[
        str | None,
        _option(
            "--gguf",
            metavar="FILE",
            help="The GGUF file in a model's directory or repository, or its base's; two with a comma for two models.",
            show_default=False,
        ),
    ] = None
    tokenizer: Annotated[
        str | None,
        _option("--tokenizer", help="A directory or a hub name, where both are servers.", show_default=False),
    ] = None
    device_map: Annotated[
        str | None,
        _option("--device-map", help="auto spreads a model over several devices (accelerate).", show_default="off"),
    ] = None
    load_in_4bit: Annotated[bool, _flag("--load-in-4bit", help="Quantise the weights (needs the extra quant).")] = False
    load_in_8bit: Annotated[bool, _flag("--load-in-8bit", help="Likewise, to 8 bits.")] = False
    sequential: Annotated[bool, _flag("--sequential", help="Score with one model, free it, then the other.")] = False
    tokens_per_batch: Annotated[
        str,
        _option("--tokens-per-batch", help="Tokens in one forward pass; auto halves them when memory is short."),
    ] = "auto"
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
    turns: Annotated[
        Literal["all", "assistant", "last"],
        _option(
            "--turns",
            panel=TEXT,
            help="Which turns of a chat's answer count: all (as TRL), the assistant's, or its last one after the rest.",
        ),
    ] = "all"
    date: Annotated[
        str,
        _option(
            "--date",
            panel=TEXT,
            metavar="YYYY-MM-DD",
            help="The day for a chat template that writes one.",
            show_default="today",
        ),
    ] = ""
    trust_remote_code: Annotated[
        bool, _flag("--trust-remote-code", panel=SAFETY, help="Run code from a model's repository.")
    ] = False
    allow_pickle: Annotated[
        bool, _flag("--allow-pickle", panel=SAFETY, help="Load weights that are not safetensors; they can run code.")
    ] = False
    config: Config = None

    @property
    def is_embedded(self) -> bool:
        """Whether the embedded pair scores, named or not."""
        if self.policy is None:
            from dpo_credit.models.bases import default

            return default().name == "embedded"
        return self.policy == "embedded"

    def load_pair(self) -> ModelPair:
        """The two models."""
        return self.loader()()

    def loader(self) -> Callable[[], ModelPair]:
        """What loads the two models, here or wherever it is sent."""
        from dpo_credit.models.loading import load_pair

        return partial(
            load_pair,
            self.policy,
            self.reference,
            beta=self.beta,
            length_normalised=self.length_normalised,
            loading=self.loading(),
        )

    def scorer(self, today: str = "") -> Callable[[ModelPair, Path | None], Scorer]:
        """What scores with a pair, and a cache if there is one; `today` is the day of a run that goes on."""
        from dpo_credit.scoring import Scorer

        conventions = self.conventions(today)
        return lambda pair, cache: Scorer(pair, conventions=conventions, cache=cache)

    def loading(self) -> Loading:
        """How they are loaded."""
        from dpo_credit.models.pair import Loading

        if self.load_in_4bit and self.load_in_8bit:
            raise CreditError("--load-in-4bit and --load-in-8bit exclude each other.")
        return Loading(
            device=self.device,
            dtype=self.dtype,
            device_map=self.device_map,
            quantize="4bit" if self.load_in_4bit else "8bit" if self.load_in_8bit else None,
            attn_implementation=self.attn_implementation,
            revision=self.revision,
            subfolder=self.subfolder,
            base=self.adapter_base,
            gguf=self.gguf,
            sequential=self.sequential,
            trust_remote_code=self.trust_remote_code,
            allow_pickle=self.allow_pickle,
            tokens_per_batch=self._budget,
            tokenizer=self.tokenizer,
            keys=(os.environ.get("DPO_CREDIT_POLICY_KEY"), os.environ.get("DPO_CREDIT_REFERENCE_KEY")),
        )

    @property
    def _budget(self) -> int | None:
        """Tokens in one forward pass; None leaves that to the device."""
        if self.tokens_per_batch == "auto":
            return None
        if not self.tokens_per_batch.isdecimal() or int(self.tokens_per_batch) < 1:
            raise CreditError(f"--tokens-per-batch {self.tokens_per_batch} is neither auto nor a number from 1 on.")
        return int(self.tokens_per_batch)

    def conventions(self, today: str = "") -> Conventions:
        """How text becomes tokens; `today` is the day of a run that goes on."""
        from dpo_credit.cli.files import read
        from dpo_credit.rows.encodings import decoded
        from dpo_credit.text.conventions import Conventions

        template = self.chat_template
        if template not in ("auto", "none"):
            what = "--chat-template "
            template = decoded(read(template, what, "auto, none or a Jinja file"), template, what=what)
        conventions = Conventions(self.eos, template, self.max_length, self.truncate, self.turns, self.date)
        return replace(conventions, today=today) if today else conventions
