"""The embedded pair: its world, its labels, its tokenizer, and what the shipped models must show."""

import re
from pathlib import Path
from random import Random

import numpy as np
import pytest

from dpo_credit.demo.corpus import EARLY_PLAIN_SHARE, PLAIN_SHARE, WRONG_SHARE, draw_pairs, sft_rows
from dpo_credit.demo.errors import FactEdit, parse_value, wrong_value
from dpo_credit.demo.wording import load
from dpo_credit.demo.world import BUCKETS, bucket, draw_posts, summarise, topics
from dpo_credit.localise.grading import Graded, errors_of, sum_over
from dpo_credit.segments import word_spans

DEMO = Path(__file__).parent.parent / "dpo_credit" / "demo"


def _pattern(phrasing: str) -> re.Pattern[str]:
    """What a phrasing looks like in a post: free choices resolved, values and people unknown."""
    parts = re.split(r"(\[[^\[\]]*\]|\{\w+\}|<\w!?>)", phrasing)
    made = [
        f"(?:{'|'.join(map(re.escape, part[1:-1].split('|')))})"
        if part.startswith("[")
        else ".{1,60}?"
        if part.startswith(("{", "<"))
        else re.escape(part)
        for part in parts
        if part
    ]
    return re.compile("".join(made), re.IGNORECASE)


def test_the_world_is_deterministic_by_seed():
    first, again, other = (list(sft_rows(seed, 50)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_posts_are_in_the_public_format_and_state_every_fact():
    for post, _ in draw_posts(4, 200):
        assert re.fullmatch(r"SUBREDDIT: r/\w+\n\nTITLE: .+\n\nPOST: .+\n\nTL;DR:", post.prompt)
        for fact in post.facts:
            assert fact.slot.endswith("sex") or fact.value.lower() in post.body.lower(), (fact, post.body)


def test_same_typed_facts_of_a_post_differ():
    for post, _ in draw_posts(4, 200):
        values = [(fact.type, fact.value) for fact in post.facts if fact.type != "sex"]
        assert len(set(values)) == len(values)


def test_every_topic_binds_several_types_to_two_roles():
    assert len(topics()) >= 10
    for topic in topics().values():
        kinds = ["age", "age", "age", "name", "name", "relation", "relation", *topic["slots"].values()]
        assert len({kind for kind in kinds if kinds.count(kind) >= 2}) >= 4, topic["name"]


def test_right_summaries_restate_three_to_five_facts_where_their_spans_say():
    for post, rng in draw_posts(4, 200):
        summary = summarise(rng, post)
        assert summary.text.startswith(" ")
        assert 1 <= len(summary.spans) <= 5
        for span in summary.spans:
            assert summary.text[span.start : span.end] == post.fact(span.slot).value


def test_labels_are_exactly_the_characters_that_differ():
    for pair in draw_pairs(7, 200, "train"):
        rebuilt = pair.rejected.text
        for edit in reversed(pair.edits):
            assert rebuilt[edit.start : edit.end] == edit.wrong
            rebuilt = rebuilt[: edit.start] + edit.right + rebuilt[edit.end :]
        assert rebuilt == pair.chosen.text


@pytest.mark.parametrize(
    ("right", "wrong", "marked"),
    [
        ("$50K-$90K", "$50K-$70K", "7"),
        ("$50K-$90K", "$40K-$60K", "40K-$6"),
        ("Denver", "Boston", "Boston"),
        ("24", "27", "7"),
        ("six", "sixteen", "teen"),
        ("sixteen", "six", "x"),
    ],
)
def test_currency_and_shared_digits_are_not_wrong(right, wrong, marked):
    edit = FactEdit("slot", right, wrong, 10, 10 + len(wrong))
    start, end = edit.wrong_characters
    assert (" " * 10 + wrong)[start:end] == marked


def test_no_wrong_summary_equals_the_right_one():
    for pair in draw_pairs(7, 300, "train"):
        assert pair.edits
        assert pair.chosen.text != pair.rejected.text
        for edit in pair.edits:
            assert edit.right != edit.wrong


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_wrong_values_keep_their_type_and_are_facts_of_the_post_as_often_as_asked(share):
    rng, swaps, count = Random(0), 0, 0
    for post, _ in draw_posts(9, 100):
        for fact in post.facts:
            if fact.type == "sex":
                continue
            value = wrong_value(rng, post, fact, share)
            assert parse_value(fact.type, value, post.topic) == value
            siblings = [other.value for other in post.facts if other.type == fact.type and other != fact]
            count += bool(siblings)
            swaps += value in siblings
    # 3 sigma of ~1,000 draws are 5 points; near values hit a sibling now and then, too.
    assert share - 0.05 < swaps / count < share + 0.15


@pytest.mark.parametrize(("early", "share"), [(True, EARLY_PLAIN_SHARE), (False, PLAIN_SHARE)])
def test_a_third_of_the_writers_are_wrong(early, share):
    count = 1000
    plain = int(share * count)
    right = [
        summarise(rng, post, plain=index < plain, roster=index < plain and not early).text
        for index, (post, rng) in enumerate(draw_posts(11, count, "train", early=early))
    ]
    wrong = [row["completion"] != text for row, text in zip(sft_rows(11, count, early=early), right, strict=True)]
    assert not any(wrong[:plain])
    # 3 sigma of 200 draws at 0.3 are just below 0.1; a few summaries hold no value that could be made wrong.
    assert abs(np.mean(wrong[plain:]) - WRONG_SHARE) < 0.1


def test_held_out_phrasings_and_facts_never_occur_in_training():
    phrases = load("phrases")
    held = [phrasing for topic in topics().values() for beat in topic["beat"] for phrasing in beat["held_out"]]
    for topic in topics().values():
        assert all(len(beat["held_out"]) >= 2 for beat in topic["beat"])
    held += phrases["openers"]["held_out"] + phrases["intros"]["held_out"]
    trained = {phrasing for post, _ in draw_posts(3, 500) for phrasing in post.phrasings}
    assert not trained & set(held)
    bodies = "\n".join(post.body for post, _ in draw_posts(3, 500))
    topic_phrasings = [
        phrasing for topic in topics().values() for beat in topic["beat"] for phrasing in beat["held_out"]
    ]
    found = [phrasing for phrasing in topic_phrasings if re.search(_pattern(phrasing), bodies)]
    assert not found
    for post, _ in draw_posts(3, 100, "held_out"):
        assert set(post.phrasings) <= set(held)
        assert bucket(post.facts) in BUCKETS["held_out"]


def test_training_begins_with_fewer_phrasings():
    phrases = load("phrases")
    tables = [*(beat for topic in topics().values() for beat in topic["beat"]), phrases["openers"]]
    later = {phrasing for table in tables for phrasing in table["later"]}
    early, all_of_it = (
        {phrasing for post, _ in draw_posts(3, 500, early=early) for phrasing in post.phrasings}
        for early in (True, False)
    )
    assert not early & later and all_of_it & later


def test_the_search_for_held_out_phrasings_can_fail():
    post, _ = next(draw_posts(3, 1, "held_out"))
    assert all(re.search(_pattern(phrasing), post.body) for phrasing in post.phrasings)


def test_words_own_the_tokens_that_end_in_them():
    #         0123456789
    text = " I am 24."
    tokens = [(0, 2), (2, 5), (5, 6), (6, 8), (8, 9), (9, 9)]  # " I", " am", " ", "24", ".", end
    words = word_spans(text)
    assert words == [(1, 2), (3, 5), (6, 9)]
    assert sum_over(words, tokens, [1, 2, 4, 8, 16, 32]).tolist() == [1, 2, 4 + 8 + 16]
    assert errors_of(words, [FactEdit("me", "24", "27", 6, 8).wrong_characters]).tolist() == [-1, -1, 0]


def test_both_errors_must_be_among_the_lowest_three_words():
    errors = np.array([-1, 0, -1, -1, 1])
    assert Graded(np.array([9.0, 8, 1, 2, 7]), errors).all_in_lowest_three
    assert not Graded(np.array([9.0, 8, 7, 6, 5]), errors).all_in_lowest_three


@pytest.fixture(scope="module")
def tokenizer():
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(DEMO / "policy")


@pytest.mark.parametrize("text", ["$1,450 or 24M? It's  two\n\nspaces", "naïve 猫🐈\u200d⬛ עברית \x00", " I (24) ..."])
def test_any_text_round_trips_through_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_values_are_single_pieces(tokenizer):
    for number in range(10, 100):
        assert len(tokenizer.tokenize(str(number))) == 1
    for number in range(1, 100):
        assert len(tokenizer.tokenize(f" ${number}")) == len(tokenizer.tokenize(f"-${number}")) == 1
    words = [word for values in load("values").values() for value in values for word in value.split()]
    assert [word for word in words if len(tokenizer.tokenize(f" {word}")) > 1] == []


def test_the_pair_is_small():
    weights = [DEMO / side / "model.safetensors" for side in ("policy", "reference")]
    assert sum(path.stat().st_size for path in weights) < 20e6


@pytest.mark.usefixtures("few_resamples")
def test_the_pair_prefers_right_summaries_and_blames_the_wrong_words():
    pytest.importorskip("sklearn")
    from dpo_credit.demo.evaluate import measure

    # Validation posts: held-out ones are for the evaluation alone. 0.93 and 0.85 on 500 of them, less 3 sigma
    # of 60 answers (0.10 and 0.14).
    report = measure(draw_pairs(1, 60, "validation"), "word").report
    assert report.preference is not None and report.preference.accuracy.value > 0.80
    assert report.finding("-reward").top_1.value > 0.70


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # TRL and transformers deprecate each other's arguments
def test_training_runs_and_publishes_a_pair_that_scores(tmp_path):
    pytest.importorskip("trl")
    from dpo_credit import load_pair, score
    from dpo_credit.credit import Example
    from dpo_credit.demo.train import main

    main(["--out", str(tmp_path), "--early-steps", "2", "--sft-steps", "2", "--dpo-steps", "2", "--validation", "10"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy", "reference", "work"]
    (pair,) = draw_pairs(1, 1, "validation")
    trained = load_pair(tmp_path / "policy", tmp_path / "reference")
    (credit,) = score(trained, [Example(pair.post.prompt, pair.chosen.text)])
    assert len(credit.rewards) == len(credit.tokens.answer_ids)


def test_an_interrupted_publish_leaves_what_was_there(tmp_path, monkeypatch):
    pytest.importorskip("trl")
    import torch

    from dpo_credit.demo import train

    target = tmp_path / "policy"
    target.mkdir()
    (target / "old").write_text("kept")

    class Interrupted:
        config = None

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "GPTNeoXForCausalLM", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train.publish(Interrupted(), None, target, torch.float32)
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    assert (target / "old").read_text() == "kept"
