"""Calibration of predicted qualities: how far they can be taken at their word, and the mending."""

from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np

from dualroute.arrays import Floats
from dualroute.errors import OptionError

_BINS = 15
_EDGE = 1e-4  # qualities this near 0 and 1 have a bounded logit
_MOST = 200_000  # pairs that a calibrator learns from, at most


@dataclass(frozen=True, slots=True)
class Calibration:
    """How predicted qualities compare with what happened.

    Attributes
    ----------
    brier
        Mean squared difference: the Brier score where outcomes are 0 or 1.
    ece
        Expected calibration error: mean absolute difference of predicted and observed quality
        over 15 bins of equally many predictions, weighted by their size (Naeini et al. 2015).
    bias
        Predicted less observed, on average.
    explained
        Share of the variance about each model's mean that is explained; negative if less than
        the means do.
    bins
        Mean prediction and mean outcome of every bin, for a plot.
    """

    brier: float
    ece: float
    bias: float
    explained: float
    bins: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, predicted: Floats, observed: Floats) -> "Calibration":
        """Of predictions and outcomes, both ``(n, m)`` or both ``(n,)``."""
        told, seen = predicted.astype(np.float64), observed.astype(np.float64)
        varied = float(((seen - seen.mean(axis=0)) ** 2).mean())
        brier = float(((told - seen) ** 2).mean())
        order = np.argsort(told, axis=None, kind="stable")
        parts = np.array_split(order, min(_BINS, order.size))
        bins = tuple((float(told.flat[k].mean()), float(seen.flat[k].mean())) for k in parts)
        off = sum(k.size * abs(a - b) for k, (a, b) in zip(parts, bins, strict=True))
        return cls(
            brier=brier,
            ece=float(off / order.size),
            bias=float((told - seen).mean()),
            explained=1.0 - brier / varied if varied > 0 else 0.0,
            bins=bins,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "brier": self.brier,
            "ece": self.ece,
            "bias": self.bias,
            "explained": self.explained,
            "bins": [list(pair) for pair in self.bins],
        }


class Calibrator(Protocol):
    """A rising function from predicted to calibrated quality, for all models the same."""

    def fit(self, predicted: Floats, observed: Floats) -> Self:
        """Learn from predictions that had not seen their outcomes; returns itself."""
        ...

    def predict(self, predicted: Floats) -> Floats:
        """Calibrated qualities in ``[0, 1]``, of the same shape."""
        ...


def calibrator(name: str) -> Calibrator:
    """A calibrator by name.

    Raises
    ------
    OptionError
        If the name is none of ``platt``, ``isotonic`` and ``none``.
    """
    kinds: dict[str, type[Calibrator]] = {"platt": Platt, "isotonic": Isotonic, "none": Unchanged}
    if name not in kinds:
        raise OptionError(f"no calibration {name!r}; there are {', '.join(kinds)}")
    return kinds[name]()


@dataclass(slots=True)
class Unchanged:
    """Predictions as they are."""

    def fit(self, predicted: Floats, observed: Floats) -> Self:
        """Learn nothing."""
        return self

    def predict(self, predicted: Floats) -> Floats:
        """Predictions as they are."""
        return predicted


@dataclass(slots=True)
class Platt:
    """Logistic regression on the logit of the prediction (Platt 1999); keeps their order."""

    _slope: float = field(default=1.0, init=False)
    _shift: float = field(default=0.0, init=False)

    def fit(self, predicted: Floats, observed: Floats) -> Self:
        """Fit slope and shift; a graded outcome counts as that share of a success."""
        from sklearn.linear_model import LogisticRegression

        told, seen = _flat(predicted, observed)
        some, rest = seen > 0, seen < 1
        if not (some.any() and rest.any()) or told.min() == told.max():
            return self
        logit = _logit(told)
        label = np.concatenate([np.ones(some.sum(), int), np.zeros(rest.sum(), int)])
        weight = np.concatenate([seen[some], 1.0 - seen[rest]])
        learned = LogisticRegression(C=1e6).fit(
            np.concatenate([logit[some], logit[rest]])[:, None], label, sample_weight=weight
        )
        if learned.coef_[0, 0] > 0:  # a falling curve would turn the order round
            self._slope, self._shift = float(learned.coef_[0, 0]), float(learned.intercept_[0])
        return self

    def predict(self, predicted: Floats) -> Floats:
        """Calibrated qualities."""
        chance: Floats = 1.0 / (1.0 + np.exp(-(self._slope * _logit(predicted) + self._shift)))
        return chance


@dataclass(slots=True)
class Isotonic:
    """The rising step function nearest to the outcomes, its steps joined at their centers.

    Centered isotonic regression (Oron and Flournoy 2017, doi:10.1080/19466315.2017.1286256):
    without flat parts, so that models told apart before are told apart after.
    """

    _told: Floats = field(default_factory=lambda: np.array([0.0, 1.0]), init=False)
    _seen: Floats = field(default_factory=lambda: np.array([0.0, 1.0]), init=False)

    def fit(self, predicted: Floats, observed: Floats) -> Self:
        """Fit the steps and their centers."""
        from sklearn.isotonic import IsotonicRegression

        told, seen = _flat(predicted, observed)
        steps = IsotonicRegression(y_min=0, y_max=1).fit_transform(told, seen)
        self._seen, which = np.unique(steps, return_inverse=True)
        self._told = np.bincount(which, told) / np.bincount(which)
        return self

    def predict(self, predicted: Floats) -> Floats:
        """Calibrated qualities; beyond the outermost steps, the line to 0 and 1."""
        told, seen = self._told, self._seen
        if told[0] > 0:
            told, seen = np.append(0.0, told), np.append(0.0, seen)
        if told[-1] < 1:
            told, seen = np.append(told, 1.0), np.append(seen, 1.0)
        return np.asarray(np.interp(predicted.astype(np.float64), told, seen))


def _flat(predicted: Floats, observed: Floats) -> tuple[Floats, Floats]:
    told, seen = predicted.ravel().astype(np.float64), observed.ravel().astype(np.float64)
    if told.size > _MOST:
        chosen = np.random.default_rng(0).permutation(told.size)[:_MOST]
        told, seen = told[chosen], seen[chosen]
    return told, seen


def _logit(values: Floats) -> Floats:
    inside = np.clip(values.astype(np.float64), _EDGE, 1.0 - _EDGE)
    return np.log(inside) - np.log1p(-inside)
