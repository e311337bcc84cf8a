"""Where a model's files are, and whether they may be loaded: directories, hub ids, adapters, tokenizers.

Reads names, configs and tokenizers, never weights. No network unless a name is no directory here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from dpo_credit.credit import CreditError
from dpo_credit.models.pair import Loading
from dpo_credit.models.trained import NAME, Trained, beside, parse

EMBEDDED = Path(__file__).parents[1] / "demo"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.msgpack", "*.h5")


@dataclass(frozen=True, slots=True)
class Location:
    """Where files are: a directory, or a repository on the hub at a revision."""

    path: str
    local: bool
    revision: str | None = None

    def has(self, name: str, role: str) -> bool:
        """Whether the place holds a file of that name.

        Raises:
            CreditError: the hub has no such repository, or cannot be reached.
        """
        if self.local:
            return (Path(self.path) / name).is_file()
        from transformers.utils import cached_file

        try:
            return cached_file(self.path, name, revision=self.revision) is not None
        except OSError as error:
            if "does not appear to have" in str(error):  # what transformers says of a file that a repository lacks
                return False
            raise cannot_load(role, self.path, error) from error

    def options(self, loading: Loading) -> dict[str, Any]:
        """What every `from_pretrained` gets: a directory is read without asking the hub anything."""
        options: dict[str, Any] = {"trust_remote_code": loading.trust_remote_code, "local_files_only": self.local}
        return options if self.revision is None else {**options, "revision": self.revision}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files: `model` is where its weights are, and for an adapter those of the base that it sits on.

    `ref_adapter`: the directory of the adapter named "ref" beside it. `own`: a policy's own reference, on its base.
    """

    name: str
    role: str
    model: Location
    adapter: Location | None = None
    ref_adapter: str | None = None
    own: bool = False


def find(name: str | Path, role: Literal["policy", "reference"], loading: Loading) -> Checkpoint:
    """What `name` stands for: a model, or an adapter and the base it sits on; "embedded" is the embedded pair's.

    Raises:
        CreditError: there is no such directory, it holds no model, or the hub does not give it.
    """
    name = EMBEDDED / role if str(name) == "embedded" else name
    revisions = (loading.revision or "").split(",")
    place = _locate(str(name), role, revisions[0 if role == "policy" else -1].strip() or None)
    label = f"embedded {role}" if place.path == str(EMBEDDED / role) else str(name)
    if not place.has("adapter_config.json", role):
        if not place.has("config.json", role):
            raise CreditError(f"{role} {name} holds no config.json: it is not a saved model. Give its directory.")
        return Checkpoint(label, role, place)
    from peft import PeftConfig

    try:
        base = PeftConfig.from_pretrained(place.path, revision=place.revision).base_model_name_or_path
    except Exception as error:  # the file is the user's: whatever is wrong with it is worth one line
        raise cannot_load(role, str(name), error) from error
    if not base:
        raise CreditError(
            f"{role} {name} is an adapter that does not name its base model. Add base_model_name_or_path."
        )
    ref = Path(place.path) / "ref"
    has_ref = (ref / "adapter_config.json").is_file()
    return Checkpoint(
        label, role, _locate(base, f"base model of {role} {name},", None), place, str(ref) if has_ref else None
    )


def find_pair(
    policy: str | Path | None, reference: str | Path | None, loading: Loading
) -> tuple[Checkpoint, Checkpoint]:
    """The policy and its reference; the embedded pair where neither is named.

    Raises:
        CreditError: one of them is not named and has to be, or cannot be found.
    """
    if policy is None and reference is None:
        policy, reference = EMBEDDED / "policy", EMBEDDED / "reference"
    if policy is None:
        raise CreditError(f"reference {reference} without a policy. Name the DPO-trained model with --policy.")
    chosen = find(policy, "policy", loading)
    return chosen, find_reference(chosen, reference, loading)


def find_reference(policy: Checkpoint, reference: str | Path | None, loading: Loading) -> Checkpoint:
    """What a policy was trained from: as named; else an adapter's own base; else what the policy's record says.

    An adapter's own reference is the adapter named "ref" that TRL saves beside it, else its base with the adapter off.

    Raises:
        CreditError: nothing says, or it cannot be found.
    """
    if reference is not None:
        return find(reference, "reference", loading)
    if policy.ref_adapter is not None:
        name = f"{policy.name} (adapter ref)"
        return Checkpoint(name, "reference", policy.model, Location(policy.ref_adapter, local=True), own=True)
    if policy.adapter is not None:
        return Checkpoint(f"{policy.model.path} (adapter off)", "reference", policy.model, own=True)
    record = read_record(policy)
    if record is not None and record.reference is not None:
        return find(record.reference, "reference", replace(loading, revision=None))
    raise CreditError(
        f"policy {policy.name} is a whole model, so its reference is another: name the SFT model it was trained from "
        "with --reference. (Only an adapter brings its own reference: its base.)"
    )


def read_record(policy: Checkpoint) -> Trained | None:
    """What a training left beside a policy's weights; None where there is none.

    Raises:
        CreditError: it cannot be read.
    """
    path = left_beside(policy, NAME)
    return None if path is None else parse(path)


def left_beside(policy: Checkpoint, name: str) -> Path | None:
    """A file that a training left beside a policy's weights; None where there is none.

    Raises:
        CreditError: the hub cannot be reached.
    """
    place = policy.adapter or policy.model
    if place.local:
        return beside(Path(place.path), name)
    if not place.has(name, policy.role):
        return None
    from transformers.utils import cached_file

    return Path(str(cached_file(place.path, name, revision=place.revision)))


def _locate(name: str, role: str, revision: str | None) -> Location:
    path = Path(name).expanduser()
    if path.is_dir():
        return Location(str(path), local=True)
    if path.exists():
        raise CreditError(f"{role} {name} is a file. Give the directory that holds the model's config.json.")
    if name.startswith(("/", ".", "~")) or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise CreditError(f"{role} {name} does not exist. Give a model's directory or its name on the hub.")
    return Location(name, local=False, revision=revision)


def load_tokenizer(
    checkpoint: Checkpoint, loading: Loading, default: PreTrainedTokenizerBase | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer saved with an adapter or a model, else `default`.

    Raises:
        CreditError: there is none, or it cannot be read.
    """
    load_config(checkpoint, loading)  # a broken config is that, not a tokenizer's fault
    for place in (checkpoint.adapter, checkpoint.model):
        if place is None or not any(
            place.has(name, checkpoint.role) for name in ("tokenizer.json", "tokenizer_config.json")
        ):
            continue
        try:
            return AutoTokenizer.from_pretrained(place.path, **place.options(loading))
        except Exception as error:  # see cannot_load
            raise cannot_load(f"the tokenizer of {checkpoint.role}", checkpoint.name, error) from error
    if default is not None:
        return default
    raise CreditError(
        f"{checkpoint.role} {checkpoint.name} has no tokenizer.json. Save the tokenizer beside the model."
    )


def max_length(checkpoint: Checkpoint, loading: Loading) -> int | None:
    """The most tokens that the model has positions for; None if it does not say."""
    config = load_config(checkpoint, loading).get_text_config()
    return getattr(config, "max_position_embeddings", None)


def load_config(checkpoint: Checkpoint, loading: Loading) -> Any:
    """The model's transformers config.

    Raises:
        CreditError: it cannot be read, or names an architecture that transformers does not know.
    """
    try:
        return AutoConfig.from_pretrained(checkpoint.model.path, **checkpoint.model.options(loading))
    except Exception as error:  # see cannot_load
        raise cannot_load(checkpoint.role, checkpoint.name, error) from error


def cannot_load(role: str, name: str, error: Exception) -> CreditError:
    """Whatever a library raises on a user's model files is about those files, and worth one line.

    Raises:
        KeyboardInterrupt: the library hid a Ctrl-C, as one within a lock ends in an error about the lock.
    """
    before: BaseException | None = error
    while before is not None:
        if isinstance(before, KeyboardInterrupt):
            raise before
        before = before.__cause__ or before.__context__
    if isinstance(error, ImportError) and "bitsandbytes" in str(error):
        return CreditError(f"{role} {name} is quantised, which needs bitsandbytes: pip install 'dpo-credit[quant]'.")
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return CreditError(f"cannot load {role} {name}: {reason}")


def compare_tokenizers(policy: PreTrainedTokenizerBase, reference: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """Make sure that every token id means the same to both models; returns what the user should be told.

    Raises:
        CreditError: an id stands for different tokens, or one tokenizer has ordinary tokens that the other lacks.
    """
    ours, theirs = policy.get_vocab(), reference.get_vocab()
    if ours == theirs:
        return ()
    names, other = ({i: token for token, i in vocabulary.items()} for vocabulary in (ours, theirs))
    added = {*policy.added_tokens_decoder, *reference.added_tokens_decoder}
    for i in sorted(names.keys() | other.keys()):
        mine, yours = names.get(i), other.get(i)
        if mine != yours and (i not in added or (mine is not None and yours is not None)):
            raise CreditError(
                f"the tokenizers differ at id {i}: {mine!r} in the policy, {yours!r} in the reference "
                f"({len(ours)} and {len(theirs)} tokens). Scores need one shared tokenizer: load the SFT checkpoint "
                "that the policy was trained from."
            )
    extra = sorted(ours.keys() ^ theirs.keys())
    return (f"only one of the two tokenizers has the added tokens {', '.join(extra[:5])}",)


def require_safe_weights(place: Location, checkpoint: Checkpoint, loading: Loading) -> None:
    """Make sure that a place holds weights, and none that run code unless that is allowed.

    Raises:
        CreditError: it does not.
    """
    if loading.allow_pickle and not place.local:
        return
    path = Path(place.path)
    if not place.local:
        if place == checkpoint.adapter and not place.has("adapter_model.safetensors", checkpoint.role):
            raise CreditError(
                f"{checkpoint.role} {checkpoint.name} has no adapter_model.safetensors, only weights that can run code "
                "when loaded. Pass --allow-pickle if you trust whoever made it."
            )
        return  # a model's own loader refuses what is not safetensors
    if any(path.glob("*.safetensors")):
        return
    pickles = [file.name for pattern in _PICKLES for file in path.glob(pattern)]
    if not pickles:
        raise CreditError(f"{checkpoint.role} {checkpoint.name} holds no weights (no *.safetensors in {path}).")
    if not loading.allow_pickle:
        raise CreditError(
            f"{checkpoint.role} {checkpoint.name} holds only pickled weights ({pickles[0]}), which can run code when "
            "loaded. Save it as safetensors, or pass --allow-pickle if you trust whoever made it."
        )
