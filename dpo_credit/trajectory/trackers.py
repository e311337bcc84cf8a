"""What whoever watches a training sees of its tokens: figures of all answers, and one preference's tokens as a table.

Numbers reach every tracker of transformers through the trainer's log. Tables do not: each tracker has its own call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from itertools import chain, compress
from statistics import fmean
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import MLflowCallback, TensorBoardCallback, TrackioCallback, WandbCallback

from dpo_credit.align import Diff
from dpo_credit.credit import Credit
from dpo_credit.segments import Segment
from dpo_credit.trajectory.trajectory import SIDES, Moment, Pair

COLUMNS = ("step", "answer", "token", "reward", "policy_logp", "reference_logp")
_NAME = "train/credit/tokens"  # transformers puts all numbers of a training under train/
_BAR = 10  # blocks of the token with the largest reward


def token_figures(moment: Moment, untouched: Sequence[Sequence[tuple[int, int]]]) -> dict[str, float]:
    """Figures of the tokens that count, over all rows.

    Args:
        moment: N rows.
        untouched: (N,) each row's `Diff.pairs`.

    Returns:
        Of either side the mean reward of a token (`chosen_per_token`), the lowest (`chosen_lowest`) and the share of
        rewards below zero (`chosen_punished`); and `echo`, what the untouched tokens add to a margin on average.
    """
    figures: dict[str, float] = {}
    for name, credits in zip(SIDES, zip(*moment.pairs, strict=True), strict=True):
        rewards = list(chain.from_iterable(compress(credit.rewards, credit.tokens.counted) for credit in credits))
        figures[f"{name}_per_token"] = fmean(rewards)
        figures[f"{name}_lowest"] = min(rewards)
        figures[f"{name}_punished"] = fmean(reward < 0 for reward in rewards)
    echoes = [Diff(*pair, (), tuple(same)).echo_sum for pair, same in zip(moment.pairs, untouched, strict=True)]
    return {**figures, "echo": fmean(echoes)}


def log_tokens(callbacks: Sequence[TrainerCallback], step: int, pair: Pair) -> None:
    """Hand a preference's tokens to those trackers among a trainer's callbacks that take tables.

    Args:
        callbacks: the trainer's; TensorBoard's, Weights & Biases', Trackio's and MLflow's take them.
        step: of the training.
        pair: chosen and rejected.
    """
    for callback in callbacks:
        for kind, write in _WRITERS.items():
            if isinstance(callback, kind):
                write(callback, step, pair)


def _rows(step: int, pair: Pair) -> list[list[Any]]:
    """A row a token, as `COLUMNS` names it."""
    return [
        [step, side, _shown(token), token.reward, token.policy_logp, token.reference_logp]
        for side, credit in zip(SIDES, pair, strict=True)
        for token in credit.segments
    ]


def _shown(token: Segment) -> str:
    return repr(token.text) if token.text else token.piece  # quoted: trackers' pages drop spaces at either end


def _tensorboard(callback: Any, step: int, pair: Pair) -> None:
    callback.tb_writer.add_text(_NAME, _html(pair), step)
    callback.tb_writer.flush()


def _wandb(callback: Any, step: int, pair: Pair) -> None:
    import wandb

    table = wandb.Table(columns=list(COLUMNS), data=_rows(step, pair))
    wandb.log({_NAME: table, "train/global_step": step})


def _trackio(callback: Any, step: int, pair: Pair) -> None:
    import trackio

    table = trackio.Table(columns=list(COLUMNS), data=_rows(step, pair))
    trackio.log({_NAME: table, "train/global_step": step})


def _mlflow(callback: Any, step: int, pair: Pair) -> None:
    import mlflow

    columns = zip(*_rows(step, pair), strict=True)
    data = {name: list(values) for name, values in zip(COLUMNS, columns, strict=True)}
    mlflow.log_table(data, "credit/tokens.json")  # which goes on with the table of the steps before


_WRITERS: dict[type[TrainerCallback], Callable[[Any, int, Pair], None]] = {
    TensorBoardCallback: _tensorboard,
    WandbCallback: _wandb,
    TrackioCallback: _trackio,
    MLflowCallback: _mlflow,
}


def _html(pair: Pair) -> str:
    """Both answers' tables, in the tags that TensorBoard leaves in: no styles, so that bars stand for colours."""
    largest = max(abs(token.reward) for credit in pair for token in credit.segments)
    margin = pair[0].reward - pair[1].reward
    head = f"<p>{escape(pair[0].id)}: margin {margin:+.3f}</p>"
    return head + "".join(_table(side, credit, largest) for side, credit in zip(SIDES, pair, strict=True))


def _table(side: str, credit: Credit, largest: float) -> str:
    rows = [
        (
            f"<code>{escape(_shown(token))}</code>",
            f"{token.reward:+.4f}",
            _bar(token.reward, largest),
            f"{token.policy_logp:.3f}",
            f"{token.reference_logp:.3f}",
        )
        for token in credit.segments
    ]
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    names = "".join(f"<th>{name}</th>" for name in ("token", "reward", "", "log π", "log π_ref"))
    return f"<h4>{side} {credit.reward:+.3f}</h4><table><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table>"


def _bar(reward: float, largest: float) -> str:
    return ("█" if reward > 0 else "░") * round(_BAR * abs(reward) / largest) if largest else ""
