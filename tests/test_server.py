"""A server as a side: the numbers are the model's own, whoever serves it, in order, asked again, and few at a time."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from program import run
from servers import Reply, Served, serving
from tiny import language_model, tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from dpo_credit import load_pair, score
from dpo_credit.credit import CreditError, NotFiniteError, Tokens
from dpo_credit.endpoint import RETRIES, together
from dpo_credit.models import server as side_module
from dpo_credit.models.pair import Loading, ModelPair
from dpo_credit.models.server import AT_A_TIME, ServerSide, connect

ANSWERS = [
    ("b a", " a b c"),
    ("The rent", " is 120 dollars a month, and ½ of it is mine.\n🙂"),
    ("The rent", " is more."),
]
# sums in float32 over a few thousand products, in another order: the last digits of numbers near 10
FLOAT32 = 2e-5


@pytest.fixture
def serve(tiny_tokenizer: PreTrainedTokenizerFast) -> Iterator[Callable[..., Served]]:
    """Starts a server of a tiny model: the reference of `tiny_pair_dirs`, or that of another seed."""
    with ExitStack() as stack:

        def start(kind: str, seed: int = 2, own: PreTrainedTokenizerFast = tiny_tokenizer) -> Served:
            return stack.enter_context(serving(kind, language_model(seed=seed), own))

        yield start


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited before each retry, without the wait."""
    waited: list[float] = []
    monkeypatch.setattr("dpo_credit.endpoint.sleep", waited.append)
    return waited


def load(policy: object, reference: object, **loading: Any) -> ModelPair:
    return load_pair(str(policy), str(reference), beta=0.1, loading=Loading(device="cpu", **loading))


def message(policy: object, reference: object, **loading: Any) -> str:
    """What is said of a pair that cannot be loaded: one line."""
    with pytest.raises(CreditError) as raised:
        load(policy, reference, **loading)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llama.cpp", "openai"])
def test_a_served_reference_gives_the_local_ones_numbers(
    kind: str, serve: Callable[..., Served], tiny_pair: ModelPair, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    pair = load(tiny_pair_dirs[0], serve(kind).address)
    for here, there in zip(score(tiny_pair, ANSWERS), score(pair, ANSWERS), strict=True):
        assert there.reference_logps == pytest.approx(here.reference_logps, abs=FLOAT32)
        assert there.policy_logps == here.policy_logps and there.tokens.answer_ids == here.tokens.answer_ids


def test_two_servers_share_a_tokenizer_that_is_named(
    serve: Callable[..., Served], tiny_pair: ModelPair, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    policy, reference = serve("sglang", seed=1).address, serve("vllm", seed=2).address
    assert message(policy, reference).startswith("policy and reference are models of servers, which take token ids")
    pair = load(policy, reference, tokenizer=str(tiny_pair_dirs[0]))
    for here, there in zip(score(tiny_pair, ANSWERS), score(pair, ANSWERS), strict=True):
        assert there.rewards == pytest.approx(here.rewards, abs=FLOAT32)
    assert "is for two servers" in message(tiny_pair_dirs[0], reference, tokenizer="x")
    assert "is for two servers" in message(*tiny_pair_dirs, tokenizer="x")


def test_policies_of_servers_are_compared(
    serve: Callable[..., Served], tiny_pair: ModelPair, tiny_pair_dirs: tuple[Path, Path], tmp_path: Path
) -> None:
    policy, other, reference = (serve("vllm", seed=seed).address for seed in (1, 3, 2))
    post = tmp_path / "post.json"
    post.write_text(json.dumps({"prompt": ANSWERS[0][0], "completion": ANSWERS[0][1]}), encoding="utf-8")
    sides = ("--policy", policy, "--policy", other, "--reference", reference, "--beta", "0.1")
    ended = run("compare", post, *sides, "--tokenizer", tiny_pair_dirs[0], "--json", "-")
    assert ended.code == 0, ended.stderr
    (row,) = json.loads(ended.stdout)["rows"]
    (credit,) = score(tiny_pair, ANSWERS[:1])
    assert row["answers"][0]["rewards"][0] == pytest.approx(credit.rewards, abs=FLOAT32)


def test_servers_are_sent_the_rows_own_tokens(serve: Callable[..., Served], tiny_pair_dirs: tuple[Path, Path]) -> None:
    served = serve("vllm")
    (credit,) = score(load(tiny_pair_dirs[0], served.address), ANSWERS[:1])
    _, body, _ = served.asked[-1]
    assert tuple(body["prompt"]) == (*credit.tokens.prompt_ids, *credit.tokens.answer_ids)
    assert (body["temperature"], body["repetition_penalty"], body["max_tokens"]) == (1, 1, 1)


def test_the_order_is_the_batchs_and_so_many_are_asked_at_a_time(
    serve: Callable[..., Served], tiny_pair: ModelPair, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    served = serve("vllm")
    pair = load(tiny_pair_dirs[0], served.address)
    pauses = itertools.cycle((0.08, 0.01, 0.03))  # later ones are there first
    served.pause = lambda: next(pauses)
    rows = [("b a", f" so {n}") for n in range(24)]
    expected = [credit.reference_logps for credit in score(tiny_pair, rows)]
    for credit, logps in zip(score(pair, rows), expected, strict=True):
        assert credit.reference_logps == pytest.approx(logps, abs=FLOAT32)
    assert 1 < served.most_at_once <= AT_A_TIME


def test_what_is_done_together_comes_in_order_and_stops_at_an_error() -> None:
    begun: list[int] = []

    def work(n: int) -> int:
        begun.append(n)
        time.sleep(0.01 * (n % 3))
        if n == 4:
            raise CreditError("four")
        return n * n

    assert together(work, [3, 2, 1], 2) == [9, 4, 1] and together(work, [], 2) == []
    with pytest.raises(CreditError, match="four"):
        together(work, range(100), 2)
    assert max(begun) < 99


def test_a_busy_server_is_asked_again(
    serve: Callable[..., Served], waits: list[float], tiny_pair_dirs: tuple[Path, Path]
) -> None:
    served = serve("vllm")
    pair = load(tiny_pair_dirs[0], served.address)
    replies = itertools.chain([(503, {"error": {"message": "busy"}})] * 2, itertools.repeat(None))
    served.wrong = lambda path, reply: next(replies) or reply
    assert len(list(score(pair, ANSWERS[:1]))) == 1 and len(waits) == 2


def test_a_server_that_is_busy_from_the_start_is_asked_again(
    serve: Callable[..., Served], waits: list[float], tiny_pair_dirs: tuple[Path, Path]
) -> None:
    served = serve("vllm")
    replies = itertools.chain([(429, {"error": {"message": "busy"}})] * 2, itertools.repeat(None))
    served.wrong = lambda path, reply: reply if path.endswith("/models") else next(replies) or reply
    assert len(list(score(load(tiny_pair_dirs[0], served.address), ANSWERS[:1]))) == 1 and len(waits) == 2


def test_a_server_that_stays_away_is_given_up(
    serve: Callable[..., Served], waits: list[float], tiny_pair_dirs: tuple[Path, Path]
) -> None:
    served = serve("vllm")
    pair = load(tiny_pair_dirs[0], served.address)
    served.wrong = lambda path, reply: (503, {"error": {"message": "no worker is left"}})
    with pytest.raises(CreditError) as raised:
        list(score(pair, ANSWERS[:1]))
    assert str(raised.value) == (
        f"the server at {served.address} does not answer (status 503: no worker is left). Check --reference."
    )
    assert len(waits) == RETRIES
    served.shutdown()
    served.server_close()
    said = message(tiny_pair_dirs[0], served.address)
    assert said.startswith(f"the server at {served.address} does not answer (no connection: Connection refused)")


def test_a_reply_that_takes_too_long_is_given_up(
    serve: Callable[..., Served],
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    tiny_pair_dirs: tuple[Path, Path],
) -> None:
    served = serve("vllm")
    pair = load(tiny_pair_dirs[0], served.address)
    monkeypatch.setattr(side_module, "REPLY_S", 0.1)
    monkeypatch.setattr("dpo_credit.endpoint.RETRIES", 1)
    served.pause = lambda: 0.5
    with pytest.raises(CreditError, match=r"does not answer \(no whole reply in 0\.1 s\)"):
        list(score(pair, ANSWERS[:1]))
    assert len(waits) == 1


def entries(reply: Reply, change: Callable[[list[Any]], object]) -> Reply:
    """A reply of vLLM's with other entries, where it holds more than the first question's."""
    changed = json.loads(json.dumps(reply[1]))
    change(changed["choices"][0]["prompt_logprobs"])
    return 200, changed


def last(value: Any) -> Callable[[list[Any]], object]:
    return lambda found: found[-1].update({token: {**own, "logprob": value} for token, own in found[-1].items()})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda reply: (200, b"{"), "its reply is no JSON"),
        (lambda reply: (200, b"[" * 100_000), "its reply is no JSON"),
        (lambda reply: (200, [1]), "its reply is no JSON object"),
        (lambda reply: (200, {}), "it has no choices"),
        (lambda reply: (200, {"choices": [{}]}), "it has no prompt_logprobs"),
        (lambda reply: entries(reply, list.pop), "entries for"),
        (lambda reply: entries(reply, list.reverse), "has no entry for token"),
        (lambda reply: entries(reply, last(None)), "a log-probability is None"),
        (lambda reply: entries(reply, last("-1")), "a log-probability is '-1'"),
        (lambda reply: entries(reply, last(7.5)), "a log-probability is 7.5, above 0: are these logits?"),
        (lambda reply: (400, {"error": {"message": "context length\nis 5"}}), "status 400: context length is 5"),
        (lambda reply: (307, {}), "status 307: a redirect, where no post is sent"),
    ],
)
def test_what_is_no_answer_is_one_line(
    wrong: Callable[[Reply], Reply],
    said: str,
    serve: Callable[..., Served],
    waits: list[float],
    tiny_pair_dirs: tuple[Path, Path],
) -> None:
    served = serve("vllm")
    pair = load(tiny_pair_dirs[0], served.address)
    served.wrong = lambda path, reply: wrong(reply)
    with pytest.raises(CreditError) as raised:
        list(score(pair, ANSWERS[:1]))
    assert said in str(raised.value) and "\n" not in str(raised.value) and waits == []


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of infinite less infinite: no noise to measure
@pytest.mark.parametrize("value", [-9999.0, float("nan")])
def test_a_number_that_is_not_finite_is_the_answers_fault(
    value: float, serve: Callable[..., Served], tiny_pair_dirs: tuple[Path, Path]
) -> None:
    """-9999 is what vLLM writes for minus infinity."""
    served = serve("vllm")
    pair = load(tiny_pair_dirs[0], served.address)
    served.wrong = lambda path, reply: entries(reply, last(value))
    with pytest.raises(NotFiniteError, match=r"reference gives log-probability (-inf|nan) .* It runs on a server"):
        list(score(pair, ANSWERS[:1]))


def test_a_reply_of_a_gigabyte_is_not_kept(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, tiny_pair_dirs: tuple[Path, Path]
) -> None:
    served = serve("vllm")
    monkeypatch.setattr(side_module, "MOST_BYTES", 2**20)
    served.wrong = lambda path, reply: (200, b" " * 2**21)
    said = message(tiny_pair_dirs[0], served.address)
    assert said.endswith("sends more than 1 MiB, which is no reply to what was asked. Check --reference.")


def test_which_model_is_asked(serve: Callable[..., Served], tiny_pair_dirs: tuple[Path, Path]) -> None:
    served, policy = serve("sglang"), tiny_pair_dirs[0]
    assert "has no model other. It has tiny." in message(policy, f"{served.address}#other")
    served.models.append({"id": "org/my-lora", "root": "/adapters/1", "parent": "tiny"})
    assert "has 2 models: tiny, org/my-lora. Name one after its address: #tiny, say." in message(policy, served.address)
    pair = load(policy, f"{served.address}#org/my-lora")
    assert pair.reference.name == f"org/my-lora at {served.address}"
    assert served.asked[-1][1]["lora_path"] == "org/my-lora"  # SGLang's own API takes no model's name
    assert load(policy, f"{served.address}/#tiny").reference.fingerprint() != pair.reference.fingerprint()
    served.models.clear()
    assert "lists no models" in message(policy, served.address)


def test_an_address_without_a_path_is_that_of_v1(
    serve: Callable[..., Served], tiny_pair_dirs: tuple[Path, Path]
) -> None:
    served = serve("llama.cpp")
    assert load(tiny_pair_dirs[0], served.address.removesuffix("/v1")).reference.name == f"tiny at {served.address}"
    assert {path for path, *_ in served.asked} >= {"/v1/models", "/completion"}


def test_what_is_no_server_is_said_to_be_none(tiny_pair_dirs: tuple[Path, Path]) -> None:
    assert message(tiny_pair_dirs[0], "ftp://user:s3cret@host/v1") == (
        "reference ftp://host/v1 is no server's address, which begins with http:// or https://."
    )


def test_a_server_of_another_tokenizer_is_refused(
    serve: Callable[..., Served], tiny_pair_dirs: tuple[Path, Path]
) -> None:
    other = PreTrainedTokenizerFast.from_pretrained(tiny_pair_dirs[0])
    other.decode = lambda ids, **_: f"piece {ids}"  # type: ignore[method-assign]
    for kind in ("vllm", "sglang", "llama.cpp"):
        assert "has another tokenizer: token" in message(tiny_pair_dirs[0], serve(kind, own=other).address)


def with_bos() -> PreTrainedTokenizerFast:
    """A tokenizer that begins every text with a token of its own."""
    made = tokenizer()
    made.bos_token = made.eos_token
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{made.bos_token} $A", special_tokens=[(made.bos_token, made.bos_token_id)]
    )
    return made


def test_numbers_that_stand_beside_the_wrong_token_are_noticed(
    serve: Callable[..., Served], tiny_pair_dirs: tuple[Path, Path]
) -> None:
    """llama-cpp-python's echo, without BOS; with BOS its numbers are right, and it lists no BOS."""
    said = message(tiny_pair_dirs[0], serve("llama-cpp-python").address)
    assert "lists each log-probability beside the wrong token, the one after it" in said
    own, served = with_bos(), serve("llama-cpp-python", own=with_bos())
    side = connect(served.address, "reference", own)
    assert side.dialect.name == "OpenAI with text"
    ids = own.encode("The rent is 120 dollars")
    tokens = Tokens(tuple(ids[:4]), tuple(ids[4:]), ("x",) * (len(ids) - 4), ((0, 1),) * (len(ids) - 4), "x")
    rows = served.rows(ids)
    expected = [float(rows[t - 1, ids[t]]) for t in range(4, len(ids))]
    assert side.logps([tokens])[0].logps == pytest.approx(expected, abs=FLOAT32)


def test_text_is_sent_only_where_it_has_the_same_tokens(serve: Callable[..., Served]) -> None:
    own = with_bos()
    side = connect(serve("llama-cpp-python", own=own).address, "reference", own)
    ids = [own.bos_token_id, *own.encode("re", add_special_tokens=False), *own.encode("nt", add_special_tokens=False)]
    assert len(own.encode("rent")) < len(ids)  # together they are fewer
    with pytest.raises(CreditError, match="it takes text alone, and no text has exactly these tokens"):
        side.logps([Tokens(tuple(ids[:2]), tuple(ids[2:]), ("x",) * (len(ids) - 2), (), "x")])


def test_the_servers_limit_is_the_pairs(serve: Callable[..., Served], tiny_pair_dirs: tuple[Path, Path]) -> None:
    served = serve("vllm")
    served.models[0]["max_model_len"] = 100
    pair = load(tiny_pair_dirs[0], served.address)
    assert pair.max_length == 99  # a server writes at least one token
    with pytest.raises(CreditError, match="99"):
        list(score(pair, [("b a", " so" * 200)]))


def test_what_a_side_is_known_by(serve: Callable[..., Served], tiny_pair_dirs: tuple[Path, Path]) -> None:
    served = serve("vllm")
    pair = load(tiny_pair_dirs[0], served.address)
    assert isinstance(pair.reference, ServerSide) and pair.reference.dtype == "unknown"
    (credit,) = score(pair, ANSWERS[:1])
    assert credit.source.dtype == "float32/unknown" and credit.source.reference == f"tiny at {served.address}"
    (note,) = credit.tokens.notes
    assert note == (
        f"the reference's log-probabilities come from a server ({served.address}), whose weights and dtype are not "
        "known here"
    )
    assert math.isfinite(credit.reward)


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://:80/v1",
        "http://host:port/v1",
        "http://[::1/v1",
        "https:///v1",
        "http://h/ü",
        "http://h/v1?k=a b",
    ],
)
def test_what_is_no_address_is_one_line(address: str, tiny_pair_dirs: tuple[Path, Path]) -> None:
    assert "is no address of a server: give one such as http://localhost:8000/v1" in message(tiny_pair_dirs[0], address)
