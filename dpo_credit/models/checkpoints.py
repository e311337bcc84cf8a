"""What a model's name stands for, and whether it may be loaded: whole models, adapters, their bases, tokenizers.

Reads names, configs and tokenizers, never weights. No network unless a name is no directory here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from dpo_credit.checked import reason_of
from dpo_credit.credit import CreditError
from dpo_credit.models.bases import default, fetched
from dpo_credit.models.gguf import converted, gguf_files
from dpo_credit.models.locations import Location, broken, cannot_load, locate, mending
from dpo_credit.models.pair import Loading
from dpo_credit.models.published import Published, published
from dpo_credit.models.trained import NAME, Trained, beside, parse

_MOST_LAYERS = 10_000  # building more takes hours
NAME_BASE = "Name its base with --base DIR_OR_HUB_ID (steer: --adapter-base)."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model's files: `model` is where its weights are, and for an adapter those of the base that it sits on.

    `ref_adapter`: where the adapter named "ref" beside it is. `own`: a policy's own reference, on its base.
    `rows`: the embeddings that the model is resized to, where an adapter was trained with another number (see
    `adapters.fitted`). `pair`: the name of the pair that it is a side of, where that comes with the package.
    """

    name: str
    role: str
    model: Location
    adapter: Location | None = None
    ref_adapter: Location | None = None
    own: bool = False
    rows: int | None = None
    pair: str | None = None


def find(name: str | Path, role: Literal["policy", "reference"], loading: Loading) -> Checkpoint:
    """What `name` stands for: a model, or an adapter and the base it sits on; those embedded come with us.

    `NAME:FOLDER` is a folder in a directory or in a repository on the hub. A GGUF file is a model by itself.

    Raises:
        CreditError: there is no such directory, it holds no model, or the hub does not give it.
    """
    with_us = {pair.name: pair.embedded / role for pair in published() if pair.embedded}
    name = with_us.get(str(name), name)
    if pair := next((pair for pair in published() if str(pair.adapters) == str(name)), None):
        return _with_us(pair, role, loading)
    revision, gguf = loading.of(role, "revision"), loading.of(role, "gguf")
    subfolder = loading.each("subfolder")[role != "policy"]
    place = locate(str(name), role, revision, subfolder)
    label = ":".join(filter(None, (str(name), subfolder)))
    settings = place.file("adapter_config.json", role)
    if settings is not None:
        return _adapter(label, role, place, settings, loading)
    model = _model(place, role, label, gguf)
    if own := next((pair for pair, folder in with_us.items() if place.path == str(folder)), None):
        return Checkpoint(f"{own} {role}", role, model, pair=own)
    if not model.has("config.json", role):
        other = "" if place.local else " Or name a GGUF file in it with --gguf."
        raise CreditError(f"{role} {label} holds no config.json: it is not a saved model. Give its directory.{other}")
    return Checkpoint("/".join(filter(None, (label, gguf))), role, model)


def _with_us(pair: Published, role: Literal["policy", "reference"], loading: Loading) -> Checkpoint:
    """A side of a pair whose adapters come with the package."""
    place = Location(str(pair.adapters), local=True)
    ref = place.inside("ref")
    base = fetched(pair) if loading.base is None else _base_given(loading.base, role, loading)
    name = f"{pair.name} {role}"
    if role == "reference":
        return Checkpoint(name, role, base, ref, pair=pair.name)
    return Checkpoint(name, role, base, place, ref, pair=pair.name)


def _model(place: Location, role: str, name: str, gguf: str | None) -> Location:
    """Where a model's files are; of a GGUF file, those that it was converted into."""
    path = Path(place.path)
    if gguf is not None:
        return converted(place, gguf, role)
    if path.is_file():
        return converted(Location(str(path.parent), local=True), path.name, role)
    files = gguf_files(place)
    if files and not any(file for kind in ("*.safetensors", "*.bin") for file in path.glob(kind)):
        raise CreditError(f"{role} {name} holds GGUF files: {', '.join(files)}. Name one with --gguf.")
    return place


def _adapter(
    name: str, role: Literal["policy", "reference"], place: Location, settings: Path, loading: Loading
) -> Checkpoint:
    """An adapter, its base, and the adapter "ref" beside it."""
    from peft import PeftConfig

    try:
        config = PeftConfig.from_pretrained(str(settings.parent))
    except Exception as error:  # the file is the user's: whatever is wrong with it is worth one line
        raise cannot_load(role, name, error, broken(place) or f"Is {settings} an adapter's of PEFT?") from error
    ref = place.inside("ref")
    has_ref = ref.has("adapter_config.json", role)
    return Checkpoint(name, role, _base(name, role, config, loading), place, ref if has_ref else None)


def _base(name: str, role: Literal["policy", "reference"], config: Any, loading: Loading) -> Location:
    """Where the base of an adapter is: as given, else as its config has it."""
    if loading.base is not None:
        return _base_given(loading.base, role, loading)
    named = config.base_model_name_or_path
    if not named:
        raise CreditError(f"{role} {name} is an adapter that does not name its base model. {NAME_BASE}")
    if not isinstance(named, str):
        raise CreditError(f"{role} {name} is an adapter whose base model is {named!r}, which is no name. {NAME_BASE}")
    try:
        place = locate(named, "base", config.revision)
    except CreditError as error:
        raise CreditError(f"{role} {name} is an adapter on {named}, which is no model here. {NAME_BASE}") from error
    return _model(place, "base", named, loading.of(role, "gguf"))


def _base_given(name: str, role: Literal["policy", "reference"], loading: Loading) -> Location:
    return _model(locate(name, "--base"), "--base", name, loading.of(role, "gguf"))


def find_pair(
    policy: str | Path | None, reference: str | Path | None, loading: Loading
) -> tuple[Checkpoint, Checkpoint]:
    """The policy and its reference; the default pair where neither is named (see `bases.default`).

    Raises:
        CreditError: one of them is not named and has to be, or cannot be found.
    """
    if policy is None and reference is None:
        policy, reference = default().names
    if policy is None:
        raise CreditError(f"reference {reference} without a policy. Name the DPO-trained model with --policy.")
    chosen = find(policy, "policy", loading)
    return chosen, find_reference(chosen, reference, loading)


def find_reference(policy: Checkpoint, reference: str | Path | None, loading: Loading) -> Checkpoint:
    """What a policy was trained from: as named; else an adapter's own base; else what the policy's record says.

    An adapter's own reference is the adapter named "ref" that TRL saves beside it, else its base with the adapter off.

    Raises:
        CreditError: nothing says, or it cannot be found; or a base is given, and neither of the two is an adapter.
    """
    found = _find_reference(policy, reference, loading)
    if loading.base is not None and policy.adapter is None and found.adapter is None:
        raise CreditError(
            f"--base {loading.base} is for adapters, but policy {policy.name} and reference {found.name} are whole "
            "models. Leave it out."
        )
    return found


def _find_reference(policy: Checkpoint, reference: str | Path | None, loading: Loading) -> Checkpoint:
    if reference is not None:
        return find(reference, "reference", loading)
    if policy.ref_adapter is not None:
        name = f"{policy.pair} reference" if policy.pair else f"{policy.name} (adapter ref)"
        return Checkpoint(name, "reference", policy.model, policy.ref_adapter, own=True, pair=policy.pair)
    if policy.adapter is not None:
        return Checkpoint(f"{policy.model.name} (adapter off)", "reference", policy.model, own=True)
    record = read_record(policy)
    if record is not None and record.reference is not None:
        return find(record.reference, "reference", replace(loading, revision=None, subfolder=None, gguf=None))
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
    return place.file(name, policy.role)


def load_tokenizer(
    checkpoint: Checkpoint, loading: Loading, default: PreTrainedTokenizerBase | None = None
) -> PreTrainedTokenizerBase:
    """The tokenizer saved with an adapter or a model, else `default`.

    Raises:
        CreditError: there is none, or it cannot be read.
    """
    config = load_config(checkpoint, loading)  # a broken config is that, not a tokenizer's fault
    for place in (checkpoint.adapter, checkpoint.model):
        if place is None or not any(
            place.has(name, checkpoint.role) for name in ("tokenizer.json", "tokenizer_config.json")
        ):
            continue
        try:
            return AutoTokenizer.from_pretrained(place.path, config=config, **place.options(loading))
        except Exception as error:  # see cannot_load
            file = place.file("tokenizer.json", checkpoint.role) if place.local else None
            advice = broken(place) or ("" if file is None else mending(file))
            raise cannot_load(f"the tokenizer of {checkpoint.role}", checkpoint.name, error, advice) from error
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
        config = AutoConfig.from_pretrained(checkpoint.model.path, **checkpoint.model.options(loading))
    except Exception as error:  # see cannot_load
        raise cannot_load_model(checkpoint, error) from error
    layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    if isinstance(layers, int) and layers > _MOST_LAYERS:
        raise CreditError(f"{checkpoint.role} {checkpoint.name} has {layers} layers, by its config.json. Mend that.")
    return config


def cannot_load_model(checkpoint: Checkpoint, error: Exception) -> CreditError:
    """`cannot_load` of what a checkpoint's weights are; for an adapter these are its base's."""
    if "automatic conversion" in str(error):  # of parts into one weight; transformers logs which
        return CreditError(
            f"the weights of {checkpoint.role} {checkpoint.name} are not the parts that its config asks for: one is "
            f"missing or of another shape. Copy or download them again, or mend the config.json in "
            f"{checkpoint.model.path}."
        )
    if checkpoint.adapter is None:
        advice = broken(checkpoint.model)
        if not advice and reason_of(error) != str(error):
            advice = f"Compare the config.json in {checkpoint.model.path} with the model's own, or save both again."
        return cannot_load(checkpoint.role, checkpoint.name, error, advice)
    advice = broken(checkpoint.model) or NAME_BASE
    return cannot_load(f"the base of {checkpoint.role} {checkpoint.name},", checkpoint.model.name, error, advice)


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
