"""The judge that was asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dpo_credit.cli.search import SearchOptions
from dpo_credit.credit import CreditError

if TYPE_CHECKING:
    from dpo_credit.search.judges import Judge
    from dpo_credit.search.judges.openai import Endpoint


def judge_of(asked: SearchOptions, prompt: str) -> tuple[str, Judge, Endpoint | None]:
    """The judge's name, the judge, and where it sits if it costs something; without a wish, what the prompt allows.

    Raises:
        CreditError: a judge behind an API lacks its model.
    """
    from dpo_credit.demo.judge import judge as facts
    from dpo_credit.demo.reading import facts_of

    name = asked.judge or ("reward" if facts_of(prompt) is None else "facts")
    if name == "facts":
        return name, facts, None
    if name == "reward":
        from dpo_credit.search.judges.reward import judge as reward

        return name, reward, None
    if asked.judge_model is None:
        raise CreditError("--judge openai needs the model's name: --judge-model gpt-4o, say.")
    from dpo_credit.search.judges.openai import Endpoint

    endpoint = Endpoint(asked.judge_url, asked.judge_model, os.environ.get("OPENAI_API_KEY"), seed=asked.seed)
    return f"openai {asked.judge_model} at {asked.judge_url}", endpoint.judge, endpoint
