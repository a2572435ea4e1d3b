"""Vectors of texts on disk, so that a text is embedded once and not in every run.

One SQLite file, for any number of embeddings and of processes at once. A vector is found by a
keyed BLAKE2b hash of its text whose key is the fingerprint of the embedding, and is kept with a
checksum: what is read is what was written for that text and that embedding, or an error. The
texts themselves are not stored. Nothing is ever removed; delete the file to start anew.

Each call opens the file and closes it again: objects may be copied, and used after a fork or
from any thread. Writing takes SQLite's lock at once and waits for other writers; the file has
no write-ahead log, which would not work in a home directory on a network.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dualroute.errors import MissingDependencyError, OptionError

FILE = "vectors.sqlite"
_VARIABLE = "DUALROUTE_CACHE"
# In the header of the file: that it is ours ("dlrv"), and the form of its tables.
_APPLICATION = 0x646C7276
_FORM = 1
_KEY_BYTES = 32
_CHECK_BYTES = 8
# Keys asked for in one statement: SQLite before 3.32 takes 999.
_KEYS = 900
_BYTES_OF_A_NUMBER = 4
_TABLES = (
    "CREATE TABLE embeddings (fingerprint BLOB PRIMARY KEY, dimensions INTEGER NOT NULL)",
    "CREATE TABLE vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)",
    f"PRAGMA application_id = {_APPLICATION}",
)


def user_folder() -> Path:
    """Give the folder of caches: the variable ``DUALROUTE_CACHE``, or the user's cache folder.

    Raises
    ------
    MissingDependencyError
        If the variable is not set and platformdirs is not installed.
    """
    named = os.environ.get(_VARIABLE)
    if named:
        return Path(named)
    try:
        from platformdirs import user_cache_path
    except ModuleNotFoundError:
        raise MissingDependencyError(
            "platformdirs, which knows the folder of caches, is not installed; "
            f"pip install 'dualroute[sentence-transformers]', name a folder in {_VARIABLE}, "
            "or give cache=None"
        ) from None
    return Path(user_cache_path("dualroute", appauthor=False))


@dataclass(slots=True)
class VectorCache:
    """The vectors of one embedding in a file that several processes may share.

    A file that is damaged, is something else or cannot be written is an error as soon as the
    object is made, before anything is computed; what was put before an error stays.

    Attributes
    ----------
    path
        The file; it and its folder are made when missing.
    fingerprint
        What tells this embedding from every other: at most 64 bytes, at least 1. Two
        embeddings that may give one text different vectors need different ones.
    patience
        Seconds to wait while other processes write.
    dimensions
        Length ``d`` of a vector; 0 until one has been put, by whichever process.

    Raises
    ------
    OptionError
        If the file cannot be used, or an option is out of range.
    """

    path: Path
    fingerprint: bytes
    patience: float = 60.0
    dimensions: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Check the options, and that the file can be written."""
        self.path = Path(self.path)
        if not 1 <= len(self.fingerprint) <= blake2b.MAX_KEY_SIZE:
            raise OptionError(
                f"fingerprint has {len(self.fingerprint)} bytes; give 1 to {blake2b.MAX_KEY_SIZE}"
            )
        if not 0 < self.patience < np.inf:
            raise OptionError(f"patience is {self.patience}; give a positive number of seconds")
        with self._opened(write=True) as connection:
            self._learn_dimensions(connection)

    def get(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Look texts up, all in one transaction.

        Returns
        -------
        tuple
            Vectors, shape ``(n, dimensions)``, zero where not found; and which were found,
            shape ``(n,)``.

        Raises
        ------
        OptionError
            If the file cannot be used, or a vector in it is damaged.
        """
        places: dict[bytes, list[int]] = {}
        for i, text in enumerate(texts):
            places.setdefault(self._key(text), []).append(i)
        keys = list(places)
        found = np.zeros(len(texts), np.bool_)
        with self._opened(write=False) as connection:
            self._learn_dimensions(connection)
            vectors = np.zeros((len(texts), self.dimensions), np.float32)
            for start in range(0, len(keys), _KEYS):
                wanted = keys[start : start + _KEYS]
                marks = ",".join("?" * len(wanted))
                rows = connection.execute(
                    f"SELECT key, vector FROM vectors WHERE key IN ({marks})", wanted
                )
                for key, blob in rows:
                    vectors[places[key]] = self._vector(key, blob)
                    found[places[key]] = True
        return vectors, found

    def put(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Store vectors, all in one transaction; of a text stored before, the last stays.

        Parameters
        ----------
        vectors
            One per text, shape ``(n, d)``, finite.

        Raises
        ------
        OptionError
            If the shape is not that, or not that of vectors stored before, a number is not
            finite, or the file cannot be used; nothing is stored then.
        """
        stored = np.ascontiguousarray(vectors, dtype="<f4")
        if stored.ndim != 2 or stored.shape[0] != len(texts) or stored.shape[1] < 1:
            raise OptionError(
                f"vectors have shape {stored.shape}; give ({len(texts)}, d), one for each text"
            )
        if not np.isfinite(stored).all():
            raise OptionError("a vector to be stored is not finite; store finite numbers only")
        rows = []
        for text, vector in zip(texts, stored, strict=True):
            key, numbers = self._key(text), vector.tobytes()
            rows.append((key, numbers + _check(key, numbers)))
        with self._opened(write=True) as connection:
            self._learn_dimensions(connection)
            if self.dimensions not in (0, stored.shape[1]):
                raise OptionError(
                    f"vectors of length {stored.shape[1]} for an embedding whose vectors in "
                    f"{self.path} have length {self.dimensions}; give it another fingerprint"
                )
            connection.execute(
                "INSERT OR IGNORE INTO embeddings VALUES (?, ?)",
                (self.fingerprint, stored.shape[1]),
            )
            connection.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
        self.dimensions = stored.shape[1]

    def _key(self, text: str) -> bytes:
        # A lone surrogate is no character, but may stand in a text all the same.
        content = text.encode("utf-8", "surrogatepass")
        return blake2b(content, key=self.fingerprint, digest_size=_KEY_BYTES).digest()

    def _vector(self, key: bytes, blob: bytes) -> NDArray[np.float32]:
        size = self.dimensions * _BYTES_OF_A_NUMBER
        if len(blob) != size + _CHECK_BYTES or _check(key, blob[:size]) != blob[size:]:
            raise self._unusable("a vector in it is damaged")
        return np.frombuffer(blob[:size], "<f4").astype(np.float32, copy=False)

    def _learn_dimensions(self, connection: sqlite3.Connection) -> None:
        row = connection.execute(
            "SELECT dimensions FROM embeddings WHERE fingerprint = ?", (self.fingerprint,)
        ).fetchone()
        self.dimensions = 0 if row is None else row[0]

    @contextmanager
    def _opened(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction, committed unless something is raised."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Transactions are ours: the module's own begin late, without the lock.
            with closing(
                sqlite3.connect(self.path, timeout=self.patience, isolation_level=None)
            ) as connection:
                self._prepare(connection)
                connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
                try:
                    if write:
                        # Changes nothing, but is written: tells now whether that is possible.
                        connection.execute(f"PRAGMA user_version = {_FORM}")
                    yield connection
                except BaseException:
                    _undo(connection)
                    raise
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(str(error)) from None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new file; refuse a file that is not ours."""
        if self._header(connection) == (0, 0):
            connection.execute("BEGIN IMMEDIATE")
            try:
                # Another process may have made them meanwhile.
                empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
                if empty:
                    for statement in (*_TABLES, f"PRAGMA user_version = {_FORM}"):
                        connection.execute(statement)
            except BaseException:
                _undo(connection)
                raise
            connection.execute("COMMIT")
        if self._header(connection) != (_APPLICATION, _FORM):
            raise self._unusable("it is no such cache, or of another version")

    @staticmethod
    def _header(connection: sqlite3.Connection) -> tuple[int, int]:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        return application, connection.execute("PRAGMA user_version").fetchone()[0]

    def _unusable(self, why: str) -> OptionError:
        return OptionError(
            f"the cache of vectors {str(self.path)!r} cannot be used: {why}; delete that file, "
            f"name another folder in {_VARIABLE}, or turn the cache off with cache=None"
        )


def _undo(connection: sqlite3.Connection) -> None:
    """End a transaction that SQLite has not ended itself, as it does when the disk is full."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _check(key: bytes, numbers: bytes) -> bytes:
    """Checksum of a stored vector, which binds it to its key."""
    return blake2b(numbers, key=key, digest_size=_CHECK_BYTES).digest()
