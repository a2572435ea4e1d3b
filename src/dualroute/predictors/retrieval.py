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
from dualroute.outcomes import Outcomes
from dualroute.predictor import check_history

# Cosines closer than this are ties: float32 products differ by less with the machine.
_TIE = 2.0**-20
# Entries of a working array, some 128 MB of cosines and sort keys.
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

    References
    ----------
    .. [1] Mei et al. (2025), OmniRouter, arXiv 2502.20576.
    """

    neighbours: int = 64
    shrinkage: float = 1.0
    power: float = 4.0
    embedding: Embedding = field(default_factory=TfidfEmbedding)
    _fitted: Embedding | None = field(default=None, init=False, repr=False, compare=False)
    _stored: NDArray[np.float32] = field(
        default_factory=lambda: np.empty((0, 1), np.float32), init=False, repr=False, compare=False
    )
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
        self._stored = np.concatenate(
            [
                self._fitted.transform(texts[start : start + _TEXTS])
                for start in range(0, len(texts), _TEXTS)
            ]
        )
        self._history = outcomes
        return self

    def predict(self, texts: Sequence[str]) -> Outcomes:
        """Predict outcomes: a column that was the same for every query stays so.

        Raises
        ------
        OptionError
            If nothing has been fitted.
        TableError
            If there is no text.
        """
        history, embedding = self._history, self._fitted
        if history is None or embedding is None:
            raise OptionError("this predictor has learned nothing; call fit(texts, outcomes) first")
        n = len(texts)
        if n == 0:
            raise TableError("no text to predict; give at least one")
        stored = self._stored.shape[0]
        same = {k: v for k, v in history.columns.items() if v.shape[0] == 1}
        varying = {k: v for k, v in history.columns.items() if v.shape[0] > 1}
        means = {k: v.mean(axis=0, dtype=np.float64) for k, v in varying.items()}
        columns = {k: np.empty((n, v.shape[1]), v.dtype) for k, v in varying.items()}
        looked_at = min(self.neighbours, stored) * max(1, history.n_models)
        step = max(1, _ENTRIES // max(stored, looked_at))
        for begin in range(0, n, _TEXTS):
            vectors = embedding.transform(texts[begin : begin + _TEXTS])
            for first in range(0, vectors.shape[0], step):
                nearest, weight = self._nearest(vectors[first : first + step])
                rows = slice(begin + first, begin + first + nearest.shape[0])
                for name, grid in varying.items():
                    columns[name][rows] = self._shrunk(grid, nearest, weight, means[name])
        # Weighted means leave the range of what they average only by rounding.
        for name, grid in varying.items():
            np.clip(columns[name], grid.min(), grid.max(), out=columns[name])
        return replace(history, columns={**columns, **same}, queries=np.arange(n), attributes={})

    def _nearest(self, vectors: NDArray[np.float32]) -> tuple[Ints, Floats]:
        """Find the nearest stored queries of each vector and their weights, both ``(c, k)``."""
        stored = self._stored.shape[0]
        cosine = vectors @ self._stored.T
        k = min(self.neighbours, stored)
        # One integer orders by cosine, then by position: the choice is the same on any run.
        key = np.rint(cosine * np.float32(1 / _TIE)).astype(np.int64)
        key *= -stored
        key += np.arange(stored)
        nearest = np.sort(np.argpartition(key, k - 1, axis=1)[:, :k], axis=1)
        similar = np.take_along_axis(cosine, nearest, axis=1).astype(np.float64)
        # Zero to the power zero is one: what is not similar must not count.
        weight = np.where(similar > _TIE, np.maximum(similar, 0) ** self.power, 0.0)
        return nearest, weight

    def _shrunk(self, grid: Floats, nearest: Ints, weight: Floats, mean: Floats) -> Any:
        total = np.matmul(weight[:, None, :], grid[nearest])[:, 0]
        return (total + self.shrinkage * mean) / (
            weight.sum(axis=1, keepdims=True) + self.shrinkage
        )
