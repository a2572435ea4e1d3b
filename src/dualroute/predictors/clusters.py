"""Prediction by clusters of prompts: a new model needs its outcomes on a few of them only."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dualroute.arrays import Floats, Ints
from dualroute.embedding import Embedding, TfidfEmbedding
from dualroute.errors import OptionError, TableError
from dualroute.outcomes import Outcomes
from dualroute.predictor import SPREAD, check_asked, check_history

_TEXTS = 2**15


@dataclass(slots=True)
class Clusters:
    r"""Every query gets each model's mean over the cluster of its text, drawn to the overall mean.

    UniRoute [1]_, a reconstruction: models are described by their errors on clusters of prompts,
    so that a model unknown before enters by running the representative prompts of every cluster,
    with nothing learned anew. With :math:`n_c` outcomes of sum :math:`s_{cj}` in cluster ``c``
    the prediction is :math:`(s_{cj} + b \bar y_j) / (n_c + b)`.

    Attributes
    ----------
    clusters
        Number of clusters, at most; fewer where there are few distinct texts.
    shrinkage
        Weight ``b`` of the model's mean, in outcomes.
    embedding
        What makes vectors of texts; a copy of it is fitted.
    seed
        Of the clustering (k-means).

    References
    ----------
    .. [1] Jitkrittum et al. (2025), Universal model routing for efficient LLM inference,
       arXiv 2502.08773.
    """

    clusters: int = 32
    shrinkage: float = 4.0
    embedding: Embedding = field(default_factory=TfidfEmbedding)
    seed: int = 0
    _fitted: Embedding | None = field(default=None, init=False, repr=False, compare=False)
    _centers: NDArray[np.float32] = field(
        default_factory=lambda: np.empty((0, 1), np.float32), init=False, repr=False, compare=False
    )
    _examples: list[list[str]] = field(default_factory=list, init=False, repr=False, compare=False)
    _told: Outcomes | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the options."""
        if self.clusters < 1:
            raise OptionError(f"clusters is {self.clusters}; give 1 or more")
        if not 0 < self.shrinkage < np.inf:
            raise OptionError(f"shrinkage is {self.shrinkage}; give a positive number")

    def fit(self, texts: Sequence[str], outcomes: Outcomes) -> Self:
        """Cluster the texts and average the outcomes in every cluster; returns itself.

        Raises
        ------
        TableError
            If the number of texts is not ``outcomes.n_queries``, or is zero.
        """
        from sklearn.cluster import MiniBatchKMeans

        check_history(texts, outcomes)
        self._fitted = copy.copy(self.embedding).fit(texts)
        step = range(0, len(texts), _TEXTS)
        vectors = np.concatenate([self._fitted.transform(texts[i : i + _TEXTS]) for i in step])
        distinct = np.unique(vectors, axis=0)
        if distinct.shape[0] <= self.clusters:
            self._centers = distinct
        else:
            means = MiniBatchKMeans(self.clusters, random_state=self.seed, n_init=3)
            self._centers = means.fit(vectors).cluster_centers_.astype(np.float32)
        cluster = self._cluster(vectors)
        distance = ((vectors - self._centers[cluster]) ** 2).sum(axis=1)
        order = np.argsort(distance, kind="stable")
        self._examples = [
            list(dict.fromkeys(texts[i] for i in order[cluster[order] == c].tolist()))
            for c in range(self._centers.shape[0])
        ]
        columns = {}
        for name, grid in outcomes.columns.items():
            if grid.shape[0] == 1:
                columns[name] = grid
                continue
            mean, sd = self._averaged(cluster, grid, grid.mean(axis=0, dtype=np.float64))
            columns[name] = np.clip(mean, grid.min(), grid.max()).astype(grid.dtype)
            if name in (outcomes.cost, outcomes.quality):
                columns[name + SPREAD] = sd.astype(grid.dtype)
        places = np.arange(self._centers.shape[0])
        self._told = replace(outcomes, columns=columns, queries=places, attributes={})
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
        check_asked(texts, self._told is not None)
        assert self._told is not None
        return replace(self._told.take(self._clusters_of(texts)), queries=np.arange(len(texts)))

    def representatives(self, each: int = 4) -> tuple[str, ...]:
        """Texts nearest to the center of every cluster: what a new model is to be run on.

        Raises
        ------
        OptionError
            If nothing has been fitted.
        """
        check_asked([""], self._told is not None)
        return tuple(text for examples in self._examples for text in examples[:each])

    def add_model(self, name: str, texts: Sequence[str], columns: Mapping[str, ArrayLike]) -> Self:
        """Take a new model in, from its outcomes on some texts; nothing else changes.

        Parameters
        ----------
        name
            Of the model.
        texts
            What it was run on, such as `representatives`.
        columns
            Every column learned from, one number per text, ``(n,)``.

        Raises
        ------
        TableError
            If the model is known already, a column is missing, or numbers are not usable.
        OptionError
            If nothing has been fitted.
        """
        check_asked(texts, self._told is not None)
        told = self._told
        assert told is not None
        asked = [
            k
            for k in told.columns
            if k.removesuffix(SPREAD) not in told.columns or k.removesuffix(SPREAD) == k
        ]
        if name in told.models:
            raise TableError(f"model {name!r} is known already; give another name")
        if set(columns) != set(asked):
            raise TableError(
                f"model {name!r} comes with the columns {', '.join(sorted(columns)) or 'none'}; "
                f"give {', '.join(asked)}"
            )
        observed = Outcomes(
            (name,),
            {k: np.reshape(np.asarray(v, np.float64), (-1, 1)) for k, v in columns.items()},
            queries=np.arange(len(texts)),
            cost=told.cost,
            quality=told.quality,
        )
        cluster = self._clusters_of(texts)
        merged: dict[str, Any] = {}
        for column in asked:
            grid = np.broadcast_to(observed.columns[column], (len(texts), 1))
            mean, sd = self._averaged(cluster, grid, grid.mean(axis=0))
            merged[column] = self._beside(told, column, mean)
            if column + SPREAD in told.columns:
                merged[column + SPREAD] = self._beside(told, column + SPREAD, sd)
        self._told = replace(told, models=(*told.models, name), columns=merged)
        return self

    def _beside(self, told: Outcomes, column: str, new: Floats) -> Floats:
        known = told.columns[column]
        shape = (self._centers.shape[0], told.n_models)
        wide = np.broadcast_to(known, shape)
        return np.concatenate([wide, np.broadcast_to(new, (shape[0], 1))], axis=1).astype(
            known.dtype
        )

    def _averaged(self, cluster: Ints, grid: Floats, mean: Floats) -> tuple[Floats, Floats]:
        """Shrunk mean and standard deviation per cluster, both ``(clusters, m)``."""
        size, m = self._centers.shape[0], grid.shape[1]
        count = np.bincount(cluster, minlength=size)[:, None] + self.shrinkage
        square = np.square(grid, dtype=np.float64).mean(axis=0)
        told = []
        for values, center in (
            (grid.astype(np.float64), mean),
            (grid.astype(np.float64) ** 2, square),
        ):
            sums = np.stack([np.bincount(cluster, values[:, j], size) for j in range(m)], axis=1)
            told.append((sums + self.shrinkage * center) / count)
        return told[0], np.sqrt(np.maximum(told[1] - told[0] ** 2, 0.0))

    def _clusters_of(self, texts: Sequence[str]) -> Ints:
        assert self._fitted is not None
        step = range(0, len(texts), _TEXTS)
        parts = [self._cluster(self._fitted.transform(texts[i : i + _TEXTS])) for i in step]
        return np.concatenate(parts)

    def _cluster(self, vectors: NDArray[np.float32]) -> Ints:
        """Nearest center, by the Euclidean distance; the first of several."""
        length = (self._centers**2).sum(axis=1)
        nearest: Ints = (length - 2.0 * vectors @ self._centers.T).argmin(axis=1)
        return nearest
