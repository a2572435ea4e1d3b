"""Nearest stored vectors: exact by one product, or by an inverted-file index of faiss."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dualroute.arrays import Floats, Ints
from dualroute.errors import MissingDependencyError, OptionError

LARGE = 50_000  # stored vectors beyond which an index repays its cells
# Cosines closer than this are ties: float32 products differ by less with the machine.
TIE = 2.0**-20
_ENTRIES = 2**23  # of a working array, some 128 MB of cosines and sort keys
_PER_CELL = 39  # vectors a cell is trained on, at least: below that faiss warns
_PROBED = 1 / 16  # of the cells


class Index(Protocol):
    """Finds the stored vectors nearest to others, by cosine; vectors have unit length or none."""

    @property
    def size(self) -> int:
        """Number of vectors stored."""
        ...

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Store further vectors ``(n, d)``, numbered after those before."""
        ...

    def nearest(self, vectors: NDArray[np.float32], k: int) -> tuple[Ints, Floats]:
        """Numbers and cosines of the ``k`` nearest stored vectors, both ``(n, k)``.

        Fewer may be found: those missing have cosine 0 and any number.
        """
        ...


def index(kind: str, vectors: NDArray[np.float32]) -> Index:
    """An index that holds some vectors.

    Parameters
    ----------
    kind
        ``"exact"``; ``"faiss"``; or ``"auto"``: faiss from 50,000 vectors on where it is
        installed, and exact otherwise.

    Raises
    ------
    MissingDependencyError
        If faiss is asked for and not installed.
    """
    if kind == "exact" or (kind == "auto" and vectors.shape[0] < LARGE):
        return ExactIndex(vectors)
    if kind not in ("auto", "faiss"):
        raise OptionError(f"index is {kind!r}; give 'auto', 'exact' or 'faiss'")
    try:
        return FaissIndex(vectors)
    except MissingDependencyError:
        if kind == "faiss":
            raise
        return ExactIndex(vectors)


class ExactIndex:
    """Every stored vector is looked at; ties go to those stored first."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._parts = [vectors]

    @property
    def size(self) -> int:
        """Number of vectors stored."""
        return sum(part.shape[0] for part in self._parts)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Store further vectors."""
        self._parts.append(vectors)

    def nearest(self, vectors: NDArray[np.float32], k: int) -> tuple[Ints, Floats]:
        """Numbers and cosines of the nearest, in the order they were stored in."""
        if len(self._parts) > 1:
            self._parts = [np.concatenate(self._parts)]
        stored = self._parts[0]
        k = min(k, stored.shape[0])
        numbers = np.empty((vectors.shape[0], k), np.intp)
        cosines = np.empty((vectors.shape[0], k))
        step = max(1, _ENTRIES // stored.shape[0])
        for start in range(0, vectors.shape[0], step):
            rows = slice(start, start + step)
            cosine = vectors[rows] @ stored.T
            numbers[rows] = np.sort(_largest(cosine, k), axis=1)
            cosines[rows] = np.take_along_axis(cosine, numbers[rows], axis=1)
        return numbers, cosines


def _largest(cosine: Floats, k: int) -> Ints:
    """Columns of the ``k`` largest of every row, ties within `TIE` to the first: on any machine."""
    least = np.partition(cosine, -k, axis=1)[:, -k, None]
    row, column = np.nonzero(cosine >= least - TIE)
    steps = np.rint(cosine[row, column] / TIE)
    order = np.lexsort((column, -steps, row))
    first = np.searchsorted(row, np.arange(cosine.shape[0]))  # `row` ascends, sorted or not
    chosen: Ints = column[order][first[:, None] + np.arange(k)]
    return chosen


class FaissIndex:
    """An inverted file over some ``4 sqrt(n)`` cells, of which a sixteenth is looked at."""

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        try:
            import faiss
        except ImportError as error:
            raise MissingDependencyError(
                f"{error.name} is not installed; pip install 'dualroute[index]'"
            ) from None
        n, d = vectors.shape
        cells = max(1, min(int(4 * np.sqrt(n)), n // _PER_CELL))
        flat = faiss.IndexFlatIP(d)
        self._index: Any = flat
        if cells > 1:
            self._index = faiss.IndexIVFFlat(flat, d, cells, faiss.METRIC_INNER_PRODUCT)
            sample = np.random.default_rng(0).permutation(n)[: 64 * cells]
            self._index.train(np.ascontiguousarray(vectors[np.sort(sample)], np.float32))
            self._index.nprobe = max(1, round(_PROBED * cells))
        self.add(vectors)

    @property
    def size(self) -> int:
        """Number of vectors stored."""
        return int(self._index.ntotal)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Store further vectors, in the cells there are."""
        self._index.add(np.ascontiguousarray(vectors, np.float32))

    def nearest(self, vectors: NDArray[np.float32], k: int) -> tuple[Ints, Floats]:
        """Numbers and cosines of the nearest found."""
        queries = np.ascontiguousarray(vectors, np.float32)
        cosines, numbers = self._index.search(queries, min(k, self.size))
        missing = numbers < 0
        return np.where(missing, 0, numbers), np.where(missing, 0.0, cosines)
