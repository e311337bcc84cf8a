"""Log-probabilities kept on disk, so that a second policy costs half and a second beta nothing.

A key is the model's weights, its dtype and the ids of prompt and answer: every convention about text shows in those.
One SQLite file a model; several processes may use it at once, and a kill loses what was not yet committed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from array import array
from collections.abc import Sequence
from pathlib import Path

from dpo_credit.credit import CreditError, Tokens
from dpo_credit.forward.logprobs import Scored
from dpo_credit.models.pair import Model
from dpo_credit.models.weights import fingerprint

_WAIT_S = 60.0  # for another process that is writing


class Cache:
    """What one model gave for answers scored before.

    Raises:
        CreditError: the directory or its file cannot be used.
    """

    def __init__(self, directory: Path, model: Model) -> None:
        self.path = directory / f"{fingerprint(model)}-{model.dtype}.sqlite"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.path, timeout=_WAIT_S)
            with self._database:
                self._database.execute("CREATE TABLE IF NOT EXISTS logps (key BLOB PRIMARY KEY, nats BLOB NOT NULL)")
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def get(self, batch: Sequence[Tokens]) -> list[Scored | None]:
        """What is known of each answer."""
        try:
            return [self._one(tokens) for tokens in batch]
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def put(self, batch: Sequence[Tokens], scored: Sequence[Scored]) -> None:
        """Keep what a model gave, all of it or nothing."""
        rows = [(_key(tokens), array("d", one.logps).tobytes()) for tokens, one in zip(batch, scored, strict=True)]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _one(self, tokens: Tokens) -> Scored | None:
        row = self._database.execute("SELECT nats FROM logps WHERE key = ?", (_key(tokens),)).fetchone()
        return None if row is None else Scored(tuple(array("d", row[0])))

    def _failure(self, error: Exception) -> CreditError:
        return CreditError(f"cannot use the cache {self.path}: {error}. Delete it, or give another --cache.")


def _key(tokens: Tokens) -> bytes:
    ids = array("q", (len(tokens.prompt_ids), *tokens.prompt_ids, *tokens.answer_ids))
    return hashlib.blake2b(ids.tobytes(), digest_size=16).digest()
