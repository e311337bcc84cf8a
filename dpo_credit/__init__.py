"""Which tokens a DPO-trained model rewards, and which it punishes.

>>> from dpo_credit import diff, load_pair, page, report, score, score_dataset
>>> pair = load_pair()                                   # the default pair; or load_pair(policy, reference)
>>> credit, = score(pair, (prompt, answer))              # credit.rewards: one number a token; credit.to_dataframe()
>>> compared = diff(*score(pair, row))                   # of a row with chosen and rejected: compared.edits
>>> scored = score_dataset(pair, "posts.jsonl")          # rows in memory: scored.to_dataframe(), report(scored)
>>> Path("page.html").write_text(page(scored))           # page(credit), page(compared), page(report(scored), scored)

Credits, diffs, rows and data sets show themselves in a notebook. All errors about what was given are `CreditError`.

Source: Rafailov et al. 2024, "From r to Q*: Your Language Model is Secretly a Q-Function".
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from dpo_credit import shown
from dpo_credit.credit import Credit, CreditError, Example, Message

if TYPE_CHECKING:
    from dpo_credit.align import Diff, diff
    from dpo_credit.dataset import ScoredDataset, load_scored, score_dataset
    from dpo_credit.localise.localise import localise
    from dpo_credit.models.loading import load_pair
    from dpo_credit.models.pair import Loading, ModelPair
    from dpo_credit.report.report import report
    from dpo_credit.rows.scored import ScoredRow
    from dpo_credit.scoring import Scorer, score
    from dpo_credit.text.conventions import Conventions
    from dpo_credit.trajectory.callback import CreditCallback
    from dpo_credit.views.page.whole import page

try:
    __version__ = version("dpo-credit")
except PackageNotFoundError:  # a source tree that nobody installed
    __version__ = "0+unknown"

__all__ = [
    "Conventions",
    "Credit",
    "CreditCallback",
    "CreditError",
    "Diff",
    "Example",
    "Loading",
    "Message",
    "ModelPair",
    "ScoredDataset",
    "ScoredRow",
    "Scorer",
    "diff",
    "load_pair",
    "load_scored",
    "localise",
    "page",
    "report",
    "score",
    "score_dataset",
]

_HOMES = {
    "Conventions": "text.conventions",
    "CreditCallback": "trajectory.callback",
    "Diff": "align",
    "Loading": "models.pair",
    "ModelPair": "models.pair",
    "ScoredDataset": "dataset",
    "ScoredRow": "rows.scored",
    "Scorer": "scoring",
    "diff": "align",
    "load_pair": "models.loading",
    "load_scored": "dataset",
    "page": "views.page.whole",
    "score": "scoring",
    "score_dataset": "dataset",
}
_CALLED = ("localise", "report")  # packages that are called as the function of their name; see `shown.Called`


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import what needs torch only when it is asked for."""
        if name in _CALLED:
            return import_module(f"{__name__}.{name}")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

    def __dir__() -> list[str]:
        return [*__all__, "__doc__", "__file__", "__name__", "__path__", "__version__"]


def _draw(result: object) -> str:
    from dpo_credit.views.page.notebook import cell  # a notebook asks for this; scoring never does

    return cell(result)


shown.draw = _draw
