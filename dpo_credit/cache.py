"""Log-probabilities kept on disk, so that a second policy costs half and a second beta nothing.

A key is the model's fingerprint, its dtype and the ids of prompt and answer: every convention about text shows in
those; what computed it, too. One SQLite file a model; several processes may use it at once, and a kill loses what was
not yet committed. Each entry has a checksum: one that was damaged is computed anew, and so is what a full disk refused.
"""

from __future__ import annotations

import hashlib
import sqlite3
from array import array
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from dpo_credit.credit import CreditError, Logps, Tokens
from dpo_credit.models.side import Exact, Side

VERSION = 3  # of what an entry is
_WAIT_S = 60.0  # for another process that is writing
_SUM = 8  # bytes of an entry's checksum
_NO_ROOM = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)  # the latter for a quota or a limit on a file's size
_PLAIN, _EXACT = b"", b"float32"  # what salts the keys of a model's own numbers, and of those in float32


_VERSIONS = f"{VERSION} {version('torch')} {version('transformers')}".encode()


class Cached:
    """A side whose log-probabilities are kept in a directory: what it gave before is not computed again.

    `damaged` counts the entries that were no longer what was kept; `refused` is what the disk said where it took none.

    Raises:
        CreditError: the directory or its file cannot be used.
    """

    def __init__(self, side: Side, directory: Path) -> None:
        self._side, self._directory = side, directory
        self._open: sqlite3.Connection | None = None
        self.damaged = 0
        self.refused = ""
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _failure(directory, error) from error

    @property
    def name(self) -> str:
        """See `Side`."""
        return self._side.name

    @property
    def dtype(self) -> str:
        """See `Side`."""
        return self._side.dtype

    @property
    def path(self) -> Path:
        """The side's file."""
        return self._directory / f"{self._side.fingerprint()}-{self._side.dtype}.sqlite"

    def unwrapped(self) -> Side:
        """The side itself."""
        return self._side

    def fingerprint(self) -> str:
        """See `Side`."""
        return self._side.fingerprint()

    def logps(self, batch: Sequence[Tokens]) -> list[Logps]:
        """See `Side`."""
        return self._known(batch, _PLAIN, self._side.logps)

    def exact_logps(self, batch: Sequence[Tokens]) -> list[Logps] | None:
        """See `Exact`."""
        side = self._side
        if not isinstance(side, Exact) or side.dtype == "float32":
            return None
        known = self._get(batch, _EXACT)
        if None not in known:
            return [logps for logps in known if logps is not None]
        exact = side.exact_logps(batch)
        if exact is not None:
            self._put(batch, _EXACT, exact)
        return exact

    def _known(
        self, batch: Sequence[Tokens], salt: bytes, compute: Callable[[Sequence[Tokens]], list[Logps]]
    ) -> list[Logps]:
        known = self._get(batch, salt)
        missing = [tokens for tokens, logps in zip(batch, known, strict=True) if logps is None]
        if not missing:
            return [logps for logps in known if logps is not None]
        computed = compute(missing)
        self._put(missing, salt, computed)
        new = iter(computed)
        return [logps or next(new) for logps in known]

    def _get(self, batch: Sequence[Tokens], salt: bytes) -> list[Logps | None]:
        """What is known of each answer."""
        keys = [_key(tokens, salt) for tokens in batch]
        try:
            database = self._database()
            rows = [database.execute("SELECT nats FROM logps WHERE key = ?", (key,)).fetchone() for key in keys]
        except sqlite3.Error as error:
            self._refuse(error)
            return [None] * len(batch)
        asked = zip(batch, keys, rows, strict=True)
        return [None if row is None else self._checked(tokens, key, row[0]) for tokens, key, row in asked]

    def _checked(self, tokens: Tokens, key: bytes, blob: object) -> Logps | None:
        """What was kept of an answer; None where its checksum or its length says that it is no longer that."""
        nats = blob[_SUM:] if isinstance(blob, bytes) else b""
        whole = len(nats) == 8 * len(tokens.answer_ids) and blob == _summed(key, nats)
        if not whole:
            self.damaged += 1
        return Logps(tuple(array("d", nats))) if whole else None

    def _put(self, batch: Sequence[Tokens], salt: bytes, computed: Sequence[Logps]) -> None:
        """Keep what the side gave, all of it or nothing."""
        keys = [_key(tokens, salt) for tokens in batch]
        rows = [
            (key, _summed(key, array("d", logps.logps).tobytes())) for key, logps in zip(keys, computed, strict=True)
        ]
        try:
            database = self._database()
            with database:
                database.executemany("INSERT OR REPLACE INTO logps VALUES (?, ?)", rows)
        except sqlite3.Error as error:
            self._refuse(error)

    def _refuse(self, error: sqlite3.Error) -> None:
        """Go on without the cache where its disk has no room; raise on what else is wrong with it."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary one of an extended code
        if code not in _NO_ROOM:
            raise _failure(self.path, error) from error
        self.refused = f"the cache {self._directory} takes nothing more ({error}): what is not kept is computed"

    def _database(self) -> sqlite3.Connection:
        if self._open is None:
            database = sqlite3.connect(self.path, timeout=_WAIT_S)
            try:
                with database:
                    database.execute("CREATE TABLE IF NOT EXISTS logps (key BLOB PRIMARY KEY, nats BLOB NOT NULL)")
            except sqlite3.Error:
                database.close()
                raise
            self._open = database
        return self._open


def _failure(path: Path, error: Exception) -> CreditError:
    return CreditError(f"cannot use the cache {path}: {error}. Delete it, or give another --cache.")


def _summed(key: bytes, nats: bytes) -> bytes:
    """Numbers with a checksum before them, of the answer's key too: a torn index may lead to another's."""
    return hashlib.blake2b(key + nats, digest_size=_SUM).digest() + nats


def _key(tokens: Tokens, salt: bytes) -> bytes:
    ids = array("q", (len(tokens.prompt_ids), *tokens.prompt_ids, *tokens.answer_ids))
    return hashlib.blake2b(ids.tobytes() + salt + _VERSIONS, digest_size=16).digest()
