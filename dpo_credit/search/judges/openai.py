"""A language model as a judge, behind any OpenAI-compatible endpoint, with the paper's prompt (Appendix H)."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from dpo_credit.credit import CreditError
from dpo_credit.endpoint import Unanswered, asked, bare, is_key, refused
from dpo_credit.search.judges import Contest, Verdict

# Rafailov et al. 2024, Appendix H, word for word.
PROMPT = (
    "Which of the following summaries does a better job of summarizing the most important points in the given forum "
    "post?\nPost: {query}\nSummary A: {a}\nSummary B: {b}\n"
    "FIRST provide a one-sentence comparison of the two summaries, explaining which you prefer and why. SECOND, on a "
    'new line, state only "A" or "B" to indicate your choice. Your response should use the format:\n\n'
    'Comparison: <one-sentence comparison and explanation> Preferred: <"A" or "B">'
)
REPLY_S = 120.0  # for a reply, from the request to its last byte
_CHOICE = re.compile(r"Preferred:\s*[\"'<]*([AB])[\"'>]*\.?\s*$")


class Endpoint:
    """A chat model and what it has cost so far.

    Args:
        url: of the API, such as https://api.openai.com/v1 or http://localhost:8000/v1; its query is sent, too.
        model: its name there.
        key: the API's key, or None; it goes into the requests' header and nowhere else.
        seed: of the order in which the two answers are shown.
        seconds: that a reply may take in all.
        tell: hears of each retry.

    Raises:
        CreditError: the client is not installed, or the address or the key is none.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key: str | None = None,
        *,
        seed: int = 0,
        seconds: float = REPLY_S,
        tell: Callable[[str], None] = lambda line: None,
    ) -> None:
        try:
            import openai

            from dpo_credit.search.judges.client import Client
        except ImportError as error:
            raise CreditError("--judge openai needs its client: pip install 'dpo-credit[judge]'.") from error
        self.url, self.model, self.seed = bare(url), model, seed
        self.requests = self.prompt_tokens = self.completion_tokens = self.unclear = 0
        self._seconds, self._tell = seconds, tell
        if key is not None and not is_key(key):
            raise CreditError("OPENAI_API_KEY holds characters that no key has, such as a line break. Set it anew.")
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https"):
                raise ValueError(self.url)
            self._client = openai.OpenAI(
                base_url=urlunsplit(parts._replace(query="", fragment="")),
                api_key=key or "none",
                default_query=dict(parse_qsl(parts.query, keep_blank_values=True)),
                max_retries=0,  # they are ours, as they are said
                timeout=seconds,
                http_client=Client(seconds),
            )
        except Exception as error:  # whatever the client says of an address
            raise CreditError(
                f"--judge-url {self.url} is no address of an API: it begins with http:// or https://."
            ) from error

    def judge(self, case: Contest) -> Verdict:
        """The model's choice; an answer that names none by the prompt's format counts as a tie, and is counted.

        Raises:
            CreditError: there is no chosen answer, or the endpoint refuses or does not answer.
        """
        if case.chosen is None:
            raise CreditError(f"{case.id} has no chosen answer for the judge to compare with. Give preferences.")
        ours, theirs = (credit.tokens.answer.strip() for credit in (case.answer, case.chosen))
        if ours == theirs:
            return Verdict(0.5, "the same answer")
        first = random.Random(f"{self.seed}/{case.id}/{ours}").random() < 0.5
        a, b = (ours, theirs) if first else (theirs, ours)
        text = self._ask(PROMPT.format(query=case.prompt, a=a, b=b))
        choice = _CHOICE.search(text.strip())
        if choice is None:
            self.unclear += 1
            return Verdict(0.5, "unclear")
        return Verdict(float((choice[1] == "A") == first), " ".join(text.split()))

    @property
    def cost(self) -> str:
        """What was asked so far."""
        text = f"{self.requests} requests, {self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        return text + (f"; {self.unclear} answers named no choice and count as ties" if self.unclear else "")

    def _ask(self, text: str) -> str:
        whose = f"the judge at {self.url}"
        try:
            return asked(lambda: self._reply(text), whose, self._tell)
        except Unanswered as failure:
            raise CreditError(
                f"{whose} does not answer ({failure}). Check --judge-url, --judge-model and key."
            ) from failure

    def _reply(self, text: str) -> str:
        import openai

        try:
            answer = self._client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": text}], temperature=0
            )
            self.requests += 1
            if answer.usage is not None:
                self.prompt_tokens += answer.usage.prompt_tokens
                self.completion_tokens += answer.usage.completion_tokens
            content = answer.choices[0].message.content or ""
            if not isinstance(content, str):  # the client checks no types
                raise TypeError(type(content).__name__)
            return content
        except CreditError as error:
            raise CreditError(f"the judge at {self.url} {error} Check --judge-url.") from error
        except openai.APIStatusError as error:
            raise refused(error.status_code, error.response.headers) from error
        except openai.APITimeoutError as error:
            raise Unanswered(f"no whole reply in {self._seconds:g} s, which is --judge-timeout") from error
        except openai.APIConnectionError as error:
            raise Unanswered("no connection, or one that broke off") from error
        except openai.OpenAIError as error:
            raise Unanswered(type(error).__name__, again=False) from error
        except (TypeError, AttributeError, LookupError, ValueError, RecursionError) as error:
            raise CreditError(f"the judge at {self.url} gives no chat completion. Is it OpenAI-compatible?") from error
