"""What Python gets to see of a result: its tokens as a table or as arrays, and what a notebook shows of it.

pandas and polars are imported when a table is asked of them, and never before.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["auto", "pandas", "polars", "dicts"]
KINDS: tuple[Kind, ...] = ("auto", "pandas", "polars", "dicts")
Columns = Mapping[str, Sequence[Any]]

draw: Callable[[object], str] = repr  # a result as HTML: the views stand above, so the package's front sets it


class _Tokens(Protocol):
    @property
    def answer(self) -> str: ...
    @property
    def answer_ids(self) -> Sequence[int]: ...
    @property
    def pieces(self) -> Sequence[str]: ...
    @property
    def spans(self) -> Sequence[tuple[int, int]]: ...
    @property
    def counted(self) -> Sequence[bool]: ...


class _Answer(Protocol):
    @property
    def tokens(self) -> _Tokens: ...
    @property
    def policy_logps(self) -> Sequence[float]: ...
    @property
    def reference_logps(self) -> Sequence[float]: ...
    @property
    def rewards(self) -> Sequence[float]: ...


class Shown:
    """What shows itself in a notebook."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return draw(self)


class TokenTable(Shown):
    """An answer whose tokens are the rows of a table."""

    __slots__ = ()

    def columns(self: _Answer) -> dict[str, Sequence[Any]]:
        """The answer's T tokens as columns of T values, in the order of the table.

        `token` counts from 0; `start` and `end` are characters of the answer, and `text` what they span; `piece` is the
        tokenizer's name of the token. `policy_logp` and `reference_logp` are in nats. `counts`: whether the token's
        reward does.
        """
        tokens = self.tokens
        return {
            "token": range(len(tokens.answer_ids)),
            "token_id": tokens.answer_ids,
            "piece": tokens.pieces,
            "text": [tokens.answer[start:end] for start, end in tokens.spans],
            "start": [start for start, _ in tokens.spans],
            "end": [end for _, end in tokens.spans],
            "policy_logp": self.policy_logps,
            "reference_logp": self.reference_logps,
            "reward": self.rewards,
            "counts": tokens.counted,
        }

    def arrays(self: _Answer) -> dict[str, NDArray[np.generic]]:
        """The columns that hold numbers or truth values, as numpy arrays (T,) by name: int64, float64 and bool."""
        import numpy as np

        columns = TokenTable.columns(self).items()
        return {name: np.asarray(values) for name, values in columns if name not in ("piece", "text")}

    def to_dataframe(self: _Answer, kind: Kind = "auto") -> Any:
        """One row a token, with the columns of `columns`.

        Args:
            kind: "pandas" or "polars", a data frame of theirs; "dicts", a list with a dict a row; "auto" is pandas
                where it is installed, else polars where that is, else dicts.

        Raises:
            ValueError: `kind` is none of these.
            ImportError: its package is not installed.
        """
        return table(TokenTable.columns(self), kind)


def table(columns: Columns, kind: Kind = "auto") -> Any:
    """Columns of equal length as a data frame or a list of dicts; see `TokenTable.to_dataframe`."""
    if kind == "auto":
        kind = next((name for name in KINDS[1:3] if importlib.util.find_spec(name)), "dicts")
    if kind == "dicts":
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if kind not in KINDS:
        raise ValueError(f"a table of kind {kind!r} is not known: give one of {', '.join(KINDS)}")
    return importlib.import_module(kind).DataFrame({name: list(values) for name, values in columns.items()})


class Called(ModuleType):
    # a package that is called as the function of its name in it, and helps with it: `dpo_credit.report(rows)`

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._function(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._function)

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        name = self.__name__.rpartition(".")[2]
        return f"{self.__dict__['__doc__']}\n\n{name}{self.__signature__}\n\n{inspect.getdoc(self._function)}"

    @property
    def _function(self) -> Callable[..., Any]:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(f"{self.__name__}.{name}"), name)
