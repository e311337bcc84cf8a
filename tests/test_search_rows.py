"""`dpo-credit search` on data sets: answers, judges, what is kept, and the figures."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import credits
import pytest
from program import run

from dpo_credit.credit import Credit, CreditError
from dpo_credit.demo.corpus import draw_pairs
from dpo_credit.demo.judge import judge as facts_judge
from dpo_credit.demo.reading import claims_of, facts_of, wrong_and_right
from dpo_credit.demo.rows import labelled_row
from dpo_credit.demo.world import topics
from dpo_credit.endpoint import bare
from dpo_credit.rows.kept import Kept
from dpo_credit.search import rows as search_rows
from dpo_credit.search.beams import Judged, JudgedAnswer, Search, figures, header, line, parse, sentence
from dpo_credit.search.judges import Contest
from dpo_credit.search.judges.openai import PROMPT, Endpoint
from dpo_credit.search.judges.reward import judge as reward_judge
from dpo_credit.views.page import beams as html_beams

# Rafailov et al. 2024, Appendix H; their sentence on the order of the two is one line.
PAPER = (
    "Which of the following summaries does a better job of summarizing the most important points in the given forum "
    "post?\nPost: QUERY\nSummary A: A\nSummary B: B\nFIRST provide a one-sentence comparison of the two summaries, "
    'explaining which you prefer and why. SECOND, on a new line, state only "A" or "B" to indicate your choice. Your '
    'response should use the format:\n\nComparison: <one-sentence comparison and explanation> Preferred: <"A" or "B">'
)


def credit(answer: str, reward: float = 0.0) -> Credit:
    return credits.credit([answer], [reward])


TOPICS = [*topics()]
FEW = TOPICS[:2]  # the patterns of a topic take half a second to compile


@pytest.mark.parametrize(
    "chosen", [FEW, pytest.param(TOPICS, marks=pytest.mark.slow)], ids=["few topics", "all topics"]
)
@pytest.mark.parametrize("split", ["train", "validation", "held_out"])
def test_the_facts_of_posts_and_every_edit_of_a_summary_are_read(split: Any, chosen: list[str]) -> None:
    pairs = [pair for pair in draw_pairs(5, 60, split) if pair.post.topic in chosen]
    assert {pair.post.topic for pair in pairs} == {*chosen}
    for pair in pairs:
        facts = facts_of(pair.post.prompt)
        assert facts == {
            "topic": pair.post.topic,
            **{fact.slot: fact.value for fact in pair.post.facts if not fact.slot.endswith("sex")},
        }
        wrong, right = wrong_and_right(facts, pair.chosen.text)
        assert wrong == [] and {claim.slot for claim in right} == {span.slot for span in pair.chosen.spans}
        wrong, _ = wrong_and_right(facts, pair.rejected.text)
        assert {(claim.slot, claim.value) for claim in wrong} == {(edit.slot, edit.wrong) for edit in pair.edits}
        assert {(claim.start, claim.end) for claim in wrong} >= {(edit.start, edit.end) for edit in pair.edits}


def test_what_no_template_says_is_no_claim() -> None:
    assert claims_of(" I met a walrus for $400 in Oslo, aged 31.", "rent") == []
    assert facts_of("I went to the shop and bought some milk.") is None


def test_fewer_wrong_facts_win_then_more_right_ones() -> None:
    pairs = draw_pairs(5, 60, "validation")
    pair = next(pair for pair in pairs if len(pair.edits) == 2 and pair.post.topic in FEW)
    right, wrong = credit(pair.chosen.text), credit(pair.rejected.text)

    def win(answer: Credit, chosen: Credit) -> float | None:
        return facts_judge(Contest("x", pair.post.prompt, answer, chosen)).win

    assert (win(right, wrong), win(wrong, right), win(right, right)) == (1.0, 0.0, 0.5)
    assert (win(credit(" No idea."), right), win(credit(" No idea."), wrong)) == (0.0, 1.0)
    said = facts_judge(Contest("x", pair.post.prompt, wrong))
    assert said.win is None and said.said.startswith("2 wrong") and pair.edits[0].wrong in said.said
    with pytest.raises(CreditError, match="no post of the embedded world"):
        facts_judge(Contest("x", "A post.", right))


def test_the_reward_judges_by_itself() -> None:
    assert reward_judge(Contest("x", "p", credit("a", 2.0), credit("b", 1.0))).win == 1.0
    assert reward_judge(Contest("x", "p", credit("a", 1.0), credit("b", 1.0))).win == 0.5
    assert reward_judge(Contest("x", "p", credit("a", 1.0))).win is None


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible endpoint: it prefers the summary that says "good", and fails as often as it is told."""

    failures = 0
    status = 500
    answer: str | None = None
    location = ""
    body: bytes | None = None  # in the answer's place

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        text = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        server.asked.append((text, self.headers["Authorization"]))
        failed = server.failures > 0
        server.failures -= 1
        choice = "A" if "Summary A: good" in text else "B"
        said = server.answer if server.answer is not None else f'Comparison: it is better. Preferred: "{choice}"'
        content = {
            "id": "1", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107},
        }  # fmt: skip
        body = server.body or json.dumps({"error": {"message": "later"}} if failed else content).encode()
        self.send_response(server.status if failed else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("retry-after-ms", "1")
        if server.location:
            self.send_header("Location", f"{server.location}/chat/completions")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def endpoint(server: Server, seed: int = 0) -> Endpoint:
    return Endpoint(f"http://127.0.0.1:{server.server_port}/v1", "m", "secret", seed=seed)


def test_the_judge_asks_as_the_paper_does_in_an_order_drawn_by_seed(server: Server) -> None:
    assert PROMPT.format(query="QUERY", a="A", b="B") == PAPER
    found = endpoint(server)
    cases = [Contest(f"{n}", "A post.", credit(" good"), credit(" bad")) for n in range(12)]
    assert {found.judge(case).win for case in cases} == {1.0}
    assert {endpoint(server).judge(Contest(one.id, one.prompt, one.chosen, one.answer)).win for one in cases} == {0.0}
    first = ["Summary A: good" in text for text, _ in server.asked[:12]]
    assert 0 < sum(first) < 12
    server.asked.clear()
    again = endpoint(server)
    for case in cases:
        again.judge(case)
    assert ["Summary A: good" in text for text, _ in server.asked] == first
    assert all(key == "Bearer secret" for _, key in server.asked)
    assert again.cost == "12 requests, 1,200 + 84 tokens"
    assert again.judge(Contest("x", "p", credit(" bad"), credit("bad"))).win == 0.5 and len(server.asked) == 12


def test_the_judge_is_asked_again_after_a_failure_and_given_up_after_many(server: Server) -> None:
    server.failures = 3
    assert endpoint(server).judge(Contest("x", "p", credit("good"), credit("bad"))).win == 1.0
    assert len(server.asked) == 4
    server.failures, server.status = 99, 401
    with pytest.raises(CreditError, match="status 401") as raised:
        endpoint(server).judge(Contest("x", "p", credit("good"), credit("bad")))
    assert len(server.asked) == 5 and "secret" not in str(raised.value)
    server.status = 503
    with pytest.raises(CreditError, match="status 503"):
        endpoint(server).judge(Contest("x", "p", credit("good"), credit("bad")))
    with pytest.raises(CreditError, match="no chosen answer"):
        endpoint(server).judge(Contest("x", "p", credit("good")))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://user:pass@host:8000/v1?key=secret#part", "https://host:8000/v1"),
        ("http://host/v1", "http://host/v1"),
        ("http://[bad?key=secret", "http://[bad"),
    ],
)
def test_what_may_be_secret_in_an_address_is_shown_nowhere(given: str, shown: str) -> None:
    assert bare(given) == shown


def test_posts_do_not_follow_a_redirect_to_another_host(server: Server) -> None:
    with Server() as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        server.failures, server.status, server.location = 99, 307, f"http://127.0.0.1:{other.server_port}/v1"
        with pytest.raises(CreditError, match=r"does not answer \(status 307: a redirect"):
            endpoint(server).judge(Contest("x", "p", credit("good"), credit("bad")))
        assert other.asked == []
        other.shutdown()


REPLIES = {
    "a list": b"[1]",
    "a number": b"7",
    "null": b"null",
    "text": b'"x"',
    "not JSON": b"{",
    "a page": b"<html></html>",
    "invalid UTF-8": b'{"choices": "\xe9"}',
    "no choices": b'{"choices": []}',
    "choices of a number": b'{"choices": 5}',
    "choices of objects": b'{"choices": {"a": 1}}',
    "no message": b'{"choices": [{"message": null}]}',
    "a number for content": b'{"choices": [{"message": {"content": 5}}]}',
    "a list for content": b'{"choices": [{"message": {"content": ["A"]}}]}',
    "text for usage": b'{"choices": [{"message": {"content": "A"}}], "usage": {"prompt_tokens": "x"}}',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", REPLIES.values(), ids=REPLIES)
def test_a_reply_that_is_no_chat_completion_is_one_line(server: Server, body: bytes) -> None:
    server.body = body
    with pytest.raises(CreditError, match=r"gives no chat completion\. Is it OpenAI-compatible"):
        endpoint(server).judge(Contest("x", "p", credit("good"), credit("bad")))


@pytest.mark.parametrize("answer", ["", "A", "Preferred: C", "Preferred: A or B", "Both are fine. Preferred: neither"])
def test_an_answer_without_a_choice_is_a_tie_and_is_counted(server: Server, answer: str) -> None:
    server.answer = answer
    found = endpoint(server)
    assert found.judge(Contest("x", "p", credit("good"), credit("bad"))).win == 0.5
    assert "1 answers named no choice" in found.cost


def rows(folder: Path, count: int = 6) -> Path:
    path = folder / "rows.jsonl"
    pairs = islice((pair for pair in draw_pairs(5, 20 * count, "validation") if pair.post.topic in FEW), count)
    lines = [json.dumps(labelled_row(pair, f"post {n}")) + "\n" for n, pair in enumerate(pairs)]
    path.write_text("".join(lines))
    return path


def search(*arguments: str | Path) -> Any:
    return run("search", *arguments, "--device", "cpu", "--max-new-tokens", "12", "--beams", "1,3")


@pytest.mark.parametrize("drawn", [(), ("--sample", "--seed", "3")], ids=["likeliest", "drawn"])
def test_a_search_that_was_cut_off_goes_on_to_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: tuple[str, ...]
) -> None:
    monkeypatch.setattr(search_rows, "CHUNK", 4)  # it is cut off in the second chunk
    given, whole, parts = rows(tmp_path), tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    ended = search(given, "-o", whole, "--json", "-", *drawn)
    assert ended.code in (0, None), ended.stderr
    found = json.loads(ended.stdout)
    assert [width["beams"] for width in found["widths"]] == [1, 3] and found["rows"] == 6
    assert found["settings"]["judge"] == "facts"
    lines = whole.read_bytes().splitlines(keepends=True)
    parts.write_bytes(b"".join(lines[:6]) + lines[6][:50])
    ended = search(given, "-o", parts, "--resume", *drawn)
    assert ended.code in (0, None), ended.stderr
    assert parts.read_bytes() == whole.read_bytes()
    assert "exists" in search(given, "-o", whole, *drawn).stderr
    assert (
        'judge was "facts" and is "reward"'
        in search(given, "-o", whole, "--resume", "--judge", "reward", *drawn).stderr
    )
    for row in parse(whole.read_bytes(), "whole").rows:
        assert len(row.answers) == 2 and row.chosen is not None and row.answers[0].tokens <= 12


def test_wider_beams_find_likelier_answers_on_the_whole_and_what_is_kept_is_drawn_again(tmp_path: Path) -> None:
    given, kept = rows(tmp_path), tmp_path / "<i>kept.jsonl"
    search(given, "-o", kept)
    one, three = (width.policy_logp.mean for width in figures(parse(kept.read_bytes(), "kept")))
    assert three > one
    page, picture = tmp_path / "page.html", tmp_path / "figure.svg"
    ended = run("search", kept, kept, "--labels", "sum,<b>mean", "--png", picture, "--html", page)
    assert ended.code in (0, None), ended.stderr
    assert (
        "win rate" in picture.read_text() and "&lt;b&gt;mean" in page.read_text() and "<b>mean" not in page.read_text()
    )
    assert ended.stdout.count("6 rows") == 2


CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {  # of the settings, of an answer, what is said
    "no beams": ({"beams": None}, {}, r"kept\.jsonl is no search that was kept"),
    "a penalty of text": ({"length_penalty": "x"}, {}, r"no numbers of beams, or no length_penalty"),
    "other beams": ({"beams": [1, 5]}, {}, r"line 2 has 1 answers for 2 numbers of beams"),
    "text for a number": ({}, {"reward": "x"}, r'line 2: answers\[0\]\.reward is "x", which must be a number'),
    "a number for text": ({}, {"answer": 5}, r"line 2: answers\[0\]\.answer is 5, which must be text"),
    "a boolean for a number": ({}, {"tokens": True}, r"answers\[0\]\.tokens is true, which must be a whole number"),
    "far too many tokens": ({}, {"tokens": 10**400}, r"answers\[0\]\.tokens is a number of many digits, which must be"),
    "NaN": ({}, {"policy_logp": math.nan}, r"answers\[0\]\.policy_logp is NaN, which must be a number"),
    "two wins": ({}, {"win": 2}, r"a win is none of 0, 0\.5 and 1"),
}


@pytest.mark.parametrize(("settings", "answer", "said"), CHANGED.values(), ids=CHANGED)
def test_a_kept_search_that_was_changed_is_refused(settings: dict[str, Any], answer: dict[str, Any], said: str) -> None:
    head = json.dumps(header({"beams": [1], "length_penalty": 0.0, **settings}, {}))
    row = json.loads(line(Judged("x", (JudgedAnswer("a", 1, -1.0, 0.5, True),))))
    row["answers"][0] |= answer
    with pytest.raises(CreditError, match=said):
        parse(f"{head}\n{json.dumps(row)}\n".encode(), "kept.jsonl")


def fake(lengths: list[float], wins: Sequence[Sequence[float | None]]) -> Search:
    beams = [1, 5, 20]
    answers = [
        Judged(
            f"{n}",
            tuple(
                JudgedAnswer("", int(t), 0.0, 0.0, True, win[n % len(win)])
                for t, win in zip(lengths, wins, strict=True)
            ),
        )
        for n in range(40)
    ]
    return Search({"beams": beams}, tuple(answers))


def test_the_papers_over_optimisation_is_said_only_where_it_is() -> None:
    falls, stays = [[1.0], [1.0], [0.0]], [[1.0, 0.0]] * 3
    assert "Over-optimisation as in the paper" in sentence(fake([50, 80, 200], falls))
    assert "no fall of the win rate" in sentence(fake([50, 80, 200], stays))
    assert "do not explode" in sentence(fake([50, 50, 50], falls))
    assert "not found here" in sentence(fake([50, 50, 50], stays))


def test_the_page_draws_what_is_more_higher_and_leaves_out_what_no_judge_said() -> None:
    def heights(chart: str) -> list[float]:
        return [float(y) for y in re.findall(r'<circle class="mean c1" cx="[\d.]+%" cy="([\d.]+)%"', chart)]

    wins, lengths = html_beams.render([fake([50, 80, 200], [[1.0], [0.0, 1.0], [0.0]])], ["one"]).split("<figure")[1:]
    assert heights(wins) == sorted(heights(wins)) and heights(wins)[2] == 100 and len(set(heights(wins))) == 3
    assert heights(lengths) == sorted(heights(lengths), reverse=True)
    first = heights(lengths)[0]
    assert 100 - heights(lengths)[2] == pytest.approx(4 * (100 - first), abs=0.1)
    unjudged = html_beams.render([fake([50, 80, 200], [[None], [None], [None]])], ["one"])
    assert unjudged.count("<figure") == 1 and "Mean length" in unjudged


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nothing.jsonl",), "nothing.jsonl"),
        (("{rows}", "--judge", "openai"), "--judge-model"),
        (("{rows}", "--judge", "openai", "--judge-model", "m", "--judge-url", "no address"), "no address"),
        (("{rows}", "--resume"), "go with -o"),
        (("{rows}", "--png", "x.bmp"), ".png, .svg or .pdf"),
        (("{rows}", "--sequential"), "--sequential"),
        (("{rows}", "--max-new-tokens", "1000"), "Lower --max-new-tokens"),
        (("{other}", "--judge", "facts"), "no post of the embedded world"),
        (("{empty}",), "no rows"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr(
        time, "sleep", lambda _: None
    )  # the client of an endpoint waits ever longer before it asks again
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "other.jsonl").write_text('{"prompt": "x", "chosen": " y", "rejected": " z"}\n')
    places = {"rows": rows(tmp_path, 2), "empty": tmp_path / "empty.jsonl", "other": tmp_path / "other.jsonl"}
    ended = run("search", *(one.format(**places) for one in arguments), "--device", "cpu", "-q", "--beams", "1")
    assert ended.code == 2 and said in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr


def test_figure_and_view_are_written_for_one_post_and_for_many(tmp_path: Path) -> None:
    (tmp_path / "post.json").write_text(json.dumps({"prompt": "Rent is 620 dollars. TL;DR:"}))
    for given, name in ((tmp_path / "post.json", "post"), (rows(tmp_path, 2), "rows")):
        figure, view = tmp_path / f"{name}.png", tmp_path / f"{name}.svg"
        ended = run("search", given, "--beams", "1", "--max-new-tokens", "4", "--png", figure, "--svg", view, "-q")
        assert ended.code == 0, ended.stderr
        assert figure.read_bytes().startswith(b"\x89PNG")
        assert "<svg" in view.read_text() and "judge" in view.read_text()


def test_rows_are_a_data_set_wherever_they_come_from(tmp_path: Path) -> None:
    """Many are one from stdin and in a JSON array, too; a single one there is a post."""
    lines, picture = rows(tmp_path, 2).read_bytes(), tmp_path / "figure.svg"
    array = tmp_path / "rows.json"
    array.write_bytes(b"[" + b",\n".join(lines.splitlines()) + b"]")
    for given, stdin, many in (("-", lines, True), (array, b"", True), ("-", lines.splitlines()[0], False)):
        ended = run("search", given, "--beams", "1", "--max-new-tokens", "4", "--png", picture, "-q", stdin=stdin)
        assert ended.code == 0, ended.stderr
        assert ("win rate" in picture.read_text()) == ("2 rows" in ended.stdout) == many


def test_a_second_search_on_the_same_file_is_refused(tmp_path: Path) -> None:
    kept, given = tmp_path / "kept.jsonl", rows(tmp_path, 1)
    asked = ("search", given, "--beams", "1", "--max-new-tokens", "4", "-o", kept, "-q")
    assert run(*asked).code == 0
    before = kept.read_bytes()
    with Kept(kept, "resume") as other:
        other.begin({}, bytes, b"")
        ended = run(*asked, "--overwrite")
    assert ended.code == 2 and ended.stderr.startswith(f"dpo-credit: another run is writing {kept}"), ended.stderr
    assert kept.read_bytes() == before
    assert run(*asked, "--overwrite").code == 0
