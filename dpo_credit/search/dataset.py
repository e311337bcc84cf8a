"""Searching many rows: each one's answers judged against its chosen one, and kept as soon as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

from dpo_credit.credit import CreditError
from dpo_credit.identity import identity
from dpo_credit.models.pair import ModelPair
from dpo_credit.rows.chats import answer_json, as_json
from dpo_credit.rows.kept import Kept
from dpo_credit.rows.records import Row
from dpo_credit.search.beams import Judged, Search, answer_of, header, known, line
from dpo_credit.search.judges import Contest, Judge
from dpo_credit.search.rows import FoundAnswers, search_rows
from dpo_credit.search.search import Beams
from dpo_credit.text.conventions import Conventions


class Searching:
    """A search over rows: `judged` are those that the kept file holds, and those searched since.

    Args:
        pair: the policy that is searched, and its reference; both loaded.
        rows: at least one.
        beams: how answers are found.
        judge: its name, and itself.
        conventions: how text becomes tokens.
        kept: the file that grows, if any; it is closed by whoever opened it.

    Raises:
        CreditError: the kept file was begun under other settings or holds other rows, or cannot be written.
    """

    def __init__(
        self,
        pair: ModelPair,
        rows: Sequence[Row],
        beams: Beams,
        judge: tuple[str, Judge],
        *,
        conventions: Conventions = Conventions(),
        kept: Kept | None = None,
    ) -> None:
        self.pair, self.rows, self.beams, self.conventions, self.kept = pair, rows, beams, conventions, kept
        name, self.judge = judge
        self.settings = {
            **{"beams": list(beams.widths), "length_penalty": beams.length_penalty, "drawn": beams.draw},
            **{"seed": beams.seed, "max_new_tokens": beams.max_new_tokens, "judge": name, "beta": pair.beta},
            **{"policy": pair.policy.name, "reference": pair.reference.name, "rows": len(rows)},
        }
        self.judged: list[Judged] = []
        if kept is not None:
            made_by = {**identity(pair, conventions), "rows' hash": _hash(rows)}
            head = header(self.settings, made_by)
            self.judged = kept.begin(head, lambda data: known(data, str(kept.path), head), self.judged)
            if [row.id for row in self.judged] != [row.id for row in rows[: len(self.judged)]]:
                raise CreditError(
                    f"cannot resume {kept.path}: it holds other rows. Search them, or anew with --overwrite."
                )

    def steps(self) -> Iterator[Judged]:
        """Each row that is left: searched, judged and kept.

        Raises:
            CreditError: a prompt cannot be encoded, the judge does not answer, or the row cannot be written.
        """
        left = search_rows(self.pair, self.rows, self.beams, self.conventions, skip=len(self.judged))
        for answers in left:
            judged = self._judged(answers)
            self.judged.append(judged)
            if self.kept is not None:
                self.kept.add(line(judged))
            yield judged

    def _judged(self, answers: FoundAnswers) -> Judged:
        own = answers.own
        chosen = own.credits[0] if own.kind == "preference" else None
        verdicts = [self.judge(Contest(own.id, own.prompt, credit, chosen)) for credit in answers.credits]
        return Judged(
            own.id,
            tuple(answer_of(credit, verdict) for credit, verdict in zip(answers.credits, verdicts, strict=True)),
            None if chosen is None else answer_of(chosen),
            answers.credits[0].tokens.shared_prompt,
        )

    def search(self) -> Search:
        """What was searched so far."""
        return Search(self.settings, tuple(self.judged))


def _hash(rows: Sequence[Row]) -> str:
    """What tells rows from others: of their ids, prompts and answers."""
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        given = [row.id, as_json(row.prompt), [answer_json(example) for example in row.examples], row.template_kwargs]
        digest.update(json.dumps(given, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()
