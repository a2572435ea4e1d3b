"""The hybrid predictor: trained heads and retrieval, combined by what holds out of fold."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dualroute import registry
from dualroute.arrays import Floats, Ints
from dualroute.calibration import Calibration, Calibrator, calibrator
from dualroute.curve import lambda_value
from dualroute.embedding import Embedding, TfidfEmbedding
from dualroute.errors import OptionError
from dualroute.link import Link, Spread
from dualroute.outcomes import Outcomes
from dualroute.predictor import (
    SPREAD,
    Predictor,
    check_asked,
    check_history,
    folds_of,
)

_TRUST = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # shares of what sets models apart
_NOISE = 1e-12  # of a squared length: less is rounding
_JUDGED = 20_000  # queries out of fold that the share is judged on, at most
_TEXTS = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """How the parts of a hybrid predict one column together.

    Attributes
    ----------
    link
        The scale of the column.
    mean
        Per model, ``(m,)``, on that scale.
    common, apart
        Weight of every part, both ``(parts,)``: of what it says of the query for all models, and
        of what sets the models apart.
    factor
        Per model, ``(m,)``: corrects the mean where the scale is a logarithm.
    """

    link: Link
    mean: Floats
    common: Floats
    apart: Floats
    factor: Floats

    def scale(self, parts: Sequence[Floats]) -> Floats:
        """The parts' predictions of the column, each ``(n, m)``, as one on the link's scale."""
        rows = max(part.shape[0] for part in parts)
        total = np.tile(self.mean, (rows, 1))
        for weight, other, part in zip(self.common, self.apart, parts, strict=True):
            common, apart = _split(self.link.onto(part) - self.mean)
            total += weight * common + other * apart
        return total

    def predict(self, parts: Sequence[Floats]) -> Floats:
        """The column as the parts predict it together, ``(n, m)``."""
        link = self.link
        return np.clip(link.back(self.scale(parts)) * self.factor, link.low, link.high)


@dataclass(frozen=True, slots=True)
class HybridReport:
    """What the hybrid found out of fold, on its own history.

    Attributes
    ----------
    parts
        Names of the predictors combined.
    weights
        Column to one pair per part: its weight in what all models share and in what sets them
        apart.
    trust
        Share of the predicted differences between models that routing gains most with: where a
        parabola through `value` is highest.
    value
        Mean quality under the hull of the lambda rule out of fold, by that share.
    calibration
        Of the quality before and after the calibration; None without a quality that varies.
    """

    parts: tuple[str, ...]
    weights: Mapping[str, tuple[tuple[float, float], ...]]
    trust: float
    value: Mapping[float, float]
    calibration: tuple[Calibration, Calibration] | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        before_after = self.calibration and [one.to_dict() for one in self.calibration]
        return {
            "parts": list(self.parts),
            "weights": {k: [list(pair) for pair in v] for k, v in self.weights.items()},
            "trust": self.trust,
            "value_by_trust": {str(k): v for k, v in self.value.items()},
            "calibration": before_after,
        }


@dataclass(slots=True)
class Hybrid:
    r"""Trained heads and retrieval, weighted by what they are worth out of fold.

    The hybrid retrieval-augmented predictor of OmniRouter [1]_, with the combination learned in
    the place of a fixed half. Every part predicts the history out of fold. A prediction is taken
    apart into the model's mean, what it says of the query for all models, and what sets the
    models apart; the last two get one non-negative weight per part and column, by least squares
    (stacking [2]_). A router selects on what sets models apart, noise included, so that share is
    shrunk once more to where routing out of fold gains most. Qualities are then calibrated, also
    out of fold.

    Attributes
    ----------
    parts
        Predictors to combine, registered names or objects; those with a field ``embedding`` are
        given the one of the hybrid.
    folds
        Parts of the history that are predicted from the others.
    calibrate
        ``"isotonic"``, ``"platt"`` or ``"none"``.
    embedding
        What makes vectors of texts, for all parts; a copy of it is fitted once.
    seed
        Of the folds.
    progress
        Called after every step of fitting with the steps done and of all.
    report, unseen
        Once fitted: what was found out of fold, and the predictions of the history made out of
        fold (None where it has one distinct text).

    References
    ----------
    .. [1] Mei et al. (2025), OmniRouter, arXiv 2502.20576.
    .. [2] Breiman (1996), Stacked regressions, Machine Learning 24(1).
    """

    parts: Sequence[str | Predictor] = ("regression", "retrieval")
    folds: int = 5
    calibrate: str = "isotonic"
    embedding: Embedding = field(default_factory=lambda: TfidfEmbedding(dimensions=256))
    seed: int = 0
    progress: Callable[[int, int], None] | None = field(default=None, repr=False, compare=False)
    report: HybridReport | None = field(default=None, init=False, repr=False, compare=False)
    unseen: Outcomes | None = field(default=None, init=False, repr=False, compare=False)
    _fitted: list[Predictor] = field(default_factory=list, init=False, repr=False, compare=False)
    _known: "_Known" = field(init=False, repr=False, compare=False)
    _columns: dict[str, Combination] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _spread: dict[str, Spread] = field(default_factory=dict, init=False, repr=False, compare=False)
    _calibrator: Calibrator | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the options."""
        if not self.parts or isinstance(self.parts, str):
            raise OptionError(f"parts is {self.parts!r}; give a list of predictors, at least one")
        if self.folds < 2:
            raise OptionError(f"folds is {self.folds}; give 2 or more")
        calibrator(self.calibrate)

    def fit(self, texts: Sequence[str], outcomes: Outcomes) -> Self:
        """Learn the parts, their weights and the calibration; returns itself.

        Raises
        ------
        TableError
            If the number of texts is not ``outcomes.n_queries``, or is zero.
        """
        check_history(texts, outcomes)
        fold = folds_of(texts, self.folds, self.seed)
        varying = [name for name, grid in outcomes.columns.items() if grid.shape[0] > 1]
        if np.unique(fold).size < 2:  # one distinct text: nothing can be held out
            varying = []
        told = self._out_of_fold(texts, outcomes, fold) if varying else []
        self._columns, self._spread, self._calibrator = {}, {}, None
        columns = dict(outcomes.columns)
        trust, value, calibration = 1.0, dict[float, float](), None
        # Quality last: the share of it that is trusted is judged at the predicted costs.
        for name in sorted(varying, key=lambda name: name == outcomes.quality):
            observed, grids = outcomes.columns[name], [one[name] for one in told]
            judged, cost = name == outcomes.quality, name == outcomes.cost
            if judged:
                trust, value = self._trusted(grids, columns, outcomes)
            share, calibrate = (trust, self.calibrate) if judged else (1.0, "none")
            self._columns[name] = _combined(observed, grids, share, cost=cost)
            before, after = _cross_fitted(observed, grids, fold, share, calibrate, cost=cost)
            if judged:
                inside = self._columns[name].predict(grids)
                self._calibrator = calibrator(calibrate).fit(inside, observed)
                calibration = Calibration.of(before, observed), Calibration.of(after, observed)
            if judged or cost:
                self._spread[name] = Spread.of(self._columns[name].link, after, observed)
            columns[name] = after.astype(observed.dtype)
        self.unseen = replace(outcomes, columns=columns) if varying else None
        self._known, self._fitted, _ = self._fitted_on(texts, outcomes, [])
        self._tell(self.folds + 1)
        self.report = HybridReport(
            parts=tuple(p if isinstance(p, str) else type(p).__name__.lower() for p in self.parts),
            weights={
                name: tuple(zip(one.common.tolist(), one.apart.tolist(), strict=True))
                for name, one in self._columns.items()
            },
            trust=trust,
            value=value,
            calibration=calibration,
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
        check_asked(texts, bool(self._fitted))
        n = len(texts)
        whole: dict[str, NDArray[Any]] = {}
        for start in range(0, n, _TEXTS):
            rows = slice(start, min(start + _TEXTS, n))
            asked = texts[rows]
            with self._known.held(asked):  # once for all parts
                told = [part.predict(asked) for part in self._fitted]
            for name, grid in told[0].columns.items():
                if name.endswith(SPREAD) and name.removesuffix(SPREAD) in told[0].columns:
                    continue
                if name not in self._columns:
                    whole[name] = (
                        grid if grid.shape[0] == 1 else _joined(whole, name, grid, rows, n)
                    )
                    continue
                predicted = self._columns[name].predict([one.columns[name] for one in told])
                if name == told[0].quality and self._calibrator is not None:
                    link = self._columns[name].link
                    predicted = np.clip(self._calibrator.predict(predicted), link.low, link.high)
                whole[name] = _joined(whole, name, predicted.astype(grid.dtype), rows, n)
                if name in self._spread:
                    sd = self._spread[name].sd(predicted).astype(grid.dtype)
                    whole[name + SPREAD] = _joined(whole, name + SPREAD, sd, rows, n)
        return replace(told[0], columns=whole, queries=np.arange(n), attributes={})

    def _fitted_on(
        self, texts: Sequence[str], outcomes: Outcomes, asked: Sequence[str]
    ) -> tuple["_Known", list[Predictor], list[Outcomes]]:
        """The parts, fitted, and what they predict of other texts.

        The embedding is fitted here as well: texts that it has learned from lie better in it
        than texts to come, and predictions that had its help would look too good.
        """
        known = _Known(copy.copy(self.embedding).fit(texts))
        with known.held([*texts, *asked]):
            parts = [_with_embedding(part, known).fit(texts, outcomes) for part in self.parts]
            told = [part.predict(asked) for part in parts] if asked else []
        return known, parts, told

    def _out_of_fold(
        self, texts: Sequence[str], outcomes: Outcomes, fold: Ints
    ) -> list[dict[str, Floats]]:
        """What every part says of the history, each query predicted from other folds."""
        whole: list[dict[str, Floats]] = [
            {name: np.empty(grid.shape, grid.dtype) for name, grid in outcomes.columns.items()}
            for _ in self.parts
        ]
        for done, part in enumerate(np.unique(fold).tolist()):
            self._tell(done)
            here, others = np.flatnonzero(fold == part), np.flatnonzero(fold != part)
            _, _, told = self._fitted_on(
                [texts[i] for i in others.tolist()],
                outcomes.take(others),
                [texts[i] for i in here.tolist()],
            )
            for into, one in zip(whole, told, strict=True):
                for name, grid in into.items():
                    if grid.shape[0] > 1:
                        grid[here] = one.columns[name]
        return whole

    def _tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(done, self.folds + 1)

    def _trusted(
        self, grids: list[Floats], told: Mapping[str, Floats], outcomes: Outcomes
    ) -> tuple[float, dict[float, float]]:
        """Share of the differences between models that the lambda rule gains most with."""
        n = outcomes.n_queries
        judged = np.sort(np.random.default_rng(self.seed).permutation(n)[:_JUDGED])
        observed = outcomes.take(judged)
        cost = told.get(outcomes.cost, np.zeros((1, 1)))
        cost = np.broadcast_to(cost, (n, outcomes.n_models))[judged]
        whole = _combined(outcomes.columns[outcomes.quality], grids)
        value = {}
        for share in _TRUST:
            tried = replace(whole, apart=share * whole.apart)
            predicted = tried.predict([grid[judged] for grid in grids])
            value[share] = lambda_value(predicted, cost, observed)
        return _peak(value), value


def _peak(value: Mapping[float, float]) -> float:
    """Where a parabola through the values is highest: one value alone is mostly luck."""
    shares, heights = np.array(list(value)), np.array(list(value.values()))
    bend, slope, _ = np.polyfit(shares, heights, 2)
    if bend < 0:
        return float(np.clip(-slope / (2 * bend), shares[0], shares[-1]))
    return float(shares[0] if heights[0] > heights[-1] else shares[-1])


def _cross_fitted(
    observed: Floats, grids: list[Floats], fold: Ints, trust: float, calibrate: str, *, cost: bool
) -> tuple[Floats, Floats]:
    """The column before and after calibration, every fold combined as the others teach.

    Means and weights that had seen a query would favour, among many models, those that were
    lucky on the history; a margin learned from such predictions is too small.
    """
    before, after = (np.empty(observed.shape) for _ in range(2))
    for part in np.unique(fold).tolist():
        here, others = fold == part, fold != part
        learned = [grid[others] for grid in grids]
        whole = _combined(observed[others], learned, trust, cost=cost)
        before[here] = whole.predict([grid[here] for grid in grids])
        mend = calibrator(calibrate).fit(whole.predict(learned), observed[others])
        after[here] = np.clip(mend.predict(before[here]), whole.link.low, whole.link.high)
    return before, after


def _combined(
    observed: Floats, parts: list[Floats], trust: float = 1.0, *, cost: bool = False
) -> Combination:
    from scipy.optimize import nnls

    link = Link.of(observed, cost=cost)
    target = link.onto(observed)
    mean = target.mean(axis=0)
    pieces = [piece for part in parts for piece in _split(link.onto(part) - mean)]
    # The normal equations, so that nothing of n x m x parts is held at once.
    gram = np.array([[np.vdot(a, b) for b in pieces] for a in pieces])
    meets = np.array([np.vdot(piece, target - mean) for piece in pieces])
    # A piece that is rounding noise (models that are always alike) would get any weight.
    live = np.flatnonzero(np.diag(gram) > _NOISE * max(np.diag(gram).max(), 1e-300))
    values, vectors = np.linalg.eigh(gram[np.ix_(live, live)])
    kept = values > _NOISE * max(values.max(initial=0.0), 1e-300)
    root, vectors = np.sqrt(values[kept]), vectors[:, kept]
    weights = np.zeros(len(pieces))
    if live.size:
        weights[live], _ = nnls(root[:, None] * vectors.T, (vectors.T @ meets[live]) / root)
    whole = Combination(link, mean, weights[::2], trust * weights[1::2], np.ones(mean.size))
    if link.offset is None:
        return whole
    told, seen = link.back(whole.scale(parts)).mean(axis=0), observed.mean(axis=0, dtype=np.float64)
    return replace(whole, factor=np.where(told > 0, seen / np.where(told > 0, told, 1.0), 1.0))


def _split(deviation: Floats) -> tuple[Floats, Floats]:
    """What a deviation from the models' means says for all models, and what sets them apart."""
    common = np.broadcast_to(deviation.mean(axis=1, keepdims=True), deviation.shape)
    return common, deviation - common


def _joined(
    whole: dict[str, NDArray[Any]], name: str, grid: NDArray[Any], rows: slice, n: int
) -> NDArray[Any]:
    into = whole.get(name)
    if into is None:
        into = np.empty((n, grid.shape[1]), grid.dtype)
    into[rows] = grid
    return into


def _with_embedding(part: str | Predictor, embedding: Embedding) -> Predictor:
    made: Any = registry.create("predictors", part) if isinstance(part, str) else copy.copy(part)
    if hasattr(made, "embedding"):
        made = replace(made, embedding=embedding)
    given: Predictor = made
    return given


@dataclass(slots=True)
class _Known:
    """A fitted embedding that several predictors share, and what it says of the texts at hand."""

    fitted: Embedding
    _vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    _row: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def held(self, texts: Sequence[str]) -> Iterator[None]:
        """Within, these texts are not embedded anew."""
        step = range(0, len(texts), _TEXTS)
        self._vectors = np.concatenate([self.fitted.transform(texts[i : i + _TEXTS]) for i in step])
        self._row = {text: i for i, text in enumerate(texts)}
        try:
            yield
        finally:
            self._vectors, self._row = self._vectors[:0].copy(), {}

    def fit(self, texts: Sequence[str]) -> Self:
        return self

    def transform(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [self._row.get(text, -1) for text in texts]
        if min(rows, default=-1) < 0:
            return self.fitted.transform(texts)
        return self._vectors[rows]

    def __copy__(self) -> Self:
        return self  # fitted already, and shared

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self
