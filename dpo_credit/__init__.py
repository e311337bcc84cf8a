"""Which tokens a DPO-trained model rewards, and which it punishes.

>>> from dpo_credit import Example, load_pair, score
>>> pair = load_pair()                                   # the default pair; or load_pair(policy, reference)
>>> credit, = score(pair, [Example(prompt, answer)])     # credit.rewards: one number a token

Source: Rafailov et al. 2024, "From r to Q*: Your Language Model is Secretly a Q-Function".
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from dpo_credit.credit import Credit, CreditError, Example, Message

if TYPE_CHECKING:
    from dpo_credit.models.loading import load_pair
    from dpo_credit.models.pair import Loading, ModelPair
    from dpo_credit.scoring import Scorer, score
    from dpo_credit.text.conventions import Conventions
    from dpo_credit.trajectory.callback import CreditCallback

try:
    __version__ = version("dpo-credit")
except PackageNotFoundError:  # a source tree that nobody installed
    __version__ = "0+unknown"

__all__ = [
    "Conventions",
    "Credit",
    "CreditCallback",
    "CreditError",
    "Example",
    "Loading",
    "Message",
    "ModelPair",
    "Scorer",
    "load_pair",
    "score",
]

_HOMES = {
    "Conventions": "text.conventions",
    "CreditCallback": "trajectory.callback",
    "Loading": "models.pair",
    "ModelPair": "models.pair",
    "Scorer": "scoring",
    "load_pair": "models.loading",
    "score": "scoring",
}


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import what needs torch only when it is asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def _notebook_view(credit: Credit) -> str:
    from dpo_credit.views.page.score import fragment  # a notebook asks for this; scoring never does

    return fragment(credit)


Credit._repr_html_ = _notebook_view  # type: ignore[attr-defined]
