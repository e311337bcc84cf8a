"""Packs against the sequences that they stand for: every token once, in its place, seeing what it should."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tiny import random_tokens

from dpo_credit.credit import Tokens
from dpo_credit.forward.packing import Pack, packs


def answers_to(prompt: tuple[int, ...], *answers: tuple[int, ...]) -> list[Tokens]:
    return [
        Tokens(prompt, answer, ("x",) * len(answer), tuple((t, t + 1) for t in range(len(answer))), "x" * len(answer))
        for answer in answers
    ]


def random_batch(seed: int) -> list[Tokens]:
    """Answers to a few prompts, in mixed order, of few different tokens, so that many prefixes are shared."""
    draw = random.Random(seed)
    batch = []
    for _ in range(4):
        prompt = tuple(draw.randrange(3) for _ in range(draw.randrange(1, 6)))
        count = draw.randrange(1, 5)
        batch += answers_to(
            prompt, *(tuple(draw.randrange(2) for _ in range(draw.randrange(1, 8))) for _ in range(count))
        )
    draw.shuffle(batch)
    return batch


def paths(pack: Pack) -> dict[int, list[tuple[int, int]]]:
    """For each answer, the (token, position) pairs that predict its tokens: as the bias says, not as the trie does."""
    found: dict[int, list[tuple[int, int]]] = {}
    ids, positions = pack.stream.ids[0].tolist(), pack.stream.positions[0].tolist()
    at = iter(pack.stream.at.tolist())
    for answer, length in zip(pack.answers, pack.lengths, strict=True):
        rows = [int(pack.stream.rows[next(at)]) for _ in range(length)]
        found[answer] = [(ids[row], positions[row]) for row in rows]
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("budget", [1, 12, 1000])
def test_every_answer_is_predicted_from_its_own_prefix(seed: int, budget: int) -> None:
    batch = random_batch(seed)
    seen = {}
    for pack in packs(batch, budget):
        seen.update(paths(pack))
        labels = [token for index in pack.answers for token in batch[index].answer_ids]
        assert pack.stream.labels.tolist() == labels
    assert sorted(seen) == list(range(len(batch)))
    for index, tokens in enumerate(batch):
        whole = (*tokens.prompt_ids, *tokens.answer_ids)
        start = len(tokens.prompt_ids)
        assert seen[index] == [(whole[t], t) for t in range(start - 1, len(whole) - 1)]


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("seed", range(8))
def test_a_token_sees_its_prompt_and_its_own_ancestors(seed: int, padding: int) -> None:
    batch = random_batch(seed)
    (pack,) = packs(batch, 1000, lambda length, budget: length + padding)
    ids, end = pack.stream.ids[0].tolist(), pack.stream.end.tolist()
    at = iter(pack.stream.at.tolist())
    for index, length in zip(pack.answers, pack.lengths, strict=True):
        for t in range(length):
            row = int(pack.stream.rows[next(at)])
            seen = [k for k in range(len(ids)) if k <= row < end[k]]
            assert [ids[k] for k in seen] == [*batch[index].prompt_ids, *batch[index].answer_ids[:t]]
    whole = sum(map(len, pack.trees))
    assert len(ids) == len(end) == whole + padding
    for place in range(whole, whole + padding):  # padding sees itself, and is seen by nobody
        assert [k for k in range(len(ids)) if k <= place < end[k]] == [place]
        assert [q for q in range(len(ids)) if place <= q < end[place]] == [place]


@pytest.mark.parametrize("seed", range(8))
def test_what_is_needed_is_each_prompts_end_and_all_behind_it(seed: int) -> None:
    for pack in packs(random_batch(seed), 1000):
        needed, start = [], 0
        for tree in pack.trees:
            needed += range(start + tree.prompt - 1, start + len(tree))
            start += len(tree)
        assert pack.stream.needed.tolist() == needed
        assert set(pack.stream.rows.tolist()) <= set(needed)


def test_both_sides_of_a_pair_get_the_same_packs_and_other_batches_do_not() -> None:
    batch = random_batch(0)
    made = packs(batch, 40)
    assert packs(list(batch), 40) is made
    assert packs(batch, 41) is not made
    other = [*batch[:-1], replace(batch[-1], answer_ids=(2,), pieces=("x",), spans=((0, 1),), answer="x")]
    labels = sorted(token for pack in packs(other, 40) for token in pack.stream.labels.tolist())
    assert labels == sorted(token for tokens in other for token in tokens.answer_ids)


def test_prompts_and_shared_prefixes_come_once() -> None:
    batch = answers_to((1, 2, 3), (4, 5, 6, 7), (4, 5, 8, 9), (4, 5, 6, 7))
    (pack,) = packs(batch, 1000)
    # the prompt, "4 5" once, then 6 and 8; the last tokens predict nothing
    assert pack.stream.ids.tolist() == [[1, 2, 3, 4, 5, 6, 8]]
    assert pack.stream.positions.tolist() == [[0, 1, 2, 3, 4, 5, 5]]
    assert pack.stream.rows.tolist() == [2, 3, 4, 5, 6]
    # 4 and 5 are seen by all behind them, 6 by itself alone, since 8 continues 5
    assert pack.stream.end.tolist() == [7, 7, 7, 7, 7, 6, 7]
    assert not pack.trees[0].is_chain
    assert packs(batch[:1], 1000)[0].trees[0].is_chain


def test_packs_stay_within_the_budget_where_they_can() -> None:
    batch = random_tokens([(10, 5)] * 7 + [(50, 40), (3, 2)])
    made = list(packs(batch, 40))
    for pack in made:
        assert len(pack) <= 40 or len(pack.answers) == 1
    assert sorted(index for pack in made for index in pack.answers) == list(range(len(batch)))
    assert len(made) < len(batch)


def test_answers_too_many_for_one_pack_repeat_their_prompt() -> None:
    batch = answers_to((1, 2, 3), *((4, n, n, n, n) for n in range(10)))
    made = list(packs(batch, 20))
    assert len(made) > 1
    assert all(pack.stream.ids[0, :3].tolist() == [1, 2, 3] for pack in made)


def test_nothing_makes_no_pack() -> None:
    assert packs([], 10) == ()
