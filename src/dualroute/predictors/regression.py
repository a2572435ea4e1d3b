"""Prediction by regression on the embedding: trained heads, one for each model or shared."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from dualroute.arrays import Floats
from dualroute.embedding import Embedding, TfidfEmbedding
from dualroute.errors import OptionError
from dualroute.link import Link, Spread
from dualroute.outcomes import Outcomes
from dualroute.predictor import SPREAD, check_asked, check_history
from dualroute.ridge import CanonicalRidge, Design
from dualroute.surface import SurfaceScale, surface

_TEXTS = 2**15  # texts described at a time
_SURFACE = 0.5  # weight of the looks of a text beside its embedding
_HELD_OUT = 5  # one query in so many tells how far off another library's estimator is


@dataclass(slots=True)
class Regression:
    """Trained heads on the embedding and the looks of a text.

    Quality is regressed as it is, cost in shares of each model's mean, other amounts and counts
    by their logarithms, corrected so that each model's mean is kept (Duan 1983 [1]_). The default
    estimator is `CanonicalRidge`: what all models find hard is learned from all of them, what
    sets them apart is shrunk more.

    Attributes
    ----------
    estimator
        Any scikit-learn regressor, or a classifier (for qualities in ``[0, 1]``, a graded one
        counting as that share of a success; other columns stay with the default). None for the
        default.
    shared
        Whether one estimator serves all models, with the model as a further feature (one column
        each), instead of one head per model.
    surface
        Whether lengths, digits, marks and lines of a text count beside its embedding.
    embedding
        What makes vectors of texts; a copy of it is fitted.

    References
    ----------
    .. [1] Duan (1983), Smearing estimate: a nonparametric retransformation method, Journal of
       the American Statistical Association 78(383).
    """

    estimator: Any = None
    shared: bool = False
    surface: bool = True
    embedding: Embedding = field(default_factory=lambda: TfidfEmbedding(dimensions=256))
    _fitted: Embedding | None = field(default=None, init=False, repr=False, compare=False)
    _scale: SurfaceScale | None = field(default=None, init=False, repr=False, compare=False)
    _heads: dict[str, "_Head"] = field(default_factory=dict, init=False, repr=False, compare=False)
    _history: Outcomes | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the options."""
        if self.estimator is not None and not all(
            hasattr(self.estimator, name) for name in ("fit", "predict", "get_params")
        ):
            raise OptionError(
                f"estimator is {self.estimator!r}; give a scikit-learn regressor or classifier"
            )

    def fit(self, texts: Sequence[str], outcomes: Outcomes) -> Self:
        """Embed the texts and fit a head for every column that varies; returns itself.

        Raises
        ------
        TableError
            If the number of texts is not ``outcomes.n_queries``, or is zero.
        """
        check_history(texts, outcomes)
        self._fitted = copy.copy(self.embedding).fit(texts)
        features = self._learned(texts)
        varying = {name: grid for name, grid in outcomes.columns.items() if grid.shape[0] > 1}
        links = {name: Link.of(grid, cost=name == outcomes.cost) for name, grid in varying.items()}
        ours = [name for name, link in links.items() if not self._suits(link)]
        design = Design.of(features) if ours else None
        self._heads = {
            name: _ridge_head(design, grid, links[name])
            if design is not None and name in ours
            else self._estimator_head(features, grid, links[name])
            for name, grid in varying.items()
        }
        none = {name: grid for name, grid in outcomes.columns.items() if grid.shape[0] == 1}
        dtypes = {name: grid[:1] for name, grid in outcomes.columns.items() if grid.shape[0] > 1}
        self._history = replace(
            outcomes, columns={**none, **dtypes}, queries=np.arange(1), attributes={}
        )
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
        check_asked(texts, self._history is not None)
        history = self._history
        assert history is not None
        n = len(texts)
        spreads = [name for name in (history.cost, history.quality) if name in self._heads]
        columns = {
            name: np.empty((n, grid.shape[1]), grid.dtype) if name in self._heads else grid
            for name, grid in history.columns.items()
        }
        columns |= {name + SPREAD: np.empty_like(columns[name]) for name in spreads}
        for start in range(0, n, _TEXTS):
            rows = slice(start, start + _TEXTS)
            features = self._features(texts[rows])
            for name, head in self._heads.items():
                predicted = head.predict(features)
                columns[name][rows] = predicted
                if name in spreads:
                    columns[name + SPREAD][rows] = head.spread.sd(predicted)
        # A column of another type may round beyond the range.
        for name, head in self._heads.items():
            np.clip(columns[name], head.spread.link.low, head.spread.link.high, out=columns[name])
        return replace(history, columns=columns, queries=np.arange(n))

    def _learned(self, texts: Sequence[str]) -> Floats:
        """Features of the history, which set the scale of a text's looks."""
        assert self._fitted is not None
        blocks = [slice(start, start + _TEXTS) for start in range(0, len(texts), _TEXTS)]
        vectors = np.concatenate([self._fitted.transform(texts[rows]) for rows in blocks])
        self._scale = None
        if not self.surface:
            return vectors
        looks = np.concatenate([surface(texts[rows]) for rows in blocks])
        self._scale = SurfaceScale.of(looks)
        return _side_by_side(vectors, self._scale.scaled(looks))

    def _features(self, texts: Sequence[str]) -> Floats:
        assert self._fitted is not None
        vectors = self._fitted.transform(texts)
        if self._scale is None:
            return vectors
        return _side_by_side(vectors, self._scale.scaled(surface(texts)))

    def _suits(self, link: Link) -> bool:
        """Whether the estimator given can learn a column: a classifier learns qualities only."""
        return self.estimator is not None and (
            link.unit or not hasattr(self.estimator, "predict_proba")
        )

    def _estimator_head(self, features: Floats, grid: Floats, link: Link) -> "_Head":
        held = np.arange(grid.shape[0]) % _HELD_OUT == _HELD_OUT - 1
        learner = _Sklearn(self.estimator, shared=self.shared)
        values = link.onto(grid)
        if held.any():
            trial = copy.deepcopy(learner).fit(features[~held], values[~held])
            unseen, seen = trial.predict(features[held]), grid[held]
        else:
            unseen, seen = values, grid
        smearing = _smearing(link, unseen, seen)
        spread = Spread.of(link, link.back(unseen) * smearing, seen)
        return _Head(learner.fit(features, values), smearing, spread)


def _ridge_head(design: Design, grid: Floats, link: Link) -> "_Head":
    ridge = CanonicalRidge()
    unseen = ridge.fit(design, link.onto(grid))
    smearing = _smearing(link, unseen, grid)
    return _Head(ridge, smearing, Spread.of(link, link.back(unseen) * smearing, grid))


def _side_by_side(vectors: Floats, looks: Floats) -> Floats:
    return np.concatenate([vectors, (_SURFACE * looks).astype(np.float32)], axis=1)


def _smearing(link: Link, unseen: Floats, grid: Floats) -> Floats:
    """Factor per model that gives predictions the mean of what they predict, ``(m,)``."""
    if link.offset is None:
        return np.ones(grid.shape[1])
    predicted = link.back(unseen).mean(axis=0)
    observed = grid.mean(axis=0, dtype=np.float64)
    return np.where(predicted > 0, observed / np.where(predicted > 0, predicted, 1.0), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """What predicts one column of all models."""

    learner: Any
    smearing: Floats
    spread: Spread

    def predict(self, features: Floats) -> Floats:
        link = self.spread.link
        return np.clip(
            link.back(self.learner.predict(features)) * self.smearing, link.low, link.high
        )


@dataclass(slots=True)
class _Sklearn:
    """A scikit-learn estimator for all models: one with many outputs, one each, or one shared."""

    estimator: Any
    shared: bool
    _models: int = field(default=0, init=False)
    _fitted: list[Any] = field(default_factory=list, init=False)

    def fit(self, features: Floats, values: Floats) -> "_Sklearn":
        from sklearn.base import clone

        self._models = values.shape[1]
        if self.shared:
            whole = [(self._with_model(features), values.T.ravel())]
        elif self._models > 1 and self._many_outputs:
            whole = [(features, values)]
        else:
            whole = [(features, values[:, j]) for j in range(self._models)]
        self._fitted = [self._learned(clone(self.estimator), x, y) for x, y in whole]
        return self

    def predict(self, features: Floats) -> Floats:
        if self.shared:
            flat = self._answer(self._fitted[0], self._with_model(features))
            return flat.reshape(self._models, -1).T
        answers = [self._answer(one, features) for one in self._fitted]
        return answers[0] if answers[0].ndim == 2 else np.stack(answers, axis=1)

    @property
    def _classifies(self) -> bool:
        return hasattr(self.estimator, "predict_proba")

    @property
    def _many_outputs(self) -> bool:
        from sklearn.utils import get_tags

        return bool(get_tags(self.estimator).target_tags.multi_output) and not self._classifies

    def _with_model(self, features: Floats) -> Floats:
        which = np.repeat(np.eye(self._models, dtype=features.dtype), features.shape[0], axis=0)
        return np.concatenate([np.tile(features, (self._models, 1)), which], axis=1)

    def _learned(self, fresh: Any, features: Floats, values: Floats) -> Any:
        if not self._classifies:
            return fresh.fit(features, values)
        if values.min() == values.max() and values[0] in (0.0, 1.0):
            return float(values[0])  # always right, or never: nothing to tell apart
        # A graded quality counts as that share of a success and the rest of a failure.
        some, rest = values > 0, values < 1
        weight = np.concatenate([values[some], 1.0 - values[rest]])
        label = np.concatenate([np.ones(some.sum(), int), np.zeros(rest.sum(), int)])
        rows = np.concatenate([features[some], features[rest]])
        return fresh.fit(rows, label, sample_weight=weight)

    def _answer(self, fitted: Any, features: Floats) -> Floats:
        if isinstance(fitted, float):
            return np.full(features.shape[0], fitted)
        answer: Floats
        if self._classifies:
            answer = fitted.predict_proba(features)[:, list(fitted.classes_).index(1)]
        else:
            answer = np.asarray(fitted.predict(features), np.float64)
        return answer
