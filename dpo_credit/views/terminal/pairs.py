"""Public pairs in the terminal: a table of all, or everything about one."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dpo_credit.models.objective import LOSSES
from dpo_credit.models.published import Published
from dpo_credit.views.look import Look

_WIDE = 170  # columns from which the names of the two models have room


def table(pairs: Sequence[Published], look: Look) -> RenderableType:
    """Names, betas, kinds of prompt and licences, and the two models where the terminal is wide enough."""
    models = ("policy", "reference") if look.width >= _WIDE else ()
    shown = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("pair", "beta", "prompts", *models, "licence", "run by us"):
        shown.add_column(heading, no_wrap=True)
    for pair in pairs:
        names = (Text(pair.policy or pair.name), Text(pair.reference or pair.name)) if models else ()
        kind, _, _ = pair.format.partition(":")
        licence = Text(pair.licence) if pair.licence else Text("see its card", style="dim")
        beta = _beta(pair) + " †" * (pair.loss != "sigmoid")
        shown.add_row(Text(pair.name, style="bold"), beta, kind, *names, licence, "yes" if pair.run else "no")
    *others, last = [pair.name for pair in pairs if pair.run] or ["none of them"]
    run = " and ".join(filter(None, (", ".join(others), last)))
    honestly = Text(
        f"We have run {run}, and no other: there was no hub at hand. The betas are "
        "what the linked recipes say, or inferred, as a pair's details tell. / T: length-normalised DPO. †: another "
        "loss than the sigmoid one. dpo-credit pairs NAME shows models, loss and source."
    )
    return Group(shown, Text(), honestly)


def details(pair: Published) -> Text:
    """Everything known of a pair, a line each."""
    how = "length-normalised DPO" if pair.length_normalised else "DPO with the sigmoid loss"
    if pair.loss != "sigmoid":
        how = f"loss {pair.loss}: {LOSSES[pair.loss].word}"
    text = Text(pair.name, style="bold")
    for name, value in (
        ("policy", pair.policy or f"{pair.name} policy"),
        ("reference", pair.reference or f"{pair.name} reference"),
        ("base", pair.base and f"{pair.base.file}, of {pair.base.package} (PyPI) or {pair.base.repository} (hub)"),
        ("revision", pair.revision),
        ("folders", pair.subfolder),
        ("beta", f"{_beta(pair)}, {how}"),
        ("prompts", pair.format),
        ("licence", pair.licence or "see its card"),
        ("source", pair.source),
        ("inferred", pair.inference),
        ("note", pair.note),
        ("run by us", "yes" if pair.run else "no"),
        ("use", f"dpo-credit score FILE --pair {pair.name}"),
    ):
        if value:
            text.append(f"\n{name:11}", "not bold dim").append(value, "not bold")
    return text


def _beta(pair: Published) -> str:
    return f"{pair.beta:g}" + " / T" * pair.length_normalised
