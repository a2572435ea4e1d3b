"""Prediction by retrieval: what happened to the most similar queries seen before."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dualroute.arrays import Floats, Ints
from dualroute.embedding import Embedding, TfidfEmbedding
from dualroute.errors import OptionError, TableError
from dualroute.neighbours import TIE, Index, index
from dualroute.outcomes import Outcomes
from dualroute.predictor import SPREAD, check_asked, check_history

# Outcomes gathered at a time, some 64 MB.
_ENTRIES = 2**23
# Texts embedded at a time.
_TEXTS = 2**16


@dataclass(slots=True)
class Retrieval:
    r"""Weighted mean over the most similar stored queries, drawn toward each model's mean.

    With cosines :math:`s_k` to the nearest stored queries and weights
    :math:`w_k = \max(s_k, 0)^a`, a prediction for model ``j`` is
    :math:`(\sum_k w_k y_{kj} + b \bar y_j) / (\sum_k w_k + b)`: the retrieval half of
    OmniRouter's predictor [1]_, with shrinkage. A text similar to nothing gets the means.

    Attributes
    ----------
    neighbours
        Stored queries looked at, at most; ties go to those stored first.
    shrinkage
        Weight ``b`` of the mean, in neighbours of cosine 1.
    power
        Exponent ``a``: how fast a less similar query counts for less.
    embedding
        What makes vectors of texts; a copy of it is fitted.
    index
        ``"exact"``, ``"faiss"``, or ``"auto"``: faiss from 50,000 stored queries on, where it is
        installed.

    References
    ----------
    .. [1] Mei et al. (2025), OmniRouter, arXiv 2502.20576.
    """

    neighbours: int = 64
    shrinkage: float = 1.0
    power: float = 4.0
    embedding: Embedding = field(default_factory=TfidfEmbedding)
    index: str = "auto"
    _fitted: Embedding | None = field(default=None, init=False, repr=False, compare=False)
    _stored: Index | None = field(default=None, init=False, repr=False, compare=False)
    _history: Outcomes | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the options."""
        if self.neighbours < 1:
            raise OptionError(f"neighbours is {self.neighbours}; give 1 or more")
        if not (0 < self.shrinkage < np.inf):
            raise OptionError(f"shrinkage is {self.shrinkage}; give a positive number")
        if not (0 <= self.power < np.inf):
            raise OptionError(f"power is {self.power}; give 0 or more")
        if not isinstance(self.embedding, Embedding):
            raise OptionError(
                f"embedding is {self.embedding!r}; give an object with fit and transform, "
                "e.g. TfidfEmbedding()"
            )

    def fit(self, texts: Sequence[str], outcomes: Outcomes) -> Self:
        """Embed and store the texts and their outcomes; returns itself.

        Raises
        ------
        TableError
            If the number of texts is not ``outcomes.n_queries``, or is zero.
        """
        check_history(texts, outcomes)
        self._fitted = copy.copy(self.embedding).fit(texts)
        self._stored = index(self.index, self._embedded(texts))
        self._history = outcomes
        return self

    def add(self, texts: Sequence[str], outcomes: Outcomes) -> Self:
        """Store further queries with their outcomes, without learning the embedding anew.

        Raises
        ------
        TableError
            If models or columns are not those learned from, or texts and outcomes differ in
            number.
        OptionError
            If nothing has been fitted.
        """
        check_asked(texts, self._history is not None)
        check_history(texts, outcomes)
        history, stored = self._history, self._stored
        assert history is not None
        assert stored is not None
        if history.models != outcomes.models or set(history.columns) != set(outcomes.columns):
            raise TableError(
                "the further queries have other models or columns than those learned from; give "
                f"{', '.join(history.models)} with {', '.join(history.columns)}"
            )
        vectors = self._embedded(texts)
        stored.add(vectors)
        columns = {}
        for name, grid in history.columns.items():
            parts = [
                np.broadcast_to(one.columns[name], (one.n_queries, grid.shape[1]))
                for one in (history, outcomes)
            ]
            columns[name] = np.concatenate(parts).astype(grid.dtype, copy=False)
        self._history = replace(
            history, columns=columns, queries=np.arange(stored.size), attributes={}
        )
        return self

    def _embedded(self, texts: Sequence[str]) -> NDArray[np.float32]:
        assert self._fitted is not None
        step = range(0, len(texts), _TEXTS)
        return np.concatenate([self._fitted.transform(texts[i : i + _TEXTS]) for i in step])

    def predict(self, texts: Sequence[str]) -> Outcomes:
        """Predict outcomes: a column that was the same for every query stays so.

        Raises
        ------
        OptionError
            If nothing has been fitted.
        TableError
            If there is no text.
        """
        check_asked(texts, self._history is not None)
        history, stored = self._history, self._stored
        assert history is not None
        assert stored is not None
        n = len(texts)
        same = {k: v for k, v in history.columns.items() if v.shape[0] == 1}
        varying = {k: v for k, v in history.columns.items() if v.shape[0] > 1}
        spreads = [name for name in (history.cost, history.quality) if name in varying]
        moments = {k: _moments(v) for k, v in varying.items()}
        columns = {k: np.empty((n, v.shape[1]), v.dtype) for k, v in varying.items()}
        columns |= {k + SPREAD: np.empty_like(columns[k]) for k in spreads}
        step = max(1, _ENTRIES // (min(self.neighbours, stored.size) * history.n_models))
        for begin in range(0, n, _TEXTS):
            vectors = self._embedded(texts[begin : begin + _TEXTS])
            for first in range(0, vectors.shape[0], step):
                nearest, weight = self._nearest(stored, vectors[first : first + step])
                rows = slice(begin + first, begin + first + nearest.shape[0])
                for name, grid in varying.items():
                    near, (mean, square) = grid[nearest], moments[name]
                    told = self._shrunk(near, weight, mean)
                    columns[name][rows] = told
                    if name in spreads:
                        squares = self._shrunk(near.astype(np.float64) ** 2, weight, square)
                        columns[name + SPREAD][rows] = np.sqrt(np.maximum(squares - told**2, 0))
        # Weighted means leave the range of what they average only by rounding.
        for name, grid in varying.items():
            np.clip(columns[name], grid.min(), grid.max(), out=columns[name])
        return replace(history, columns={**columns, **same}, queries=np.arange(n), attributes={})

    def _nearest(self, stored: Index, vectors: NDArray[np.float32]) -> tuple[Ints, Floats]:
        """Find the nearest stored queries of each vector and their weights, both ``(c, k)``."""
        nearest, similar = stored.nearest(vectors, self.neighbours)
        # Zero to the power zero is one: what is not similar must not count.
        weight = np.where(similar > TIE, np.maximum(similar, 0) ** self.power, 0.0)
        return nearest, weight

    def _shrunk(self, near: Floats, weight: Floats, mean: Floats) -> Any:
        total = np.matmul(weight[:, None, :], near)[:, 0]
        return (total + self.shrinkage * mean) / (
            weight.sum(axis=1, keepdims=True) + self.shrinkage
        )


def _moments(grid: Floats) -> tuple[Floats, Floats]:
    """Mean and mean square of every model, float64."""
    return grid.mean(axis=0, dtype=np.float64), np.square(grid, dtype=np.float64).mean(axis=0)
