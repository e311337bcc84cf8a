"""Two rewards, one policy: shifting by a potential changes every token's reward, no preference and no policy.

    python examples/potential_shaping.py

A world of all answers of at most three tokens from {a, b, end} to one prompt, solved exactly by dynamic programming
(Rafailov et al. 2024, Eqs. 5-7, Definition 1, Theorem 1).
"""

import math
from collections.abc import Callable, Iterator
from random import Random

TOKENS, LONGEST, BETA = ("a", "b", "."), 3, 0.5
State = tuple[str, ...]
Reward = Callable[[State, str], float]


def terminal(state: State) -> bool:
    """An answer ends with the end token, or when it is as long as any."""
    return state[-1:] == (".",) or len(state) == LONGEST


def states(state: State = ()) -> Iterator[State]:
    """All states from one on, the answers among them."""
    yield state
    if not terminal(state):
        for token in TOKENS:
            yield from states((*state, token))


def solve(reward: Reward, reference: Reward, state: State = ()) -> tuple[dict[State, float], dict[State, dict]]:
    """V* of every state and log pi* of every token, from the ends backwards (Eqs. 5-7); V* of an end is 0."""
    values: dict[State, float] = {}
    policy: dict[State, dict[str, float]] = {}
    for here in sorted(states(state), key=len, reverse=True):
        if terminal(here):
            values[here] = 0.0
            continue
        q = {a: reward(here, a) + BETA * reference(here, a) + values[(*here, a)] for a in TOKENS}
        values[here] = BETA * math.log(sum(math.exp(x / BETA) for x in q.values()))
        policy[here] = {a: (x - values[here]) / BETA for a, x in q.items()}
    return values, policy


def main() -> None:
    """Solve the world twice and print what differs."""
    rng = Random(0)
    numbers = {(s, a): rng.gauss(0, 1) for s in states() if not terminal(s) for a in TOKENS}
    potential = {s: 0.0 if terminal(s) else rng.gauss(0, 1) for s in states()}
    weights = {s: [rng.random() + 0.1 for _ in TOKENS] for s in states() if not terminal(s)}

    def reference(state: State, token: str) -> float:
        return math.log(weights[state][TOKENS.index(token)] / sum(weights[state]))

    def shifted(state: State, token: str) -> float:
        return numbers[state, token] + potential[(*state, token)] - potential[state]

    _, policy = solve(lambda s, a: numbers[s, a], reference)
    _, again = solve(shifted, reference)
    good, bad = ("a", "b", "."), ("b", "b", "a")

    print("answer     token  r        r shifted  beta log(pi/pi_ref)  the same, shifted")
    totals = []
    for answer in (good, bad):
        rows = []
        for t, token in enumerate(answer):
            state = answer[:t]
            implicit, other = (BETA * (one[state][token] - reference(state, token)) for one in (policy, again))
            rows.append((numbers[state, token], shifted(state, token), implicit, other))
            shown = "  ".join(f"{x:+.4f}".ljust(9) for x in rows[-1])
            print(f"{' '.join(answer) if t == 0 else '':10s} {token:5s}  {shown}")
        totals.append([sum(column) for column in zip(*rows, strict=True)])
    margins = [first - second for first, second in zip(*totals, strict=True)]
    print("\nmargin of the two answers, four times the same:", *(f"{x:+.4f}" for x in margins))
    furthest = max(abs(policy[s][a] - again[s][a]) for s in policy for a in TOKENS)
    print(f"the two optimal policies differ by at most {furthest:.0e} nats")


if __name__ == "__main__":
    main()
