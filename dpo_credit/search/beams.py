"""Win rate and length by number of beams (Rafailov et al. 2024, Figure 2), and the rows that they rest on, as JSONL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpo_credit.checked import check_fields, reason_of
from dpo_credit.credit import Credit, CreditError
from dpo_credit.estimates.intervals import Mean
from dpo_credit.estimates.statistics import mean, numbered, resamples
from dpo_credit.rows.aside import BadRow
from dpo_credit.rows.output import json_line
from dpo_credit.rows.settings import refuse_changes
from dpo_credit.search.judges import Verdict

SCHEMA = "dpo-credit/beams@1"


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """One answer: its text, tokens, log-likelihood under the policy, reward, whether it ended, and its verdict."""

    answer: str
    tokens: int
    policy_logp: float
    reward: float
    ended: bool
    win: float | None = None
    said: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A row: an answer for each number of beams, the chosen one where there is one, and what tells its prompt.

    `prompt` is `Tokens.shared_prompt`; a search that an older version kept has none.
    """

    id: str
    answers: tuple[JudgedAnswer, ...]
    chosen: JudgedAnswer | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """A search over rows, and under which settings; `beams`, in the order of each row's answers.

    `set_aside`: rows that could not be searched; a file that was kept does not tell them.
    """

    settings: dict[str, Any]
    rows: tuple[Judged, ...]
    set_aside: tuple[BadRow, ...] = ()

    @property
    def beams(self) -> tuple[int, ...]:
        """Numbers of beams."""
        return tuple(self.settings["beams"])

    @property
    def prompts(self) -> int:
        """How many prompts the rows stand on; a row whose prompt is not known has its own."""
        return len(set(_prompts(self.rows).tolist()))


@dataclass(frozen=True, slots=True)
class Width:
    """Means over rows at a number of beams, with 95 % bootstrap intervals by prompt; a tie is half a win."""

    beams: int
    win: Mean | None
    tokens: Mean
    reward: Mean
    policy_logp: Mean
    ended: Mean


def answer_of(credit: Credit, verdict: Verdict | None = None) -> JudgedAnswer:
    """What is kept of a scored answer."""
    judged = JudgedAnswer(
        answer=credit.tokens.answer,
        tokens=len(credit.tokens.answer_ids),
        policy_logp=credit.policy_logp,
        reward=credit.reward,
        ended=credit.tokens.end != "none",
    )
    if verdict is None:
        return judged
    return JudgedAnswer(**{**asdict(judged), "win": verdict.win, "said": verdict.said})


def figures(search: Search) -> tuple[Width, ...]:
    """The figures of each number of beams."""
    widths, prompts = [], _prompts(search.rows)
    for n, beams in enumerate(search.beams):
        answers = [row.answers[n] for row in search.rows]
        judged = [k for k, item in enumerate(answers) if item.win is not None]
        widths.append(
            Width(
                beams=beams,
                win=_mean([answers[k].win or 0.0 for k in judged], prompts[judged]) if judged else None,
                tokens=_mean([item.tokens for item in answers], prompts),
                reward=_mean([item.reward for item in answers], prompts),
                policy_logp=_mean([item.policy_logp for item in answers], prompts),
                ended=_mean([float(item.ended) for item in answers], prompts),
            )
        )
    return tuple(widths)


def chosen_tokens(search: Search) -> Mean | None:
    """The mean length of the chosen answers."""
    chosen = [(n, row.chosen.tokens) for n, row in enumerate(search.rows) if row.chosen is not None]
    if not chosen:
        return None
    return _mean([tokens for _, tokens in chosen], _prompts(search.rows)[[n for n, _ in chosen]])


def _prompts(rows: Sequence[Judged]) -> np.ndarray:
    return numbered([row.prompt or n for n, row in enumerate(rows)])


def _mean(values: Sequence[float], prompts: np.ndarray) -> Mean:
    numbers = np.unique(prompts, return_inverse=True)[1]
    drawn = mean(values, resamples(numbers, np.random.default_rng(0)))
    assert drawn.value is not None
    return Mean(drawn.value, drawn.low, drawn.high, len(values), len(values))


def record(search: Search, label: str = "") -> dict[str, Any]:
    """The figures as JSON."""
    return {
        "schema": "dpo-credit/beams-figures@1",
        "name": label,
        "settings": search.settings,
        "rows": len(search.rows),
        "prompts": search.prompts,
        "chosen_tokens": None if (chosen := chosen_tokens(search)) is None else asdict(chosen),
        "widths": [asdict(width) for width in figures(search)],
        "set_aside": [asdict(row) for row in search.set_aside],
    }


def is_kept(file: str) -> bool:
    """Whether a file is a search that -o kept."""
    path = Path(file)
    if not path.is_file():
        return False
    try:
        with path.open("rb") as opened:
            return SCHEMA.encode() in opened.readline(10_000)
    except OSError:  # what is wrong, reading it will say
        return False


def header(settings: dict[str, Any], made_by: dict[str, Any]) -> dict[str, Any]:
    """The first line of a kept search: what views say of it, and what else decides its numbers."""
    return {"schema": SCHEMA, "settings": settings, "made_by": made_by}


def line(row: Judged) -> str:
    """A row's line."""
    return json_line(asdict(row)) + "\n"


def parse(data: bytes, name: str) -> Search:
    """A search that was kept.

    Raises:
        CreditError: the file is something else.
    """
    advice = "Give what dpo-credit search -o wrote."
    try:
        head, *rows = map(json.loads, data.split(b"\n")[:-1])  # a line that was cut off while it was written is none
        if head["schema"] != SCHEMA:
            raise ValueError(f"its schema is {head['schema']!r}")
        beams, penalty = head["settings"]["beams"], head["settings"]["length_penalty"]
        if not (beams and all(isinstance(width, int) for width in beams) and isinstance(penalty, int | float)):
            raise ValueError("its settings have no numbers of beams, or no length_penalty")
        for number, row in enumerate(rows, 2):
            check_fields(row, Judged, f"{name}, line {number}", advice, required=("id", "answers"))
            if len(row["answers"]) != len(beams):
                raise ValueError(f"line {number} has {len(row['answers'])} answers for {len(beams)} numbers of beams")
        search = Search(head["settings"], tuple(_row(row) for row in rows))
        if not all(0 <= (answer.win or 0) <= 1 for row in search.rows for answer in row.answers):
            raise ValueError("a win is none of 0, 0.5 and 1")
        return search
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CreditError(f"{name} is no search that was kept ({reason_of(error)}). {advice}") from error


def _row(row: dict[str, Any]) -> Judged:
    chosen = None if row.get("chosen") is None else JudgedAnswer(**row["chosen"])
    return Judged(row["id"], tuple(JudgedAnswer(**answer) for answer in row["answers"]), chosen, row.get("prompt"))


def known(data: bytes, name: str, head: dict[str, Any]) -> list[Judged]:
    """The rows that a kept search holds already.

    Raises:
        CreditError: it was made under other settings, by other models or of other rows.
    """
    search = parse(data, name)
    was = json.loads(data.partition(b"\n")[0])
    refuse_changes(name, {**was.get("made_by", {}), **search.settings}, {**head["made_by"], **head["settings"]})
    return list(search.rows)


def sentence(search: Search) -> str:
    """Whether the paper's over-optimisation shows: answers that grow with the beams while the win rate falls."""
    known = figures(search)
    if len(known) < 2:
        return "One number of beams shows no trend."
    lengths = [width.tokens.mean for width in known]
    grows = lengths[-1] > 1.5 * lengths[0] and known[-1].tokens.mean == max(lengths)
    text = f"From {known[0].beams} to {known[-1].beams} beams the mean length goes from {lengths[0]:.0f} to "
    text += f"{lengths[-1]:.0f} tokens"
    wins = [width.win for width in known if width.win is not None]
    if len(wins) < len(known):
        return f"{text}."
    best = max(range(len(wins)), key=lambda n: wins[n].mean)
    text += f" and the win rate from {100 * wins[0].mean:.0f} to {100 * wins[-1].mean:.0f} %"
    text += f", with its best at {known[best].beams} ({100 * wins[best].mean:.0f} %)."
    last, top = wins[-1], wins[best]
    falls = last.high is not None and top.low is not None and last.high < top.low
    verdict = {
        (True, True): "Over-optimisation as in the paper: longer answers that win less.",
        (True, False): "Answers grow as in the paper, but no fall of the win rate is beyond its interval.",
        (False, True): "The win rate falls as in the paper, but lengths do not explode.",
        (False, False): "The paper's over-optimisation is not found here.",
    }
    return f"{text} {verdict[grows, falls]}"
